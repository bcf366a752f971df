"""Convolutions of signals that a file makes pictures of one row, or of one column, for: Keras' Conv1D as Conv2D."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import fresh, is_op, reshaped, sweep
from relcam_onnx.model import Model, producer

LISTS = ("kernel_shape", "strides", "dilations")


def narrow_signals(model: Model) -> None:
    """Let every such convolution read the signal itself; the row goes behind it, where it meets what takes it away."""
    for node in list(model.graph.nodes):
        before = producer(node.inputs[0]) if is_op(node, "Conv") else None
        if is_op(before, *RESHAPES) and isinstance(node.inputs[1], gs.Constant):
            axis = added(before)
            if axis is not None and node.outputs[0].shape is not None and looks_past(node, axis):
                narrow(model, node, before.inputs[0], axis)
    sweep(model)


def added(node: gs.Node) -> int | None:
    """The axis of positions that a node adds to a signal (N, C, L); None where it does something else."""
    before, after = list(node.inputs[0].shape or ()), list(node.outputs[0].shape or ())
    if len(before) != 3 or None in before:
        return None
    return next((axis for axis in (2, 3) if after == [*before[:axis], 1, *before[axis:]]), None)


def looks_past(node: gs.Node, axis: int) -> bool:
    """Whether a convolution has one tap along an axis, and no padding there."""
    pads = list(node.attrs.get("pads") or [0] * 4)
    return node.inputs[1].shape[axis] == 1 and not any(pads[axis - 2 :: 2])


def narrow(model: Model, node: gs.Node, signal: gs.Tensor, axis: int) -> None:
    """Let a convolution read a signal; what it made is a Reshape of what it makes now."""
    result, (weight, *bias), place = node.outputs[0], node.inputs[1:], axis - 2
    for name in LISTS:
        if node.attrs.get(name):
            node.attrs[name] = [value for i, value in enumerate(node.attrs[name]) if i != place]
    if node.attrs.get("pads"):
        node.attrs["pads"] = [value for i, value in enumerate(node.attrs["pads"]) if i % 2 != place]
    like = gs.Variable("", result.dtype, [size for i, size in enumerate(result.shape) if i != axis])
    made = reshaped(model, result, like, fresh(model, f"{result.name}/signal"))
    taps = gs.Constant(f"{result.name}/taps", np.ascontiguousarray(np.squeeze(weight.values, axis)))
    node.inputs, node.outputs = [signal, taps, *bias], [made]
    model.graph.nodes.append(gs.Node("Reshape", result.name, {}, [made], [result]))
