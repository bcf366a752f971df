"""How a map is made of relevance: the methods, and the map of all stages in one.

A is a layer's activation, (N, C, h, w); R its relevance, (K·N, C, h, w). Formulas: docs/methods.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from relcam_onnx.ops import Backend, Value

FLOOR = 1e-6
"""Values of a stage below this count as this in the fused map."""


def channel_weights(f: Backend, relevance: Value) -> Value:
    """mean_hw(R_k), (K·N, C)."""
    return f.ReduceMean(relevance, list(range(2, len(f.dims(relevance)))), keepdims=0)


def relevance_cam(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """Σ_k A_k · mean_hw(R_k), no ReLU (Lee et al. 2021, eq. 8); (K·N, h, w)."""
    weights = f.ReduceMean(relevance, list(range(2, len(f.dims(relevance)))), keepdims=1)
    return f.ReduceSum(f.Mul(weights, f.each(activation)), [1], keepdims=0)


def local_relevance_cam(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """Σ_k |A_k| · R̄_k / (Ā_k + ε): relevance per unit of activation, taken over windows of ``window`` positions a side.

    ε = 1e-3 · mean |A| over channels and positions of the image, + 1e-12; (K·N, h, w).
    """
    strength = f.Abs(activation)
    mean = f.ReduceMean(strength, list(range(1, len(f.dims(strength)))), keepdims=1)
    epsilon = f.Add(f.Mul(mean, 1e-3), 1e-12)
    per_unit = f.Div(windowed(f, relevance, window), f.each(f.Add(windowed(f, strength, window), epsilon)))
    return f.ReduceSum(f.Mul(per_unit, f.each(strength)), [1], keepdims=0)


def windowed(f: Backend, x: Value, window: int) -> Value:
    """Means over windows that tile the layer, resized back to its size (bilinear, half-pixel)."""
    if window == 1:
        return x
    size = f.dims(x)[2:]
    rank = len(size)
    means = f.AveragePool(x, kernel_shape=[window] * rank, strides=[window] * rank, ceil_mode=1, count_include_pad=0)
    scales = [1.0, 1.0, *[float(window)] * rank]
    grown = f.Resize(means, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")
    return f.Slice(grown, [0] * rank, list(size), list(range(2, 2 + rank)))


def grad_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """max(Σ_k A_k · mean_hw(G_k), 0) (Selvaraju et al. 2017, eq. 1 and 2); (K·N, h, w)."""
    return f.Relu(relevance_cam(f, activation, gradient, window))


def lrp(f: Backend, activation: Value, relevance: Value, window: int) -> Value:
    """R itself; (K·N, C, h, w)."""
    return relevance


Method = Callable[[Backend, Value, Value, int], Value]

METHODS: dict[str, Method] = {
    "local-relevance-cam": local_relevance_cam,
    "relevance-cam": relevance_cam,
    "grad-cam": grad_cam,
    "lrp": lrp,
}
"""The methods by name: (f, A, R, window) -> map."""


def fused(f: Backend, maps: Sequence[Value]) -> Value:
    """One map of all stages, finest first: the geometric mean of their positive parts; (K·N, h, w) in 0..1.

    Each map's positive part is divided by its maximum and resized (bilinear, half-pixel) to the first one's size.
    """
    size = list(f.dims(maps[0])[1:])
    logs = []
    for stage in maps:
        unit = to_unit(f, stage)
        if list(f.dims(unit)[1:]) != size:
            unit = resize(f, unit, size)
        logs.append(f.Log(f.Max(unit, FLOOR)))
    return f.Exp(f.Div(f.Sum(*logs), float(len(logs))))


def to_unit(f: Backend, stage: Value) -> Value:
    """The positive part over its maximum, 0 where nothing is positive."""
    positive = f.Relu(stage)
    most = f.ReduceMax(positive, list(range(1, len(f.dims(positive)))), keepdims=1)
    return f.Div(positive, f.Where(f.Greater(most, 0.0), most, 1.0))


def resize(f: Backend, stage: Value, size: Sequence[int]) -> Value:
    """(K·N, h, w) to (K·N, *size), bilinear, half-pixel."""
    sizes = [f.dims(stage)[0], 1, *size]
    grown = f.Resize(
        f.Unsqueeze(stage, [1]), None, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel"
    )
    return f.Squeeze(grown, [1])


def window_size(deepest: float, stride: float) -> int:
    """How many positions of a layer one of the deepest stage covers along a side."""
    return max(1, int(np.ceil(deepest / stride)))
