"""The region that a map marks, by one of four rules.

Sources: mean and deviation, Lee et al. 2021 (Relevance-CAM, localisation); Otsu 1979, a threshold selection method from
gray-level histograms; the smallest region that holds a share of the mass is ours: measured against outlines, it cuts
less off an object than a mean and a deviation do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.geometry import Floats

Rule: TypeAlias = Callable[[Floats], float]
"""The positive part of a map, not zero all over -> the least value that belongs to the region."""

MASS = "mass=0.8"
"""The rule where none is named."""
LEVELS = 4096
"""Steps that values are sorted into first; only those of one step are put in order."""


def segment(map: ArrayLike, rule: str | float = MASS) -> NDArray[np.bool_]:
    """Mark the region where a map is high.

    Parameters
    ----------
    map
        (..., H, W), raw and signed, such as ``explanation.heat()`` or ``explanation.maps["fused"]``; each plane by
        itself. Only its positive part p counts.
    rule
        ``"mass=0.8"``, the smallest region that holds 80 % of p, or another share; ``"deviation"``, p > mean(p) +
        deviation(p); ``"otsu"``, p over Otsu's threshold; or a number, such as ``0.5`` or ``"0.5"``: p at least this
        share of its maximum. Equal values are in or out together.

    Returns
    -------
    NDArray
        bool (..., H, W); nothing where a map is nowhere positive.

    Raises
    ------
    OptionError
        No such rule.
    InputError
        The map has no two axes of positions, or is not finite as float32.
    """
    least, values = read_rule(rule), np.asarray(map)
    if values.ndim < 2 or 0 in values.shape[-2:] or values.dtype.kind not in "fiub":
        raise InputError(f"a map is numbers (..., H, W), not {values.dtype} {values.shape}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise InputError("the map holds NaN or values that are infinite as float32; mask or scale them first")
    planes = np.maximum(values, np.float32(0)).reshape(-1, *values.shape[-2:])
    marked = [plane >= np.float32(least(plane)) if plane.any() else np.zeros(plane.shape, bool) for plane in planes]
    return np.array(marked, bool).reshape(values.shape)


def best_threshold(maps: Sequence[ArrayLike], masks: Sequence[ArrayLike]) -> float:
    """The share of a map's maximum that marks regions best, on pictures whose objects are known.

    Parameters
    ----------
    maps
        Each (H, W), raw.
    masks
        Each of its map's size, true inside.

    Returns
    -------
    float
        A rule for `segment`: of a hundred, the one with the largest mean IoU.

    Raises
    ------
    InputError
        There are none, not as many of both, or a mask has not its map's size.
    """
    if len(maps) != len(masks):
        raise InputError(f"give a mask for each map, not {len(masks)} masks for {len(maps)} maps")
    pairs = [(np.asarray(heat, np.float32), np.asarray(mask, bool)) for heat, mask in zip(maps, masks, strict=True)]
    if not pairs or any(heat.shape != mask.shape for heat, mask in pairs):
        raise InputError("give at least one map, and for each a mask of its size")
    steps = np.arange(1, 100) / 100
    found = np.zeros(len(steps))
    for heat, mask in pairs:
        share = np.maximum(heat, 0) / max(float(heat.max()), float(np.finfo(np.float32).tiny))
        for place, step in enumerate(steps):
            region = share >= step
            found[place] += (region & mask).sum() / max((region | mask).sum(), 1)
    return float(steps[int(found.argmax())])


def read_rule(rule: str | float) -> Rule:
    """A rule by its name; `OptionError` where there is none."""
    name, named, share = str(rule).partition("=")
    if name in RULES and not named:
        return RULES[name]
    try:
        number = float(share if name == "mass" else rule)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise OptionError(
            f"no rule for regions is called {rule!r}; there are 'mass=0.8' (or another share), 'deviation', 'otsu' and "
            "a number above 0 and at most 1, a share of the maximum"
        )
    return partial(mass, share=number) if name == "mass" else partial(of_maximum, share=number)


def mass(positive: Floats, share: float = 0.8) -> float:
    """The largest value such that all that is at least as high holds this share of the sum."""
    values = positive[positive > 0].astype(np.float64)
    wanted = share * values.sum()
    steps = (values * (LEVELS / values.max())).astype(np.int64)
    held = np.bincount(steps, values)[::-1].cumsum()[::-1]  # by each step and all above it
    edge = int(np.flatnonzero(held >= wanted)[-1]) if (held >= wanted).any() else 0
    above = held[edge + 1] if edge + 1 < len(held) else 0.0
    order = np.sort(values[steps == edge])[::-1]
    return float(order[min(np.searchsorted(above + order.cumsum(), wanted), len(order) - 1)])


def deviation(positive: Floats) -> float:
    """The least float32 above the mean plus one deviation."""
    least = positive.mean(dtype=np.float64) + positive.std(dtype=np.float64)
    return float(np.nextafter(np.float32(least), np.float32(np.inf)))


def otsu(positive: Floats) -> float:
    """The edge between 256 steps that sets two classes of values furthest apart (Otsu 1979, equation 18)."""
    counts, edges = np.histogram(positive, 256, (0, float(positive.max())))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sums = counts.cumsum()[:-1], (counts * middles).cumsum()
    above = positive.size - below
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = below * above * np.square(sums[:-1] / below - (sums[-1] - sums[:-1]) / above)
    return float(edges[1 + int(np.nan_to_num(apart).argmax())])


def of_maximum(positive: Floats, share: float) -> float:
    """A share of the maximum."""
    return share * float(positive.max())


RULES: dict[str, Rule] = {"mass": mass, "deviation": deviation, "otsu": otsu}
