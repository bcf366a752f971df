"""Detectors: the forms in which files tell scores of anchors or queries, and boxes for them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from itertools import accumulate, takewhile

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import BOX, Boxes, Form, Head, called_y_first
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import in_sigmoids, made, unsquashed, untouched
from relcam_onnx.errors import OptionError
from relcam_onnx.model import Model, is_constant, producer, static_shape, variables

MOVED = frozenset({"Concat", "Slice", "Transpose", "Cast", "Identity", "Sigmoid", *RESHAPES})

WITH_POINTS = range(BOX + 2, BOX + 2 * 21 + 1, 2)
"""Numbers of a box and of key points, 21 at most: those of a hand."""


def detector(scores: gs.Tensor, outputs: Sequence[gs.Tensor], told: int | None, *, named: bool) -> Head | None:
    """The head of scores for each anchor or query, whose boxes are another output; one that is ``named`` needs none."""
    shape = static_shape(scores)
    if shape is None or len(shape) != 3:
        return None
    axes = [told % 3] if told is not None and told % 3 else [2, 1]
    for axis, tensor in ((axis, tensor) for axis in axes for tensor in outputs):
        if (sides := axis_of_boxes(tensor, shape[3 - axis])) is not None:
            form: Form = "centred" if is_op(maker(tensor), "Sigmoid") else "corners"
            return Head("detector", axis, Boxes((tensor.name,), sides, form, called_y_first(tensor.name)))
    if (told_with := with_points(scores, outputs)) is not None:
        boxes = Boxes((told_with.name,), 2, "joined") if is_laid_out(told_with) else None
        return Head("detector", 2, boxes)
    return Head("detector", axes[0]) if named else None


def maker(tensor: gs.Tensor) -> gs.Node | None:
    """What makes a tensor's values, over what only moves them; of a stack of decoder layers the last one."""
    node = producer(tensor)
    while node is not None and node.op in MOVED - {"Sigmoid"} | {"Gather"}:
        node = producer(node.inputs[-1] if node.op == "Concat" else node.inputs[0])
    return node


def beside_scores(tensor: gs.Tensor, outputs: Sequence[gs.Tensor]) -> bool:
    """Whether an output tells the boxes of what another scores, by its shape, or by `boxes_of_two` if both are alike.

    Raises
    ------
    OptionError
        Nothing tells which of the two are boxes.
    """
    others = [t for t in outputs if t is not tensor and has_boxes(t, [tensor])]
    if axis_of_boxes(tensor, None) is None:
        return bool(others)  # with key points
    if any(axis_of_boxes(t, None) is None for t in others):
        return True
    return bool(others) and boxes_of_two([tensor, *others]) is tensor


def boxes_of_two(alike: Sequence[gs.Tensor]) -> gs.Tensor:
    """Which outputs of one shape, four numbers for each place, are boxes, and no scores of four classes.

    It is called so, or laid out over the picture, or it alone is no softmax; a sigmoid may be of either.
    """
    called = [t for t in alike if "box" in t.name.lower()]
    soft = [is_op(maker(t), "Softmax") for t in alike]
    hard = [t for t, is_soft in zip(alike, soft, strict=True) if any(soft) and not is_soft]
    for found in (called, hard, [t for t in alike if is_laid_out(t)]):
        if len(found) == 1:
            return found[0]
    names = " and ".join(repr(t.name) for t in sorted(alike, key=lambda t: t.name))
    raise OptionError(
        f"outputs {names} both have four numbers for each place, and nothing in the file tells which are boxes and "
        "which scores of four classes; name the scores with output="
    )


def has_boxes(scores: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether other outputs tell boxes for as many places as an output (N, places, classes) or turned has."""
    shape = static_shape(scores) or ()
    told = [t for t in outputs if t is not scores]
    alone = len(shape) == 3 and any(axis_of_boxes(t, places) is not None for places in shape[1:] for t in told)
    return alone or with_points(scores, told) is not None


def with_points(scores: gs.Tensor, outputs: Iterable[gs.Tensor]) -> gs.Tensor | None:
    """The output (N, places, 4 + 2 · points) whose boxes scores of one class, (N, places, 1), are for; or None."""
    shape = static_shape(scores) or ()
    if len(shape) != 3 or shape[2] != 1 or shape[1] == 1:
        return None
    wide = (t for t in outputs if axis_of_numbers(t, shape[1], WITH_POINTS) == 2)
    return next((t for t in wide if not is_op(maker(t), "Softmax") and not in_sigmoids(t)), None)


def is_laid_out(tensor: gs.Tensor) -> bool:
    """Whether boxes (N, places, numbers) got something that differs from place to place behind the convolutions."""
    waiting, seen = [tensor], set()
    while waiting:
        node = producer(waiting.pop())
        if node is None or id(node) in seen or node.op in ("Conv", "Gemm", "MatMul"):
            continue
        seen.add(id(node))
        computed = [part for _, part in variables(node)]
        wide = any(is_constant(t) and np.size(t.values) > tensor.shape[2] for t in node.inputs)
        if is_op(node, "Add", "Sub") and (wide or len(computed) > 1):
            return True
        waiting += computed
    return False


def axis_of_boxes(tensor: gs.Tensor, places: int | None) -> int | None:
    """Where the four numbers are if a tensor is (N, places, 4), or turned; None where it is neither."""
    return axis_of_numbers(tensor, places, (BOX,))


def axis_of_numbers(tensor: gs.Tensor, places: int | None, counts: Container[int]) -> int | None:
    """The same of so many numbers."""
    shape = static_shape(tensor)
    if shape is None or len(shape) != 3:
        return None
    known = (axis for axis in (2, 1) if shape[axis] in counts and (places is None or shape[3 - axis] in (places, None)))
    return next(known, None)


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
    form: Form = "offsets" if moved_alone(output) else "joined"
    return scores, Head("detector", 2, Boxes((output.name,), 2, form), joined=2, objectness=True)


def moved_alone(tensor: gs.Tensor) -> bool:
    """Whether what convolutions made was moved and squashed at most: boxes in there are no boxes yet."""
    waiting, seen = [tensor], set()
    while waiting:
        node = producer(waiting.pop())
        if node is None or id(node) in seen or node.op == "Conv":
            continue
        seen.add(id(node))
        if node.op not in MOVED:
            return False
        waiting += [part for _, part in variables(node)]
    return True


def joined(model: Model, output: gs.Tensor) -> tuple[gs.Tensor, Head] | None:
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
        if not is_op(node, "Concat") or node.attrs.get("axis", 1) % 3 != axis:
            continue
        sizes = [(static_shape(t) or (None,) * 3)[axis] for t in node.inputs]
        first = boxes_ahead(node.inputs, sizes)
        classes = classes_behind(node.inputs[first:], sizes[first:])
        count = None if None in sizes else sum(size or 0 for size in sizes[first : first + classes])
        if not first or not count or id(behind_scores(output, outer, count)[0]) != id(node):
            continue
        if (scores := unsquashed(model, node.outputs[0], axis, BOX, BOX + count)) is not None:
            form: Form = "turned" if len(sizes) > first + classes and sizes[-1] == 1 else "joined"
            return scores, Head("detector", axis, Boxes((output.name,), outer, form), joined=outer)
    return None


def boxes_ahead(parts: Sequence[gs.Tensor], sizes: Sequence[int | None]) -> int:
    """How many of the first parts are the four numbers of boxes: one, or middles and sizes apart; 0 where none are."""
    ends = list(accumulate(size or BOX + 1 for size in sizes))
    count = ends.index(BOX) + 1 if BOX in ends else 0
    return count if count < 2 or not any(map(in_sigmoids, parts[:count])) else 0


def classes_behind(parts: Sequence[gs.Tensor], sizes: Sequence[int | None]) -> int:
    """How many of the parts behind boxes tell classes: the first, or each its own; none where that is objectness."""
    if sizes[:1] != [1]:
        return 1
    single = list(takewhile(lambda pair: pair[1] == 1 and in_sigmoids(pair[0]), zip(parts, sizes, strict=True)))
    return len(single) if len(single) > 2 else int(not any(map(in_sigmoids, parts[1:])))


def behind_scores(output: gs.Tensor, axis: int, count: int = 1) -> tuple[gs.Node | None, int]:
    """The node that makes an output (N, ., .) but for turns and what is done to other columns than so many classes.

    Returns
    -------
    tuple
        That, and where an axis is in what it makes.
    """
    node, size = producer(output), output.shape[axis]
    while node is not None:
        wide = isinstance(size, int) and size > BOX
        changed = untouched(node, axis - 3, BOX, BOX + count) if wide else None
        if is_op(node, "Transpose") and permutation(node) == [0, 2, 1]:
            axis = 3 - axis
        elif changed is None and not is_op(node, "Cast", "Identity"):
            break
        node = producer(node.inputs[0] if changed is None else changed)
    return node, axis
