"""Detectors whose levels are outputs of their own: which of them tell classes, which boxes, which objectness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.detectors import maker
from relcam_onnx.analysis.heads import BOX, MOST_IN_CELL, STRIDES, Boxes, Form, Head, Scores
from relcam_onnx.analysis.kinds import GRID, Kind, candidates, positions, product, rank_of, widths
from relcam_onnx.analysis.pixels import multiplied
from relcam_onnx.analysis.positions import of_image
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import in_sigmoids, made
from relcam_onnx.model import Model, static_shape, variables

BINS = (16, 17, 8)
"""Cells that distances are usually distributions over; other multiples of four numbers in a grid are several boxes."""
ACTIVATIONS = ("Clip", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Relu", "Softmax", "Swish", "Tanh")
SIZES, OFFSETS = ("wh", "size"), ("reg", "off")
"""What CenterNet's outputs of two numbers are called."""
ANCHORS = 3
"""Boxes at each position of a grid that tells boxes, objectness and classes, in YOLO from version 2 to 7."""


@dataclass(frozen=True)
class Parts:
    """Which kind tells what, and the form of boxes where that is known."""

    classes: Kind
    boxes: Kind | None
    objectness: Kind | None = None
    form: Form | None = None


def of_levels(model: Model, outputs: Sequence[gs.Tensor], *, named: bool, whole: bool) -> Scores | None:
    """Scores in outputs of their own for each level, with boxes or in others; or in rows of all, with distributions.

    Where the head is ``named`` boxes of an unknown form, or none, will do. All outputs are part of it, or (where they
    are not the ``whole``) the tables among them.

    Returns
    -------
    Scores or None
        What stands before the sigmoids of all levels, which the graph gets.
    """
    outputs = without_masks(outputs)
    for kinds in candidates(model, outputs, whole=whole):
        parts = of_one(kinds[0], named=named) if len(kinds) == 1 else apart(kinds, named=named)
        if parts is not None and (
            sure_of_rows(kinds, parts) if len(kinds[0].levels) == 1 else are_strided(model, kinds)
        ):
            return put_together(model, parts)
    middles = of_middles(model, outputs) if named and whole else None
    return None if middles is None else put_together(model, middles)


def without_masks(outputs: Sequence[gs.Tensor]) -> Sequence[gs.Tensor]:
    """Outputs but for the finest of some grids, masks' prototypes, and those with as many numbers, which weigh them."""
    grids = [t for t in outputs if rank_of(t) == GRID and None not in (static_shape(t) or (None,))[1:]]
    for axis in (1, 3) if len(grids) == len(outputs) else ():
        sides = {t.name: product(positions(t, axis)) or 0 for t in grids}
        finest = [t for t in grids if sides[t.name] == max(sides.values())]
        if len(finest) == 1:
            masks = [t for t in grids if t.shape[axis] == finest[0].shape[axis]]
            rest = [t for t in grids if t not in masks]
            if rest and len(masks) - 1 == len({sides[t.name] for t in rest}) == len({sides[t.name] for t in masks}) - 1:
                return rest
    return outputs


def of_middles(model: Model, outputs: Sequence[gs.Tensor]) -> Parts | None:
    """One level of classes, and for each cell the size of a box and the offset of its middle, as CenterNet has it.

    Two numbers each are told apart by what outputs are called; where that says nothing no boxes are.
    """
    shapes = [static_shape(t) or () for t in outputs]
    if {len(shape) for shape in shapes} != {GRID} or len({shape[2:] for shape in shapes}) > 1:
        return None
    twos = [t for t, shape in zip(outputs, shapes, strict=True) if shape[1] == 2 and not in_sigmoids(t)]
    called = [[t for t in twos if any(word in t.name.lower() for word in words)] for words in (SIZES, OFFSETS)]
    sure = [len(some) for some in called] == [1, 1] and called[0] != called[1]
    pair = [called[0][0], called[1][0]] if sure else twos
    others = [t for t in outputs if all(t is not one for one in pair)]
    marks = [t for t in others if in_sigmoids(t)] or others
    _, count, *_ = (static_shape(marks[0]) if len(marks) == 1 else None) or (None, None)
    if len(pair) != 2 or count is None:
        return None
    classes = Kind(model, (marks[0],), 1, count)
    if not sure:
        return Parts(classes, None)
    first, _, *sides = pair[0].shape
    boxes = made(model, "Concat", pair[::-1], (first, BOX, *sides), axis=1)
    return Parts(classes, Kind(model, (boxes,), 1, BOX), form="sizes")


def sure_of_rows(kinds: Sequence[Kind], parts: Parts) -> bool:
    """Whether levels in rows of one table are a detector's: shares beside distributions, and no boxes as they are."""
    return parts.classes.scores is not None and in_distributions(parts.boxes) and BOX not in [k.count for k in kinds]


def in_distributions(boxes: Kind | None) -> bool:
    """Whether boxes are told by a distribution for each side, which no other numbers look like."""
    return boxes is not None and boxes.count in [BOX * cells for cells in BINS]


def are_strided(model: Model, kinds: Sequence[Kind]) -> bool:
    """Whether levels that are grids have detectors' strides, as far as sizes are known: features have finer ones."""
    image = model.graph.inputs[0]
    layout, sizes = of_image(image), static_shape(image)
    if layout is None or sizes is None or len(layout.axes) != 2 or None in (sides := [sizes[a] for a in layout.axes]):
        return True
    possible = [tuple(-(-(side or 0) // stride) for side in sides) for stride in STRIDES]
    grids = [positions(level, kinds[0].axis) for level in kinds[0].levels if rank_of(level) == GRID]
    return all(None in grid or grid in possible for grid in grids)


def apart(kinds: Sequence[Kind], *, named: bool) -> Parts | None:
    """Which kind tells classes, which boxes, which objectness; None where that is not clear."""
    shares = [kind for kind in kinds if kind.scores is not None]
    others = [kind for kind in kinds if kind not in shares]
    fours = [kind for kind in others if kind.count % BOX == 0]
    numbers = [kind for kind in fours if kind.count == BOX]
    distributions = [kind for cells in BINS for kind in fours if kind.count == BOX * cells]
    # Of logits four numbers may be four classes.
    likely = [*numbers, *distributions] if shares else [*distributions, *numbers]
    boxes = next(iter([*likely, *fours]), None)
    marks = shares or [kind for kind in others if kind is not boxes]  # logits, where there are no shares
    single = [kind for kind in marks if kind.count == 1]
    if (boxes is None and not named) or not 1 <= len(marks) <= 1 + bool(single):
        return None
    objectness = single[-1] if len(marks) == 2 else None
    classes = next(kind for kind in marks if kind is not objectness)
    if not shares and is_activated(classes):
        return None
    several = boxes.count // BOX if boxes is not None and rank_of(boxes.levels[0]) == GRID else 1
    if boxes is None or several in (1, *BINS):
        return Parts(classes, boxes, objectness)
    if classes.count % several or several > MOST_IN_CELL:
        return None
    return Parts(classes.split(several), boxes.split(several), objectness and objectness.split(several))


def is_activated(kind: Kind) -> bool:
    """Whether what is meant is what an activation made, as features are: no logits."""
    return any(is_op(maker(level), *ACTIVATIONS) for level in kind.levels)


def are_lengths(boxes: Kind) -> bool:
    """Whether four numbers are never below 0, by what made them, and so no offsets."""
    return all(is_op(unscaled(level), "Abs", "Exp", "Relu", "Softplus") for level in boxes.levels)


def unscaled(level: gs.Tensor) -> gs.Node | None:
    """What makes a level's values, but for moves and constant factors."""
    node = maker(level)
    while is_op(node, "Mul", "Div") and len(list(variables(node))) == 1:
        node = maker(next(t for _, t in variables(node)))
    return node


def of_one(kind: Kind, *, named: bool) -> Parts | None:
    """The same of each level's only output: what a Concat made of several, or all that is told of each anchor."""
    ends = list(accumulate(widths(kind), initial=0))
    pieces = [kind.part(first, end) for first, end in pairwise(ends)]
    if len(pieces) == 2 and any(map(in_distributions, pieces)):
        return apart(pieces, named=False)
    if len(pieces) == 3 and [piece.count for piece in pieces[:2]] == [BOX, 1]:
        return Parts(pieces[2], pieces[0], pieces[1])
    rank = rank_of(kind.levels[0])
    if named and rank == GRID and kind.numbers % ANCHORS == 0:
        kind = kind.split(ANCHORS)
    if kind.numbers <= BOX + 1 or not (named or rank == 5):
        return None
    boxes = kind.part(0, BOX) if rank == 3 else None  # anchors are told by no file
    return Parts(kind.part(BOX + 1, kind.numbers), boxes, kind.part(BOX, BOX + 1))


def put_together(model: Model, parts: Parts) -> Scores:
    """Scores of all levels in one tensor, and where shares and boxes of each are told."""
    scores, shares = logits_and_shares(parts.classes)
    if parts.objectness is not None:
        anything, sure = logits_and_shares(parts.objectness)
        scores = [made(model, "Add", pair, pair[0].shape) for pair in zip(scores, anything, strict=True)]
        shares = [made(model, "Mul", pair, pair[0].shape) for pair in zip(shares, sure, strict=True)]
    told = None
    if parts.boxes is not None:
        offsets = parts.objectness is not None and parts.boxes.count == BOX and not are_lengths(parts.boxes)
        form: Form = parts.form or ("offsets" if offsets else "distances")
        tables = parts.boxes.tables
        if form == "distances" and (strides := multiplied(model, parts.boxes)):
            factors = [np.array([1 / stride], np.float32) for stride in strides]
            tables = [made(model, "Mul", pair, pair[0].shape) for pair in zip(tables, factors, strict=True)]
        told = Boxes(tuple(table.name for table in tables), 2, form)
    head = Head("detector", 2, told, levels=tuple(table.name for table in shares))
    return Scores(in_one(model, scores), parts.classes.levels[0].name, "Sigmoid", head)


def logits_and_shares(kind: Kind) -> tuple[list[gs.Tensor], list[gs.Tensor]]:
    """Tables of what stands before sigmoids and of what they make of it; the file has one of the two."""
    if kind.scores is not None:
        return kind.scores, kind.tables
    return kind.tables, [made(kind.model, "Sigmoid", [table], table.shape) for table in kind.tables]


def in_one(model: Model, tables: Sequence[gs.Tensor]) -> gs.Tensor:
    """Tables of all levels as one."""
    places = [(static_shape(table) or (None,) * 3)[1] for table in tables]
    count = None if None in places else sum(place or 0 for place in places)
    return made(model, "Concat", list(tables), (tables[0].shape[0], count, tables[0].shape[2]), axis=1)
