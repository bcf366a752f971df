"""Tensors stacked on a new axis that is summed or averaged at once (an ensemble's mean) are a Sum or a Mean."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import sweep
from relcam_onnx.model import Model, producer

COMBINES = {"ReduceSum": "Sum", "ReduceMean": "Mean"}


def combine_stacks(model: Model) -> None:
    """Unsqueeze of each, Concat and a reduction, all over one axis -> Sum or Mean; the new axis may be the first."""
    for node in model.graph.nodes:
        stack = producer(node.inputs[0]) if node.op in COMBINES and not node.attrs.get("keepdims", 1) else None
        if stack is None or stack.op != "Concat" or stack.outputs[0].shape is None:
            continue
        rank, lifts = len(stack.outputs[0].shape), [producer(tensor) for tensor in stack.inputs]
        axis = stack.attrs["axis"] % rank
        if axis_of(node, rank) != axis:
            continue
        if all(lift is not None and lift.op == "Unsqueeze" and axis_of(lift, rank) == axis for lift in lifts):
            parts = [lift.inputs[0] for lift in lifts if lift is not None]
            node.op, node.attrs, node.inputs = COMBINES[node.op], {}, parts
    sweep(model)


def axis_of(node: gs.Node, rank: int) -> int | None:
    """The one axis that a node's second input names; None where it is computed, or names several."""
    tensor = node.inputs[1] if len(node.inputs) > 1 else None
    axes = tensor.values.reshape(-1).tolist() if isinstance(tensor, gs.Constant) else []
    return axes[0] % rank if len(axes) == 1 else None
