"""The forward pass: one onnxruntime session whose outputs include the activations that the reverse walk reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.errors import InputError, ModelFileError, OptionError, nearest

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of onnxruntime's execution providers."""

PROTOBUF_LIMIT = 2**31 - 1


class Forward:
    """One session over a model with some of its tensors exposed."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        exposed: Iterable[str],
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        threads: int | None = None,
        session_options: onnxruntime.SessionOptions | None = None,
    ) -> None:
        options = session_options or onnxruntime.SessionOptions()
        if session_options is None:
            options.log_severity_level = 3
            # Its threads would spin on, next to NumPy's, while the reverse walk runs.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        self.outputs = tuple(output.name for output in proto.graph.output)
        own = {*self.outputs, *(i.name for i in proto.graph.input)}
        self.exposed = tuple(name for name in exposed if name not in own)
        self.session = open_session(proto, self.exposed, options, choose_providers(providers))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Tensor name -> value, for the inputs, the model's outputs and what is exposed; halves become float32."""
        names = [*self.outputs, *self.exposed]
        try:
            values = self.session.run(names, dict(inputs))
        except Exception as error:
            raise InputError(f"onnxruntime could not run the model on this input: {first_line(error)}") from error
        return {**inputs, **dict(zip(names, values, strict=True))}


def open_session(
    proto: onnx.ModelProto, exposed: Sequence[str], options: onnxruntime.SessionOptions, providers: list[Any]
) -> onnxruntime.InferenceSession:
    """A session over ``proto`` with more outputs; ``proto`` itself is as before afterwards."""
    own = len(proto.graph.output)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in exposed)
    try:
        if proto.ByteSize() <= PROTOBUF_LIMIT:
            return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=providers)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            copy = onnx.ModelProto()
            copy.CopyFrom(proto)
            onnx.save_model(copy, path, save_as_external_data=True, location="model.data")
            return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise ModelFileError(f"onnxruntime does not take the model: {first_line(error)}") from error
    finally:
        del proto.graph.output[own:]


def choose_providers(given: Sequence[str | tuple[str, dict[str, Any]]] | None) -> list[Any]:
    """Onnxruntime's providers in order, with their options.

    None: CUDA where this onnxruntime has it, then CPU. CUDA runs without TF32, whose products are off by 1e-3.

    Raises
    ------
    OptionError
        This onnxruntime has no such provider.
    """
    available = onnxruntime.get_available_providers()
    if given is None:
        given = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    chosen: list[Any] = []
    for entry in [given] if isinstance(given, str) else given:
        short, options = (entry, {}) if isinstance(entry, str) else entry
        name = PROVIDERS.get(short.lower(), short)
        if name not in available:
            known = [k for k, v in PROVIDERS.items() if v in available] + list(available)
            raise OptionError(
                f"this onnxruntime has no provider {short!r}{nearest(short, known)}; it has {', '.join(known)}"
                ' (for a GPU install "relcam-onnx[gpu]")'
            )
        chosen.append((name, {"use_tf32": "0", **options} if name == PROVIDERS["cuda"] else options))
    return chosen


def first_line(error: BaseException) -> str:
    """An error's first line: onnxruntime appends its own source places."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
