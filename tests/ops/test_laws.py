"""The laws that every op of the table keeps, over generated shapes and attributes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import test_activation
import test_arithmetic
import test_conv
import test_einsum
import test_elementary
import test_linear
import test_movement
import test_norm
import test_pool
import test_select
from case import Case, noise
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.ops import TABLE, ZERO, Backend, Linear, Message, Record
from relcam_onnx.rules import (
    RULES,
    Gradient,
    Pass,
    Rule,
)
from relcam_onnx.rules.base import pass_back

MODULES = (
    *(test_conv, test_linear, test_einsum, test_pool, test_activation, test_elementary, test_arithmetic),
    *(test_movement, test_norm, test_select),
)
CASES: dict[str, st.SearchStrategy[Case]] = {op: s for module in MODULES for op, s in module.CASES.items()}
MOVES = frozenset(test_movement.CASES) | frozenset(test_select.MOVES)
LINEAR = sorted(op for op in CASES if TABLE[op].role is not None)
OF_THEMSELVES = {op for op in LINEAR if TABLE[op].role == "norm"} | {"ReduceL1", "ReduceL2", "ReduceSumSquare"}
"""Linear ops whose weights are made of the input."""
ROUNDED = frozenset({"Erf", "Gelu", "GroupNormalization", "LRN", "LpNormalization", "MeanVarianceNormalization"})
"""Ops that onnx.reference computes in float32 whatever their inputs, or (LpNormalization of order 1) wrongly.

They stand against PyTorch, beside their cases."""
STRAIGHT_THROUGH = frozenset({"QuantizeLinear", "DequantizeLinear"})
CURVED = sorted(({*CASES} - {*LINEAR, *MOVES, *STRAIGHT_THROUGH} | OF_THEMSELVES) - ROUNDED)
"""Ops whose gradient depends on the values: all others hand back what their adjoint makes."""
RULE_INSTANCES = [make() for make in RULES.values()]


def pass_through(rule: Rule, f: Backend, record: Record, message: Message) -> Mapping[int, Message]:
    """What each input gets that gets something."""
    return {i: m for i, m in pass_back(f, rule, record, message).items() if m.value is not ZERO}


def rules_for(record: Record) -> list[Rule]:
    """Every rule that takes this op; pass needs equal shapes."""
    if not isinstance(record, Linear):
        return [Rule(), Gradient()]
    fits = len(record.terms) == 1 and record.terms[0].x.shape == record.y.shape
    return [rule for rule in RULE_INSTANCES if fits or not isinstance(rule, Pass)]


@pytest.mark.parametrize("op", sorted(STRAIGHT_THROUGH))
@given(data=st.data(), seed=st.integers(0, 99))
def test_rounding_is_passed_straight_through(op: str, data: st.DataObject, seed: int) -> None:
    _, call, record = data.draw(CASES[op]).describe()
    assert not isinstance(record, Linear)
    g = noise(seed, *call.output.shape)
    assert record.gradient(g)[0] is g


def inner(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.astype(np.float64) * b).sum())


def close(got: float, wanted: float, scale: float, share: float = 1e-4) -> None:
    """Float32 sums of a few hundred products round to about 1e-6 of the sum of magnitudes; 1e-4 is generous."""
    assert abs(got - wanted) <= share * scale + 1e-6, (got, wanted, scale)


def test_every_op_of_the_table_has_cases_under_its_own_name() -> None:
    assert set(CASES) == {op for op in TABLE if "::" not in op}


@pytest.mark.parametrize("op", LINEAR)
@given(data=st.data())
def test_terms_and_bias_make_onnxruntimes_output(op: str, data: st.DataObject) -> None:
    _, call, record = data.draw(CASES[op]).describe()
    assert isinstance(record, Linear)
    parts = [np.asarray(t.apply(t.x, t.weight)) for t in record.terms]
    y = sum(parts) if record.bias is None else sum(parts) + record.bias
    tolerance = 1e-5 * max(1.0, *(float(np.abs(p).max()) for p in parts))
    np.testing.assert_allclose(np.broadcast_to(y, call.output.shape), call.output, rtol=0, atol=tolerance)


@pytest.mark.parametrize("op", LINEAR)
@given(data=st.data(), seed=st.integers(0, 99))
def test_adjoint_is_the_transposed_map(op: str, data: st.DataObject, seed: int) -> None:
    """<apply(x, w), s> = <x, adjoint(s, w)> for the model's weights and for any others of their shape."""
    f, call, record = data.draw(CASES[op]).describe()
    assert isinstance(record, Linear)
    s = noise(seed, *call.output.shape)
    for term in record.terms:
        x = noise(seed + 1, *term.x.shape)
        other = None if term.weight is None else noise(seed + 2, *np.shape(term.weight))
        for weight in (term.weight, other):
            y = np.broadcast_to(term.apply(x, weight), s.shape)
            back = term.adjoint(s, weight)
            assert back.shape == x.shape
            close(inner(x, back), inner(y, s), inner(np.abs(y), np.abs(s)))
    if record.derivative is None:
        for index, message in Gradient().linear(f, record, Message(s)).items():
            term = next(t for t in record.terms if t.index == index)
            np.testing.assert_array_equal(message.value, term.adjoint(s, term.weight))


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


@pytest.mark.parametrize("op", CURVED)
@given(data=st.data(), seed=st.integers(0, 99))
def test_gradient_is_the_derivative(op: str, data: st.DataObject, seed: int) -> None:
    """<g, J v> = Σ <gradient, v>, J v by central differences of onnx.reference in float64.

    A step of 1e-5 leaves an error of about 1e-9; what is seen is float32's.
    """
    case = data.draw(CASES[op])
    f, call, record = case.describe()
    g, step = noise(seed, *call.output.shape), 1e-5
    v = {name: noise(seed + i, *x.shape).astype(np.float64) for i, (name, x) in enumerate(case.values.items(), 1)}
    ahead, behind = (
        case.exact({name: x.astype(np.float64) + sign * step * v[name] for name, x in case.values.items()})
        for sign in (+1, -1)
    )
    slope = (ahead - behind) / (2 * step)
    handed = pass_through(Gradient(), f, record, Message(g))
    got = sum(inner(v[call.node.inputs[i].name], m.value) for i, m in handed.items())
    close(got, inner(slope, g), inner(np.abs(slope), np.abs(g)))


@pytest.mark.parametrize("op", sorted(CASES))
@given(data=st.data(), seed=st.integers(0, 99))
def test_nothing_in_nothing_out_and_always_finite(op: str, data: st.DataObject, seed: int) -> None:
    f, call, record = data.draw(CASES[op]).describe()
    for rule in rules_for(record):
        nothing = pass_through(rule, f, record, Message(np.zeros(call.output.shape, np.float32)))
        assert not any(m.relevance(f).any() for m in nothing.values())
        something = pass_through(rule, f, record, Message(noise(seed, *call.output.shape)))
        for index, message in something.items():
            assert message.relevance(f).shape == np.asarray(call.inputs[index]).shape
            assert np.isfinite(message.relevance(f)).all(), rule


@pytest.mark.parametrize("op", sorted(CASES))
@given(data=st.data(), seed=st.integers(0, 99))
def test_targets_together_are_targets_alone(op: str, data: st.DataObject, seed: int) -> None:
    """Three targets of N images, in one pass of 3·N, give what three passes give, to float32 rounding."""
    case = data.draw(CASES[op])
    f, call, record = case.describe()
    f3, _, record3 = case.describe(targets=3)
    arriving = [noise(seed + k, *call.output.shape) for k in range(3)]
    for rule, rule3 in zip(rules_for(record), rules_for(record3), strict=True):
        together = pass_through(rule3, f3, record3, Message(np.concatenate(arriving)))
        alone = [pass_through(rule, f, record, Message(r)) for r in arriving]
        for index, message in together.items():
            wanted = np.concatenate([one[index].relevance(f) for one in alone])
            got = message.relevance(f3)
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max(initial=0))


@pytest.mark.parametrize("op", sorted(CASES))
@given(data=st.data(), seed=st.integers(0, 99))
def test_support_is_true_and_changes_nothing(op: str, data: st.DataObject, seed: int) -> None:
    """A message may bring a tensor that equals its own where relevance is: what is handed on is the same, and kept.

    To 1e-4 of the largest share: another route to the same denominators rounds differently.
    """
    f, call, record = data.draw(CASES[op]).describe()
    if call.output.dtype != np.float32:
        return
    relevance = np.where(call.output > 0.1, noise(seed, *call.output.shape), np.float32(0))
    supported = Message(relevance, support=np.where(call.output > 0.1, call.output, np.float32(0)))
    for rule in rules_for(record):
        if isinstance(rule, Gradient):
            continue
        wanted = pass_through(rule, f, record, Message(relevance))
        for index, message in pass_through(rule, f, record, supported).items():
            got, share = message.relevance(f), wanted[index].relevance(f)
            np.testing.assert_allclose(got, share, rtol=0, atol=1e-4 * np.abs(share).max(initial=0))
            if message.support is not None:
                silent = message.support == 0
                assert not got[silent].any()
                np.testing.assert_array_equal(message.support[~silent], np.asarray(call.inputs[index])[~silent])
