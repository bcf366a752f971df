"""Normalisation by the picture's own statistics: the gradient is the true one, held against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st
from torch.nn import functional

from relcam_onnx.ops import Linear, Message, Relay
from relcam_onnx.rules import Gradient

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
def lrn(draw: Draw) -> Case:
    attrs = {"size": draw(st.sampled_from([1, 3, 5])), "alpha": 0.5, "beta": 0.75, "bias": 2.0}
    return case("LRN", noise(draw(SEED), draw(BATCH), 5, 2, 3), **attrs)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "InstanceNormalization": instance_normalization(),
    "GroupNormalization": group_normalization(),
    "LayerNormalization": layer_normalization(),
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
    "LRN": (
        case("LRN", X, size=3, alpha=0.5, beta=0.6, bias=1.5),
        lambda x: functional.local_response_norm(x, 3, alpha=0.5, beta=0.6, k=1.5),
    ),
}


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
