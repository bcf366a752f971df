"""Levels with numbers of anchors of their own, as SSD's grids before its decoder: no file tells which they are."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.detectors import maker
from relcam_onnx.analysis.heads import BOX, MOST_IN_CELL
from relcam_onnx.analysis.kinds import GRID
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import static_shape


def are_levels_of_anchors(outputs: Sequence[gs.Tensor]) -> bool:
    """Whether grids of several sizes have numbers of channels of their own, as levels with other anchors each do."""
    grids = [shape for t in outputs if (shape := static_shape(t)) is not None and len(shape) == GRID]
    return len({grid[2:] for grid in grids}) > 2 and len({grid[1] for grid in grids}) > 2


def are_anchors(outputs: Sequence[gs.Tensor]) -> bool:
    """Whether all outputs are such levels: of each its classes times its anchors, with as many boxes or without any."""
    shapes = [[size or 0 for size in static_shape(t) or ()][1:] for t in outputs]
    if any(len(shape) != GRID - 1 or 0 in shape for shape in shapes):
        return False
    if not all(is_op(maker(t), "Conv", "Sigmoid", "Softmax") for t in outputs):
        return False  # features are what activations and norms make
    return any(
        are_multiples([(shape[axis], tuple(shape[:axis] + shape[axis + 1 :])) for shape in shapes]) for axis in (0, 2)
    )


def are_multiples(levels: Sequence[tuple[int, tuple[int, ...]]]) -> bool:
    """Whether numbers, with the size of each grid, are anchors times what each has, where anchors differ."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for count, size in levels:
        by_size.setdefault(size, []).append(count)
    of_each = list(by_size.values())
    told = {len(counts) for counts in of_each}
    fewer = all(len(set(side)) == len(by_size) for side in zip(*by_size, strict=True))
    if len(of_each) < 2 or not fewer or told not in ({1}, {2}):
        return False
    if told == {1}:
        counts = {count for (count,) in of_each}
        most = gcd(*counts)
        return len(counts) > 1 and most > 1 and max(counts) <= MOST_IN_CELL * most
    return any(
        len({scores * BOX / boxes for boxes, scores in pairs}) == 1
        and len({boxes for boxes, _ in pairs}) > 1
        and all(boxes % BOX == 0 and boxes <= MOST_IN_CELL * BOX and scores % (boxes // BOX) == 0
                for boxes, scores in pairs)
        for pairs in (of_each, [counts[::-1] for counts in of_each])
    )  # fmt: skip
