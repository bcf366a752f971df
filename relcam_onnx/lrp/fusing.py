"""One map of all stages, finest first; each is (K·N, h, w), and counts by its positive part over its maximum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from relcam_onnx.ops import Backend, Value

FLOOR = 1e-6
"""Values of a stage below this count as this in the geometric mean."""


def geometric_mean(f: Backend, maps: Sequence[Value], sizes: Sequence[Sequence[Any]]) -> Value:
    """The geometric mean of all stages: (K·N, h, w) in 0..1, at the first one's size.

    A stage that nothing of a target reaches, a coarser level than its own as a rule, does not count.
    """
    reached = [
        f.Where(f.Greater(f.ReduceMax(f.Abs(m), [*range(1, 1 + len(sizes[0]))], keepdims=1), 0.0), 1.0, 0.0)
        for m in maps
    ]
    logs = [f.Log(f.Max(unit, FLOOR)) * counts for unit, counts in zip(aligned(f, maps, sizes), reached, strict=True)]
    count = f.Sum(*reached)
    return f.Exp(f.Sum(*logs) / f.Max(count, 1.0)) * f.Min(count, 1.0)


def product_of_all(f: Backend, maps: Sequence[Value], sizes: Sequence[Sequence[Any]]) -> Value:
    """The product of all stages (Domeniconi et al. 2026, arXiv:2605.14641): (K·N, h, w) in 0..1, at the first size."""
    first, *others = aligned(f, maps, sizes)
    for other in others:
        first = first * other
    return first


def aligned(f: Backend, maps: Sequence[Value], sizes: Sequence[Sequence[Any]]) -> Iterator[Value]:
    """Each stage in 0..1, resized (bilinear, half-pixel) from its own of ``sizes`` to the first one's."""
    for stage, size in zip(maps, sizes, strict=True):
        unit = to_unit(f, stage, len(size))
        yield unit if tuple(size) == tuple(sizes[0]) else resize(f, unit, sizes[0])


def to_unit(f: Backend, stage: Value, rank: int) -> Value:
    """The positive part over its maximum, 0 where nothing is positive."""
    positive = f.Relu(stage)
    most = f.ReduceMax(positive, list(range(1, 1 + rank)), keepdims=1)
    return positive / f.Where(f.Greater(most, 0.0), most, 1.0)


def resize(f: Backend, stage: Value, size: Sequence[Any]) -> Value:
    """(K·N, h, w) to (K·N, *size), bilinear, half-pixel."""
    plane, axes = f.Unsqueeze(stage, [1]), list(range(2, 2 + len(size)))
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return f.Squeeze(f.Resize(plane, None, None, list(size), axes=axes, **how), [1])
