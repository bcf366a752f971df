"""Normalisation by the picture's own statistics: the gradient is the true one, held against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import strategies as st
from torch.nn import functional

from relcam_onnx.ops import Linear, Message, Relay, lookup
from relcam_onnx.rules import Epsilon, Gradient, ZPlus

Draw = Any


@st.composite
def instance_normalization(draw: Draw) -> Case:
    seed = draw(SEED)
    x = noise(seed, draw(BATCH), 3, *[4, 5][: draw(st.integers(1, 2))])
    return case("InstanceNormalization", x, fixed(noise(seed, 3)), fixed(noise(seed + 1, 3)), epsilon=1e-3)


@st.composite
def group_normalization(draw: Draw) -> Case:
    seed, groups = draw(SEED), draw(st.sampled_from([1, 2, 4]))
    gain, shift = (fixed(noise(seed + i, 4)) for i in range(2))
    return case("GroupNormalization", noise(seed, draw(BATCH), 4, 3, 2), gain, shift, num_groups=groups)


@st.composite
def layer_normalization(draw: Draw) -> Case:
    seed, axis = draw(SEED), draw(st.sampled_from([-1, -2, 1]))
    x = noise(seed, draw(BATCH), 3, 4, 5)
    gain, *shift = (fixed(noise(seed + i, *x.shape[axis:])) for i in range(draw(st.integers(1, 2))))
    return case("LayerNormalization", x, gain, *shift, axis=axis)


@st.composite
def rms_normalization(draw: Draw) -> Case:
    seed, axis = draw(SEED), draw(st.sampled_from([-1, -2, 1]))
    x = noise(seed, draw(BATCH), 3, 4, 5)
    return case("RMSNormalization", x, fixed(noise(seed, *x.shape[axis:])), opset=23, axis=axis)


@st.composite
def mean_variance_normalization(draw: Draw) -> Case:
    axes = draw(st.sampled_from([[2], [2, 3], [1, 2, 3], [-1]]))
    return case("MeanVarianceNormalization", noise(draw(SEED), draw(BATCH), 3, 4, 5), axes=axes)


@st.composite
def lp_normalization(draw: Draw) -> Case:
    attrs = {"axis": draw(st.sampled_from([1, 2, -1])), "p": draw(st.sampled_from([1, 2]))}
    return case("LpNormalization", apart(draw(SEED), draw(BATCH), 3, 4, 2), **attrs)


@st.composite
def lrn(draw: Draw) -> Case:
    attrs = {"size": draw(st.sampled_from([1, 3, 5])), "alpha": 0.5, "beta": 0.75, "bias": 2.0}
    return case("LRN", noise(draw(SEED), draw(BATCH), 5, 2, 3), **attrs)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "InstanceNormalization": instance_normalization(),
    "GroupNormalization": group_normalization(),
    "LayerNormalization": layer_normalization(),
    "RMSNormalization": rms_normalization(),
    "MeanVarianceNormalization": mean_variance_normalization(),
    "LpNormalization": lp_normalization(),
    "LRN": lrn(),
}

X = noise(0, 2, 4, 3, 5)
GAIN, SHIFT = noise(1, 4), noise(2, 4)
WIDE = noise(3, 3, 5)
TORCH: dict[str, tuple[Case, Callable[[torch.Tensor], torch.Tensor]]] = {
    "InstanceNormalization": (
        case("InstanceNormalization", X, fixed(GAIN), fixed(SHIFT)),
        lambda x: functional.instance_norm(x, weight=torch.tensor(GAIN), bias=torch.tensor(SHIFT)),
    ),
    "GroupNormalization": (
        case("GroupNormalization", X, fixed(GAIN), fixed(SHIFT), num_groups=2),
        lambda x: functional.group_norm(x, 2, torch.tensor(GAIN), torch.tensor(SHIFT)),
    ),
    "LayerNormalization": (
        case("LayerNormalization", X, fixed(WIDE), axis=2),
        lambda x: functional.layer_norm(x, (3, 5), torch.tensor(WIDE)),
    ),
    "MeanVarianceNormalization": (
        case("MeanVarianceNormalization", X, axes=[2, 3]),
        lambda x: (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), correction=0, keepdim=True) + 1e-9),
    ),
    "LpNormalization": (case("LpNormalization", X, axis=1), lambda x: functional.normalize(x, dim=1)),
    "LpNormalization of order 1": (
        case("LpNormalization", X, axis=2, p=1),
        lambda x: functional.normalize(x, p=1, dim=2),
    ),
    "LRN": (
        case("LRN", X, size=3, alpha=0.5, beta=0.6, bias=1.5),
        lambda x: functional.local_response_norm(x, 3, alpha=0.5, beta=0.6, k=1.5),
    ),
}


def twin(
    x: np.ndarray, axes: tuple[int, ...], groups: int, w: np.ndarray, b: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ε relevance of a normalisation and its output, float64, one group of features after the other."""
    x, w, b, r = (np.asarray(a, np.float64) for a in (x, np.broadcast_to(w, x.shape), np.broadcast_to(b, x.shape), r))
    shape = x.shape if groups == 0 else (x.shape[0], groups, -1)
    over = axes if groups == 0 else (2,)
    labels = np.zeros_like(x.reshape(shape))
    kept = [axis for axis in range(labels.ndim) if axis not in over]
    labels += np.arange(np.prod([labels.shape[a] for a in kept])).reshape(
        [1 if a in over else n for a, n in enumerate(labels.shape)]
    )
    labels, handed, y = labels.reshape(x.shape), np.zeros_like(x), np.zeros_like(x)
    for group in np.unique(labels):
        these = np.flatnonzero(labels.reshape(-1) == group)
        xs, ws, bs, rs = (a.reshape(-1)[these] for a in (x, w, b, r))
        deviation = np.sqrt(((xs - xs.mean()) ** 2).mean() + 1e-5)
        out = (xs - xs.mean()) / deviation * ws + bs
        s = ws * rs / (deviation * (out + np.where(out < 0, -1e-6, 1e-6)))
        handed.reshape(-1)[these], y.reshape(-1)[these] = xs * (s - s.mean()), out
    return handed, y


BIAS = noise(4, 3, 5)
BY_EPSILON: dict[str, tuple[Case, tuple[int, ...], int, np.ndarray, np.ndarray]] = {
    "InstanceNormalization": (
        case("InstanceNormalization", X, fixed(GAIN), fixed(SHIFT)), (2, 3), 0,
        GAIN.reshape(1, 4, 1, 1), SHIFT.reshape(1, 4, 1, 1),
    ),
    "GroupNormalization": (
        case("GroupNormalization", X, fixed(GAIN), fixed(SHIFT), num_groups=2), (), 2,
        GAIN.reshape(1, 4, 1, 1), SHIFT.reshape(1, 4, 1, 1),
    ),
    "GroupNormalization of one group": (
        case("GroupNormalization", X, fixed(GAIN), fixed(SHIFT), num_groups=1), (1, 2, 3), 0,
        GAIN.reshape(1, 4, 1, 1), SHIFT.reshape(1, 4, 1, 1),
    ),
    "LayerNormalization": (case("LayerNormalization", X, fixed(WIDE), fixed(BIAS), axis=2), (2, 3), 0, WIDE, BIAS),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_EPSILON)
def test_relevance_is_the_twins_and_only_the_bias_takes(name: str) -> None:
    """To 1e-4 of the largest: float32 against float64, with denominators that come near 0 (as ε lets them)."""
    one, axes, groups, w, b = BY_EPSILON[name]
    f, call, record = one.describe()
    assert isinstance(record, Linear)
    arriving = np.where(np.abs(call.output) > 0.05, noise(9, *call.output.shape), np.float32(0))
    wanted, y = twin(X, axes, groups, w, b, arriving)
    got = Epsilon().linear(f, record, Message(arriving))[0].relevance(f)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    kept = (arriving * (y - b) / (y + np.where(y < 0, -1e-6, 1e-6))).sum()
    np.testing.assert_allclose(got.sum(dtype=np.float64), kept, atol=1e-4 * np.abs(wanted).sum())


def test_a_group_norm_of_one_group_is_a_layer_norm_over_everything() -> None:
    gain, shift = (np.broadcast_to(v.reshape(4, 1, 1), (4, 3, 5)).copy() for v in (GAIN, SHIFT))
    r, results = noise(9, *X.shape), []
    for one in (BY_EPSILON["GroupNormalization of one group"][0],
                case("LayerNormalization", X, fixed(gain), fixed(shift), axis=1)):  # fmt: skip
        f, _, record = one.describe()
        assert isinstance(record, Linear)
        results.append(Epsilon().linear(f, record, Message(r))[0].relevance(f))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-4 * np.abs(results[1]).max())


def test_rules_by_sign_hold_the_mean_too() -> None:
    """z⁺ of y = x · (w / d) + (b - mean · w / d), as of any op whose every output has one contribution."""
    f, _, record = BY_EPSILON["InstanceNormalization"][0].describe()
    assert isinstance(record, Linear)
    x, r = X.astype(np.float64), noise(9, *X.shape)
    mean, deviation = x.mean((2, 3), keepdims=True), np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    w = GAIN.reshape(1, 4, 1, 1) / deviation
    b = SHIFT.reshape(1, 4, 1, 1) - mean * w
    wanted = np.maximum(x * w, 0) * r / (np.maximum(x * w, 0) + np.maximum(b, 0) + 1e-6)
    got = ZPlus().linear(f, record, Message(r))[0].relevance(f)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_statistics_over_the_batch_are_refused() -> None:
    node = gs.Node("MeanVarianceNormalization")
    assert "batch" in str(lookup(node).refuses(node))


@pytest.mark.parametrize("op", TORCH)
def test_gradient_is_pytorchs(op: str) -> None:
    one, function = TORCH[op]
    f, call, record = one.describe()
    arriving = noise(9, *call.output.shape)
    x = torch.tensor(X, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y, x, torch.tensor(arriving))
    np.testing.assert_allclose(call.output, y.detach().numpy(), atol=1e-5)
    if isinstance(record, Linear):
        got = Gradient().linear(f, record, Message(arriving))[0].value
    else:
        got = record.gradient(arriving)[0]
    np.testing.assert_allclose(got, slope.numpy(), atol=1e-5 * slope.abs().max().item())


def test_lrn_passes_relevance() -> None:
    f, call, record = TORCH["LRN"][0].describe()
    assert isinstance(record, Relay)
    relevance = noise(9, *call.output.shape)
    np.testing.assert_array_equal(record.relevance(Message(relevance))[0].relevance(f), relevance)
