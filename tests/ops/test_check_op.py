"""`relcam_onnx.check_op`: what ships to people who teach the engine an op."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from case import apart, fixed, noise
from test_laws import CASES

import relcam_onnx as rc
from relcam_onnx.laws import LAWS, case
from relcam_onnx.ops import TABLE, Backend, Call, Grid, Linear, Message, Relay, Term

QUICK = "com.microsoft::QuickGelu"
ALPHA = {"alpha": 1.702}


def relay(slope: Callable[[Backend, Any, Any], Any], give: Callable[[Message], Any] = lambda m: m) -> Any:
    """An activation: what relevance becomes, and its slope of (f, x, gate)."""

    def build(f: Backend, call: Call) -> Relay:
        gate = f.Sigmoid(call.x * 1.702)
        return Relay(lambda m: {0: give(m)}, lambda g: {0: g * f.each(slope(f, call.x, gate))})

    return build


def true_slope(f: Backend, x: Any, gate: Any) -> Any:
    return gate + x * gate * (1.0 - gate) * 1.702


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a test teaches is not known to the next."""
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def test_a_custom_op_that_is_right_passes() -> None:
    rc.op(QUICK)(relay(true_slope))
    rc.check_op(QUICK, [noise(0, 2, 3, 4, 4)], ALPHA)


def test_weights_stand_in_the_file() -> None:
    inputs = [noise(0, 2, 3, 5, 5), noise(1, 4, 3, 3, 3), noise(2, 4)]
    rc.check_op("Conv", inputs, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, constants=[1, 2])


def float64_slope(f: Backend, x: Any, gate: Any) -> Any:
    return true_slope(f, x, gate) * np.ones((1, 1, 1, 1))


WRONG: dict[str, tuple[str, Any]] = {
    "a wrong slope": ("gradient_is_the_derivative", relay(lambda f, x, gate: gate)),
    "relevance that grows from nothing": (
        "nothing_in_nothing_out_and_always_finite",
        relay(true_slope, lambda m: Message(m.value * 0.0 + 1.0)),
    ),
    "a dtype of its own": ("nothing_in_nothing_out_and_always_finite", relay(float64_slope)),
    "a promise that it cannot keep": (
        "support_is_true_and_changes_nothing",
        lambda f, call: replace(relay(true_slope)(f, call), keeps_support=True),
    ),
    "targets that are not repeated": (
        "targets_together_are_targets_alone",
        lambda f, call: Relay(lambda m: {0: m}, lambda g: {0: g * f.Expand(f.ReduceMean(g, [0]), f.dims(g))}),
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_wrong_is_named(how: str) -> None:
    law, build = WRONG[how]
    rc.op(QUICK)(build)
    others = set(LAWS) - {law}
    with pytest.raises(AssertionError, match=f"QuickGelu breaks the law '{law}'"):
        rc.check_op(QUICK, [noise(0, 2, 3, 4, 4)], ALPHA, without=others)


def dense(adjoint: Any, bias: float = 0.0) -> Any:
    """A MatMul with this adjoint and something added to its bias."""

    def build(f: Backend, call: Call) -> Linear:
        term = Term(call.x, f.MatMul, lambda s, w: adjoint(f, s, w), call.value(1))
        return Linear((term,), call.output, np.asarray(bias, np.float32) if bias else None)

    return build


def transposed(f: Backend, s: Any, w: Any) -> Any:
    return f.MatMul(s, f.Transpose(w, perm=[1, 0]))


@pytest.mark.parametrize(
    ("law", "build"),
    [
        ("adjoint_is_the_transposed_map", dense(lambda f, s, w: transposed(f, s, w) * 2.0)),
        ("terms_make_the_output", dense(transposed, 0.5)),
    ],
    ids=["adjoint", "bias"],
)
def test_a_wrong_linear_part_is_named(law: str, build: Any) -> None:
    inputs = [noise(0, 2, 4), noise(1, 4, 3)]
    TABLE["MatMul"] = replace(TABLE["MatMul"], build=dense(transposed))
    rc.check_op("MatMul", inputs, constants=[1])
    TABLE["MatMul"] = replace(TABLE["MatMul"], build=build)
    with pytest.raises(AssertionError, match=law):
        rc.check_op("MatMul", inputs, constants=[1], without=set(LAWS) - {law})


FACTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Div is always ≥ 0": ("Div", "a_sign_that_is_told_is_true", {"nonnegative": lambda node, known: True}),
    "Sub keeps the sign": ("Sub", "a_sign_that_is_told_is_true", {"nonnegative": TABLE["Add"].nonnegative}),
    "a pool that does not thin out": ("MaxPool", "strides_are_what_sizes_do", {"grids": None}),
    "a convolution without strides": ("Conv", "strides_are_what_sizes_do", {"grids": None}),
    "Relu thins out": (
        "Relu",
        "strides_are_what_sizes_do",
        {"grids": lambda node, axes: (Grid(Fraction(2)),) * len(axes)},
    ),
    "a gate that is forgotten": ("Mul", "receivers_receive", {"gradient_receivers": lambda node: (0,)}),
    "a denominator that receives": ("Div", "receivers_receive", {"receivers": lambda node: (0, 1)}),
}


@pytest.mark.parametrize("what", FACTS)
def test_a_wrong_fact_is_seen(what: str) -> None:
    """On the cases that the op is held against; the true entry keeps the law there."""
    op, law, wrong = FACTS[what]
    right = TABLE[op]
    cases = {
        "Div": case("Div", noise(0, 2, 3, 4), np.abs(noise(1, 2, 3, 4)) + np.float32(0.5)),
        "Sub": case("Sub", noise(0, 2, 3, 4), noise(1, 2, 3, 4)),
        "Mul": case("Mul", noise(0, 2, 3, 4), noise(1, 2, 3, 4)),
        "MaxPool": case("MaxPool", apart(0, 1, 2, 6, 6), kernel_shape=[2, 2], strides=[2, 2]),
        "Conv": case("Conv", noise(0, 1, 2, 6, 6), fixed(noise(1, 3, 2, 3, 3)), strides=[2, 2]),
        "Relu": case("Relu", noise(0, 1, 2, 6, 6)),
    }
    LAWS[law](cases[op], 0)
    TABLE[op] = replace(right, **wrong)
    with pytest.raises(AssertionError):
        LAWS[law](cases[op], 0)


def test_every_law_can_fail() -> None:
    """Each is broken by something above, or (two backends) by the mutants of the lowering."""
    broken = {law for law, _ in WRONG.values()} | {law for _, law, _ in FACTS.values()}
    broken |= {"adjoint_is_the_transposed_map", "terms_make_the_output"}
    assert set(LAWS) - broken == {"emitted_is_eager"}


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(rc.OptionError, match=r"knows no op 'Relo'.*Relu"):
        rc.check_op("Relo", [noise(0, 1, 3)])
    with pytest.raises(rc.OptionError, match="there is no law derivative"):
        rc.check_op("Relu", [noise(0, 1, 3)], without=["derivative"])
    with pytest.raises(rc.OptionError, match="both factors are computed"):
        rc.check_op("MatMul", [noise(0, 1, 3), noise(1, 3, 2)])


def test_it_needs_no_test_framework() -> None:
    code = "import sys, numpy as np, relcam_onnx as rc; rc.check_op('Relu', [np.ones((1, 3), np.float32)])"
    code += "; print(sorted({'pytest', 'hypothesis', 'torch'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_all_cases_are_of_forms_that_are_explained() -> None:
    assert {op for op in TABLE if "::" not in op} - {"Shape", "Size", "ConstantOfShape"} == set(CASES)
