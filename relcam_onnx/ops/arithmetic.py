"""Add, Sum, Mean, Sub, Mul and Div: sums share, constants are biases and scales, gates let the signal through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from relcam_onnx.model import producer, static_shape, variables
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Call, Linear, Message, Record, Relay, Term
from relcam_onnx.ops.table import every_input, op, sign_of_all

GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh"})
"""What closes a gate: the values of an operand that comes from here weigh the other one."""

SCALING = frozenset({"Mul", "Div", "Add", "Sub"})
JOINING = frozenset({"Add", "Concat", "Max", "Mean", "Min", "Mul", "Sum"})
"""What makes one gate of several."""
SHAPING = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Identity", "Cast", "Slice", "Gather",
    "Resize", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip


def unbroadcast(f: Backend, s: Value, like: Value, output: Value) -> Value:
    """The adjoint of broadcasting ``like`` (N, ...) to ``output``: sums over the axes where it was repeated."""
    small, large = tuple(f.dims(like)), tuple(f.dims(output))
    if small[1:] == large[1:]:
        return s
    padded = (1,) * (len(large) - len(small)) + small
    axes = [axis for axis in range(1, len(large)) if padded[axis] == 1 and large[axis] != 1]
    whole = f.ReduceSum(s, axes, keepdims=1) if axes else s
    return whole if len(small) == len(large) else f.Reshape(whole, [0, *small[1:]])


def passed(f: Backend, call: Call, message: Message, index: int) -> dict[int, Message]:
    """All of it to one input, summed where that was repeated."""
    x, y = call.value(index), call.output
    if tuple(f.dims(x)[1:]) == tuple(f.dims(y)[1:]):
        return {index: message}
    return {index: Message(unbroadcast(f, message.relevance(f), x, y))}


def factor(f: Backend, call: Call, index: int) -> Value:
    """An operand as it meets relevance: a constant of lower rank than the output gets its leading axes first."""
    value = call.value(index)
    missing = len(f.dims(call.output)) - len(f.dims(value))
    if call.constant(index) and missing > 0 and len(f.dims(value)):
        value = f.Reshape(value, [*[1] * missing, *f.dims(value)])
    return f.each(value)


def coefficient(factor: float) -> NDArray[Any]:
    """A number as a weight."""
    return np.asarray(factor, np.float32)


def summed(f: Backend, call: Call, factors: Sequence[float]) -> Linear:
    """Σ factor · input; constants are biases, but those that vary over positions are terms like any other."""

    def term(index: int, factor: float) -> Term:
        x = call.value(index)
        missing = len(f.dims(call.output)) - len(f.dims(x))
        if call.constant(index) and missing > 0:
            x = f.Reshape(x, [*[1] * missing, *f.dims(x)])
        return Term(
            x,
            apply=lambda x, w: x if w is None else x * w,
            adjoint=lambda s, w: unbroadcast(f, s if w is None else s * w, x, call.output),
            weight=None if factor == 1 else coefficient(factor),
            nonnegative=index in call.nonnegative,
            index=index,
            receives=not call.constant(index),
        )

    biases = {i for i in range(len(factors)) if call.constant(i) and not is_table(call.node.inputs[i])}
    constants = [call.value(i) if factors[i] == 1 else call.value(i) * factors[i] for i in sorted(biases)]
    terms = tuple(term(i, factor) for i, factor in enumerate(factors) if i not in biases)
    return Linear(terms, call.output, f.Sum(*constants) if constants else None)


def is_table(tensor: gs.Tensor) -> bool:
    """Whether a constant varies along more than one axis, as a table of positions does and a bias does not."""
    if not isinstance(tensor, gs.Constant):
        return False
    value = np.asarray(tensor.values)
    return sum(not np.all(value == value.take([0], axis)) for axis in range(value.ndim) if value.size) > 1


def is_shift(node: gs.Node) -> bool:
    """Whether a node only adds a bias to one computed tensor: relevance passes."""
    return len(every_input(node)) == 1 and not any(map(is_table, node.inputs))


def sum_role(node: gs.Node) -> str:
    """A sum of several tensors, or a bias on its own."""
    return "bias" if is_shift(node) else "sum"


@op("Add", "Sum", receivers=every_input, nonnegative=sign_of_all, role=sum_role)
def add(f: Backend, call: Call) -> Record:
    """Add, opset 14, and Sum, opset 13."""
    return shifted(f, call) if is_shift(call.node) else summed(f, call, [1.0] * len(call.inputs))


@op("Mean", receivers=every_input, nonnegative=sign_of_all, role="sum")
def mean(f: Backend, call: Call) -> Linear:
    """Mean, opset 13, of tensors that broadcast."""
    return summed(f, call, [1 / len(call.inputs)] * len(call.inputs))


@op("Sub", receivers=every_input, role=sum_role)
def sub(f: Backend, call: Call) -> Record:
    """Sub, opset 14: Add of the negative."""
    if is_shift(call.node):
        return shifted(f, call, -1.0 if call.constant(0) else 1.0)
    return summed(f, call, [1.0, -1.0])


def shifted(f: Backend, call: Call, sign: float = 1.0) -> Relay:
    """A bias on its own: relevance passes to the one computed input, a gradient times ``sign``."""
    (index,) = every_input(call.node)
    x, y = call.value(index), call.output

    def relevance(message: Message) -> dict[int, Message]:
        if tuple(f.dims(x)[1:]) == tuple(f.dims(y)[1:]):
            return {index: message}
        return {index: Message(unbroadcast(f, message.relevance(f), x, y))}

    def gradient(g: Value) -> dict[int, Value]:
        whole = unbroadcast(f, g, x, y)
        return {index: whole if sign > 0 else -whole}

    return Relay(relevance, gradient)


def is_gate(tensor: gs.Tensor) -> bool:
    """Whether a tensor is a gate by its origin.

    It comes, through shape ops and constant scaling, from Sigmoid, HardSigmoid, Softmax, Tanh or a Clip to 0..1 (also
    spelled Clip to 0..6 with a sixth of it taken). What is made of gates alone is one.
    """
    node, scale = producer(tensor), 1.0
    while node is not None:
        if node.op in GATES:
            return True
        if node.op == "Clip":
            bounds = [t.values for t in node.inputs[1:3] if isinstance(t, gs.Constant)]
            return len(bounds) == 2 and bool(np.all(bounds[0] == 0) and np.allclose(bounds[1] * scale, 1))
        computed = [t for _, t in variables(node)]
        if len(computed) > 1:
            return node.op in JOINING and all(map(is_gate, computed))
        constants = [t.values for t in node.inputs if isinstance(t, gs.Constant)]
        if node.op in SCALING and len(computed) == 1 and constants and constants[0].size == 1:
            factor = float(constants[0].reshape(-1)[0])
            scale *= {"Mul": factor, "Div": 1 / factor if factor else 0.0}.get(node.op, 1.0)
        elif not computed or node.op not in SHAPING | SCALING:
            return False
        node = producer(computed[0])
    return False


def single_position(tensor: gs.Tensor) -> bool:
    """Whether a tensor has one value per channel, (N, C), (N, C, 1, 1) or (N, 1, 1, C), or is one number for all."""
    shape = static_shape(tensor)
    if shape is None or len(shape) == 1:
        return False
    return any(all(d == 1 for a, d in enumerate(shape) if a not in (0, channel)) for channel in (1, len(shape) - 1))


def signals(node: gs.Node) -> tuple[int, ...]:
    """The operands of a product that get relevance: all but the gate; both where there is none.

    ``scale`` is the engine's own attribute: the operand that canon found to be a scale made of the other one.
    """
    if (scale := node.attrs.get("scale")) is not None:
        return (1 - scale,)
    computed = every_input(node)
    if len(computed) < 2:
        return computed
    for test in (is_gate, single_position):
        gates = [i for i in computed if test(node.inputs[i])]
        if len(gates) == 1:
            return tuple(i for i in computed if i not in gates)
    return computed


def is_halved(node: gs.Node) -> bool:
    """Whether a product of two computed tensors has no gate, so that each operand gets half."""
    return node.op == "Mul" and len(signals(node)) == 2


@op("Mul", receivers=signals, gradient_receivers=every_input, nonnegative=sign_of_all)
def mul(f: Backend, call: Call) -> Relay:
    """Mul, opset 14: by a constant or a gate R passes to the signal; else each operand gets half."""
    receivers = signals(call.node)

    def relevance(message: Message) -> dict[int, Message]:
        if len(receivers) == 2:
            half = message.relevance(f) * 0.5
            return {i: Message(unbroadcast(f, half, call.value(i), call.output)) for i in receivers}
        if message.of is call.output and call.constant(1 - receivers[0]):
            scaled = Message(message.value * factor(f, call, 1 - receivers[0]), call.value(receivers[0]))
            return passed(f, call, scaled, receivers[0])
        return passed(f, call, message, receivers[0])

    def gradient(g: Value) -> dict[int, Value]:
        return {
            i: unbroadcast(f, g * factor(f, call, 1 - i), call.value(i), call.output) for i in every_input(call.node)
        }

    return Relay(relevance, gradient)


def div_refuses(node: gs.Node) -> str | None:
    """A picture in the denominator only has no share to give."""
    return None if not isinstance(node.inputs[0], gs.Constant) else "its numerator is a constant"


@op("Div", gradient_receivers=every_input, nonnegative=sign_of_all, refuses=div_refuses)
def div(f: Backend, call: Call) -> Relay:
    """Div, opset 14: R passes to the numerator; a computed denominator is a scale that is held fixed."""
    x, y = call.x, call.output

    def gradient(g: Value) -> dict[int, Value]:
        over = g / factor(f, call, 1)
        parts = {0: unbroadcast(f, over, x, y)}
        if not call.constant(1):
            parts[1] = unbroadcast(f, -(over * f.each(y)), call.value(1), y)
        return parts

    def relevance(message: Message) -> dict[int, Message]:
        if message.of is y and call.constant(1):
            message = Message(message.value / factor(f, call, 1), x)
        return passed(f, call, message, 0)

    return Relay(relevance, gradient)
