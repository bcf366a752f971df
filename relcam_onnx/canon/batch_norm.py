"""Batch normalisation is folded into the layer before it: w' = w · s, b' = b · s + t for y = s · x + t."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.bias import BIAS_INPUT, absorb
from relcam_onnx.model import Derived, Model, consumers, producer
from relcam_onnx.ops.linear import scale_and_shift


def fold_batch_norm(model: Model) -> None:
    """Conv, ConvTranspose, Gemm, MatMul or BatchNormalization + BatchNormalization -> the former alone."""
    for node in list(model.graph.nodes):
        if node.op != "BatchNormalization" or not all(isinstance(t, gs.Constant) for t in node.inputs[1:5]):
            continue
        layer = producer(node.inputs[0])
        if layer is None or len(consumers(layer.outputs[0])) != 1:
            continue
        if any(layer.outputs[0] is output for output in model.graph.outputs):
            continue
        scale, shift = scale_and_shift(node)
        if layer.op == "BatchNormalization":
            first, offset = scale_and_shift(layer)
            values = [first * scale, offset * scale + shift, np.zeros_like(scale), np.ones_like(scale)]
            layer.attrs = {"epsilon": 0.0}
            for index, value in enumerate(values, 1):
                layer.inputs[index] = constant(f"{node.outputs[0].name}/folded/{index}", value)
        elif not fold_into_layer(model, layer, node, scale, shift):
            continue
        absorb(model, layer, node)


def fold_into_layer(model: Model, layer: gs.Node, node: gs.Node, scale: np.ndarray, shift: np.ndarray) -> bool:
    """Rewrite a layer's weight and bias; False where its form does not allow that."""
    position = BIAS_INPUT.get(layer.op)
    weight = layer.inputs[1] if len(layer.inputs) > 1 else None
    if position is None or not isinstance(weight, gs.Constant) or layer.attrs.get("beta", 1.0) != 1.0:
        return False
    old = layer.inputs[position] if len(layer.inputs) > position else None
    if old is not None and not isinstance(old, gs.Constant):
        return False
    rank = weight.values.ndim
    if layer.op == "ConvTranspose":
        # (C_in, C_out / group, ...): each group of input rows makes its own outputs.
        group = layer.attrs.get("group", 1)
        rows = np.repeat(scale.reshape(group, 1, -1), weight.values.shape[0] // group, axis=1)
        factor = rows.reshape(*weight.values.shape[:2], *[1] * (rank - 2))
    elif layer.op == "Conv" or layer.attrs.get("transB"):
        factor = scale.reshape(-1, *[1] * (rank - 1))
    else:
        factor = scale
    name = f"{node.outputs[0].name}/folded"
    made = model.derived.get(weight.name, Derived(weight.name, weight.dtype, np.ones(1)))
    model.derived[f"{name}/weight"] = made._replace(factor=made.factor * factor)
    bias = shift if old is None else old.values.astype(np.float64) * scale + shift
    layer.inputs[1] = constant(f"{name}/weight", weight.values * factor.astype(np.float32))
    if old is None:
        layer.inputs.append(constant(f"{name}/bias", bias))
    else:
        layer.inputs[position] = constant(f"{name}/bias", bias)
    return True


def constant(name: str, value: np.ndarray) -> gs.Constant:
    """A float32 constant of the analysis graph."""
    return gs.Constant(name, value.astype(np.float32))
