"""Regions as COCO's compressed run lengths, which `pycocotools` reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.results.regions import Region

BITS, MORE, FIRST = 5, 32, 48
"""Of a number in each character, the bit that says that another one follows, and the character of zero."""


def compressed(region: Region) -> dict[str, Any]:
    """A region in its picture's pixels, ``{"size": [height, width], "counts": text}``.

    Runs go down the columns, what is outside first. They are counted on the region's own grid, so that a large
    photograph costs what a small one does.
    """
    rows, columns = region.pixels_of_cells
    cells = region.cells.T[np.repeat(np.arange(len(columns)), columns)].reshape(-1)
    last = np.append(np.flatnonzero(cells[1:] != cells[:-1]), cells.size - 1)  # of each run
    across, down = np.divmod(last, len(rows))
    runs = np.diff(across * region.size[0] + rows.cumsum()[down], prepend=0)
    return {"size": [*region.size], "counts": as_text(np.insert(runs, 0, 0) if cells[0] else runs)}


def as_text(runs: NDArray[np.int64]) -> str:
    """Lengths as text: from the fourth on each less the one before the last, in fives of bits, the lowest first."""
    left = runs.astype(np.int64)
    left[3:] -= runs[1:-2]
    digits, used = [], []
    going = np.ones(len(left), bool)
    while going.any():
        low = left & (MORE - 1)
        left = left >> BITS
        # The last character's top bit is the number's sign.
        ended = np.where(low & (MORE >> 1), left == -1, left == 0)
        digits.append(low + np.where(ended, 0, MORE) + FIRST)
        used.append(going)
        going = going & ~ended
    text: bytes = np.stack(digits, axis=1)[np.stack(used, axis=1)].astype(np.uint8).tobytes()
    return text.decode("ascii")
