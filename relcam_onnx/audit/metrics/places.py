"""Where a map lies, against where the object is: tiles of a mosaic, or an outline.

A map is (h, w), signed; only its positive part p counts. A mask is bool, of the map's size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]
Mask = NDArray[np.bool_]


def positive(heat: Map) -> NDArray[np.float64]:
    """The positive part."""
    return np.maximum(heat, 0).astype(np.float64)


def in_tiles(heat: Map, tiles: Mask) -> float:
    """The share of p in some tiles of a mosaic, at the map's own resolution; 0 where nothing is positive.

    Two of four tiles: Focus (Arias-Duart et al. 2022, arXiv:2109.15035). One of four: GridPG (Böhle et al. 2021,
    arXiv:2104.00032). A cell that lies on several tiles counts to each by its share.

    Parameters
    ----------
    heat
        (h, w).
    tiles
        bool (rows, columns): which tiles of the mosaic show the class.
    """
    shares = [overlaps(size, count) for size, count in zip(heat.shape, tiles.shape, strict=True)]
    sums = shares[0].T @ positive(heat) @ shares[1]
    return float(sums[tiles].sum() / max(sums.sum(), np.finfo(np.float64).tiny))


def overlaps(cells: int, tiles: int) -> NDArray[np.float64]:
    """(cells, tiles): how much of each cell lies on each tile."""
    edges = np.arange(cells + 1) / cells * tiles
    starts, ends = edges[:-1, None], edges[1:, None]
    first = np.arange(tiles)
    shared = np.minimum(ends, first + 1) - np.maximum(starts, first)
    return np.asarray(np.maximum(shared, 0) / (ends - starts), np.float64)


def points_at_tile(heat: Map, tiles: Mask) -> bool:
    """The pointing game (Zhang et al. 2018, arXiv:1608.00507): whether the maximum lies in one of some tiles."""
    row, column = ((2 * place + 1) / (2 * size) for place, size in zip(peak(heat), heat.shape, strict=True))
    return bool(tiles[int(row * tiles.shape[0]), int(column * tiles.shape[1])])


def points(heat: Map, mask: Mask) -> bool:
    """The same for an outline."""
    return bool(mask[peak(heat)])


def peak(heat: Map) -> tuple[int, int]:
    """Where the maximum is: the first in row-major order."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(row), int(column)


def mass_accuracy(heat: Map, mask: Mask) -> float:
    """Relevance mass accuracy: the share of p inside the mask (Arras et al. 2022, arXiv:2003.07258)."""
    mass = positive(heat)
    return float(mass[mask].sum() / max(mass.sum(), np.finfo(np.float64).tiny))


def rank_accuracy(heat: Map, mask: Mask) -> float:
    """Relevance rank accuracy: of as many highest places as the mask has, the share inside (Arras et al. 2022)."""
    count = int(mask.sum())
    highest = np.argsort(-heat, axis=None, kind="stable")[:count]
    return float(mask.reshape(-1)[highest].mean()) if count else 0.0


def average_precision(heat: Map, mask: Mask) -> float:
    """The area under precision over recall, each place's value a score for being inside; equal values count at once."""
    _, hits, totals = cumulated(heat, mask)
    found = np.diff(hits, prepend=0)
    return float((hits / totals * found).sum() / max(hits[-1], 1))


def best_iou(heat: Map, mask: Mask) -> tuple[float, float]:
    """The intersection over union of the mask with the map above the threshold that suits it best, and that threshold.

    The threshold is a share of the map's maximum, 0 where the map is nowhere positive.
    """
    values, hits, totals = cumulated(heat, mask)
    found = hits / (totals + mask.sum() - hits)
    best = int(found.argmax())
    return float(found[best]), max(float(values[best]), 0.0) / max(float(values[0]), float(np.finfo(np.float32).tiny))


def cumulated(heat: Map, mask: Mask) -> tuple[Map, NDArray[np.float64], NDArray[np.float64]]:
    """A map's values, the highest first; how many places inside are at least as high, and how many in all."""
    order = np.argsort(-heat, axis=None, kind="stable")
    values = heat.reshape(-1)[order]
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    inside = mask.reshape(-1)[order].cumsum(dtype=np.float64)
    return values[last], inside[last], last + 1.0


def iou(region: Mask, mask: Mask) -> float:
    """Intersection over union of two regions; 0 where both are empty."""
    return float((region & mask).sum() / max((region | mask).sum(), 1))
