"""Probes that hide parts of the picture. What is hidden is 0: the mean colour where preprocessing centres colours.

Both hand the input's map, (K, C, H, W), in equal shares to its C colours, which pictures add up.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from relcam_onnx.probing.growing import grown, spread
from relcam_onnx.probing.subject import Floats, Subject, parts

WINDOWS = 7
"""Of occlusion, that tile a side of the picture; twice as many but one overlap by half."""
CELLS, SHOWN = 7, 0.5
"""A side of RISE's coarse masks, and the share of their cells that lets the picture through."""


def occlusion(subject: Subject) -> Floats:
    """By how much the value falls where a window is hidden, the mean over the windows that cover a pixel.

    Zeiler and Fergus 2014, arXiv:1311.2901; windows of a 7th of each side, half a window apart.
    """
    height, width = subject.x.shape[-2:]
    windows = list(product(starts(height), starts(width)))
    total = np.zeros((len(subject.own), height, width))
    cover = np.zeros((height, width))
    for part in parts(len(windows), subject.size):
        hidden = np.zeros((len(windows[part]), height, width), bool)
        for mask, (rows, columns) in zip(hidden, windows[part], strict=True):
            mask[rows, columns] = True
        falls = subject.own - subject.values(np.where(hidden[:, None], np.float32(0), subject.x))
        total += spread(falls, hidden.astype(np.float32))
        cover += hidden.sum(axis=0)
    return over_colours(total / cover, subject)


def starts(size: int) -> list[slice]:
    """The windows along a side; the last ends with it."""
    window = -(-size // WINDOWS)
    firsts = range(0, size, max(1, window // 2))
    return [slice(first, first + window) for first in dict.fromkeys(min(first, size - window) for first in firsts)]


def rise(subject: Subject) -> Floats:
    """Σ_i (v_i − v̄) · m_i / (.5 · samples), v_i the probability of x · m_i, m_i random masks of 7 × 7 cells.

    Petsiuk et al. 2018, arXiv:1806.07421, equation 6; without the mean v̄ over all masks, which their pictures take off
    as the map's least value. So 0 is a place that tells nothing.
    """
    size: tuple[int, int] = subject.x.shape[-2:]
    cells = subject.rng.random((subject.samples, CELLS, CELLS)) < SHOWN
    shifts = subject.rng.integers(0, cell_of(size), (subject.samples, 2))
    total, opened = np.zeros((len(subject.own), *size)), np.zeros(size)
    told = np.zeros(len(subject.own))
    for part in parts(subject.samples, subject.size):
        masks = masks_of(cells[part], shifts[part], size)
        values = subject.values(subject.x * masks[:, None])
        total += spread(values, masks)
        opened += masks.sum(axis=0)
        told += values.sum(axis=0)
    centred = total - told[:, None, None] / subject.samples * opened
    return over_colours(centred / (SHOWN * subject.samples), subject)


def cell_of(size: tuple[int, int]) -> list[int]:
    """Height and width of a cell, in pixels."""
    return [-(-side // CELLS) for side in size]


def masks_of(cells: np.ndarray, shifts: np.ndarray, size: tuple[int, int]) -> Floats:
    """Coarse masks, grown (bilinear) to a cell more than the picture and cut out at a random place; (M, H, W)."""
    down, across = ((CELLS + 1) * side for side in cell_of(size))
    large = grown(cells.astype(np.float32), (down, across), aligned=False)
    return np.stack(
        [m[top : top + size[0], left : left + size[1]] for m, (top, left) in zip(large, shifts, strict=True)]
    )


def over_colours(plane: np.ndarray, subject: Subject) -> Floats:
    """(K, H, W) in equal shares to each colour, (K, C, H, W)."""
    colours = len(subject.x)
    return np.repeat(plane[:, None] / colours, colours, axis=1).astype(np.float32)


def occlusion_passes(samples: int, picture: tuple[int, ...], layer: tuple[int, ...]) -> int:
    """One for each window."""
    return len(starts(picture[-2])) * len(starts(picture[-1]))
