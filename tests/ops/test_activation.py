"""Activations: relevance passes unchanged, the gradient is the slope, and at a kink it is PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import Relay

Draw = Any


@st.composite
def activation(draw: Draw, /, op: str, **choices: list[Any]) -> Case:
    """The op on signed values off its kinks, with attributes drawn from ``choices``."""
    attrs = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    opset = {"Swish": 24}.get(op, 21)
    return case(op, apart(draw(SEED), draw(BATCH), 3, 2, draw(st.integers(1, 5))), opset=opset, **attrs)


@st.composite
def clip(draw: Draw) -> Case:
    below, above = draw(st.sampled_from([(0.0, 1.0), (-0.5, 0.5), (-1.0, -0.5)]))
    low, high = (fixed(np.float32(v)) if draw(st.booleans()) else None for v in (below, above))
    bounds = [low, high] if high is not None else [low] if low is not None else []
    return case("Clip", apart(draw(SEED), draw(BATCH), 3, 4, 4), *bounds)


@st.composite
def prelu(draw: Draw) -> Case:
    seed = draw(SEED)
    shape = draw(st.sampled_from([(1,), (3, 1, 1)]))
    return case("PRelu", apart(seed, draw(BATCH), 3, 2, 2), fixed(np.abs(noise(seed, *shape))))


SCALE, ZERO = fixed(np.float32(0.1)), fixed(np.uint8(128))


@st.composite
def quantize(draw: Draw) -> Case:
    return case("QuantizeLinear", noise(draw(SEED), draw(BATCH), 3, 4), SCALE, ZERO)


@st.composite
def dequantize(draw: Draw) -> Case:
    codes = np.random.default_rng(draw(SEED)).integers(0, 255, (draw(BATCH), 3, 4), np.uint8)
    return case("DequantizeLinear", codes, SCALE, ZERO)


ALPHA = [0.3, 1.0, 2.0]


@st.composite
def softmax(draw: Draw) -> Case:
    return case("Softmax", noise(draw(SEED), draw(BATCH), 3, 4), axis=draw(st.sampled_from([-1, 1])))


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Softmax": softmax(),
    **{
        op: activation(op)
        for op in ["Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Mish"]
    },
    "LeakyRelu": activation("LeakyRelu", alpha=[0.01, 0.2]),
    "ThresholdedRelu": activation("ThresholdedRelu", alpha=[0.0, 1.0, -0.25]),
    "Shrink": activation("Shrink", lambd=[0.5, 1.0], bias=[0.0, 0.25]),
    "Elu": activation("Elu", alpha=ALPHA),
    "Celu": activation("Celu", alpha=ALPHA),
    "Selu": activation("Selu", alpha=[1.6732632], gamma=[1.050701, 0.5]),
    "HardSigmoid": activation("HardSigmoid", alpha=[0.2, 1 / 6], beta=[0.5]),
    "Swish": activation("Swish", alpha=[1.0, 1.702]),
    "Gelu": activation("Gelu", approximate=["none", "tanh"]),
    "Clip": clip(),
    "PRelu": prelu(),
    "QuantizeLinear": quantize(),
    "DequantizeLinear": dequantize(),
    **{op: activation(op) for op in ("Ceil", "Floor", "Round")},
}  # fmt: skip

SIXTH = 1 / 6
TORCH: dict[str, tuple[Case, Callable[[torch.Tensor], torch.Tensor]]] = {
    "Relu": (case("Relu", np.array([[0.0]], np.float32)), torch.relu),
    "Relu6": (
        case("Clip", np.array([[0.0, 6.0]], np.float32), fixed(np.float32(0)), fixed(np.float32(6))),
        torch.nn.functional.relu6,
    ),
    "LeakyRelu": (
        case("LeakyRelu", np.array([[0.0]], np.float32), alpha=0.1),
        lambda x: torch.nn.functional.leaky_relu(x, 0.1),
    ),
    "HardSigmoid": (
        case("HardSigmoid", np.array([[-3.0, 3.0]], np.float32), alpha=SIXTH, beta=0.5),
        torch.nn.functional.hardsigmoid,
    ),
    "HardSwish": (case("HardSwish", np.array([[-3.0, 0.0, 3.0]], np.float32)), torch.nn.functional.hardswish),
    "Elu": (case("Elu", np.array([[0.0]], np.float32), alpha=2.0), lambda x: torch.nn.functional.elu(x, 2.0)),
    "Gelu": (case("Gelu", noise(0, 2, 50)), torch.nn.functional.gelu),
    "Gelu by tanh": (
        case("Gelu", noise(0, 2, 50), approximate="tanh"),
        lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_slopes_are_pytorchs_at_kinks_too(name: str) -> None:
    one, function = TORCH[name]
    _, call, record = one.describe()
    assert isinstance(record, Relay)
    x = torch.tensor(call.inputs[0], requires_grad=True)
    (slope,) = torch.autograd.grad(function(x).sum(), x)
    got = record.gradient(np.ones_like(call.output))[0]
    np.testing.assert_allclose(got, slope.numpy(), atol=1e-6)
