"""Detectors that choose their detections themselves: the rows they tell, and the tables that these were chosen from.

Such files end in TopK or in NonMaxSuppression. What is chosen is told by indices that a run computes; values are
followed back over whatever only chooses, moves or squashes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import BOX, Columns, holds_scores
from relcam_onnx.analysis.origins import MOVES, PICKS, SQUASHES, Origin, chooses, is_filled, origin
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import consumers, is_constant, producer, static_shape

ALTERS = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
"""What changes numbers by constants, and the one that changes nothing."""


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
    together = (of_parts(parts_of(output)) for output in outputs)
    return next((found for found in together if found is not None), None) or of_outputs(outputs)


def of_parts(parts: Sequence[Part]) -> Selection | None:
    """Detections whose boxes and scores are columns of one output."""
    boxes = [part for part in parts if part.columns.width == BOX] or in_pieces(parts)
    scores = [
        (part.columns, found) for part in parts if part.columns.width == 1 and (found := part.marks()) is not None
    ]
    if len(boxes) != 1 or not scores:
        return None
    marks, scored = scores[0]  # the angle of a turned box comes behind its score
    return Selection(boxes[0].columns, marks, scored, boxes[0].frames())


def in_pieces(parts: Sequence[Part]) -> list[Part]:
    """Boxes whose four numbers are several parts, corners or sides, between scores and what was counted."""
    runs: list[list[Part]] = [[]]
    for part in parts:
        if part.counted() or part.marks() is not None:
            runs.append([])
        else:
            runs[-1].append(part)
    fours = [run for run in runs if sum(part.columns.width for part in run) == BOX]
    return [run[0]._replace(columns=run[0].columns._replace(width=BOX), changed=True) for run in fours]


def of_outputs(outputs: Sequence[gs.Tensor]) -> Selection | None:
    """Detections whose boxes, (N, rows, 4) or (rows, 4), and scores, one for each row, are outputs of their own."""
    for output in outputs:
        rank = len(output.shape or ())
        boxes = Part(Columns(output.name, 0, BOX), output, picked=False)
        if rank not in (2, 3) or not boxes.wide():
            continue
        for other in outputs:
            wide = len(other.shape or ()) == rank and (static_shape(other) or (None,))[-1] == 1
            scores = Part(Columns(other.name, 0, int(wide)), other, picked=False)
            alike = wide or len(other.shape or ()) == rank - 1
            found = scores.marks() if other is not output and alike else None
            if found is not None and not is_all_of(output, found.table):
                return Selection(boxes.columns, scores.columns, found, boxes.frames())
    return None


def is_all_of(boxes: gs.Tensor, table: gs.Tensor) -> bool:
    """Whether four numbers are the table itself that scores were chosen from: four scores, then, and no box."""
    found = origin(boxes, SQUASHES)
    return found is not None and found.table is table and BOX in (static_shape(table) or ())[1:]


class Part(NamedTuple):
    """Columns of an output, what makes them, and whether rows were picked from them or numbers changed behind that."""

    columns: Columns
    tensor: gs.Tensor
    picked: bool
    changed: bool = False

    def marks(self) -> Origin | None:
        """What scores were chosen from; None where they were not, or are none."""
        found = None if self.changed else origin(self.tensor, SQUASHES)
        return found._replace(chosen=True) if found is not None and (found.chosen or self.picked) else None

    def counted(self) -> bool:
        """Whether it tells whole numbers as floats: classes, images."""
        tensor, node = self.tensor, producer(self.tensor)
        while is_op(node, *MOVES) and holds_scores(tensor):
            tensor, node = node.inputs[0], producer(node.inputs[0])
        return not holds_scores(tensor)

    def wide(self) -> bool:
        """Whether it has four columns; where a file does not tell how many, those of what they were chosen from."""
        columns = (static_shape(self.tensor) or (None,))[-1]
        source = self.frames() if columns is None else None
        return columns == BOX or (source is not None and BOX in (static_shape(source) or ())[1:])

    def frames(self) -> gs.Tensor | None:
        """What boxes were chosen from as they are."""
        found = None if self.changed else origin(self.tensor, frozenset())
        return found.table if found is not None and (found.chosen or self.picked) else None


def parts_of(output: gs.Tensor) -> list[Part]:
    """What an output's columns are made of; nothing where it is not put together of columns."""
    current, picked, last = output, False, (static_shape(output) or (None,))[-1]
    changed, read = np.zeros(last or 1, bool), [output]
    while (node := producer(current)) is not None:
        rows = [t for t in node.inputs if not is_filled(t)]
        if is_op(node, "Concat") and len(rows) > 1:
            sizes = [size or 0 for t in node.inputs if (size := (static_shape(t) or (None,))[-1]) is not None]
            along = int(node.attrs["axis"]) in (-1, len(node.inputs[0].shape or ()) - 1)
            if along and len(sizes) == len(node.inputs) and last in (None, sum(sizes)) and sum(sizes) > BOX:
                starts = [sum(sizes[:i]) for i in range(len(sizes))]
                told = zip(node.inputs, starts, sizes, strict=True)
                own = np.broadcast_to(changed, sum(sizes))
                parts = [
                    Part(Columns(output.name, start, size), part, picked, bool(own[start : start + size].any()))
                    for part, start, size in told
                    if size
                ]
                return as_suppressed(parts, read)
        elif is_op(node, "ScatterND", "ScatterElements"):
            current = node.inputs[2]  # one image's rows among those of all
            continue
        elif is_op(node, *ALTERS, "BatchNormalization") and len(rows) == 1:
            changed = changed | columns_changed(node, last)
        elif not is_op(node, "Concat", *MOVES, *PICKS) or is_op(node, "Transpose") or not rows:
            break
        picked |= chooses(node)
        current = rows[0] if is_op(node, "Concat", *ALTERS) else node.inputs[0]
        read.append(current)
    return []


def as_suppressed(parts: list[Part], rows: Sequence[gs.Tensor]) -> list[Part]:
    """The box and the score of rows alone, where a suppression tells which of their columns these are; else all."""
    told = [found for each in rows for reader in consumers(each) if (found := read_for(reader)) is not None]
    boxes = [start for place, start, size in told if (place, size) == (0, BOX)]
    marks = [start for place, start, size in told if (place, size) == (1, 1)]
    if len(boxes) != 1 or len(marks) != 1:
        return parts
    wide = parts[-1].columns.first + parts[-1].columns.width
    first, mark = (start % wide for start in (boxes[0], marks[0]))
    framing = [part for part in parts if first <= part.columns.first < first + BOX]
    scored = [part for part in parts if part.columns[1:] == (mark, 1)]
    if sum(part.columns.width for part in framing) != BOX or not scored:
        return parts
    box = framing[0]._replace(columns=framing[0].columns._replace(width=BOX))
    return [box if len(framing) == 1 else box._replace(changed=True), *scored]


def read_for(node: gs.Node) -> tuple[int, int, int] | None:
    """Where a suppression reads the columns that a Slice is of, boxes 0 or scores 1, the first one and how many."""
    columns = (static_shape(node.outputs[0]) or (None,))[-1] if is_op(node, "Slice") else None
    starts, axes = (integers(node, i) or [] for i in (1, 3))
    if columns is None or [axis % len(node.outputs[0].shape) for axis in axes] != [len(node.outputs[0].shape) - 1]:
        return None
    current = node.outputs[0]
    while len(readers := consumers(current)) == 1 and is_op(readers[0], *MOVES):
        current = readers[0].outputs[0]
    suppressing = next((reader for reader in readers if reader.op == "NonMaxSuppression"), None)
    places = [] if suppressing is None else [i for i in (0, 1) if suppressing.inputs[i] is current]
    return (places[0], starts[0], columns) if places else None


def columns_changed(node: gs.Node, wide: int | None) -> np.ndarray:
    """The columns of so many whose numbers a node changes by constants, (columns), or (1) for all alike."""
    if is_op(node, "BatchNormalization"):  # as scales and shifts of what is joined are written
        scale, shift, mean, variance = (np.asarray(t.values) for t in node.inputs[1:])
        same = [np.allclose(told, (1, 0, 0, 1)) for told in zip(scale, shift, mean, variance, strict=True)]
        return ~np.array(same if len(same) == wide else [False])
    behind = node.inputs[1] if is_op(node, "Sub", "Div") else next(t for t in node.inputs if is_filled(t))
    told = np.asarray(behind.values) if is_constant(behind) else np.empty(0)
    if (told.size != 1 and told.shape[-1:] != (wide,)) or told.size not in (1, wide):
        return np.ones(1, bool)
    return np.asarray(told.reshape(-1) != ALTERS[node.op])
