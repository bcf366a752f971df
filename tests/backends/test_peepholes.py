"""A peephole spares a node and changes no value; where it does not apply the node is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from relcam_onnx.backends import emit
from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.peepholes import PEEPHOLES

Formula = Callable[[Any, Any], Any]

APPLIES: dict[str, tuple[Formula, ...]] = {
    "Abs": (lambda f, x: f.Abs(x),),
    "Relu": (lambda f, x: f.Relu(x),),
    "Less": (lambda f, x: f.Where(f.Less(x, 0.0), -x, x), lambda f, x: x + f.Where(f.Less(x, 0.0), -1.0, 1.0)),
    "Mul": (lambda f, x: x * 1.0, lambda f, x: x * np.float32(1)),
    "Div": (lambda f, x: x / 1.0,),
    "Transpose": (
        lambda f, x: f.Transpose(f.Transpose(x, perm=[1, 2, 0]), perm=[2, 0, 1]),
        lambda f, x: f.Transpose(f.Transpose(x, perm=[0, 2, 1]), perm=[0, 2, 1]),
    ),
}
DOES_NOT: dict[str, tuple[Formula, ...]] = {
    "Abs": (lambda f, x: f.Abs(x - 1.0),),
    "Relu": (lambda f, x: f.Relu(x - 1.0),),
    "Less": (lambda f, x: f.Less(x, 0.5), lambda f, x: f.Less(x - 1.0, 0.0)),
    "Mul": (lambda f, x: x * 2.0, lambda f, x: x * np.ones((2, 1, 1, 1), np.float32)),
    "Div": (lambda f, x: x / 2.0, lambda f, x: 1.0 / x),
    "Transpose": (
        lambda f, x: f.Transpose(f.Transpose(x, perm=[1, 2, 0]), perm=[1, 2, 0]),
        lambda f, x: f.Transpose(x - 1.0, perm=[1, 0, 2]),
        lambda f, x: f.Transpose(f.Transpose(x)),
    ),
}


def run(formula: Formula) -> tuple[int, np.ndarray]:
    """How many nodes a formula over x ≥ 0 takes, and its value."""
    value = np.random.default_rng(0).random((2, 3, 4), np.float32)
    value[0, 0, :2] = 0
    f = Emit(frozenset({"x"}))
    result = formula(f, f.symbol("x", np.float32, value.shape, nonnegative=True))
    nodes = [*f.nodes, helper.make_node("Identity", [f.initializer_name(result)], ["y"])]
    graph = helper.make_graph(
        nodes, "formula", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, value.shape)],
        [onnx.ValueInfoProto(name="y")], f.initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return len(f.nodes), np.asarray(session.run(None, {"x": value})[0])


def both(formula: Formula, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """How many nodes it takes with peepholes and without; the values are equal."""
    spared, got = run(formula)
    monkeypatch.setattr(emit, "PEEPHOLES", {})
    full, wanted = run(formula)
    np.testing.assert_array_equal(np.broadcast_to(got, wanted.shape), wanted)
    return spared, full


def test_every_peephole_is_tried() -> None:
    assert set(APPLIES) == set(DOES_NOT) == set(PEEPHOLES)


@pytest.mark.parametrize("op", APPLIES)
def test_a_peephole_spares_a_node_and_no_value(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for formula in APPLIES[op]:
        with monkeypatch.context() as patch:
            spared, full = both(formula, patch)
            assert spared < full


@pytest.mark.parametrize("op", DOES_NOT)
def test_where_it_does_not_apply_everything_is_recorded(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for formula in DOES_NOT[op]:
        with monkeypatch.context() as patch:
            spared, full = both(formula, patch)
            assert spared == full


def test_what_is_turned_back_has_the_sizes_that_were_told_in_between() -> None:
    """Of a view's value alone: what it was made of, the file's quantised integers say, has none of its own."""
    f = Emit(frozenset({"x"}))
    turned = f.Transpose(f.symbol("x", np.float32) * 2.0, perm=[1, 2, 0])
    assert f.Transpose(f.sized(turned, (3, 4, 2)), perm=[2, 0, 1]).dims == (2, 3, 4)


A, B = np.random.default_rng(1).random((2, 2, 3), np.float32)
INFIX: dict[str, Formula] = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "-a": lambda a, b: -a,
    "2 + a": lambda a, b: 2.0 + a,
    "2 - a": lambda a, b: 2.0 - a,
    "2 * a": lambda a, b: 2.0 * a,
    "2 / a": lambda a, b: 2.0 / a,
    "array + a": lambda a, b: B + a,
    "array - a": lambda a, b: B - a,
    "array * a": lambda a, b: B * a,
    "array / a": lambda a, b: B / a,
}


@pytest.mark.parametrize("name", INFIX)
def test_operators_of_symbols_are_those_of_arrays(name: str) -> None:
    f = Emit(frozenset({"a", "b"}))
    result = INFIX[name](*(f.symbol(n, np.float32, A.shape) for n in ("a", "b")))
    graph = helper.make_graph(
        f.nodes, "infix", [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, A.shape) for n in ("a", "b")],
        [onnx.ValueInfoProto(name=result.name)], f.initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = INFIX[name](A, B)
    assert wanted.dtype == np.float32
    np.testing.assert_allclose(session.run(None, {"a": A, "b": B})[0], wanted, rtol=1e-6)
