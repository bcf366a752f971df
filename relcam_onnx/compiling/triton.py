"""A compiled file as a model of Triton Inference Server: ``config.pbtxt`` and the file, in a model repository."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import onnx
import onnxruntime
from google.protobuf.text_encoding import CEscape

from relcam_onnx.compiling.beginning import CLASSES, SEED, TARGETS
from relcam_onnx.errors import OptionError
from relcam_onnx.files import cannot_write, make_folder, plain, shortened
from relcam_onnx.onnx_file.store import write_model

MAX_BATCH = 8
"""Images that the server may join in one run; a line of the config, to be changed there."""

KINDS = {"config.pbtxt": "KIND_AUTO", "configs/cpu.pbtxt": "KIND_CPU", "configs/gpu.pbtxt": "KIND_GPU"}
"""Where an instance runs: on GPUs where the server has any, or as ``--model-config-name cpu`` or ``gpu`` says."""

TYPES = {
    "float": "FP32", "double": "FP64", "float16": "FP16", "bfloat16": "BF16", "bool": "BOOL", "string": "STRING",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""onnxruntime's names of element types -> Triton's, without ``TYPE_``."""


class Port(NamedTuple):
    """An input or output: its name, Triton's type, and sizes, of which those only a run knows are names or None."""

    name: str
    kind: str
    shape: tuple[int | str | None, ...]


def write_triton(proto: onnx.ModelProto, repository: Path, name: str) -> Path:
    """Write a compiled model into a model repository, whole or not at all.

    Parameters
    ----------
    proto
        What `compile_model` returns.
    repository
        The folder of all models, which is made where there is none; other models in it stay as they are.
    name
        What the server shall call the model; what no file name takes becomes ``_``.

    Returns
    -------
    Path
        The model's folder: ``config.pbtxt``, ``configs/cpu.pbtxt``, ``configs/gpu.pbtxt``, ``1/model.onnx``.

    Raises
    ------
    OptionError
        The repository has a model of that name, cannot be written, or the model has an input that no client can send.
    """
    name = shortened(plain(name))
    folder = repository / name
    if folder.exists() or folder.is_symlink():
        raise OptionError(
            f"{str(folder)!r} exists, and a model that may be served is not replaced; remove it, name another "
            "repository, or give the model's file another name"
        )
    make_folder(repository)
    unfinished = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=repository))
    try:
        (unfinished / "1").mkdir()
        (unfinished / "configs").mkdir()
        file = write_model(proto, unfinished / "1" / "model.onnx")[0]
        described = ports(file)
        for config, kind in KINDS.items():
            (unfinished / config).write_text(config_text(name, *described, kind), encoding="utf-8")
        unfinished.chmod(0o755)  # the server may be another user
        unfinished.rename(folder)
    except OSError as error:
        raise OptionError(cannot_write(folder, error)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def ports(file: Path) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs as the server's own runtime tells them, which it holds the config to.

    Outputs that are no tensors (ZipMap's lists), which the server cannot send, are left out.
    """
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes share no other base
        raise OptionError(f"onnxruntime, which Triton runs it by, does not load the compiled file: {error}") from error
    inputs = [port(value) for value in session.get_inputs()]
    for value, found in zip(session.get_inputs(), inputs, strict=True):
        if found is None:
            raise OptionError(f"Triton has no type for input {value.name!r}, which is a {value.type}")
    return [p for p in inputs if p], [p for value in session.get_outputs() if (p := port(value))]


def port(value: onnxruntime.NodeArg) -> Port | None:
    """An input or output; None where Triton has no such type."""
    kind = TYPES.get(value.type.removeprefix("tensor(").removesuffix(")"))
    return None if kind is None else Port(value.name, kind, tuple(value.shape))


def batches(inputs: Sequence[Port], outputs: Sequence[Port]) -> bool:
    """Whether the server may join requests: each input and each of the model's own outputs has a row an image.

    That is what sizes of one name say; lists of detections, and scores of clips whose frames are rows, have others.
    """
    images = [p for p in inputs if p.name not in (TARGETS, SEED)]
    own = list(takewhile(lambda p: p.name != CLASSES, outputs))
    first = {p.shape[0] if p.shape else None for p in (*images, *own)}
    named = len(first) == 1 and isinstance(first.pop(), str)
    return named and all(p.shape and not isinstance(p.shape[0], int) for p in outputs)


def config_text(name: str, inputs: Sequence[Port], outputs: Sequence[Port], kind: str) -> str:
    """The model's configuration in protobuf's text format."""
    joined = batches(inputs, outputs)
    lines = [
        f"name: {quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH if joined else 0}",
        *(f"input {port_text(p, joined)}" for p in inputs),
        *(f"output {port_text(p, joined)}" for p in outputs),
        *(["dynamic_batching { }"] if joined else []),
        f"instance_group {{ count: 1 kind: {kind} }}",
    ]
    if kind != "KIND_CPU":  # products in TF32 are off by a thousandth, and relevance divides by some
        cuda = 'name: "cuda" parameters { key: "use_tf32" value: "0" }'
        lines.append(f"optimization {{ execution_accelerators {{ gpu_execution_accelerator {{ {cuda} }} }} }}")
    return "\n".join(lines) + "\n"


def port_text(p: Port, joined: bool) -> str:
    """An input or output; a shape without sizes, which Triton lacks, is [1] to its clients."""
    sizes = [size if isinstance(size, int) else -1 for size in p.shape[joined:]]
    reshaped = "" if sizes else " reshape { shape: [] }"
    return f"{{ name: {quoted(p.name)} data_type: TYPE_{p.kind} dims: {sizes or [1]}{reshaped} }}"


def quoted(text: str) -> str:
    """A string of the text format."""
    return f'"{CEscape(text, True)}"'
