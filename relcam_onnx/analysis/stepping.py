"""Stepping back from an output over what stands behind the scores: squashing, choice, changes of shape, factors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.deciding import decides, factor, rounds, scales
from relcam_onnx.analysis.heads import Scores, holds_scores
from relcam_onnx.analysis.origins import are_picked
from relcam_onnx.analysis.positions import follow
from relcam_onnx.analysis.shifted import unshifted
from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES, moves, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers
from relcam_onnx.canon.masks import masked
from relcam_onnx.canon.unsquashing import made
from relcam_onnx.model import Model, fixed_batch, is_constant, producer, static_shape, variables

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
AROUND = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
INVERSE = {"Exp": "LogSoftmax", "Log": "Softmax"}
"""What makes one squashing of another."""
ENLARGED = AROUND | {"Resize"}
"""What stands behind a choice of pixels."""
CHOOSING = frozenset({"ArgMax", "TopK", "ReduceMax", "Hardmax", "GatherElements"})
"""What chooses among scores."""
NAMING = frozenset({"ZipMap", "ArrayFeatureExtractor", "LabelEncoder", "OneHot"})
"""What tells scores, or the place of the class that was chosen, in other words."""
LARGEST = ("TopK", "ReduceMax")
"""What tells the chosen values themselves."""


def chosen_from(model: Model, tensor: gs.Tensor) -> gs.Tensor:
    """The table that the values of an output were chosen from: over ArgMax, TopK, the names of classes or a threshold.

    The largest value of all positions of the picture is a score itself: positions are no classes.
    """
    current, times, rounded = tensor, 1.0, False
    while (node := producer(current)) is not None and (
        node.op in CHOOSING | AROUND or decides(node) or rounds(node) or names(node)
    ):
        told, times, rounded = current, times * factor(node), rounded or rounds(node)
        # Of what looks names up the indices are computed.
        current = next((t for _, t in variables(node)), current)
        if is_op(node, *LARGEST) and told is node.outputs[0] and is_table(current) and in_places(model, current):
            break
        if node.op in CHOOSING or decides(node) or rounds(node) or names(node):
            if is_table(current):
                tensor = current
            elif not (names(node) or is_op(node, "Where") or rounds(node)):
                break
        elif len(tensor.shape or ()) == 1 and is_table(current):
            tensor = current  # a file for one image may drop the batch's axis at the end
    if times != 1 and rounded:  # shares of whole numbers: the scores are as large as what the file tells
        return made(model, "Mul", [tensor, np.array([times], np.float32)], tensor.shape)
    return tensor


def names(node: gs.Node) -> bool:
    """Whether a node looks up in the file what classes are called, or is 1 where one was chosen."""
    known = [is_constant(t) for t in node.inputs]
    return (
        node.op in NAMING or (is_op(node, "Gather") and known[0]) or (is_op(node, "Equal") and known.count(True) == 1)
    )


def tells_best(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output tells the largest of several at each place, and another which of them that is: no classes."""
    values, *others = (chooser(t) for t in (tensor, *(t for t in outputs if t is not tensor)))
    if values is None or not is_op(values, *LARGEST) or is_table(values.inputs[0]):
        return False
    source = step_back(values.inputs[0], places=True).tensor
    which = [node for node in others if is_op(node, "ArgMax", "TopK")]
    return any(node is values or step_back(node.inputs[0], places=True).tensor is source for node in which)


def chooser(tensor: gs.Tensor) -> gs.Node | None:
    """What makes a tensor, but for changes of shape."""
    node = producer(tensor)
    while is_op(node, *AROUND):
        node = producer(node.inputs[0])
    return node


def in_places(model: Model, table: gs.Tensor) -> bool:
    """Whether what a table has several of are positions of the picture, alone or with channels in one row."""
    layouts, _ = follow(model.graph.nodes, model.graph.inputs)
    current, gone = table, list[int]()
    while (node := producer(current)) is not None and current.name not in layouts and not gone:
        computed = [t for _, t in variables(node)]
        if node.op.startswith("Reduce"):
            gone = [axis % len(computed[0].shape or (1,)) for axis in integers(node, 1) or []]
        elif not (moves(node) or is_op(node, *ELEMENTWISE, "Cast", "Identity")):
            return False
        if len(computed) != 1:
            return False
        current = computed[0]
    layout, shape = layouts.get(current.name), static_shape(current)
    return layout is not None and shape is not None and any(shape[a] != 1 for a in layout.axes if a not in gone)


def step_back(tensor: gs.Tensor, *, places: bool = False) -> Scores:
    """Step over a final Softmax, LogSoftmax or Sigmoid and the shape ops, casts and factors around it.

    Where scores have ``places`` their axes are told by the ops that stay: nothing but the squashing is stepped over.
    """
    squashed, current, scores = None, tensor, tensor
    while (node := producer(current)) is not None:
        if node.op in SQUASHING and squashed is None:
            squashed = node.op
            current = scores = node.inputs[0]
        elif squashed is None and node.op in INVERSE and is_op(producer(node.inputs[0]), INVERSE[node.op]):
            current = node.inputs[0]
        elif squashed is None and (whole := masked(node)) is not None:
            current = whole
        elif places or not (node.op in AROUND or (squashed is None and scales(node))):
            break
        elif looks_like_scores(node.inputs[0]):
            current = node.inputs[0]
            if squashed:
                scores = current
        else:
            break
    return Scores(scores, tensor.name, squashed)


def is_table(tensor: gs.Tensor) -> bool:
    """Whether a tensor may hold scores."""
    return looks_like_scores(tensor) and holds_scores(tensor)


def has_rows(model: Model, table: gs.Tensor) -> bool:
    """Whether a table has a row for each image, or for the frames of a clip; with the batch behind it has others."""
    batch, rows = fixed_batch(model.graph.inputs), (static_shape(table) or (None,))[0]
    return batch is None or (not are_picked(table) if rows is None else batch % rows == 0)


def looks_like_scores(tensor: gs.Tensor) -> bool:
    """(N, classes), or with axes of length one beside the class axis."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) >= 2 and sum(d != 1 for d in shape[1:]) <= 1


def class_axis(table: gs.Tensor) -> int:
    """The axis of a table that has more than one entry; the first behind the batch where none has."""
    return next((axis for axis, size in enumerate(table.shape) if axis and size != 1), 1)


def chosen_among(tensor: gs.Tensor, *, masks: bool) -> tuple[gs.Tensor, int | None]:
    """What an ArgMax chose from, and along which axis, or a threshold; an output that chooses nothing, as it is.

    Of whole numbers it is what they were made of, a factor left out; of one class, (N, h, w), what has an axis for that
    still, where that may be one of ``masks``.
    """
    current, chosen, decided, rounded = tensor, tensor, False, False
    while (node := producer(current)) is not None and (
        node.op in ENLARGED or decides(node) or rounds(node) or scales(node) or drops_class(node)
    ):
        source = next((t for _, t in variables(node)), node.inputs[0])
        rounded = rounded or rounds(node)
        told = decides(node) or rounds(node) or (rounded and chosen is current and scales(node))
        if told or (masks and chosen is current and drops_class(node)):
            chosen, decided = source, decided or decides(node)
        current = source
    if is_op(node, "ArgMax"):  # which of the classes are above a number tells of none of them
        return (tensor, None) if decided else (node.inputs[0], int(node.attrs.get("axis", 0)))
    return chosen, None


def drops_class(node: gs.Node) -> bool:
    """Whether a node takes the axis of the only class away from pixels."""
    if not is_op(node, "Gather", *RESHAPES):
        return False
    before, after = node.inputs[0].shape, node.outputs[0].shape
    maker = producer(node.inputs[0])
    if before is None or after is None or not loses_one(before, after) or is_op(maker, "Softmax"):
        return False
    kept = {1: before[2:], 3: before[1:3] if len(before) == 4 else ()}  # outputs may call the batch by another name
    places = [axis for axis, sides in kept.items() if before[axis] == 1 and list(sides) == list(after[1:])]
    maker = producer(maker.inputs[0]) if is_op(maker, "Sigmoid") else maker
    turned = is_op(maker, "Transpose") and permutation(maker) == [0, 2, 3, 1]  # else it is no channel that went
    return places == [1] or (places == [3] and turned)


def sums_channels(node: gs.Node) -> bool:
    """Whether a node takes the axis of channels away from pixels by a sum, a mean or the like of them."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if not node.op.startswith("Reduce") or before is None or after is None or not loses_one(before, after):
        return False
    maker = producer(node.inputs[0])
    turned = is_op(maker, "Transpose") and permutation(maker) == [0, 2, 3, 1]
    return [axis % len(before) for axis in integers(node, 1) or []] == [3 if turned else 1]


def loses_one(before: Sequence[object], after: Sequence[object]) -> bool:
    """Whether pixels, or voxels, have an axis less."""
    return (len(before), len(after)) in ((4, 3), (5, 4))


def with_class(model: Model, tensor: gs.Tensor) -> gs.Tensor:
    """Pixels of one class with an axis for that, (N, 1, h, w), where the file took it away; others as they are."""
    node = producer(tensor)
    dropped = node is not None and (drops_class(node) or sums_channels(node))
    if not dropped or any(t.op == "Softmax" for t in tensor.outputs):
        return tensor
    first, *sides = tensor.shape
    return made(model, "Unsqueeze", [tensor, np.array([1])], (first, 1, *sides))


def of_turned(model: Model, tensor: gs.Tensor) -> tuple[Scores, int | None]:
    """Step over a final squashing of scores with places, also where what it made was turned behind it.

    Returns
    -------
    tuple
        The scores, and the axis that a Softmax goes along. What the file has turned only behind the squashing, the
        graph gets turned before it.
    """
    current, turns = tensor, []
    while is_op(node := producer(current), "Transpose", "Cast", "Identity"):
        turns += [permutation(node)] if node.op == "Transpose" else []
        current = node.inputs[0]
    scores = step_back(current, places=True)
    axis = along(scores.tensor, scores.squashed_by)
    if scores.squashed_by is None:
        return Scores(tensor, tensor.name, None), None
    if axis is not None:
        scores = replace(scores, tensor=unshifted(model, scores.tensor, axis))
    for perm in reversed(turns):
        turned = made(model, "Transpose", [scores.tensor], [scores.tensor.shape[i] for i in perm], perm=perm)
        scores, axis = replace(scores, tensor=turned), None if axis is None else perm.index(axis % len(perm))
    return scores, axis


def along(tensor: gs.Tensor, squashed: str | None) -> int | None:
    """The axis that the Softmax behind scores goes along."""
    behind = (node for node in tensor.outputs if node.op in ("Softmax", "LogSoftmax"))
    return next((int(node.attrs.get("axis", -1)) for node in behind if squashed == node.op), None)
