"""Add, Sum, Mean, Sub, Mul and Div: constants, broadcasting and gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import Message, Relay
from relcam_onnx.ops.arithmetic import is_gate, is_halved, signals

Draw = Any
WIDE = (3, 2, 4)
SHAPES = [WIDE, (1, 2, 4), (3, 1, 1), (1, 1, 1)]
"""What broadcasts to (N, *WIDE) with the batch in front."""


@st.composite
def operation(draw: Draw, op: str, most: int = 2, *, away_from_zero: bool = False) -> Case:
    """Computed operands that broadcast, or one of them a constant."""
    seed, batch = draw(SEED), draw(BATCH)
    shapes = [WIDE, *(draw(st.sampled_from(SHAPES)) for _ in range(most - 1))]
    if op != "Div":
        shapes = draw(st.permutations(shapes))
    operands: list[Any] = [noise(seed + i, batch, *shape) for i, shape in enumerate(shapes)]
    if away_from_zero:
        operands[-1] = np.sign(operands[-1]) * (np.abs(operands[-1]) + np.float32(0.5))
    if draw(st.booleans()):
        # A constant has no batch: it is the same for every image.
        index = most - 1 if op == "Div" else draw(st.integers(0, most - 1))
        operands[index] = fixed(operands[index][:1])
        if all(isinstance(o, gs.Constant) or o.shape[1:] != WIDE for o in operands):
            operands[index - 1] = noise(seed, batch, *WIDE)
    return case(op, *operands)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Add": operation("Add"),
    "Sum": st.integers(1, 3).flatmap(lambda most: operation("Sum", most)),
    "Mean": st.integers(1, 3).flatmap(lambda most: operation("Mean", most)),
    "Sub": operation("Sub"),
    "Mul": operation("Mul"),
    "Div": operation("Div", away_from_zero=True),
}


def computed(op: str, *inputs: gs.Tensor, shape: tuple[int, ...] = (1, 3, 4, 4), **attrs: Any) -> gs.Variable:
    """What a node of this op makes."""
    made = gs.Variable(op, np.float32, shape)
    gs.Node(op, op, attrs, list(inputs), [made])
    return made


def number(value: float) -> gs.Constant:
    return gs.Constant(f"c{value}", np.asarray(value, np.float32))


X = gs.Variable("x", np.float32, (1, 3, 4, 4))
GATES = {
    "Sigmoid": computed("Sigmoid", X),
    "HardSigmoid": computed("HardSigmoid", X),
    "Softmax": computed("Softmax", X),
    "Tanh": computed("Tanh", X),
    "clip to 0..1": computed("Clip", X, number(0), number(1)),
    "clip to 0..6, over 6": computed("Div", computed("Clip", X, number(0), number(6)), number(6)),
    "sigmoid, reshaped and scaled": computed(
        "Mul", computed("Reshape", computed("Sigmoid", X), gs.Constant("s", np.array([1, 3, 4, 4]))), number(2)
    ),
    "two gates, multiplied": computed("Mul", computed("Sigmoid", X), computed("Tanh", X)),
    "two gates, added": computed("Add", computed("Sigmoid", X), computed("Sigmoid", X)),
}
NOT_GATES = {
    "input": X,
    "Relu": computed("Relu", X),
    "clip to 0..6": computed("Clip", X, number(0), number(6)),
    "a gate times what is none": computed("Mul", computed("Sigmoid", X), X),
    "conv of a sigmoid": computed("Conv", computed("Sigmoid", X), number(1)),
}


@pytest.mark.parametrize("name", [*GATES, *NOT_GATES])
def test_gates_are_known_by_their_origin(name: str) -> None:
    assert is_gate({**GATES, **NOT_GATES}[name]) == (name in GATES)


def product(a: gs.Tensor, b: gs.Tensor) -> gs.Node:
    return gs.Node("Mul", "mul", {}, [a, b], [gs.Variable("product", np.float32, (1, 3, 4, 4))])


@pytest.mark.parametrize(
    ("node", "receives"),
    [
        (product(X, GATES["Sigmoid"]), (0,)),
        (product(GATES["Tanh"], X), (1,)),
        (product(gs.Variable("narrow", np.float32, (1, 3, 1, 1)), X), (1,)),
        (product(X, NOT_GATES["Relu"]), (0, 1)),
        (product(GATES["Sigmoid"], GATES["Tanh"]), (0, 1)),
        (product(X, number(3)), (0,)),
    ],
    ids=["sigmoid", "tanh left", "single position", "no gate", "two gates", "constant"],
)
def test_the_signal_receives(node: gs.Node, receives: tuple[int, ...]) -> None:
    assert signals(node) == receives
    assert is_halved(node) == (len(receives) == 2)


def test_a_product_without_a_gate_is_halved() -> None:
    f, call, record = case("Mul", noise(0, 2, 3, 4, 4), noise(1, 2, 3, 4, 4)).describe()
    assert isinstance(record, Relay)
    relevance = noise(2, *call.output.shape)
    handed = record.relevance(Message(relevance))
    for index in (0, 1):
        np.testing.assert_allclose(handed[index].relevance(f), relevance / 2)


def test_an_operand_that_no_run_computes_is_no_gate() -> None:
    """A scale that is dequantised from constants, not folded yet: looking for its origin ends there."""
    scale = computed("DequantizeLinear", gs.Constant("q", np.ones((1, 3, 1, 1), np.int8)), number(0.5))
    assert not is_gate(scale)
    assert not is_gate(computed("Reshape", scale, gs.Constant("shape", np.array([1, 3, 1, 1]))))
