"""Whether a detector's first class is none: told by a file that chooses detections among all the others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import Scores
from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import static_shape


def first_is_none(scores: Scores) -> int | None:
    """The number of classes where whatever reads a detector's softmax leaves out the first of them alone; else None."""
    squashed = [node for node in scores.tensor.outputs if is_op(node, "Softmax")]
    classes = (static_shape(scores.tensor) or (None,) * 3)[scores.head.axis]
    if scores.head.kind != "detector" or len(squashed) != 1 or classes is None:
        return None
    read = set[int]()
    for part in parts_read(squashed[0].outputs[0], scores.head.axis, classes):
        read |= part
    return classes if read == set(range(1, classes)) else None


def parts_read(tensor: gs.Tensor, axis: int, classes: int) -> Iterator[set[int]]:
    """The classes that each reader of a tensor takes, which stand along an axis of it."""
    for node in tensor.outputs:
        if is_op(node, "Transpose"):
            yield from parts_read(node.outputs[0], permutation(node).index(axis), classes)
        elif is_op(node, "Cast", "Identity"):
            yield from parts_read(node.outputs[0], axis, classes)
        else:
            yield set(np.arange(classes)[chosen_by(node, axis, len(tensor.shape))].tolist())


def chosen_by(node: gs.Node, axis: int, rank: int) -> slice | list[int]:
    """What a Slice or a Gather at known places takes along an axis; any other node takes all."""
    if is_op(node, "Gather") and int(node.attrs.get("axis", 0)) % rank == axis:
        read = integers(node, 1)
        return slice(None) if read is None else read
    if is_op(node, "Slice"):
        starts, ends, axes, steps = (integers(node, i) or [] for i in range(1, 5))
        cut = [each % rank for each in axes or range(len(starts))]
        if axis in cut and len(ends) == len(cut):
            at = cut.index(axis)
            return slice(starts[at], ends[at], steps[at] if steps else 1)
    return slice(None)
