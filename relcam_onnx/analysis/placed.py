"""Scores that have places: a segmenter's and a detector's, by the forms in which files tell them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.anchors import are_levels_of_anchors
from relcam_onnx.analysis.decoding import Placed, placed
from relcam_onnx.analysis.detectors import (
    axis_of_boxes,
    beside_scores,
    detector,
    has_boxes,
    joined,
    maker,
    with_objectness,
)
from relcam_onnx.analysis.drawn import told_as_they_are
from relcam_onnx.analysis.frames import frames_first
from relcam_onnx.analysis.heads import (
    APART,
    BOX,
    Boxes,
    Form,
    Head,
    Rows,
    Scores,
    called_y_first,
    holds_scores,
    segmenter,
)
from relcam_onnx.analysis.kinds import GRID, TABLE, axis_of_classes, in_rows, rank_of, shorter
from relcam_onnx.analysis.levels import of_levels
from relcam_onnx.analysis.masks import of_channel, of_rows, unpainted
from relcam_onnx.analysis.selection import selection
from relcam_onnx.analysis.sequences import batch_in_front, classes_along
from relcam_onnx.analysis.shares import UNIT, spans
from relcam_onnx.analysis.stepping import along, chosen_among, has_rows, of_turned, step_back, with_class
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import all_unsquashed, made, unsquashed
from relcam_onnx.model import Model, static_shape


def of_places(
    model: Model, named: Sequence[gs.Tensor], outputs: Sequence[gs.Tensor], kind: str | None
) -> Scores | None:
    """The first of some outputs whose scores have places, for what ``kind`` of head; None where none has."""
    by_name = kind == "detector"
    rank = max((len(t.shape or ()) for t in model.graph.inputs if not frames_first(t)), default=0)
    if kind in (None, "detector") and (tables := of_levels(model, named, named=by_name, whole=False)) is not None:
        return tables
    fronts = {t.name: batch_in_front(model, t) for t in {t.name: t for t in (*named, *outputs)}.values()}
    named, outputs = ([fronts[t.name] for t in some] for some in (named, outputs))
    if len(named) > 1:
        named = sorted(named, key=lambda tensor: (beside_scores(tensor, outputs), is_bare(tensor)))
    for output in named:
        others = [t for t in outputs if t is not output]
        alone = kind in (None, "detector") and not has_boxes(output, outputs)
        together = joined(model, output) or with_objectness(model, output) if alone else None
        if together is not None:
            return Scores(together[0], output.name, "Sigmoid", together[1])
        if kind in (None, "detector") and is_bare_column(output, outputs):
            return of_column(model, output, others, named=by_name)
        masks = not has_boxes(output, outputs)
        whole = unpainted(output) if masks and kind in (None, "segmenter") else output
        chosen, told = chosen_among(whole, masks=masks)
        scores, squashed_along = of_turned(model, unpainted(chosen) if masks else chosen)
        scores = replace(scores, tensor=with_class(model, scores.tensor)) if masks else scores
        other = kind is None and (are_masks_of_queries(output, others) or are_levels_of_anchors(named))
        if (other and len(named) > 1) or not holds_scores(scores.tensor) or not has_rows(model, scores.tensor):
            continue
        axes = (told, squashed_along, spans(model).get(scores.tensor.name, UNIT).axis)
        told = next((axis for axis in axes if axis is not None), None)
        head = segmenter(scores.tensor, told, rank) if kind in (None, "segmenter") else None
        if head is not None:
            decided = scores.squashed_by is None and chosen is not whole
            shares = scores.squashed_by or told_as_they_are(model, scores.tensor, head.axis)
            scores = replace(scores, squashed_by=shares)
            head = replace(head, apart=told is None and (shares in APART or decided))
        listed = chosen is output or (by_name and len(chosen.shape or ()) == TABLE)  # the best class of each place
        if head is None and kind in (None, "detector") and listed:
            head = detector(scores.tensor, others, told, named=by_name)
            if head is not None and head.boxes is None and told is None and by_name:
                head = replace(head, axis=classes_along(scores.tensor) or head.axis)
            if head is not None and scores.squashed_by is None:
                scores = behind_sigmoids(model, scores, head)
        if head is not None:
            return replace(scores, output=(chosen if head.kind == "detector" else whole).name, head=head)
        if kind in (None, "segmenter") and masks and chosen is whole:
            rows = kind is not None or len(outputs) == 1
            bare = of_rows(model, output, named=kind is not None) if rows else None
            bare = bare or of_channel(model, whole, named=kind is not None)
            if bare is not None:
                return bare
    return None


def is_bare(tensor: gs.Tensor) -> bool:
    """Whether numbers of pixels are told to be scores by no softmax, sigmoid or choice: those of boxes look so too."""
    squashed = step_back(tensor, places=True).squashed_by is not None
    return not squashed and len(tensor.shape or ()) >= GRID and chosen_among(tensor, masks=True)[0] is tensor


def are_masks_of_queries(tensor: gs.Tensor, others: Iterable[gs.Tensor]) -> bool:
    """Whether (N, queries, h, w) are masks whose classes another output tells, (N, queries, classes): MaskFormer's."""
    sizes = list(tensor.shape or [])
    tables = [list(t.shape) for t in others if len(t.shape or []) == 3 and t.shape[2] not in range(BOX + 1)]
    return len(sizes) == 4 and sizes[1] is not None and any(table[:2] == sizes[:2] for table in tables)


def of_column(model: Model, output: gs.Tensor, others: Sequence[gs.Tensor], *, named: bool) -> Scores | None:
    """A detector's scores of one class, (N, places), as (N, places, 1): sigmoids, or anything where it is ``named``."""
    found = all_unsquashed(model, output)
    if found is None and not named:
        return None
    scores = step_back(output, places=True) if found is None else Scores(found, output.name, "Sigmoid")
    wide = made(model, "Unsqueeze", [scores.tensor, np.array([2])], (*output.shape, 1))
    head = detector(wide, others, 2, named=True) or Head("detector", 2)
    return replace(scores, tensor=wide, output=output.name, head=head)


def behind_sigmoids(model: Model, scores: Scores, head: Head) -> Scores:
    """What stands before the sigmoids that make up a detector's scores, level by level as a rule; else as it is."""
    count = (static_shape(scores.tensor) or (None,) * 3)[head.axis]
    found = None if count is None else unsquashed(model, scores.tensor, head.axis, 0, count)
    return scores if found is None else replace(scores, tensor=found, squashed_by="Sigmoid")


def of_selection(model: Model, outputs: Sequence[gs.Tensor]) -> Scores | None:
    """The scores that a detector chooses its detections from, where it does that itself."""
    found = selection(outputs)
    if found is None:
        return None
    (chosen, squashed, _, times, root), framed = found.origin, found.framed
    table = in_rows(model, chosen) if rank_of(chosen) == GRID else chosen
    if table is None:
        return None
    beside = [] if framed is None or framed in (chosen, table) else [framed]
    if squashed is None:
        scores = of_places(model, [table], [table], "detector")
        if scores is not None and scores.head.boxes is None and beside:
            scores = of_places(model, [table], [table, *beside], "detector")
    else:
        head = detector(table, beside, along(table, squashed), named=True)
        scores = None if head is None else Scores(table, table.name, squashed, head)
    if scores is None:
        return None
    if scores.head.boxes is None and squashed != "Softmax":
        head = replace(scores.head, axis=axis_of_classes(model, table) or shorter(table))
        scores = replace(scores, head=head)
        scores = behind_sigmoids(model, scores, head) if scores.tensor is table and squashed is None else scores
    if times is not None or root:
        scores = of_product(model, scores, times, root=root)
    alone = bool(beside) and is_op(maker(beside[0]), "Sigmoid")
    told = framed is not None and any(node.attrs.get("center_point_box") for node in suppressing(framed))
    boxes = scores.head.boxes
    form: Form = "centred" if alone or told else "corners"
    if boxes is not None and boxes.form == "turned":
        form = "turned"
    y_first = called_y_first(found.boxes.output)
    both = scores.head.joined is not None
    how = placed(model, chosen, found.boxes, found.scores, joined=both) if framed is None else Placed()
    if framed is not None and boxes is not None:
        sides = axis_of_boxes(framed, None) if beside else boxes.axis
        boxes = Boxes((framed.name,), boxes.axis if sides is None else sides, form, y_first)
    first = y_first if how.y_first is None and boxes is None else how.y_first
    rows = Rows(found.boxes, found.scores, how.form or form, first, how.pixels)
    return replace(scores, head=replace(scores.head, boxes=boxes, rows=rows))


def of_product(model: Model, scores: Scores, times: gs.Tensor | None, *, root: bool) -> Scores:
    """Scores whose sigmoids a file multiplies with those of another table, or takes the root of: the sum of both."""
    shape, tables = scores.tensor.shape, [scores.tensor]
    if times is not None:
        turned = times.shape[scores.head.axis] != 1
        sides = [times.shape[i] for i in (0, 2, 1)]
        tables.append(made(model, "Transpose", [times], sides, perm=[0, 2, 1]) if turned else times)
    shares = [made(model, "Sigmoid", [table], table.shape) for table in tables]
    told = made(model, "Mul", shares, shape) if times is not None else shares[0]
    told = made(model, "Sqrt", [told], shape) if root else told
    start = made(model, "Add", tables, shape) if times is not None else scores.tensor
    return replace(scores, tensor=start, head=replace(scores.head, levels=(told.name,)))


def suppressing(boxes: gs.Tensor) -> Iterable[gs.Node]:
    """The nodes that suppress some of these boxes."""
    return (node for node in boxes.outputs if node.op == "NonMaxSuppression")


def is_bare_column(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output (N, places) may be one: where a box is told for each."""
    places = (static_shape(tensor) or ())[1:]
    told = ((*places, BOX), (BOX, *places))
    return len(places) == 1 and places[0] not in (None, 1) and any((static_shape(t) or ())[1:] in told for t in outputs)
