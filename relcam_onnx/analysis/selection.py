"""Detectors that choose their detections themselves: the rows they tell, and the tables that these were chosen from.

Such files end in TopK or in NonMaxSuppression. What is chosen is told by indices that a run computes; values are
followed back over whatever only chooses, moves or squashes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import BOX, Columns, holds_scores
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import is_constant, producer, static_shape

MOVES = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "Slice", "Split", "Expand", "Pad",
})  # fmt: skip
PICKS = frozenset({"Gather", "GatherND", "GatherElements", "Compress"})
"""What chooses where its indices are computed, and moves where they are not."""
SQUASHES = frozenset({"Softmax", "Sigmoid"})


class Origin(NamedTuple):
    """Where the values of a tensor come from.

    Attributes
    ----------
    table
        A tensor of three axes.
    squashed
        The op that squashed them on the way, or None.
    chosen
        Whether some of them were chosen on the way.
    """

    table: gs.Tensor
    squashed: str | None
    chosen: bool


@dataclass(frozen=True)
class Selection:
    """The detections that a file chose, a row for each.

    Attributes
    ----------
    boxes, scores
        Where the rows tell them.
    origin
        What the scores were chosen from.
    framed
        What the boxes were chosen from as they are; None where they were made of that.
    """

    boxes: Columns
    scores: Columns
    origin: Origin
    framed: gs.Tensor | None


def selection(outputs: Sequence[gs.Tensor]) -> Selection | None:
    """What some outputs choose; None where they are no detections that were chosen."""
    boxes: list[tuple[Columns, Origin | None]] = []
    scores: list[tuple[Columns, Origin]] = []
    for output in outputs:
        for columns, part in parts_of(output):
            found = origin(part, frozenset() if columns.width == BOX else SQUASHES)
            if columns.width == BOX:
                boxes.append((columns, found))
            elif columns.width < 2 and found is not None and found.chosen:
                scores.append((columns, found))
    if len(boxes) != 1 or not scores:
        return None
    (sides, framed), (marks, scored) = boxes[0], scores[0]  # the angle of a turned box comes behind its score
    return Selection(sides, marks, scored, framed.table if framed is not None and framed.chosen else None)


def parts_of(output: gs.Tensor) -> list[tuple[Columns, gs.Tensor]]:
    """What an output's columns are made of; all of it where it is not put together of columns."""
    current, rank, last = output, len(output.shape or ()), (static_shape(output) or (None,))[-1]
    own = last if rank > 1 and last in (1, BOX) else 0
    while not own and (node := producer(current)) is not None:
        if is_op(node, "Concat"):
            sizes = [size or 0 for t in node.inputs if (size := (static_shape(t) or (None,))[-1]) is not None]
            along = int(node.attrs["axis"]) in (-1, len(node.inputs[0].shape or ()) - 1)
            if along and len(sizes) == len(node.inputs) and last in (None, sum(sizes)):
                starts = [sum(sizes[:i]) for i in range(len(sizes))]
                told = zip(node.inputs, starts, sizes, strict=True)
                return [(Columns(output.name, start, size), part) for part, start, size in told if size]
        elif is_op(node, "ScatterND", "ScatterElements"):
            current = node.inputs[2]  # one image's rows among those of all
            continue
        elif node.op not in MOVES | PICKS or is_op(node, "Transpose"):
            break
        current = node.inputs[0]
    return [(Columns(output.name, 0, own or 0), output)]


def origin(tensor: gs.Tensor, over: frozenset[str], known: dict[int, Origin | None] | None = None) -> Origin | None:
    """The table nearest to the picture that the values of a tensor were chosen from; None where there is none.

    ``over`` are the ops that squash and are stepped over, one of them at most.
    """
    known = {} if known is None else known
    if id(tensor) not in known:
        known[id(tensor)] = None  # a graph has no circles; this only keeps to one visit
        known[id(tensor)] = traced(tensor, over, known)
    return known[id(tensor)]


def traced(tensor: gs.Tensor, over: frozenset[str], known: dict[int, Origin | None]) -> Origin | None:
    """One step back, and on from there."""
    if not holds_scores(tensor):
        return None
    node, shape = producer(tensor), tensor.shape
    own = Origin(tensor, None, False) if shape is not None and len(shape) == 3 else None
    values = [] if node is None else values_of(node, tensor, over)
    behind = [found for t in values if (found := origin(t, over, known)) is not None]
    if node is None or len({id(found.table) for found in behind}) != 1:
        return own
    squashed = next((found.squashed for found in behind if found.squashed), None)
    if squashed is not None and node.op in over:
        return own
    chosen = chooses(node) or any(found.chosen for found in behind)
    return Origin(behind[0].table, node.op if node.op in over else squashed, chosen)


def values_of(node: gs.Node, tensor: gs.Tensor, over: frozenset[str]) -> list[gs.Tensor]:
    """Those among a node's inputs whose values a tensor has, some of them or all."""
    if node.op in MOVES | PICKS | over | {"ReduceMax"} or (node.op == "TopK" and tensor is node.outputs[0]):
        return [node.inputs[0]]
    if is_op(node, "Concat"):
        return [t for t in node.inputs if not is_constant(t)]
    if is_op(node, "Mul") and not any(map(is_constant, node.inputs)):
        return list(node.inputs)  # of objectness and classes, both columns of one table
    if is_op(node, "Where"):
        return [t for t in node.inputs[1:] if not is_constant(t)]
    if is_op(node, "ScatterND", "ScatterElements"):
        return [node.inputs[2]]
    return []


def chooses(node: gs.Node) -> bool:
    """Whether which values are told hangs on the picture."""
    return node.op in ("TopK", "ReduceMax", "Compress") or (node.op in PICKS and not is_constant(node.inputs[1]))
