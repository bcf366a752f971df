"""Pools: windows are visited tap by tap, each tap one operation on the whole tensor."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from relcam_onnx.backends._arrays import Array, as_array
from relcam_onnx.backends._windows import layout, taps


def max_pool(
    x: ArrayLike, *, kernel_shape: Sequence[int], storage_order: int = 0, **placement: Any
) -> tuple[Array, Array]:
    """Find the largest value of each window and where it stands (ONNX MaxPool).

    Parameters
    ----------
    x
        (N, C, *spatial).
    kernel_shape
        Taps per spatial axis.
    storage_order
        1 counts positions along the first spatial axis first.
    **placement
        ``strides``, ``pads``, ``dilations``, ``ceil_mode`` and ``auto_pad``, as in ONNX.

    Returns
    -------
    tuple of ndarray
        The values, (N, C, *output) in the dtype of ``x``, and their int64 index into ``x`` flattened: of
        equal values the first in row-major order of the window.
    """
    x = as_array(x)
    spatial = x.shape[2:]
    axes = layout(spatial, kernel_shape, **placement)
    best = np.full((*x.shape[:2], *(axis.count for axis in axes)), _lowest(x.dtype), x.dtype)
    for _, source, target in taps(axes):
        largest = best[:, :, *target]
        np.maximum(largest, x[:, :, *source], out=largest)
    # Of the taps that hold the largest value the first has the highest rank. Ranks are arithmetic without
    # branches: half the time of writing positions through a mask.
    rank = np.zeros(best.shape, np.int32)
    for tap, source, target in taps(axes):
        winner, highest = x[:, :, *source] == best[:, :, *target], rank[:, :, *target]
        np.maximum(highest, winner * _rank(tap, kernel_shape), out=highest)
    steps = [math.prod(spatial[:i] if storage_order else spatial[i + 1 :]) for i in range(len(spatial))]
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2]) * math.prod(spatial)
    windows = _outer_sum(axis.positions()[:, 0] * step for axis, step in zip(axes, steps, strict=True))
    offsets = _outer_sum(np.arange(axis.kernel) * axis.dilation * step for axis, step in zip(axes, steps, strict=True))
    return best, np.add.outer(planes, windows) + offsets.reshape(-1)[-rank]


def average_pool(x: ArrayLike, *, kernel_shape: Sequence[int], count_include_pad: int = 0, **placement: Any) -> Array:
    """Take the mean of each window (ONNX AveragePool), one axis after the other.

    Parameters
    ----------
    x
        (N, C, *spatial).
    kernel_shape
        Taps per spatial axis.
    count_include_pad
        1 counts padded positions as zeros; what hangs over the padding in ceil_mode never counts.
    **placement
        ``strides``, ``pads``, ``dilations``, ``ceil_mode`` and ``auto_pad``, as in ONNX.

    Returns
    -------
    ndarray
        (N, C, *output) in the dtype of ``x``.
    """
    y = as_array(x)
    for number, axis in enumerate(layout(y.shape[2:], kernel_shape, **placement)):
        values = np.moveaxis(y, number + 2, 0)
        total = np.zeros((axis.count, *values.shape[1:]), y.dtype)
        for _, source, target in axis.taps():
            total[target] += values[source]
        low, high = (-axis.before, axis.size + axis.after) if count_include_pad else (0, axis.size)
        positions = axis.positions()
        counts = np.sum((positions >= low) & (positions < high), axis=1).astype(y.dtype)
        y = np.moveaxis(total / np.maximum(counts, 1).reshape(-1, *[1] * (y.ndim - 1)), 0, number + 2)
    return np.ascontiguousarray(y)


def global_average_pool(x: ArrayLike) -> Array:
    """Take the mean over all spatial positions, (N, C, 1, ...)."""
    x = as_array(x)
    return np.asarray(x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))


def global_max_pool(x: ArrayLike) -> Array:
    """Find the largest value over all spatial positions, (N, C, 1, ...)."""
    x = as_array(x)
    return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))


def _lowest(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _rank(tap: Sequence[int], kernel: Sequence[int]) -> np.int32:
    """Rank the taps of a kernel: 1 for the last in row-major order, the number of taps for the first."""
    return np.int32(math.prod(kernel) - np.ravel_multi_index(tuple(tap), tuple(kernel)))


def _outer_sum(terms: Iterable[Array]) -> Array:
    """Add one term per axis, in all combinations."""
    return np.asarray(functools.reduce(np.add.outer, terms))
