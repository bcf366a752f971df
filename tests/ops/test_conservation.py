"""Rules that conserve relevance do so in every op with a linear part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from case import noise
from hypothesis import given
from hypothesis import strategies as st
from test_laws import CASES, LINEAR

from relcam_onnx.laws.arithmetic import close, pass_through
from relcam_onnx.ops import ZERO, Linear, Message
from relcam_onnx.rules import AlphaBeta, Epsilon, Flat, Norm, Rule, SignShare, WSquare, ZBox, Zero, ZPlus

Denominators = Callable[[Linear], list[np.ndarray]]


def sums(op: Linear) -> list[np.ndarray]:
    return [np.asarray(sum(t.apply(t.x, t.weight) for t in op.terms))]


def pushed(op: Linear, sign: int) -> np.ndarray:
    """All contributions of one sign: products of parts of one sign (+1) or of different signs (-1)."""

    def part(values: np.ndarray, of: int) -> np.ndarray:
        return np.asarray(np.maximum(values, 0) if of > 0 else np.minimum(values, 0))

    parts = []
    for t in op.terms:
        if t.weight is None:
            parts.append(t.apply(part(t.x, sign), None))
        else:
            parts += [t.apply(part(t.x, of), part(t.weight, of * sign)) for of in (+1, -1)]
    return np.asarray(sum(parts))


CONSERVING: dict[str, tuple[Rule, Denominators]] = {
    "epsilon": (Epsilon(bias=False), sums),
    "norm": (Norm(), sums),
    "zero": (Zero(bias=False), sums),
    "z-plus": (ZPlus(bias=False), lambda op: [pushed(op, +1)]),
    "alpha-beta": (AlphaBeta(bias=False), lambda op: [pushed(op, +1), pushed(op, -1)]),
    "sign-share": (SignShare(), lambda op: [op.y, np.where(op.y > 0, pushed(op, +1), pushed(op, -1))]),
    "flat": (Flat(), lambda op: []),
    "w-square": (WSquare(), lambda op: []),
    "z-box": (ZBox(-9.0, 9.0), lambda op: []),
}


@pytest.mark.parametrize("rule", CONSERVING)
@pytest.mark.parametrize("op", LINEAR)
@given(data=st.data(), seed=st.integers(0, 99))
def test_relevance_is_conserved(op: str, rule: str, data: st.DataObject, seed: int) -> None:
    """ΣR_in = ΣR_out wherever the denominator is no smaller than 0.1, so that ε takes at most 1e-5 of it."""
    f, call, record = data.draw(CASES[op]).describe()
    chosen, denominators = CONSERVING[rule]
    relevance = noise(seed, *call.output.shape)
    if not isinstance(record, Linear):  # a bias on its own: all of it passes
        (passed,) = pass_through(chosen, f, record, Message(relevance)).values()
        close(float(passed.relevance(f).sum(dtype=np.float64)), float(relevance.sum(dtype=np.float64)), relevance.size)
        return
    reached = spread_of_ones(record.by_sign()) > 0.1
    if not isinstance(chosen, Epsilon):
        record = record.by_sign()
    for z in denominators(record):
        reached = reached & (np.abs(z) > 0.1)
    relevance = np.where(np.broadcast_to(reached, relevance.shape), relevance, np.float32(0))
    # The shares of constants count here, though nobody reads them.
    handed = [m.relevance(f) for m in chosen.linear(f, record, Message(relevance)).values() if m.value is not ZERO]
    scale = sum(float(np.abs(part).sum()) for part in handed) + float(np.abs(relevance).sum())
    close(sum(float(part.sum(dtype=np.float64)) for part in handed), float(relevance.sum(dtype=np.float64)), scale)


def spread_of_ones(op: Linear) -> np.ndarray:
    """How much weight each output has: 0 where its window reads padding alone."""
    ones = (t.apply(np.ones_like(t.x), None if t.weight is None else np.abs(t.weight)) for t in op.terms)
    return np.asarray(sum(ones))
