"""What a map finds, by taking it away: patches one at a time, or pixels in the map's order.

A score is a function of pictures, (N, C, H, W) to (N,); a picture x is (C, H, W) as the model takes it; a map (h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit.metrics.places import Map, overlaps
from relcam_onnx.audit.metrics.statistics import spearman
from relcam_onnx.extras import require
from relcam_onnx.results.render import resize_map

Floats: TypeAlias = NDArray[np.float32]
Score: TypeAlias = Callable[[Floats], Floats]

NOTHING = np.zeros((1, 1, 1), np.float32)
"""What a hidden pixel is where preprocessing centres colours."""
PATCHES = 4
"""A side, as in Hesse et al. 2024."""
STEPS = 8
"""Parts that pixels come or go in."""
BLUR = 10
"""Pixels: the deviation of the Gaussian that stands for nothing."""
NEIGHBOURS = [(0, 1, 1 / 6), (0, -1, 1 / 6), (1, 0, 1 / 6), (-1, 0, 1 / 6),
              (1, 1, 1 / 12), (1, -1, 1 / 12), (-1, 1, 1 / 12), (-1, -1, 1 / 12)]  # fmt: skip
"""Rows, columns and weight of what a missing pixel is the mean of (Rong et al. 2022)."""
NOISE = 0.01
"""The deviation of what is added to it there."""
ACCURACY = 1e-4
"""Of the equations for missing pixels, of their right side."""
SHARES = (0.3, 0.7)
"""Of the pixels that ROAD takes away."""


def without_patches(x: Floats, nothing: Floats = NOTHING, patches: int = PATCHES) -> Floats:
    """The picture without each of its patches in turn, (patches², C, H, W): ``nothing``, the mean colour, is there."""
    rows, columns = (np.arange(size) * patches // size for size in x.shape[1:])
    gone = [(rows[:, None] == i) & (columns == j) for i in range(patches) for j in range(patches)]
    return np.where(np.array(gone)[:, None], nothing, x)


def single_deletion(drops: NDArray[np.floating], heat: Map) -> float:
    """The single-deletion score of Hesse et al. 2024 (arXiv:2407.11910), without its training on deleted patches.

    Parameters
    ----------
    drops
        (patches²,): by how much the score falls without each patch of `without_patches`.
    heat
        (h, w), signed.

    Returns
    -------
    float
        Spearman's correlation of what falls with the map's sum over each patch.
    """
    side = round(np.sqrt(drops.size))
    shares = [overlaps(size, side) for size in heat.shape]
    return spearman(drops, shares[0].T @ heat.astype(np.float64) @ shares[1])


def order_of(heat: Map, size: tuple[int, int]) -> NDArray[np.intp]:
    """The place of each pixel in the map's order, the highest first, (H, W)."""
    order = np.argsort(-resize_map(np.asarray(heat, np.float32), size), axis=None, kind="stable")
    place = np.empty(order.size, np.intp)
    place[order] = np.arange(order.size)
    return place.reshape(size)


def insertion(score: Score, x: Floats, heat: Map, ends: tuple[float, float] | None = None) -> float:
    """The area under the score as the picture appears in its own blur, the map's highest pixels first.

    Source: Petsiuk et al. 2018 (RISE), arXiv:1806.07421. ``ends``: the scores of blur and picture, where known.
    """
    return _area(score, x, heat, blurred(x), x, ends)


def deletion(score: Score, x: Floats, heat: Map, ends: tuple[float, float] | None = None) -> float:
    """The same as it vanishes there: a good map's area is small."""
    return _area(score, x, heat, x, blurred(x), ends and ends[::-1])


def _area(score: Score, x: Floats, heat: Map, before: Floats, after: Floats, ends: tuple[float, float] | None) -> float:
    """The area under the score as pixels change from one picture to another, in the map's order; 0..1 across."""
    place = order_of(heat, (x.shape[1], x.shape[2]))
    counts = np.arange(1, STEPS) * place.size / STEPS
    inner = score(np.where((place < counts[:, None, None])[:, None], after, before))
    first, last = ends if ends is not None else score(np.stack([before, after]))
    curve = np.concatenate([[first], inner, [last]])
    return float((curve[1:] + curve[:-1]).mean() / 2)


def blurred(x: Floats) -> Floats:
    """A Gaussian blur of `BLUR` pixels, (..., H, W); at the edges the window is cut off."""
    down, across = (_gaussian(size) for size in x.shape[-2:])
    return (down @ x @ across.T).astype(np.float32)


def _gaussian(size: int) -> NDArray[np.float64]:
    """(size, size): each row is the window around one pixel."""
    distance = np.subtract.outer(np.arange(size), np.arange(size)) / BLUR
    window = np.exp(-(distance**2) / 2)
    return np.asarray(window / window.sum(axis=1, keepdims=True), np.float64)


def road(score: Score, x: Floats, heat: Map, shares: Sequence[float] = SHARES) -> float:
    """Remove and debias (Rong et al. 2022, arXiv:2202.00449): how much more the highest pixels matter than the lowest.

    Returns
    -------
    float
        The score without the lowest pixels less the score without the highest, half of it, mean over the shares.
    """
    place = order_of(heat, (x.shape[1], x.shape[2]))
    gone = [side < share * place.size for share in shares for side in (place, place.size - 1 - place)]
    found = score(np.stack([imputed(x, mask) for mask in gone])).reshape(-1, 2)
    return float((found[:, 1] - found[:, 0]).mean() / 2)


def imputed(x: Floats, gone: NDArray[np.bool_], seed: int = 0) -> Floats:
    """The picture where some pixels are the weighted mean of their neighbours, gone ones too, and a little noise.

    One linear equation for each pixel that is gone; needs SciPy.
    """
    require("ROAD needs", "audit", "scipy")
    from scipy.sparse import coo_array, diags_array  # noqa: PLC0415 - of an extra, and slow to import
    from scipy.sparse.linalg import cg  # noqa: PLC0415 - as above

    number = np.full(gone.shape, -1)
    number[gone] = np.arange(gone.sum())
    rows, columns = np.nonzero(gone)
    total = np.zeros(len(rows))
    known = np.zeros((len(rows), len(x)))
    entries: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for down, across, weight in NEIGHBOURS:
        row, column = rows + down, columns + across
        inside = np.flatnonzero((row >= 0) & (row < gone.shape[0]) & (column >= 0) & (column < gone.shape[1]))
        row, column = row[inside], column[inside]
        total[inside] += weight
        other = number[row, column]
        unknown = other >= 0
        known[inside[~unknown]] += weight * x[:, row[~unknown], column[~unknown]].T
        entries.append((inside[unknown], other[unknown], np.full(unknown.sum(), weight)))
    where, what, weights = (np.concatenate(part) for part in zip(*entries, strict=True))
    # Symmetric and positive, so that conjugate gradients solve it; what they leave is far below the noise.
    mixing = coo_array((weights, (where, what)), shape=(len(rows), len(rows))).tocsr()
    system = diags_array(total) - mixing
    solved = np.stack([cg(system, channel, rtol=ACCURACY)[0] for channel in known.T], axis=1)
    result = x.copy()
    noise = np.random.default_rng(seed).normal(0, NOISE, (len(rows), len(x)))
    result[:, rows, columns] = (solved + noise).T
    return result
