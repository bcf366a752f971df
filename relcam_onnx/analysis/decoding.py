"""How a file decodes boxes, seen by running its tail on numbers: no picture's values tell which side is which.

Where layers say nothing, boxes lie at their anchors, place after place. Where a file chooses detections, some are
planted in the table that it chooses from, and its rows tell where it puts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import BOX, MOST_IN_CELL, STRIDES, Columns, Form, Scores
from relcam_onnx.analysis.kinds import axis_of_classes, shorter
from relcam_onnx.analysis.positions import follow, of_image
from relcam_onnx.analysis.sides import APART, form_of, tells_y_first
from relcam_onnx.canon.cut import CANNOT, results
from relcam_onnx.canon.cut import places as order_of
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Model, is_constant, producer, static_shape, variables

LAYERS = ("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
"""What says something of a picture, where its weights are no mere matrix of a box or of the cells of a side."""
SMALL = 512
"""Elements of such a matrix at most."""
LONGEST, MOST = 4096, 2**23
"""So many nodes, and elements of a tensor, are run at most."""
PLANTED, NOTHING = 16.0, -16.0
"""Scores of what is planted, the first one's, and of all others."""
PLACES = 24
"""So many are planted one behind the other in a table, whose cells nothing tells."""
EDGE = 6
"""Cells of a side at least: what is planted in one is a peak."""
CLEAR, NEAR = 1e-3, 0.1
"""Of the most: what moves less stays where it is; pixels that differ by less are the picture's."""


class Placed(NamedTuple):
    """What a file makes of detections that are planted.

    Attributes
    ----------
    y_first
        Whether its rows tell y before x; None where that is not seen.
    form
        "corners" or "centred"; None where that is not seen.
    pixels
        What a unit of theirs is in pixels, across and down; None where that is not seen.
    """

    y_first: bool | None = None
    form: Form | None = None
    pixels: tuple[float, float] | None = None


def with_order(model: Model, scores: Scores) -> Scores:
    """The same scores with what their boxes are, as far as the graph tells: corners or centres, x or y first."""
    boxes = scores.head.boxes
    if boxes is None or boxes.form not in ("corners", "centred", "joined"):
        return scores
    tensor = model.graph.tensors().get(model.current(boxes.outputs[0]))
    table = None if tensor is None else carried(model, [tensor], {})
    if table is None or table[0].ndim != 3:
        return scores
    sides = np.moveaxis(table[0], boxes.axis, 2)[:, :, :BOX]
    form: Form = boxes.form
    seen: bool | None = None
    if np.ptp(sides, axis=1).any():  # else they are of queries, or of anchors that no file tells
        form = boxes.form if boxes.form == "centred" else steps_of(sides[0]) or boxes.form
        seen = tells_y_first(sides, form_of(sides, form))
    first = bool(boxes.y_first) if seen is None else seen
    told = replace(boxes, form=form, y_first=first, anchored=seen is not None)
    return replace(scores, head=replace(scores.head, boxes=told))


def steps_of(sides: NDArray[np.float64]) -> Form | None:
    """What tells boxes of anchors, (places, 4): from place to place both corners move alike, or middles alone."""
    close, alike, alone = CLEAR * np.ptp(sides), 0, 0
    for apart in range(1, min(MOST_IN_CELL, len(sides) - 1) + 1):
        first, second = np.split(np.abs(sides[apart:] - sides[:-apart]), 2, axis=1)
        moves = (first > close).any(axis=1)
        alike += int((moves & (np.abs(first - second) <= close).all(axis=1)).sum())
        alone += int((moves & (second <= close).all(axis=1)).sum())
    return None if alike == alone else "corners" if alike > alone else "centred"


def placed(model: Model, chosen: gs.Tensor, boxes: Columns, scores: Columns, *, joined: bool = False) -> Placed:
    """How the rows of a file that chooses among a table, or a grid, tell boxes; ``joined``: it has boxes itself."""
    outputs, whole = {t.name: t for t in model.graph.outputs}, carried(model, [chosen], {})
    if whole is None or {boxes.output, scores.output} - outputs.keys():
        return Placed()
    values = whole[0] if joined else np.full(whole[0].shape, NOTHING)
    classes = np.moveaxis(values, axis_of_classes(model, chosen) or shorter(chosen), 0)[:, 0]
    layout = follow(model.graph.nodes, model.graph.inputs)[0].get(chosen.name)
    sides_of_row = [size for size in layout.grid if isinstance(size, int)] if layout is not None else []
    high, wide = classes.shape[1:] if classes.ndim > 2 else sides_of_row if len(sides_of_row) == 2 else (0, 0)
    classes = classes.reshape(len(classes), -1)
    large = min(high, wide) >= EDGE and high * wide == classes.shape[1]
    # Near to the first one, far to the right of it and far below; or one behind the other.
    where = [wide + 1, 2 * wide - 2, (high - 2) * wide + 1] if large else [*range(classes.shape[1])][:PLACES]
    if joined:
        classes = classes[BOX:]
        classes[:] = 0  # shares
    for rank, at in enumerate(where):
        most = (PLANTED - rank / 2) / (PLANTED if joined else 1)
        classes[:, at] = most / 4  # none is without any
        classes[len(classes) // 2, at] = most  # which is no background, as a rule
    made = carried(model, [outputs[boxes.output], outputs[scores.output]], {chosen.name: values})
    if made is None:
        return Placed()
    sides = columns_of(made[0], boxes).reshape(-1, BOX)
    marks = columns_of(made[1], scores).reshape(-1)
    if len(marks) != len(sides) or not np.isfinite(sides).all():
        return Placed()
    best = np.argsort(-marks, kind="stable")[: len(where)]
    if not large:
        return of_row(sides[best])
    return of_cells(model, sides[best], (high, wide)) if len(best) == len(where) else Placed()


def of_cells(model: Model, rows: NDArray[np.float64], sides: Sequence[int]) -> Placed:
    """What the boxes of such cells, (3, 4), tell."""
    steps = np.stack([(rows[1] - rows[0]) / (sides[1] - 3), (rows[2] - rows[0]) / (sides[0] - 3)])
    moved = np.abs(steps) > CLEAR * np.abs(steps).max()
    forms: dict[Form, tuple[int, ...]] = {"corners": (0, 1, 0, 1), "centred": (0, 1, -1, -1)}
    for form, own in forms.items():
        for y_first in (False, True):
            first, second = (0, 1) if not y_first else (1, 0)
            order = [first if side == 0 else second if side == 1 else -1 for side in own]
            if all(moved[way].tolist() == [way == side for side in order] for way in (0, 1)):
                across, down = (float(steps[way][order.index(way)]) for way in (0, 1))
                return Placed(y_first, form, in_pixels(model, sides, across, down))
    return Placed()


def in_pixels(model: Model, sides: Sequence[int], across: float, down: float) -> tuple[float, float] | None:
    """What a unit is in pixels, where boxes move by so much from cell to cell; None where that is not known."""
    image, *others = model.graph.inputs
    layout, sizes = of_image(image), static_shape(image)
    if layout is None or sizes is None or len(layout.axes) != 2 or others or min(across, down) <= 0:
        return None
    high, wide = (sizes[axis] for axis in layout.axes)
    if high is None or wide is None:
        return None
    found = []
    for side, cells, step in ((wide, sides[1], across), (high, sides[0], down)):
        stride = next((each for each in STRIDES if -(-side // each) == cells), side / cells)
        known = [unit for unit in (1, side) if abs(stride / step / unit - 1) < NEAR]
        found.append(float(known[0] if known else stride / step))
    return found[0], found[1]


def of_row(rows: NDArray[np.float64]) -> Placed:
    """What boxes of places that follow each other row by row tell: from one to the next x changes, y hardly."""
    form = steps_of(rows)
    middles = rows[:, :2] + (0 if form == "centred" else rows[:, 2:])
    first, second = np.abs(np.diff(middles, axis=0)).sum(axis=0)
    clear = max(first, second) > APART * min(first, second)
    return Placed(bool(first < second) if clear else None, form)


def columns_of(value: NDArray[np.float64], columns: Columns) -> NDArray[np.float64]:
    """Some columns of an output."""
    return value[..., columns.first : columns.first + columns.width] if columns.width else value


def carried(
    model: Model, wanted: Sequence[gs.Tensor], values: Mapping[str, NDArray[np.float64]]
) -> list[NDArray[np.float64]] | None:
    """What tensors are where layers say nothing and some have these values, in float64; None where that is unknown."""
    known, nodes, waiting = dict[str, NDArray[np.float64]](values), dict[int, gs.Node](), list(wanted)
    while waiting:
        tensor = waiting.pop()
        node = producer(tensor)
        if is_constant(tensor) or tensor.name in known or id(node) in nodes:
            continue
        if node is None or is_layer(node):
            shape = static_shape(tensor) or (0,)
            sizes = [size or int(not at) for at, size in enumerate(shape)]  # one image, where there may be any
            if not 0 < prod(sizes) <= MOST:
                return None
            # What is told beside the picture is its size, or a scale.
            known[tensor.name] = np.full(sizes, float(node is None and tensor is not model.graph.inputs[0]))
            continue
        if len(nodes) == LONGEST or any(isinstance(value, gs.Graph) for value in node.attrs.values()):
            return None
        nodes[id(node)] = node
        waiting += [read for _, read in variables(node)]
    order = order_of(model.graph)
    try:
        with np.errstate(all="ignore"):
            for node in sorted(nodes.values(), key=lambda each: order[each.outputs[0].name]):
                made = kept(node, known) if is_op(node, "NonMaxSuppression") else results(node, known)
                for output, value in zip(node.outputs, made, strict=False):
                    known[output.name] = value.astype(np.float64) if value.dtype.kind == "f" else value
        return [known[tensor.name] for tensor in wanted]
    except CANNOT:
        return None


def is_layer(node: gs.Node) -> bool:
    """Whether a node says something of the picture."""
    if not is_op(node, *LAYERS):
        return False
    weights = [t for t in node.inputs[1:] if is_constant(t)]
    return node.op not in ("Gemm", "MatMul") or any(prod(t.shape) > SMALL for t in weights)


def kept(node: gs.Node, values: Mapping[str, NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """What non-maximum suppression keeps where nothing is suppressed that is planted."""
    scores = np.asarray(values[node.inputs[1].name])
    best = np.argsort(-scores, axis=None, kind="stable")[:PLACES]
    best = best[scores.ravel()[best] > scores.min(initial=0)]  # there may be none at all
    return [np.stack(np.unravel_index(best, scores.shape), axis=1)]
