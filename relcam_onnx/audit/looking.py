"""Where a model looks over many pictures: shares of its maps, and mean maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit import metrics
from relcam_onnx.audit.metrics.places import overlaps, positive
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.render import resize_map

TWENTIETHS = 20
"""Cells a side that shares are counted by."""
FRAME, CORNER = 2, 5
"""How many of them are the border, and a corner's side."""
GRID = 16
"""Cells a side of the maps that means and clusters are made of."""


def where(heat: Floats, mask: NDArray[np.bool_] | None) -> dict[str, float]:
    """Shares of a map's positive part, and how spread it is; NaN where nothing is positive."""
    shares = cells(heat, TWENTIETHS)
    ends = (slice(0, CORNER), slice(-CORNER, None))
    found = {
        "border": float(1 - shares[FRAME:-FRAME, FRAME:-FRAME].sum()),
        "corners": float(sum(shares[rows, columns].sum() for rows in ends for columns in ends)),
        "entropy": metrics.entropy(heat),
    }
    if not shares.any():
        found = dict.fromkeys(found, float("nan"))
    if mask is not None and mask.any():
        found["inside"] = metrics.mass_accuracy(resize_map(heat, (mask.shape[0], mask.shape[1])), mask)
    return found


def cells(heat: Floats, count: int = GRID) -> NDArray[np.float64]:
    """The positive part of a map over a grid, as shares of its sum; 0 where nothing is positive."""
    down, across = (overlaps(size, count) for size in heat.shape)
    # A cell of the map hands its value out by area, so that finer grids get parts of it.
    mass = down.T @ positive(heat) @ across
    total = mass.sum()
    return np.asarray(mass / total if total else mass, np.float64)


def by_group(subjects: Iterable[Subject], maps: Mapping[str, Mapping[str, Floats]]) -> dict[str, dict[str, Floats]]:
    """Group -> picture -> its fused map, (h, w), of all pictures' maps."""
    found: dict[str, dict[str, Floats]] = {}
    for subject in subjects:
        named = found.setdefault(subject.group, {})
        if FUSED in maps[subject.name]:
            named[subject.name] = maps[subject.name][FUSED][0]
    return found


def looked_through(
    subjects: Iterable[Subject], maps: Mapping[str, Mapping[str, Floats]], called: Callable[[int], str]
) -> tuple[dict[str, dict[str, Floats]], dict[str, str]]:
    """Class, or subgroup -> subject -> its fused map, one a picture; and the class that all of a group are of.

    ``called`` names classes. Several detections of one picture are one, the surest: what they have in common is the
    picture.
    """
    found: dict[str, dict[str, Floats]] = {}
    kinds: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    for subject in subjects:
        kind = called(subject.label)
        for group in dict.fromkeys((kind, subject.group)):
            kinds.setdefault(group, set()).add(kind)
            if FUSED in maps[subject.name] and (group, subject.picture) not in seen:
                seen.add((group, subject.picture))
                found.setdefault(group, {})[subject.name] = maps[subject.name][FUSED][0]
    single = {group: next(iter(own)) for group, own in kinds.items() if len(own) == 1}
    whole = {
        group
        for group, kind in single.items()
        if group != kind and found.get(group, {}).keys() == found.get(kind, {}).keys()
    }
    return {group: own for group, own in found.items() if group not in whole}, single


def mean_maps(maps: Mapping[str, Mapping[str, Floats]]) -> dict[str, NDArray[np.float64]]:
    """Group -> the mean of its maps, (GRID, GRID), a share in each cell."""
    return {group: np.mean([cells(heat) for heat in named.values()], axis=0) for group, named in maps.items() if named}
