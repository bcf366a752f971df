"""Detectors whose levels are outputs of their own: which of them tell classes, which boxes, which objectness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import BOX, Boxes, Form, Head, Scores
from relcam_onnx.analysis.kinds import Kind, candidates, rank_of, widths
from relcam_onnx.canon.unsquashing import made
from relcam_onnx.model import Model, static_shape

BINS = (8, 16, 17)
"""Cells that distances are usually distributions over; other multiples of four numbers in a grid are several boxes."""
MOST_BOXES = 9
"""At a position of a grid, RetinaNet's."""
ANCHORS = 3
"""Boxes at each position of a grid that tells boxes, objectness and classes, in YOLO from version 2 to 7."""


@dataclass(frozen=True)
class Parts:
    """Which kind tells what."""

    classes: Kind
    boxes: Kind | None
    objectness: Kind | None = None


def of_levels(model: Model, outputs: Sequence[gs.Tensor], *, named: bool, whole: bool) -> Scores | None:
    """Scores in outputs of their own for each level, with boxes or in others; or in rows of all, with distributions.

    Where the head is ``named`` boxes of an unknown form, or none, will do. All outputs are part of it, or (where they
    are not the ``whole``) the tables among them.

    Returns
    -------
    Scores or None
        What stands before the sigmoids of all levels, which the graph gets.
    """
    for kinds in candidates(model, outputs, whole=whole):
        parts = of_one(kinds[0], named=named) if len(kinds) == 1 else apart(kinds, named=named)
        if parts is not None and (len(kinds[0].levels) > 1 or in_distributions(parts.boxes)):
            return put_together(model, parts)
    return None


def in_distributions(boxes: Kind | None) -> bool:
    """Whether boxes are told by a distribution for each side, which no other numbers look like."""
    return boxes is not None and boxes.count in [BOX * cells for cells in BINS]


def apart(kinds: Sequence[Kind], *, named: bool) -> Parts | None:
    """Which kind tells classes, which boxes, which objectness; None where that is not clear."""
    shares = [kind for kind in kinds if kind.scores is not None]
    others = [kind for kind in kinds if kind not in shares]
    fours = [kind for kind in others if kind.count % BOX == 0]
    boxes = min(fours, key=lambda kind: (kind.count != BOX, kind.count // BOX not in BINS), default=None)
    marks = shares or [kind for kind in others if kind is not boxes]  # logits, where there are no shares
    single = [kind for kind in marks if kind.count == 1]
    if (boxes is None and not named) or not 1 <= len(marks) <= 1 + bool(single):
        return None
    objectness = single[-1] if len(marks) == 2 else None
    classes = next(kind for kind in marks if kind is not objectness)
    several = boxes.count // BOX if boxes is not None and rank_of(boxes.levels[0]) == 4 else 1
    alike = len({kind.count for kind in kinds}) == 1
    if not shares and (alike or (several > MOST_BOXES and not in_distributions(boxes))):
        return None  # features
    if boxes is None or several in (1, *BINS) or classes.count % several:
        return Parts(classes, boxes, objectness)
    return Parts(classes.split(several), boxes.split(several), objectness and objectness.split(several))


def of_one(kind: Kind, *, named: bool) -> Parts | None:
    """The same of each level's only output: what a Concat made of several, or all that is told of each anchor."""
    ends = list(accumulate(widths(kind), initial=0))
    pieces = [kind.part(first, end) for first, end in pairwise(ends)]
    if len(pieces) == 2 and any(map(in_distributions, pieces)):
        return apart(pieces, named=False)
    if len(pieces) == 3 and [piece.count for piece in pieces[:2]] == [BOX, 1]:
        return Parts(pieces[2], pieces[0], pieces[1])
    rank = rank_of(kind.levels[0])
    if named and rank == 4 and kind.numbers % ANCHORS == 0:
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
        form: Form = "offsets" if parts.objectness is not None and parts.boxes.count == BOX else "distances"
        told = Boxes(tuple(table.name for table in parts.boxes.tables), 2, form)
    head = Head("detector", 2, told, levels=tuple(table.name for table in shares))
    return Scores(in_one(model, scores), head.levels[0], "Sigmoid", head)


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
