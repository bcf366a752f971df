"""Mul and Add of constants per channel, one after the other, are batch normalisation spelled out."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.bias import absorb
from relcam_onnx.model import Model, consumers, producer


def merge_affine(model: Model) -> None:
    """Mul (or Div) + Add (or Sub) -> BatchNormalization with mean 0 and variance 1."""
    for shift in list(model.graph.nodes):
        if shift.op not in ("Add", "Sub"):
            continue
        offset = operand(shift, either=shift.op == "Add")
        scale = producer(shift.inputs[1 - offset]) if offset is not None else None
        if offset is None or scale is None or scale.op not in ("Mul", "Div"):
            continue
        factor = operand(scale, either=scale.op == "Mul")
        if factor is None or len(consumers(scale.outputs[0])) != 1:
            continue
        if any(scale.outputs[0] is output for output in model.graph.outputs):
            continue
        source = scale.inputs[1 - factor]
        gain, bias = (channel_vector(source, t) for t in (scale.inputs[factor], shift.inputs[offset]))
        if gain is None or bias is None:
            continue
        gain = 1 / gain if scale.op == "Div" else gain
        bias = -bias if shift.op == "Sub" else bias
        values = {"scale": gain, "shift": bias, "mean": np.zeros_like(gain), "variance": np.ones_like(gain)}
        scale.op, scale.attrs = "BatchNormalization", {"epsilon": 0.0}
        name = shift.outputs[0].name
        scale.inputs = [
            source,
            *(gs.Constant(f"{name}/{k}", v.astype(np.float32)) for k, v in values.items()),
        ]
        absorb(model, scale, shift)


def operand(node: gs.Node, *, either: bool) -> int | None:
    """Which input is the constant; the right one unless ``either`` will do."""
    return next((i for i in ((1, 0) if either else (1,)) if isinstance(node.inputs[i], gs.Constant)), None)


def channel_vector(source: gs.Tensor, constant: gs.Constant) -> np.ndarray | None:
    """A constant as one value per channel (axis 1) of ``source``, or None where it is no such thing."""
    shape = source.shape
    if shape is None or len(shape) < 3 or not isinstance(shape[1], int):
        return None
    value = np.asarray(constant.values, np.float64)
    if value.size == 1:
        return np.full(shape[1], value.reshape(-1)[0])
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    expected = (1, shape[1], *(1,) * (len(shape) - 2))
    return value.reshape(-1) if padded == expected else None
