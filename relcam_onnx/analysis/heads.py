"""Heads: how scores are seen as (N, places, classes), the axes wherever they sit.

A classifier has one place; a segmenter's places are its pixels, a detector's its anchors or queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import made, unsquashed, untouched
from relcam_onnx.model import Model, producer, static_shape

Kind = Literal["classifier", "segmenter", "detector"]
KINDS = (*get_args(Kind), "embedding")
"""What a head may be called. An embedding is a table like a classifier's: what it is asked tells them apart."""
Form = Literal["corners", "centred", "distances"]
BOX = 4
"""Numbers that a box is told by."""


@dataclass(frozen=True)
class Boxes:
    """Where a detector tells its boxes.

    Attributes
    ----------
    outputs
        The model's output, or one for each level.
    axis
        Of the four numbers in it, which are the first along that axis; places are the other one behind the batch.
    form
        "corners"; "centred", centre and size; or "distances" from the middle of each cell to the four sides, each a
        distribution over whole cells.
    """

    outputs: tuple[str, ...]
    axis: int
    form: Form


@dataclass(frozen=True)
class Head:
    """How scores are seen.

    Attributes
    ----------
    kind
        What the model does.
    axis
        Of the classes, in the tensor of scores; all others behind the batch are places.
    boxes
        A detector's; None where its file has none.
    levels
        The outputs that hold the scores, where each level has its own; () where they are one.
    objectness
        Whether the scores are sums of a class's and of there being anything, which stands before the classes.
    """

    kind: Kind
    axis: int
    boxes: Boxes | None = None
    objectness: bool = False
    levels: tuple[str, ...] = ()


CLASSIFIER = Head("classifier", 1)


def segmenter(scores: gs.Tensor, told: int | None) -> Head | None:
    """The head of scores for each pixel; ``told`` is the axis that a Softmax or ArgMax behind goes along."""
    shape = static_shape(scores)
    if shape is None or len(shape) != 4 or shape[2:] == (1, BOX):
        return None
    if told is not None and told % 4:
        return Head("segmenter", told % 4)
    first, middle, last = shape[1:]
    if None not in shape[1:] and (first == middle) != (middle == last):  # height and width are alike, as a rule
        return Head("segmenter", 3 if first == middle else 1)
    channels_last = last is not None and (first is None or last < first)
    return Head("segmenter", 3 if channels_last else 1)


def detector(scores: gs.Tensor, outputs: Sequence[gs.Tensor], told: int | None, *, named: bool) -> Head | None:
    """The head of scores for each anchor or query, whose boxes are another output; one that is ``named`` needs none."""
    shape = static_shape(scores)
    if shape is None or len(shape) != 3:
        return None
    axis = told % 3 if told is not None and told % 3 else 2
    places = shape[3 - axis]
    beside = [t for t in outputs if is_boxes(t, places)]
    if not beside:
        return Head("detector", axis) if named else None
    form: Form = "centred" if is_op(producer(beside[0]), "Sigmoid") else "corners"
    return Head("detector", axis, Boxes((beside[0].name,), 2, form))


def beside_scores(tensor: gs.Tensor, outputs: Sequence[gs.Tensor]) -> bool:
    """Whether an output tells the boxes of what another scores, by its shape, or its name where both are alike."""
    shape = static_shape(tensor)
    if shape is None or not is_boxes(tensor, None):
        return False
    others = [t for t in outputs if t is not tensor and len(s := static_shape(t) or ()) == 3 and s[1] == shape[1]]
    return any(not is_boxes(t, None) for t in others) or (bool(others) and "box" in tensor.name.lower())


def has_boxes(scores: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether other outputs tell boxes for as many places as an output (N, places, classes) has."""
    shape = static_shape(scores) or ()
    return len(shape) == 3 and any(t is not scores and is_boxes(t, shape[1]) for t in outputs)


def is_boxes(tensor: gs.Tensor, places: int | None) -> bool:
    """Whether a tensor is (N, places, 4)."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) == 3 and shape[2] == BOX and (places is None or shape[1] in (places, None))


def with_objectness(model: Model, output: gs.Tensor) -> tuple[gs.Tensor, Head] | None:
    """Scores of an output of boxes, objectness and classes, (N, places, 5 + classes), as YOLO's before version 8 are.

    Returns
    -------
    tuple or None
        The sum of what stands before the sigmoids of both, which the graph gets, and its head.
    """
    shape = static_shape(output)
    size = shape[2] if shape is not None and len(shape) == 3 else None
    if size is None or size <= BOX + 1:
        return None
    if unsquashed(model, output, 2, 0, BOX) is not None:
        return None  # boxes are more than sigmoids
    parts = [unsquashed(model, output, 2, *bounds) for bounds in ((BOX, BOX + 1), (BOX + 1, size))]
    found = [tensor for tensor in parts if tensor is not None]
    if len(found) < len(parts):
        return None
    scores = made(model, "Add", found[::-1], (*output.shape[:2], size - BOX - 1))
    return scores, Head("detector", 2, Boxes((output.name,), 2, "centred"), objectness=True)


def of_levels(model: Model, outputs: Sequence[gs.Tensor], *, named: bool) -> tuple[gs.Tensor, Head] | None:
    """Scores in an output for each level, (N, places, classes), and its boxes in another, as PicoDet has them.

    Where the head is ``named`` boxes of an unknown form will do.

    Returns
    -------
    tuple or None
        What stands before the sigmoids of all levels in one tensor, which the graph gets, and its head.
    """
    tables = {t.name: shape for t in outputs if len(shape := static_shape(t) or ()) == 3}
    for size in dict.fromkeys(shape[2] for shape in tables.values()):
        levels = [t for t in outputs if t.name in tables and tables[t.name][2] == size]
        sides = [name for name, shape in tables.items() if shape[2] != size]
        places = [tables[t.name][1] for t in levels]
        if size is None or len(levels) < 2 or None in places or [tables[name][1] for name in sides] != places:
            continue
        told = all((tables[name][2] or 1) % BOX == 0 and tables[name][2] != BOX for name in sides)
        parts = [part for t in levels if (part := unsquashed(model, t, 2, 0, size)) is not None]
        if (told or named) and len(parts) == len(levels):
            boxes = Boxes(tuple(sides), 2, "distances") if told else None
            shape = (parts[0].shape[0], sum(place or 0 for place in places), size)
            names = tuple(t.name for t in levels)
            return made(model, "Concat", parts, shape, axis=1), Head("detector", 2, boxes, levels=names)
    return None


def joined(output: gs.Tensor) -> tuple[gs.Tensor, Head] | None:
    """Class scores behind a Sigmoid that stand in one output with their boxes, as YOLO's from version 8 on have it.

    What stands behind them, numbers of masks or key points, is left alone.

    Returns
    -------
    tuple or None
        The tensor before the Sigmoid, and its head.
    """
    shape = static_shape(output)
    for outer in (1, 2) if shape is not None and len(shape) == 3 else ():
        node, axis = behind_scores(output, outer)
        if not is_op(node, "Concat") or node.attrs.get("axis", 1) % 3 != axis or len(node.inputs) not in (2, 3):
            continue
        first, scores = static_shape(node.inputs[0]), producer(node.inputs[1])
        turned = len(node.inputs) == 3 and (static_shape(node.inputs[2]) or (1,) * 3)[axis] == 1  # boxes, by an angle
        if first is not None and first[axis] == BOX and is_op(scores, "Sigmoid") and not turned:
            return scores.inputs[0], Head("detector", axis, Boxes((output.name,), outer, "centred"))
    return None


def behind_scores(output: gs.Tensor, axis: int) -> tuple[gs.Node | None, int]:
    """The node that makes an output (N, ., .) but for turns and what is done to boxes; and where an axis is in it."""
    node, size = producer(output), output.shape[axis]
    while node is not None:
        changed = untouched(node, axis - 3, BOX, size) if isinstance(size, int) else None
        if is_op(node, "Transpose") and permutation(node) == [0, 2, 1]:
            axis = 3 - axis
        elif changed is None and not is_op(node, "Cast", "Identity"):
            break
        node = producer(node.inputs[0] if changed is None else changed)
    return node, axis
