"""The region that a map marks in its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.pictures.geometry import Size
from relcam_onnx.results.segment import MASS, segment
from relcam_onnx.results.shapes import refined

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

FINEST = 512
"""Pixels on the longer side at which regions are told: many times the cells of any map, and a photograph of twelve
megapixels costs no more than one of a quarter."""


class Region(NamedTuple):
    """What a map marks in a picture, told on a grid over it that is no finer than `FINEST`.

    Attributes
    ----------
    cells
        bool (h, w), the grid: the picture itself where that is small enough.
    size
        The picture's height and width; each of its pixels belongs to the cell that its centre lies in.
    """

    cells: NDArray[np.bool_]
    size: Size

    @classmethod
    def of(
        cls,
        explanation: Explanation,
        layer: str,
        place: int,
        rule: str = MASS,
        *,
        refine: bool = False,
        picture: str | None = None,
        index: int = 0,
    ) -> Self:
        """What the map of one layer and target marks in an image or frame; errors as in `Explanation.heat`.

        ``refine``: with the picture's own edges, as `shapes.refined`; ``picture`` as in `Explanation.heat`.
        """
        shown = explanation.picture_of(layer, index, picture)
        assert shown is not None
        heat = explanation.heat(layer, index, place, told_at(shown.size), picture=picture)
        cells = segment(heat, rule)
        if refine:
            seen = shown.pixels.resized(cells.shape, Image.Resampling.BOX).convert("RGB")
            cells = refined(heat, cells, np.asarray(seen))
        return cls(cells, shown.size)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The region in the picture's pixels: bool (H, W)."""
        if self.cells.shape == self.size:
            return self.cells
        rows, columns = self._cells_of_pixels()
        return self.cells[np.ix_(rows, columns)]

    @property
    def area(self) -> int:
        """Its number of pixels of the picture."""
        counts = self.pixels_of_cells
        along = self.cells @ counts[1].astype(np.float32)  # whole numbers below 2**24: exact, and BLAS does it
        return int(counts[0] @ along.astype(np.int64))

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """Its extent in the picture's pixels: left, top, right, bottom, the last two exclusive; None if empty."""
        rows, columns = self._cells_of_pixels()
        down = np.flatnonzero(np.isin(rows, np.flatnonzero(self.cells.any(axis=1)))).tolist()
        across = np.flatnonzero(np.isin(columns, np.flatnonzero(self.cells.any(axis=0)))).tolist()
        return (across[0], down[0], across[-1] + 1, down[-1] + 1) if down else None

    @property
    def pixels_of_cells(self) -> list[NDArray[np.intp]]:
        """How many rows of pixels lie in each row of cells, and the same of columns."""
        pixels = self._cells_of_pixels()
        return [np.bincount(each, minlength=n) for each, n in zip(pixels, self.cells.shape, strict=True)]

    def _cells_of_pixels(self) -> list[NDArray[np.intp]]:
        """The row of cells that each row of pixels lies in, and the same of columns."""
        return [
            (2 * np.arange(pixels, dtype=np.intp) + 1) * cells // (2 * pixels)
            for pixels, cells in zip(self.size, self.cells.shape, strict=True)
        ]


def told_at(size: Size) -> Size:
    """The height and width of the grid for a picture of these."""
    scale = min(1.0, FINEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
