"""What puts altered values back where a model reads them."""

from __future__ import annotations

import numpy as np
import onnx

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.model import Model
from relcam_onnx.probing.subject import Floats
from relcam_onnx.runners.session import leave_needed

REPLACED = "relcam_activation"
"""The input that stands in a layer's place."""


def restored(layout: Layout | None, base: np.ndarray, planes: Floats) -> Floats:
    """(M, C, positions...) as the tensor has it, its other entries (class tokens) as in ``base``, (1, ...)."""
    if layout is None or layout.plain:
        return planes
    full: Floats = np.repeat(base, len(planes), axis=0)
    inside = full.transpose(0, *layout.channels, *layout.axes)
    if layout.before or layout.after:
        inside = inside[..., layout.before : inside.shape[-1] - layout.after]
    inside[...] = planes.reshape(inside.shape)
    return full


def replace_layer(proto: onnx.ModelProto, model: Model, layer: Layer) -> None:
    """Let everything that reads a layer's tensor read the input `REPLACED` instead, also under its other names."""
    name = layer.tensor.name
    same = {name, *(other for other in model.replaced if model.current(other) == name)}
    for node in proto.graph.node:
        node.input[:] = [REPLACED if read in same else read for read in node.input]
    proto.graph.input.append(onnx.helper.make_tensor_value_info(REPLACED, onnx.TensorProto.FLOAT, None))
    leave_needed(proto)
