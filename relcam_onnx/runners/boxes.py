"""A detector's boxes, as left, top, right and bottom in the input's pixels, from the forms in which files tell them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import BOX, MOST_IN_CELL, STRIDES
from relcam_onnx.analysis.sides import FEW_REVERSED, REVERSED, reversed_share
from relcam_onnx.errors import TargetError
from relcam_onnx.pictures.geometry import Floats, Size

NORMALISED = 1.5
"""Boxes are shares of the picture where three quarters of those that are any lie within so many of it."""


def corners(
    levels: Sequence[Floats],
    size: Size,
    form: str,
    *,
    y_first: bool = False,
    pixels: tuple[float, float] | None = None,
) -> Floats | None:
    """Boxes of all levels, each (N, places, ...), as left, top, right, bottom in pixels, (N, places, 4).

    None where they are none yet, or a level's stride is not told. Of corners, and centre and size, y may come first.
    ``pixels`` are what a unit is across and down, where that is known; else values tell whether they are shares.
    """
    if form in ("offsets", "sizes", "distances"):
        found = [around_cells(level, size) if form == "distances" else in_cells(level, size, form) for level in levels]
        known = [boxes for boxes in found if boxes is not None]
        boxes = np.concatenate(known, axis=1) if len(known) == len(found) else None
        return boxes if boxes is not None and reversed_share(boxes) <= FEW_REVERSED else None
    boxes = levels[0][:, :, :BOX] if form != "turned" else around_turned(levels[0])
    # Where ends come before beginnings and nothing is negative, those are sizes.
    sizes = form == "corners" and (boxes >= 0).all() and reversed_share(boxes) > REVERSED
    boxes = boxes[..., [1, 0, 3, 2]] if y_first and form != "turned" else boxes
    boxes = around_middles(boxes) if form in ("centred", "turned") or sizes else boxes
    if reversed_share(boxes) > REVERSED:
        return None
    if pixels is not None:
        return boxes * np.array(pixels * 2, np.float32)
    far = np.abs(boxes).max(axis=2)
    some = far[far > 0]  # none of boxes that are 0, or no numbers
    if some.size and np.quantile(some, 0.75) <= NORMALISED:
        boxes = boxes * np.array([size[1], size[0]] * 2, np.float32)
    return boxes


def around_middles(boxes: Floats) -> Floats:
    """Boxes told by centre and size by their corners."""
    middle, half = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([middle - half, middle + half], axis=-1)


def around_turned(table: Floats) -> Floats:
    """Centre and size of what encloses boxes that are turned by the angles in the last column, in radians."""
    width, height, angle = table[..., 2], table[..., 3], table[..., -1]
    across, down = np.abs(np.cos(angle)), np.abs(np.sin(angle))
    sides = np.stack([width * across + height * down, width * down + height * across], axis=-1)
    return np.concatenate([table[..., :2], sides], axis=-1)


def in_cells(boxes: Floats, size: Size, form: str) -> Floats | None:
    """Boxes (N, places, 4) by offsets of their centres from the corners of cells, and their sizes or the logarithms.

    Both are in cells (Ge et al. 2021, YOLOX, arXiv:2107.08430; Zhou et al. 2019, CenterNet, arXiv:1904.07850, as
    "sizes"). None where their number tells no strides.
    """
    if (cells := cells_in(boxes.shape[1], size)) is None:
        return None
    corner, stride = cells
    extent = boxes[:, :, 2:4] if form == "sizes" else np.exp(boxes[:, :, 2:4])
    centre, extent = (boxes[:, :, :2] + corner) * stride, extent * stride
    return around_middles(np.concatenate([centre, extent], axis=2).astype(np.float32))


def cells_in(count: int, size: Size, most: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The cells of so many places, of one level or of several in rows, and their strides, (places, 2) and (places, 1).

    In each stand as few places as fit, one behind the other, and ``most`` at most. None where that fits nothing.
    """
    levels = [STRIDES[i:j] for i in range(len(STRIDES)) for j in range(i + 1, len(STRIDES) + 1)]
    for several in range(1, most + 1):
        for strides in levels:
            cells = [cells_of(stride, size) for stride in strides]
            if several * sum(map(len, cells)) == count:
                stride = np.repeat(strides, [len(each) for each in cells])[:, None]
                return np.repeat(np.concatenate(cells), several, axis=0), np.repeat(stride, several, axis=0)
    return None


def cells_of(stride: int, size: Size) -> NDArray[np.int64]:
    """The cells of a level row by row, (cells, 2): how far right and down, in cells."""
    down, across = (-(-side // stride) for side in size)
    return np.stack(np.divmod(np.arange(down * across), across)[::-1], axis=1)


def sides_of(box: Any) -> NDArray[np.float64]:
    """A box that is asked for, (4,).

    Raises
    ------
    TargetError
        It is none.
    """
    try:
        sides = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        sides = np.zeros(0)
    if sides.shape != (4,) or not (sides[:2] < sides[2:]).all():
        raise TargetError(f"a box is left, top, right and bottom, not {box!r}")
    return sides


def around_cells(sides: Floats, size: Size) -> Floats | None:
    """Boxes by the distances of their sides from the middles of cells; None where their number tells no strides.

    Each distance is in cells, or the mean of a distribution over 0, 1, ... cells, whose logits are given (Li et al.
    2020, Generalized Focal Loss, arXiv:2006.04388, eq. 6).
    """
    if (cells := cells_in(sides.shape[1], size, MOST_IN_CELL)) is None:
        return None
    corner, stride = cells
    told = sides.reshape(*sides.shape[:2], BOX, -1).astype(np.float64)
    powers = np.exp(told - told.max(axis=3, keepdims=True))
    spread = (powers * np.arange(powers.shape[3])).sum(axis=3) / powers.sum(axis=3)
    away = told[..., 0] if told.shape[3] == 1 else spread
    return np.asarray((np.tile(corner, 2) + 0.5 + away * [-1, -1, 1, 1]) * stride, np.float32)


def overlaps(box: NDArray[Any], boxes: NDArray[Any]) -> Floats:
    """Intersection over union of a box, (4,), with others, (M, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inner = np.prod(np.maximum(sides, 0), axis=1)
    outer = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - inner
    return np.asarray(inner / np.maximum(outer, 1e-9), np.float32)
