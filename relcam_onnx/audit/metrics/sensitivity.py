"""What a map hangs on: the class that is asked, and what the network has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's r of two maps of one size; 0 where one alone is the same everywhere, NaN where both are."""
    first, second = (np.asarray(heat, np.float64).reshape(-1) - np.mean(heat, dtype=np.float64) for heat in (a, b))
    mine, theirs = first @ first, second @ second
    if not mine and not theirs:
        return float("nan")
    return float(first @ second / np.sqrt(mine * theirs)) if mine and theirs else 0.0


def drawn(value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Normal numbers with an array's mean and deviation, of its own type.

    Quantised ones are whole numbers of the file's own, whose scales stay. What the type does not hold is its end; the
    ends of types that NumPy has not (bfloat16, int4) are those of the values.
    """
    exact = value.astype(np.float64)
    anew = rng.normal(exact.mean(), exact.std(), exact.shape)
    ends = (float(exact.min()), float(exact.max()))
    if value.dtype.kind in "iuf":
        info = np.finfo(value.dtype) if value.dtype.kind == "f" else np.iinfo(value.dtype)
        ends = (float(info.min), float(info.max))
    if "int" in value.dtype.name:
        anew = np.rint(anew)
    return anew.clip(*ends).astype(value.dtype)
