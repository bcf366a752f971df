"""Maps made of relevance R, (K·N, C, h, w), and the activation A, (N, C, h, w), that it is the relevance of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relcam_onnx.ops import Backend, Value
from relcam_onnx.ops.records import product


def channel_weights(f: Backend, activation: Value, relevance: Value) -> Value:
    """mean_hw(R_k), (K·N, C, 1, ...)."""
    return f.ReduceMean(relevance, positions_of(f, activation), keepdims=1)


def positions_of(f: Backend, activation: Value) -> list[int]:
    """The axes of a layer's positions."""
    return list(range(2, len(f.dims(activation))))


def relevance_cam(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """Σ_k A_k · mean_hw(R_k), no ReLU (Lee et al. 2021, eq. 8); (K·N, h, w)."""
    return weighted(f, activation, channel_weights(f, activation, relevance))


def weighted(f: Backend, activation: Value, weights: Value) -> Value:
    """Σ_k w_k · A_k, (K·N, h, w)."""
    return channel_sum(f, weights * f.each(activation), f.dims(activation))


def local_relevance_cam(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """Σ_k |A_k| · R̄_k / (Ā_k + ε): relevance per unit of activation, taken over windows of ``window`` positions a side.

    ε = 1e-3 · mean |A| over channels and positions of the image, + 1e-12; (K·N, h, w).
    """
    strength = f.Abs(activation)
    dims = f.dims(activation)
    mean = f.ReduceMean(strength, list(range(1, len(dims))), keepdims=1)
    epsilon = mean * 1e-3 + 1e-12
    around = windowed(f, strength, window, dims[2:]) + epsilon
    per_unit = windowed(f, relevance, window, dims[2:]) / f.each(around)
    return channel_sum(f, per_unit * f.each(strength), dims)


def channel_sum(f: Backend, x: Value, dims: Sequence[Any]) -> Value:
    """Σ_k of (K·N, C, h, w) with the sizes ``dims``; a product with ones, which runs faster than a reduction."""
    flat = f.Reshape(x, [0, dims[1], product(dims[2:])])
    return f.Reshape(f.MatMul(np.ones((1, dims[1]), np.float32), flat), [0, *dims[2:]])


def windowed(f: Backend, x: Value, window: int, size: Sequence[Any]) -> Value:
    """Means over windows that tile the layer, resized back to its ``size`` (bilinear, half-pixel)."""
    if window == 1:
        return x
    rank = len(size)
    means = f.AveragePool(x, kernel_shape=[window] * rank, strides=[window] * rank, ceil_mode=1, count_include_pad=0)
    scales = [1.0, 1.0, *[float(window)] * rank]
    grown = f.Resize(means, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")
    if all(isinstance(n, int) and n % window == 0 for n in size):
        return grown
    return f.Slice(grown, [0] * rank, list(size), list(range(2, 2 + rank)))


def window_size(deepest: float, stride: float) -> int:
    """How many positions of a layer one of the deepest stage covers along a side."""
    return max(1, int(np.ceil(deepest / stride)))


def lrp(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """R itself; (K·N, C, h, w)."""
    return relevance
