"""Regions as COCO's run lengths, compressed as `pycocotools` has them and not, and what others wrote as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.results.regions import Region

Mask = NDArray[np.bool_]

BITS, MORE, FIRST = 5, 32, 48
"""Of a number in each character, the bit that says that another one follows, and the character of zero."""


class Runs(NamedTuple):
    """A mask of ``size`` (height, width) by lengths of its runs down the columns, what is outside first."""

    size: tuple[int, int]
    lengths: NDArray[np.int64]

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """What stands in COCO's JSON, in either form; `ValueError`, `TypeError` or `KeyError` where it is neither."""
        (height, width), counts = told["size"], told["counts"]
        lengths = from_text(counts) if isinstance(counts, str) else [*map(int, counts)]
        found = cls((int(height), int(width)), np.array(lengths, np.int64))
        if (found.lengths < 0).any() or found.lengths.sum() != height * width:
            raise ValueError(f"run lengths add up to {found.lengths.sum()}, not to {height} × {width}")
        return found

    @property
    def mask(self) -> Mask:
        """Bool (height, width)."""
        flat = np.repeat(np.arange(len(self.lengths)) % 2 == 1, self.lengths)
        return np.asarray(flat.reshape(self.size[::-1]).T)


def uncompressed(mask: Mask) -> dict[str, list[int]]:
    """A mask, ``{"size": [height, width], "counts": lengths}``."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": [*mask.shape], "counts": [0, *counts] if flat.size and flat[0] else counts}


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


def from_text(text: str) -> list[int]:
    """The lengths that `as_text` made a text of."""
    runs: list[int] = []
    value = bits = 0
    for character in text.encode("ascii"):
        digit = character - FIRST
        value |= (digit & (MORE - 1)) << bits
        bits += BITS
        if not digit & MORE:
            value -= (1 << bits) * bool(digit & (MORE >> 1))
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs
