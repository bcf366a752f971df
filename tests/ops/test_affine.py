"""What an op's entry says of constant scaling is what it does to zeros and to ones."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_laws import CASES

from relcam_onnx.ops import TABLE

AFFINE = sorted(op for op in CASES if TABLE[op].affine)


def among(values: np.ndarray, allowed: np.ndarray, share: float = 1e-5) -> bool:
    """Whether every value is one of those allowed, to float32 rounding."""
    found, told = np.unique(values.astype(np.float64)), np.unique(allowed.astype(np.float64))
    off = np.abs(found[:, None] - told[None]).min(axis=1)
    return bool((off <= share * np.maximum(1, np.abs(found))).all())


@pytest.mark.parametrize("op", AFFINE)
@given(data=st.data())
def test_scale_and_shift_are_what_the_op_does(op: str, data: st.DataObject) -> None:
    case = data.draw(CASES[op])
    affine = TABLE[op].affine
    assert affine is not None
    said = affine(case.node)
    if said is None or len(case.values) != 1:
        return
    scale, shift = said
    ((name, x),) = case.values.items()
    zeros, ones = (case.forward({name: np.full_like(x, value)}).astype(np.float64) for value in (0, 1))
    if op == "QuantizeLinear":
        limits = np.iinfo(case.forward().dtype)
        step, zero = np.broadcast_arrays(scale, shift)
        assert among(zeros, zero)
        assert among(ones, np.clip(np.rint(step + zero), limits.min, limits.max))
        return
    if op == "Pad":  # what it adds is not the picture's
        assert among(ones - zeros, np.append(scale, 0))
        return
    assert among(zeros, shift)
    assert among(ones - zeros, scale, 1e-4)


def test_the_order_of_operands_counts() -> None:
    """A constant less the picture turns it over; one divided by it is no scaling."""
    seen: dict[tuple[str, bool], float | None] = {}
    for op in ("Sub", "Div"):
        for left in (True, False):
            inputs = [gs.Constant("c", np.full(1, 4, np.float32)), gs.Variable("x", np.float32, (1, 3))]
            node = gs.Node(op, "n", {}, inputs if left else inputs[::-1], [gs.Variable("y")])
            affine = TABLE[op].affine
            assert affine is not None
            said = affine(node)
            seen[op, left] = None if said is None else float(said[0][0])
    assert seen == {("Sub", True): -1.0, ("Sub", False): 1.0, ("Div", True): None, ("Div", False): 0.25}
