"""Where a picture's pixels lie in the model's input, and back: maps between the two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import InputError

Floats = NDArray[np.float32]
Positions = NDArray[np.float64]
Size = tuple[int, int]

MOST_PIXELS = 2**27
"""No picture is resized to more than this: a thin strip would fill the memory."""


def sample(values: Floats, rows: Positions, columns: Positions) -> Floats:
    """Read a map bilinearly on a grid of fractional positions; beyond the edge its last value goes on.

    Parameters
    ----------
    values
        (h, w).
    rows, columns
        (H,) and (W,): positions in units of the map's cells, 0 at the centre of the first.

    Returns
    -------
    NDArray
        (H, W), float32.
    """
    return _sample_rows(_sample_rows(values, rows).T, columns).T


def _sample_rows(values: Floats, rows: Positions) -> Floats:
    rows = np.clip(rows, 0, len(values) - 1)
    above = np.floor(rows).astype(np.intp)
    below = np.minimum(above + 1, len(values) - 1)
    part = (rows - above).astype(np.float32)[:, None]
    return values[above] + (values[below] - values[above]) * part


def centres(count: int, cells: int) -> Positions:
    """Place the centres of ``count`` evenly spaced pixels in a row of ``cells`` cells: (count,)."""
    return (np.arange(count, dtype=np.float64) + 0.5) * (cells / count) - 0.5


@dataclass(frozen=True)
class Field:
    """Where the cells of a map lie in the model's input: cell i is centred on pixel ``stride · i + offset``.

    Pixels count from the centre of the first. Cells tile an input only where padding sees to that.

    Attributes
    ----------
    size
        Height and width of the input.
    stride, offset
        In its pixels, (down, across).
    """

    size: Size
    stride: tuple[float, float]
    offset: tuple[float, float]

    @classmethod
    def tiling(cls, size: Size, cells: Size) -> Self:
        """So many cells that cover the input evenly."""
        down, across = (length / count for length, count in zip(size, cells, strict=True))
        return cls(size, (down, across), (down / 2 - 0.5, across / 2 - 0.5))


@dataclass(frozen=True)
class Geometry:
    """How a picture was laid into the model's input: ``input = picture · scale + offset`` on each axis.

    Positions are measured from the upper left corner, not from a pixel's centre; pairs are (down, across).

    Attributes
    ----------
    original
        Height and width of the picture.
    size
        Height and width of the model's input.
    scale
        Input pixels per picture pixel.
    offset
        Where the picture's corner lies in the input: below 0 where it was cropped, above where padded.
    """

    original: Size
    size: Size
    scale: tuple[float, float]
    offset: Size

    @classmethod
    def whole(cls, size: Size) -> Self:
        """A picture that is the model's input as it stands."""
        return cls(size, size, (1.0, 1.0), (0, 0))

    def seen_at(self, size: Size) -> Geometry:
        """Where the picture would lie in the model's input if it had another height and width."""
        down, across = (self.scale[axis] * self.original[axis] / size[axis] for axis in (0, 1))
        return Geometry(size, self.size, (down, across), self.offset)

    def undo(self, values: Floats, field: Field | None = None) -> Floats:
        """Bring a map over the input's area to the picture's pixels: resize, crop and padding undone.

        Parameters
        ----------
        values
            (h, w), any resolution.
        field
            Where its cells lie; None: they tile the input evenly.

        Returns
        -------
        NDArray
            (H0, W0), float32: bilinear, padded bars cut off, 0 where the picture was cropped away.
        """
        height, width = values.shape
        field = field or Field.tiling(self.size, (height, width))
        axes = [self._positions(axis, field) for axis in (0, 1)]
        (rows, seen_rows), (columns, seen_columns) = axes
        restored = sample(np.asarray(values, np.float32), rows, columns)
        restored[~seen_rows] = 0
        restored[:, ~seen_columns] = 0
        return restored

    def seen(self, mask: NDArray[Any]) -> NDArray[np.bool_]:
        """A mask over the picture, at any resolution, as it lies in the model's input: (H, W) of that."""
        places, inside = [], []
        for axis in (0, 1):
            pixels = (np.arange(self.size[axis]) + 0.5 - self.offset[axis]) / self.scale[axis] / self.original[axis]
            inside.append((pixels >= 0) & (pixels < 1))
            places.append(np.clip((pixels * mask.shape[axis]).astype(int), 0, mask.shape[axis] - 1))
        return (mask[np.ix_(*places)] > 0) & inside[0][:, None] & inside[1][None]

    def _positions(self, axis: int, field: Field) -> tuple[Positions, NDArray[np.bool_]]:
        """Give every picture pixel's place in the map on one axis, and whether the model saw it."""
        pixels = np.arange(self.original[axis], dtype=np.float64) + 0.5
        inside = pixels * self.scale[axis] + self.offset[axis]
        cells = (inside - 0.5 - field.offset[axis]) / field.stride[axis]
        return cells, (inside >= 0) & (inside <= self.size[axis])


def lay_out(original: Size, size: Size | None, resize: str, resize_size: int | Size | None) -> tuple[Geometry, Size]:
    """Where a picture comes to lie in the model's input, and the (height, width) that it is resized to.

    Parameters
    ----------
    original
        Height and width of the picture.
    size, resize, resize_size
        As in `relcam_onnx.pictures.preprocess.Preprocess`.

    Raises
    ------
    InputError
        The picture is so long and thin that resizing it would fill the memory.
    """
    height, width = resized = original
    if resize == "squash" and resize_size is not None:
        resized = resize_size if isinstance(resize_size, tuple) else (resize_size, resize_size)
    elif resize == "shorter" and resize_size is not None:
        resized = with_shorter(original, *(resize_size if isinstance(resize_size, tuple) else (resize_size,)))
    elif size is not None and resize == "squash":
        resized = size
    elif size is not None:
        ratios = (size[0] / height, size[1] / width)
        ratio = max(ratios) if resize == "shorter" else min(ratios)
        resized = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    if resized != original and math.prod(resized) > MOST_PIXELS:
        raise InputError(
            f"a picture of {width}×{height} pixels is too long and thin: it would be resized to "
            f"{resized[1]}×{resized[0]}; crop it, or set resize to 'squash' or 'letterbox'"
        )
    size = size or resized
    return Geometry(
        original=original,
        size=size,
        scale=(resized[0] / height, resized[1] / width),
        offset=(_centred(size[0], resized[0]), _centred(size[1], resized[1])),
    ), resized


def for_input(
    height: int | None, width: int | None, size: Size | None, resize: str, resize_size: int | Size | None
) -> tuple[Size | None, int | Size | None]:
    """The ``size`` and ``resize_size`` for an input of this height and width, None where it leaves them open.

    An open side keeps what ``size`` says of it, or makes a square. ``resize_size`` scales with the ``size`` that stands
    beside it. Without one a number stays as it is, while [shorter, longest], which keeps a picture whole, gives way.
    """
    if height is None and width is None:
        return size, resize_size
    before = size or (width or 0, height or 0)
    after = (height or before[0], width or before[1])
    if size is None or resize_size is None:
        whole = resize == "shorter" and isinstance(resize_size, tuple)
        return after, None if whole else resize_size
    by = (min(after) / min(before),) * 2
    if not isinstance(resize_size, tuple):
        return after, round(resize_size * by[0])
    by = by if resize == "shorter" else (after[0] / before[0], after[1] / before[1])
    return after, (round(resize_size[0] * by[0]), round(resize_size[1] * by[1]))


def with_shorter(original: Size, edge: int, most: int | None = None) -> Size:
    """Height and width with the shorter side so long, and the longer one, rounded down, no longer than ``most``.

    As torchvision has it, and transformers' processor of DETR.
    """
    shorter, longer = min(original), max(original)
    scale = Fraction(edge, shorter)
    if most is not None and scale * longer > most:
        scale = Fraction(most, longer)
        edge = max(1, round(scale * shorter))
    height, width = (edge if side == shorter else math.floor(scale * side) for side in original)
    return height, width


def _centred(outer: int, inner: int) -> int:
    """Begin ``inner`` here in ``outer``: crops are rounded as torchvision does, bars as YOLO does."""
    return (outer - inner) // 2 if outer >= inner else -round((inner - outer) / 2)
