"""One of two classes' softmax is a sigmoid: of how far that class is ahead of the other."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op, result_of, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, producer, static_shape


def name_pairs(model: Model) -> None:
    """Rewrite every Slice or Gather that takes one of two classes behind a Softmax or LogSoftmax."""
    for node in list(model.graph.nodes):
        squash = producer(node.inputs[0]) if is_op(node, "Slice", "Gather") else None
        if not is_op(squash, "Softmax", "LogSoftmax"):
            continue
        scores, shape = squash.inputs[0], static_shape(squash.inputs[0])
        axis = int(squash.attrs.get("axis", -1)) % len(shape or (1,))
        taken = None if shape is None or shape[axis] != 2 else taken_by(node, axis, len(shape))
        if taken is None:
            continue
        name = node.outputs[0].name
        like = gs.Variable("", scores.dtype, [1 if place == axis else size for place, size in enumerate(scores.shape)])
        sides = []
        for what, place in (("own", taken), ("other", 1 - taken)):
            bounds = [np.array([value], np.int64) for value in (place, place + 1, axis)]
            sides.append(result_of(model, like, f"{name}/{what}", "Slice", scores, *bounds))
        ahead, others = result_of(model, like, f"{name}/ahead", "Sub", *sides), cuts_beside(node, axis)
        node.op, node.attrs, node.inputs = "Sigmoid", {}, [ahead]
        if is_op(squash, "LogSoftmax"):
            node.op, node.inputs = "Log", [result_of(model, like, f"{name}/share", "Sigmoid", *node.inputs)]
        if others:
            whole = result_of(model, like, f"{name}/whole", node.op, *node.inputs)
            node.op, node.inputs = "Slice", [whole, *others]
        elif len(node.outputs[0].shape or like.shape) < len(like.shape):
            whole = result_of(model, like, f"{name}/whole", node.op, *node.inputs)
            node.op, node.inputs = "Squeeze", [whole, gs.Constant(f"{name}/axis", np.array([axis], np.int64))]
    sweep(model)


def taken_by(node: gs.Node, axis: int, rank: int) -> int | None:
    """Which of the two a node takes alone; None where it takes both."""
    if is_op(node, "Gather"):
        index = integers(node, 1)
        along = int(node.attrs.get("axis", 0)) % rank == axis and len(node.inputs[1].shape or ()) < 2
        return index[0] % 2 if along and index is not None and len(index) == 1 else None
    starts, ends, axes, steps = (integers(node, i) for i in range(1, 5))
    if starts is None or ends is None or axes is None or steps is None or axis not in [each % rank for each in axes]:
        return None
    place = [each % rank for each in axes].index(axis)
    taken = list(range(2))[starts[place] : ends[place] : (steps or [1] * len(axes))[place]]
    return taken[0] if len(taken) == 1 else None


def cuts_beside(node: gs.Node, axis: int) -> list[gs.Constant]:
    """The starts, ends, axes and steps by which a Slice cuts along other axes too; none where it does not."""
    starts, ends, axes, steps = (integers(node, i) or [] for i in range(1, 5)) if is_op(node, "Slice") else 4 * [[]]
    told = zip(starts, ends, axes, steps or [1] * len(axes), strict=True)
    others = [each for each in told if each[2] % len(node.inputs[0].shape) != axis]
    name = node.outputs[0].name
    return [gs.Constant(f"{name}/{i}", np.array(part, np.int64)) for i, part in enumerate(zip(*others, strict=True))]
