"""Maps made of the score's gradient G, (K·N, C, h, w), and the activation A, (N, C, h, w): the family of Grad-CAM.

`grad_cam` alone ends in a ReLU, as most of the papers do: pictures show the positive part, which is the same.
Where implementations differ the conventions are pytorch-grad-cam's, which most figures in the literature come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relcam_onnx.lrp.relevance_cams import channel_sum, positions_of, relevance_cam, weighted
from relcam_onnx.ops import Backend, Size, Value
from relcam_onnx.ops.records import product

SQUARINGS = 16
"""Of a Gram matrix, so that its largest eigenvalue is left alone: one that is smaller by 1e-4 has faded to e⁻⁶."""
TINY = 1e-30
"""Keeps lengths from being 0 where a layer is."""


def grad_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """max(Σ_k A_k · mean_hw(G_k), 0) (Selvaraju et al. 2017, eq. 1 and 2); (K·N, h, w)."""
    return f.Relu(relevance_cam(f, activation, gradient, window))


def plus_plus_weights(f: Backend, activation: Value, gradient: Value) -> Value:
    """Σ_hw max(G_k, 0) · a_k, a = G² / (2 G² + Σ_hw A_k · G³ + 1e-6); (K·N, C, 1, ...).

    Chattopadhay et al. 2018, arXiv:1710.11063, eq. 10 and 19, for the score itself, without an exponential.
    """
    places, square = positions_of(f, activation), gradient * gradient
    total = f.each(f.ReduceSum(activation, places, keepdims=1))
    share = square / (square * 2.0 + total * (square * gradient) + 1e-6)
    return f.ReduceSum(f.Relu(gradient) * share, places, keepdims=1)


def grad_cam_plus_plus(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """Σ_k A_k · w_k with the weights of `plus_plus_weights`; (K·N, h, w)."""
    return weighted(f, activation, plus_plus_weights(f, activation, gradient))


def xgrad_weights(f: Backend, activation: Value, gradient: Value) -> Value:
    """Σ_hw G_k · A_k / (Σ_hw A_k + 1e-7); (K·N, C, 1, ...). Fu et al. 2020, arXiv:2008.02312, eq. 8."""
    places, values = positions_of(f, activation), f.each(activation)
    total = f.ReduceSum(values, places, keepdims=1) + 1e-7
    return f.ReduceSum(gradient * values / total, places, keepdims=1)


def xgrad_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """Σ_k A_k · w_k with the weights of `xgrad_weights`; (K·N, h, w)."""
    return weighted(f, activation, xgrad_weights(f, activation, gradient))


def layer_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """Σ_k max(G_k, 0) · A_k (Jiang et al. 2021, doi:10.1109/TIP.2021.3089943); (K·N, h, w)."""
    return channel_sum(f, f.Relu(gradient) * f.each(activation), f.dims(activation))


def hires_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """Σ_k G_k · A_k (Draelos and Carin 2020, arXiv:2011.08891, eq. 7); (K·N, h, w)."""
    return channel_sum(f, gradient * f.each(activation), f.dims(activation))


def eigen_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """The activations' first principal component (Muhammad and Yeasin 2020, arXiv:2008.00299); (K·N, h, w).

    No class has a part in it. Of its two signs it has the one under which it agrees with Σ_k abs(A_k).
    """
    dims = f.dims(activation)
    found = principal(f, activation, channel_sum(f, f.Abs(activation), dims), dims)
    return f.each(found) + zeros(f, gradient, len(dims))


def zeros(f: Backend, gradient: Value, rank: int) -> Value:
    """A zero for each target and image, (K·N, 1, ...): a map that knows no class is there for each of them too."""
    return f.Squeeze(f.ReduceSum(gradient, list(range(1, rank)), keepdims=1) * 0.0, [1])


def eigen_grad_cam(f: Backend, activation: Value, gradient: Value, window: int) -> Value:
    """The first principal component of G · A (pytorch-grad-cam), in the sign that agrees with its sum; (K·N, h, w)."""
    evidence = gradient * f.each(activation)
    return principal(f, evidence, channel_sum(f, evidence, f.dims(activation)), f.dims(activation))


def principal(f: Backend, x: Value, lead: Value, dims: Sequence[Size]) -> Value:
    """The projection of each position's channels, centred, on their first right singular vector; (M, h, w).

    A Gram matrix that is squared again and again keeps its first eigenvector alone, which ONNX can say without a
    decomposition: over channels or over positions, whichever are fewer.

    Parameters
    ----------
    f, x
        The backend, and (M, C, h, w).
    lead
        (M, h, w): the sign is the one under which the result agrees with it.
    dims
        The sizes of ``x``; of the first nothing is read.
    """
    channels, count = dims[1], product(dims[2:])
    flat = f.Reshape(x, [0, channels, count])
    flat = flat - f.ReduceMean(flat, [2], keepdims=1)
    across = f.Transpose(flat, perm=[0, 2, 1])
    toward = f.Reshape(lead, [0, count, 1])
    fewer = isinstance(channels, int) and isinstance(count, int) and count < channels
    power = f.MatMul(across, flat) if fewer else f.MatMul(flat, across)
    for _ in range(SQUARINGS):
        power = power / f.Max(f.ReduceMax(f.Abs(power), [1, 2], keepdims=1), np.float32(TINY))
        power = f.MatMul(power, power)
    if fewer:
        along = unit(f, f.MatMul(power, toward))
        found = along * length(f, f.MatMul(flat, along))
    else:
        found = f.MatMul(across, unit(f, f.MatMul(power, f.MatMul(flat, toward))))
    return f.Reshape(found, [0, *dims[2:]])


def length(f: Backend, column: Value) -> Value:
    """Of each column (M, n, 1): (M, 1, 1)."""
    return f.Sqrt(f.ReduceSum(column * column, [1], keepdims=1))


def unit(f: Backend, column: Value) -> Value:
    """Each column over its length; 0 where that is 0."""
    column = column / f.Max(f.ReduceMax(f.Abs(column), [1], keepdims=1), np.float32(TINY))
    return column / f.Max(length(f, column), np.float32(TINY))


def saliency(f: Backend, x: Value, gradient: Value, window: int) -> Value:
    """abs(G) at the input (Simonyan et al. 2013, arXiv:1312.6034, eq. 4), each colour by itself; (K·N, C, H, W)."""
    return f.Abs(gradient)


def gradient_times_input(f: Backend, x: Value, gradient: Value, window: int) -> Value:
    """G · x at the input, x as the model takes it (Shrikumar et al. 2016, arXiv:1605.01713); (K·N, C, H, W)."""
    return gradient * f.each(x)
