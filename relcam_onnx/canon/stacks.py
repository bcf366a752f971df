"""Tensors stacked on a new axis: summed or averaged at once they are a Sum or a Mean; one that is read is itself."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import bypass, is_op, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, producer

COMBINES = {"ReduceSum": "Sum", "ReduceMean": "Mean"}


def combine_stacks(model: Model) -> None:
    """Unsqueeze of each, Concat and a reduction, all over one axis -> Sum or Mean; the new axis may be the first.

    A Gather of one number there -> what was stacked: detectors stack what each layer of their decoder says, and hand
    the last one on.
    """
    for node in model.graph.nodes:
        parts = stacked(node.inputs[0]) if node.op in COMBINES or is_op(node, "Gather") else None
        if parts is None:
            continue
        rank, stack = len(node.inputs[0].shape), node.inputs[0].inputs[0]
        axis = stack.attrs["axis"] % rank
        if node.op in COMBINES and not node.attrs.get("keepdims", 1) and axis_of(node, rank) == axis:
            node.op, node.attrs, node.inputs = COMBINES[node.op], {}, parts
        elif is_op(node, "Gather") and node.attrs.get("axis", 0) % rank == axis and not node.inputs[1].shape:
            for index in integers(node, 1) or ():
                bypass(model, node, parts[index])
    sweep(model)


def stacked(tensor: gs.Tensor) -> list[gs.Tensor] | None:
    """What a tensor stacks on a new axis; None where it is no stack."""
    stack = producer(tensor)
    if not is_op(stack, "Concat") or tensor.shape is None:
        return None
    rank, lifts = len(tensor.shape), [producer(part) for part in stack.inputs]
    axis = stack.attrs["axis"] % rank
    parts = [lift.inputs[0] for lift in lifts if is_op(lift, "Unsqueeze") and axis_of(lift, rank) == axis]
    return parts if len(parts) == len(lifts) else None


def axis_of(node: gs.Node, rank: int) -> int | None:
    """The one axis that a node's second input names; None where it is computed, or names several."""
    tensor = node.inputs[1] if len(node.inputs) > 1 else None
    axes = tensor.values.reshape(-1).tolist() if isinstance(tensor, gs.Constant) else []
    return axes[0] % rank if len(axes) == 1 else None
