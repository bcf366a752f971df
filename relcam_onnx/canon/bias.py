"""A constant that is added to a layer's output is that layer's bias."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import Model, consumers, producer

BIAS_INPUT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2, "MatMul": 2}
"""Layers, with the input that holds the bias; the engine's MatMul has one too."""


def attach_bias(model: Model) -> None:
    """Layer + Add or Sub of a constant per channel -> layer with that bias."""
    for node in list(model.graph.nodes):
        if node.op not in ("Add", "Sub"):
            continue
        layer, constant = split_operands(node)
        if layer is None or constant is None or len(consumers(layer.outputs[0])) != 1:
            continue
        if any(layer.outputs[0] is output for output in model.graph.outputs):
            continue
        vector = per_channel(layer, constant, node.outputs[0])
        if vector is None:
            continue
        position = BIAS_INPUT[layer.op]
        bias = vector if node.op == "Add" else -vector
        if layer.op == "Gemm" and layer.attrs.get("beta", 1.0) != 1.0:
            continue
        if len(layer.inputs) > position:
            old = layer.inputs[position]
            if not isinstance(old, gs.Constant):
                continue
            layer.inputs[position] = gs.Constant(
                f"{old.name}/{node.outputs[0].name}", (old.values + bias).astype(np.float32)
            )
        else:
            layer.inputs.append(gs.Constant(f"{node.outputs[0].name}/bias", bias.astype(np.float32)))
        absorb(model, layer, node)


def split_operands(node: gs.Node) -> tuple[gs.Node | None, gs.Constant | None]:
    """The layer and the constant of layer + constant (layer - constant for Sub)."""
    pairs = [(0, 1)] if node.op == "Sub" else [(0, 1), (1, 0)]
    for left, right in pairs:
        if isinstance(node.inputs[right], gs.Constant):
            layer = producer(node.inputs[left])
            return (layer if layer is not None and layer.op in BIAS_INPUT else None), node.inputs[right]
    return None, None


def per_channel(layer: gs.Node, constant: gs.Constant, output: gs.Tensor) -> np.ndarray | None:
    """The constant as a (C,) vector of the layer's outputs, or None where it varies over positions too."""
    weight = layer.inputs[1]
    if not isinstance(weight, gs.Constant):
        return None
    value, shape = np.asarray(constant.values), weight.values.shape
    dense = layer.op in ("Gemm", "MatMul")
    channels = {
        "Conv": shape[0],
        "ConvTranspose": shape[1] * layer.attrs.get("group", 1) if len(shape) > 1 else 0,
        "Gemm": shape[0] if layer.attrs.get("transB") else shape[-1],
        "MatMul": shape[-1],
    }[layer.op]
    if value.size == 1:
        return np.full(channels, value.reshape(-1)[0])
    axis = -1 if dense else -(len(shape) - 1)
    padded = (1,) * max(0, -axis - value.ndim) + value.shape
    return value.reshape(-1) if value.size == channels and padded[axis] == channels else None


def absorb(model: Model, layer: gs.Node, follower: gs.Node) -> None:
    """The layer now makes what its only reader made; the name in between means the folded tensor."""
    gone, result = layer.outputs[0], follower.outputs[0]
    follower.outputs.clear()
    follower.inputs.clear()
    layer.outputs[0] = result
    model.graph.nodes.remove(follower)
    model.folded[gone.name] = result.name
