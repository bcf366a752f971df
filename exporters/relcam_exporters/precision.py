"""Fewer bits, by onnxruntime's own tools: float16, and int8 calibrated on pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

from relcam_exporters._quiet import quiet
from relcam_onnx.errors import InputError
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.pictures.finding import find_pictures
from relcam_onnx.pictures.pixels import read_pixels


def halved(content: bytes) -> bytes:
    """A file in float16, whose inputs and outputs stay float32."""
    with quiet():
        model = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    return bytes(model.SerializeToString(deterministic=True))


def quantised(content: bytes, sources: Sequence[str]) -> bytes:
    """A file in int8, QDQ, weights per channel, activations calibrated on pictures.

    Raises
    ------
    InputError
        There is none.
    """
    found, failed = find_pictures(sources)
    if not found:
        raise InputError(failed[0].error if failed else "no picture to calibrate on was named")
    model = onnx.load_from_string(content)
    with tempfile.TemporaryDirectory() as folder, quiet():
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(content)
        reader = Pictures(model, [picture.path for picture in found])
        quantize_static(
            before,
            after,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(after)
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    return bytes(made.SerializeToString(deterministic=True))


class Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Pictures one by one, prepared as the file says."""

    def __init__(self, model: onnx.ModelProto, files: Sequence[Path]) -> None:
        self.explainer = Explainer(model, "input", method="lrp", preset="gradient", backend="eager")
        self.pictures = PictureExplainer(self.explainer)
        self.left = iter(files)
        self.name = self.explainer.prepared.layers.picture.tensor.name

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next picture; None behind the last."""
        file = next(self.left, None)
        if file is None:
            return None
        array, _ = self.pictures.preprocess.apply(read_pixels(file, self.pictures.preprocess.needed))
        return {self.name: array[None].astype(self.pictures.preprocess.dtype)}
