"""How a map is made of relevance: the methods, and the map of all stages in one.

A is a layer's activation, (N, C, h, w); R its relevance, (K·N, C, h, w). Formulas: docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relcam_onnx.ops import Backend, Value
from relcam_onnx.ops.records import product

FLOOR = 1e-6
"""Values of a stage below this count as this in the fused map."""


def channel_weights(f: Backend, activation: Value, relevance: Value, *, keepdims: int = 0) -> Value:
    """mean_hw(R_k), (K·N, C), or (K·N, C, 1, ...) to broadcast."""
    return f.ReduceMean(relevance, list(range(2, len(f.dims(activation)))), keepdims=keepdims)


def relevance_cam(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """Σ_k A_k · mean_hw(R_k), no ReLU (Lee et al. 2021, eq. 8); (K·N, h, w)."""
    weights = channel_weights(f, activation, relevance, keepdims=1)
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


def grad_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """max(Σ_k A_k · mean_hw(G_k), 0) (Selvaraju et al. 2017, eq. 1 and 2); (K·N, h, w)."""
    return f.Relu(relevance_cam(f, activation, gradient, window))


def lrp(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """R itself; (K·N, C, h, w)."""
    return relevance


@dataclass(frozen=True)
class Method:
    """How a map is made of relevance.

    Attributes
    ----------
    make
        (f, A, R, window) -> the map.
    keeps_channels
        Whether it is (K·N, C, h, w), not (K·N, h, w).
    needs_gradient
        Whether R must be the gradient itself: preset ``gradient`` goes with it.
    """

    make: Callable[[Backend, Value, Value, int], Value]
    keeps_channels: bool = False
    needs_gradient: bool = False


METHODS: dict[str, Method] = {
    "local-relevance-cam": Method(local_relevance_cam),
    "relevance-cam": Method(relevance_cam),
    "grad-cam": Method(grad_cam, needs_gradient=True),
    "lrp": Method(lrp, keeps_channels=True),
}
"""The methods by name."""


def fuse(f: Backend, maps: Sequence[Value], sizes: Sequence[Sequence[Any]]) -> Value:
    """One map of all stages, finest first: the geometric mean of their positive parts; (K·N, h, w) in 0..1.

    Each map's positive part is divided by its maximum and resized (bilinear, half-pixel) from its own of ``sizes`` to
    the first one's.
    """
    logs = []
    for stage, size in zip(maps, sizes, strict=True):
        unit = to_unit(f, stage, len(size))
        if tuple(size) != tuple(sizes[0]):
            unit = resize(f, unit, sizes[0])
        logs.append(f.Log(f.Max(unit, FLOOR)))
    return f.Exp(f.Sum(*logs) / float(len(logs)))


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


def window_size(deepest: float, stride: float) -> int:
    """How many positions of a layer one of the deepest stage covers along a side."""
    return max(1, int(np.ceil(deepest / stride)))
