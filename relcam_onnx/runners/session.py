"""onnxruntime's sessions: how they are made, and what their errors mean."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Never, TypeGuard, cast

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.errors import InputError, ModelFileError, OptionError, nearest
from relcam_onnx.onnx_file.store import message, save_external
from relcam_onnx.onnx_file.weights import whole
from relcam_onnx.runners.arrays import shape_of
from relcam_onnx.runners.options import inexact, own_options

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of onnxruntime's execution providers."""

Provider = str | tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class SessionSettings:
    """What sessions are made with; the fields are `Explainer`'s."""

    providers: Provider | Sequence[Provider] | None = None
    threads: int | None = None
    options: onnxruntime.SessionOptions | None = None


class OfOneProcess:
    """What holds sessions: none can be pickled or copied."""

    def __reduce__(self) -> Never:
        raise TypeError(
            f"{type(self).__name__} holds onnxruntime's sessions and can be neither pickled nor copied: make one in "
            "each process, from the model's path; threads share one"
        )


class RunError(InputError):
    """onnxruntime refuses while a model runs: it may be the input's fault, or the model's."""


@contextmanager
def expose(proto: onnx.ModelProto, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Make tensors of a model outputs, for as long as this is open; by which names they are returned.

    Those of half precision are returned as float32: on a CPU they are computed so, and only rounded to be returned.
    """
    outputs, nodes = len(proto.graph.output), len(proto.graph.node)
    told = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    named = {n: f"{n}/float32" if told.get(n) == onnx.TensorProto.FLOAT16 else n for n in names}
    for name, wide in named.items():
        proto.graph.output.append(onnx.ValueInfoProto(name=wide))
        if wide != name:
            proto.graph.node.append(onnx.helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.FLOAT))
    try:
        yield named
    finally:
        del proto.graph.output[outputs:], proto.graph.node[nodes:]


def with_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of a model that returns these tensors and nothing else."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def leave_needed(proto: onnx.ModelProto) -> None:
    """Drop the nodes and inputs of a model that its outputs do not hang on; onnxruntime would run them."""
    wanted, kept = {output.name for output in proto.graph.output}, []
    for node in reversed(proto.graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(read_by(node))
    inputs = [value for value in proto.graph.input if value.name in wanted]
    del proto.graph.node[:], proto.graph.input[:]
    proto.graph.node.extend(reversed(kept))
    proto.graph.input.extend(inputs)


def read_by(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that a node reads, its subgraphs too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from read_by(inner)


def open_session(
    proto: onnx.ModelProto,
    settings: SessionSettings,
    weights: Mapping[str, np.ndarray] = MappingProxyType({}),
    *,
    spinning: bool = True,
) -> onnxruntime.InferenceSession:
    """A session over a model, and the weights that it refers to (`relcam_onnx.onnx_file.weights`).

    Raises
    ------
    ModelFileError
        onnxruntime does not take the model.
    OptionError
        A provider does not exist.
    """
    options = settings.options
    if options is not None and settings.threads is not None:
        raise OptionError("threads= and session_options= exclude each other; set intra_op_num_threads there")
    providers = choose_providers(settings.providers)
    if options is None:
        options = own_options(settings.threads, weights, spinning=spinning)
    else:  # they are their owner's: no weights are added to them
        proto = whole(proto, weights)
    try:
        return started(proto, options, providers)
    except Exception as error:  # onnxruntime has a bare exception class for each of its error codes
        with suppress(Exception):
            return started(proto, inexact(options, weights if settings.options is None else {}), providers)
        raise ModelFileError(f"onnxruntime does not take the model: {first_line(error)}") from error


def started(
    proto: onnx.ModelProto, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    """A session, by way of files where a model is larger than protobuf takes."""
    data = message(proto)
    if data is not None:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_external(proto, path)
        return onnxruntime.InferenceSession(str(path), options, providers=providers)


def run_session(
    session: onnxruntime.InferenceSession, names: Sequence[str], inputs: Mapping[str, Any]
) -> list[np.ndarray]:
    """Run a session; inputs may be arrays or OrtValues on any device, outputs are arrays.

    Raises
    ------
    RunError
        onnxruntime fails on this input.
    """
    try:
        if any(isinstance(value, onnxruntime.OrtValue) for value in inputs.values()):
            feeds = {name: as_ort_value(value) for name, value in inputs.items()}
            return [value.numpy() for value in session.run_with_ort_values(list(names), feeds)]
        values = session.run(list(names), dict(inputs))
        # A list of maps, as ZipMap makes it, becomes an array of dicts.
        return [value if isinstance(value, np.ndarray) else np.array(value, object) for value in values]
    except Exception as error:  # see `open_session`
        several = any(shape_of(value)[:1] > (1,) for value in inputs.values())
        hint = "; if it takes one image at a time, max_batch=1 (--batch 1) has it so" if several else ""
        raise RunError(f"onnxruntime could not run the model on this input: {first_line(error)}{hint}") from error


def as_ort_value(value: Any) -> onnxruntime.OrtValue:
    """An array as a tensor of onnxruntime's; one that is so already, as it is."""
    return value if isinstance(value, onnxruntime.OrtValue) else onnxruntime.OrtValue.ortvalue_from_numpy(value)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of `run_session` says that memory ran out."""
    text = str(error).lower()
    return any(sign in text for sign in ("bad_alloc", "out of memory", "failed to allocate", "bad allocation"))


def choose_providers(asked: Provider | Sequence[Provider] | None) -> list[Any]:
    """Onnxruntime's providers in order, with their options.

    None: CUDA where this onnxruntime has it, then CPU. CUDA runs without TF32, whose products are off by 1e-3; a pair
    ``("cuda", {"use_tf32": "1"})`` allows it.

    Raises
    ------
    OptionError
        This onnxruntime has no such provider, or it is no name.
    """
    available = onnxruntime.get_available_providers()
    if asked is None:
        asked = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    chosen: list[Any] = []
    several = [asked] if is_provider(asked) else cast(Sequence[Provider], asked)
    pairs = (
        (tuple(entry) if isinstance(entry, list) else entry for entry in several)
        if isinstance(several, Sequence)
        else (None,)
    )
    if not all(map(is_provider, pairs)):
        raise OptionError(
            "providers must be names, or pairs of a name and its options such as ('cuda', {'device_id': 1}), not "
            f"{asked!r}"
        )
    for entry in several:
        short, options = (entry, {}) if isinstance(entry, str) else entry
        name = PROVIDERS.get(short.lower(), short)
        if name not in available:
            possible = [k for k, v in PROVIDERS.items() if v in available] + list(available)
            raise OptionError(
                f"this onnxruntime has no provider {short!r}{nearest(short, possible)}; it has {', '.join(possible)}"
                ' (for a GPU install "relcam-onnx[gpu]")'
            )
        chosen.append((name, {"use_tf32": "0", **options} if name == PROVIDERS["cuda"] else options))
    return chosen


def is_provider(value: Any) -> TypeGuard[Provider]:
    """Whether something names one provider: a text, or a text and its options."""
    return isinstance(value, str) or (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict))


def first_line(error: BaseException) -> str:
    """An error's first line: onnxruntime appends its own source places."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
