"""What figures of a sample say of all: means with intervals, and how well a number tells two kinds apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 2000
"""Samples that a bootstrap interval is made of: its ends are off by a hundredth of its width."""


AT_ONCE = 1 << 20
"""Values that are drawn at a time."""


class Estimate(NamedTuple):
    """A mean, its interval of 95 %, and how many values it is of."""

    mean: float
    low: float
    high: float
    size: int


def bootstrap(values: ArrayLike, seed: int = 0) -> Estimate:
    """Estimate a mean: its percentile interval over samples drawn with replacement (Efron 1979).

    Of differences in pairs, ``bootstrap(ours - theirs)``: the interval leaves out 0 where one leads.
    """
    sample = np.asarray(values, np.float64).reshape(-1)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return Estimate(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    rows = max(1, AT_ONCE // sample.size)
    parts = [min(rows, DRAWS - start) for start in range(0, DRAWS, rows)]
    means = np.concatenate([sample[rng.integers(0, sample.size, (n, sample.size))].mean(axis=1) for n in parts])
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(sample.mean()), float(low), float(high), sample.size)


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """The rank of each of some values, from 0; equal ones get their mean."""
    sample = np.asarray(values, np.float64).reshape(-1)
    _, inverse, counts = np.unique(sample, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts + 1) / 2)[inverse]


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """The correlation of ranks; NaN where one side does not vary."""
    first, second = (ranks(values) - (np.size(values) - 1) / 2 for values in (a, b))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm else float("nan")


def auroc(higher: ArrayLike, lower: ArrayLike) -> float:
    """How often a value of one kind is above one of the other, ties by half (the area under the ROC curve)."""
    first, second = np.size(higher), np.size(lower)
    order = ranks(np.concatenate([np.reshape(higher, -1), np.reshape(lower, -1)]))
    return float((order[:first].sum() - first * (first - 1) / 2) / (first * second))
