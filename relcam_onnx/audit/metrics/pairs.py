"""How alike two maps of one size are, (h, w) each."""

from __future__ import annotations

import numpy as np

from relcam_onnx.audit.metrics.places import Map, iou, positive
from relcam_onnx.audit.metrics.statistics import spearman
from relcam_onnx.results.segment import segment

FARTHEST = 2**0.5
"""From corner to corner, in shares of the picture's sides."""


def cosine(a: Map, b: Map) -> float:
    """Of the two maps as vectors; 0 where one alone is zero all over, NaN where both are."""
    first, second = (np.asarray(heat, np.float64).reshape(-1) for heat in (a, b))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm else alone(first.any(), second.any(), 0.0)


def rank(a: Map, b: Map) -> float:
    """The correlation of ranks; 0 where one alone is the same everywhere, NaN where both are."""
    found = spearman(a, b)
    return found if np.isfinite(found) else alone(np.ptp(a) > 0, np.ptp(b) > 0, 0.0)


def alone(first: bool | np.bool_, second: bool | np.bool_, told: float) -> float:
    """What is ``told`` where one map alone says anything, which is no agreement; NaN where neither does."""
    return told if bool(first) != bool(second) else float("nan")


def region_iou(a: Map, b: Map) -> float:
    """The intersection over union of the regions that hold 80 % of each; 1 where both are empty."""
    first, second = segment(a), segment(b)
    return iou(first, second) if first.any() or second.any() else 1.0


def centre(heat: Map) -> np.ndarray:
    """The centre of mass of the positive part, in shares of height and width; NaN where nothing is positive."""
    mass = positive(heat)
    total = mass.sum()
    if not total:
        return np.array([np.nan, np.nan])
    sides = [(np.arange(size) + 0.5) / size for size in mass.shape]
    return np.array([(mass.sum(axis=1) @ sides[0]) / total, (mass.sum(axis=0) @ sides[1]) / total])


def shift(a: Map, b: Map) -> float:
    """How far the centre of mass lies from the other's, in shares of the picture's sides.

    `FARTHEST` where one alone is nowhere positive, NaN where both are.
    """
    found = float(np.linalg.norm(centre(a) - centre(b)))
    return found if np.isfinite(found) else alone(positive(a).any(), positive(b).any(), FARTHEST)


def entropy(heat: Map) -> float:
    """Of the positive part as shares, over that of a map that is the same everywhere: 0 one place, 1 all of them."""
    mass = positive(heat).reshape(-1)
    total = mass.sum()
    if not total or mass.size == 1:
        return float("nan")
    shares = mass[mass > 0] / total
    return float(-(shares * np.log(shares)).sum() / np.log(mass.size))
