"""Every op of the table keeps the laws of `relcam_onnx.laws`, over generated shapes and attributes."""

from __future__ import annotations

import numpy as np
import pytest
import test_activation
import test_arithmetic
import test_conv
import test_einsum
import test_elementary
import test_indexing
import test_linear
import test_movement
import test_norm
import test_pool
import test_sampling
import test_select
import test_sizes
from case import Case, noise
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from relcam_onnx.laws import LAWS
from relcam_onnx.laws.arithmetic import close, inner
from relcam_onnx.ops import TABLE, Linear, Message

MODULES = (
    *(test_conv, test_linear, test_einsum, test_pool, test_sampling, test_activation, test_elementary, test_arithmetic),
    *(test_movement, test_indexing, test_norm, test_select),
)
CASES: dict[str, st.SearchStrategy[Case]] = {op: s for module in MODULES for op, s in module.CASES.items()}
MOVES = frozenset(test_movement.CASES) | frozenset(test_indexing.CASES) | frozenset(test_select.MOVES)
LINEAR = sorted(op for op in CASES if TABLE[op].role is not None)
STRAIGHT_THROUGH = frozenset({"QuantizeLinear", "DequantizeLinear", "Ceil", "Floor", "Round"})


KEPT = [
    (law, op)
    for law in LAWS
    for op in sorted(CASES)
    if law != "gradient_is_the_derivative" or op not in STRAIGHT_THROUGH
]
"""What rounds has no derivative."""


@pytest.mark.parametrize(("law", "op"), KEPT)
@settings(phases=(Phase.generate,))  # a session for each example: shrinking a failure would take minutes
@given(data=st.data(), seed=st.integers(0, 99))
def test_law(law: str, op: str, data: st.DataObject, seed: int) -> None:
    LAWS[law](data.draw(CASES[op]), seed)


@pytest.mark.parametrize("op", sorted(STRAIGHT_THROUGH))
@given(data=st.data(), seed=st.integers(0, 99))
def test_rounding_is_passed_straight_through(op: str, data: st.DataObject, seed: int) -> None:
    _, call, record = data.draw(CASES[op]).describe()
    assert not isinstance(record, Linear)
    g = noise(seed, *call.output.shape)
    assert record.gradient(g)[0] is g


def test_every_op_of_the_table_has_cases_under_its_own_name() -> None:
    assert {*CASES, *test_sizes.CASES} == {op for op in TABLE if "::" not in op}


@pytest.mark.parametrize("op", sorted(MOVES))
@given(data=st.data(), seed=st.integers(0, 99))
def test_what_moves_is_handed_back(op: str, data: st.DataObject, seed: int) -> None:
    """<move(x), r> = Σ <x, adjoint(r)>, constants that are joined left out; as relevance, quotient and gradient."""
    case = data.draw(CASES[op])
    f, call, record = case.describe()
    assert not isinstance(record, Linear)
    r = noise(seed, *call.output.shape)
    silent = {name: np.zeros_like(x) for name, x in case.values.items()}
    moved = call.output if op in test_select.MOVES else call.output - case.forward(silent)
    handed = {
        "gradient": record.gradient(r),
        "relevance": {i: m.relevance(f) for i, m in record.relevance(Message(r)).items()},
        "quotient": {i: m.value for i, m in record.relevance(Message(r, call.output)).items()},
    }
    for parts in handed.values():
        assert all(part.shape == np.asarray(call.inputs[i]).shape for i, part in parts.items())
        got = sum(inner(np.asarray(call.inputs[i]), part) for i, part in parts.items())
        close(got, inner(moved, r), inner(np.abs(call.output), np.abs(r)))
    as_relevance = record.relevance(Message(r * call.output))
    for index, message in record.relevance(Message(r, call.output)).items():
        np.testing.assert_allclose(message.relevance(f), as_relevance[index].relevance(f), atol=1e-4)
