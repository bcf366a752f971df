"""Elementary functions: relevance passes, the gradient is the slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import Message, Relay, lookup

Draw = Any


@st.composite
def function(draw: Draw, /, op: str, *, positive: bool = False) -> Case:
    """Values off 0, where some have no slope; above it for those that want that."""
    x = apart(draw(SEED), draw(BATCH), 3, 2, draw(st.integers(1, 3)))
    if op in ("Sin", "Cos"):
        x = x * np.float32(6)
    return case(op, np.abs(x) + np.float32(0.2) if positive else x)


@st.composite
def power(draw: Draw) -> Case:
    """Whole powers of signed values, others of values above 0."""
    exponent = draw(st.sampled_from([-1.0, 0.5, 1.0, 2.0, 3.0, 1 / 3]))
    x = apart(draw(SEED), draw(BATCH), 3, 2, 2)
    if exponent not in (1.0, 2.0, 3.0):
        x = np.abs(x) + np.float32(0.2)
    kind = draw(st.sampled_from([np.float32, np.int64])) if exponent == int(exponent) else np.float32
    return case("Pow", x, fixed(np.full(draw(st.sampled_from([(), (1,)])), exponent, kind)))


CASES: dict[str, st.SearchStrategy[Case]] = {
    **{op: function(op) for op in ("Neg", "Abs", "Sign", "Exp", "Erf", "Atan", "Sin", "Cos")},
    **{op: function(op, positive=True) for op in ("Sqrt", "Log", "Reciprocal")},
    "Pow": power(),
}


def test_erf_has_pytorchs_slope() -> None:
    x, g = noise(0, 2, 50), noise(1, 2, 50)
    _, _, record = case("Erf", x).describe()
    assert isinstance(record, Relay)
    t = torch.tensor(x, requires_grad=True)
    (wanted,) = torch.autograd.grad(torch.erf(t), t, torch.tensor(g))
    np.testing.assert_allclose(record.gradient(g)[0], wanted.numpy(), atol=1e-6)


@pytest.mark.parametrize("op", CASES)
def test_relevance_passes(op: str) -> None:
    x = np.abs(noise(0, 2, 3, 4)) + np.float32(0.1)
    f, call, record = case(op, x, *([fixed(np.float32(3))] if op == "Pow" else [])).describe()
    assert isinstance(record, Relay)
    r = noise(1, *call.output.shape)
    np.testing.assert_array_equal(record.relevance(Message(r))[0].relevance(f), r)


@pytest.mark.parametrize("exponent", [noise(0, 1, 3), fixed(np.ones((1, 3), np.float32))], ids=["computed", "several"])
def test_a_power_that_is_not_one_number_is_refused(exponent: Any) -> None:
    node = case("Pow", np.abs(noise(0, 1, 3)), exponent).node
    assert "exponent" in str(lookup(node).refuses(node))
