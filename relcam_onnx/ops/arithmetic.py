"""Add, Sum, Sub, Mul and Div: sums share relevance, constants are biases and scales, gates let the signal through."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import producer, static_shape, variables
from relcam_onnx.ops.records import Backend, Call, Linear, Message, Relay, Term, Value
from relcam_onnx.ops.table import Affine, Known, every_input, op

GATES = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh"})
"""What closes a gate: the values of an operand that comes from here weigh the other one."""

SCALING = frozenset({"Mul", "Div", "Add", "Sub"})
SHAPING = frozenset(
    {
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Tile",
        "Identity",
        "Cast",
        "Slice",
        "Resize",
    }
    | {"QuantizeLinear", "DequantizeLinear"}
)


def all_known(node: gs.Node, known: Known) -> bool:
    """Sums and products of what is ≥ 0 are ≥ 0."""
    return all(map(known, node.inputs))


def unbroadcast(f: Backend, s: Value, like: Value, output: Value) -> Value:
    """The adjoint of broadcasting ``like`` (N, ...) to ``output``: sums over the axes where it was repeated."""
    small, large = tuple(f.dims(like)), tuple(f.dims(output))
    if small[1:] == large[1:]:
        return s
    padded = (1,) * (len(large) - len(small)) + small
    axes = [axis for axis in range(1, len(large)) if padded[axis] == 1 and large[axis] != 1]
    whole = f.ReduceSum(s, axes, keepdims=1) if axes else s
    return whole if len(small) == len(large) else f.Reshape(whole, [0, *small[1:]])


def factor(f: Backend, call: Call, index: int) -> Value:
    """An operand as it meets relevance: a constant of lower rank than the output gets its leading axes first."""
    value = call.inputs[index]
    missing = len(f.dims(call.output)) - len(f.dims(value))
    if call.constant(index) and missing > 0 and len(f.dims(value)):
        value = f.Reshape(value, [*[1] * missing, *f.dims(value)])
    return f.each(value)


def summed(f: Backend, call: Call, signs: tuple[float, ...]) -> Linear:
    """Σ sign · input; constants among the inputs make the bias."""

    def term(index: int, sign: float) -> Term:
        x = call.inputs[index]
        return Term(
            x,
            apply=lambda x, w: x if w is None else f.Mul(x, w),
            adjoint=lambda s, w: unbroadcast(f, s if w is None else f.Mul(s, w), x, call.output),
            weight=None if sign > 0 else np.float32(sign),
            nonnegative=index in call.nonnegative,
            index=index,
        )

    constants = [
        call.inputs[i] if sign > 0 else f.Neg(call.inputs[i])
        for i, sign in enumerate(signs)
        if call.constant(i)
    ]  # fmt: skip
    terms = tuple(term(i, sign) for i, sign in enumerate(signs) if not call.constant(i))
    return Linear(terms, call.output, f.Sum(*constants) if constants else None)


def constant_of(node: gs.Node) -> tuple[np.ndarray, bool] | None:
    """The constant of a node of two operands, float64, and whether it is the left one; None where both are computed."""
    constants = [isinstance(t, gs.Constant) for t in node.inputs]
    if len(constants) != 2 or constants.count(True) != 1:
        return None
    return np.asarray(node.inputs[constants.index(True)].values, np.float64), constants[0]


def shifts(node: gs.Node) -> Affine | None:
    """A constant that is added, or what is left when it is subtracted or subtracted from."""
    if (found := constant_of(node)) is None:
        return None
    constant, left = found
    if node.op != "Sub":
        return np.ones(1), constant
    return (-np.ones(1), constant) if left else (np.ones(1), -constant)


def scales(node: gs.Node) -> Affine | None:
    """A constant factor or divisor."""
    found = constant_of(node)
    if found is None or (node.op == "Div" and (found[1] or not found[0].all())):
        return None
    return 1 / found[0] if node.op == "Div" else found[0], np.zeros(1)


@op("Add", "Sum", carries=every_input, nonnegative=all_known, affine=shifts, role="sum")
def add(f: Backend, call: Call) -> Linear:
    """Add, opset 14, and Sum, opset 13."""
    return summed(f, call, (1.0,) * len(call.inputs))


@op("Sub", carries=every_input, affine=shifts, role="sum")
def sub(f: Backend, call: Call) -> Linear:
    """Sub, opset 14: Add of the negative."""
    return summed(f, call, (1.0, -1.0))


def is_gate(tensor: gs.Tensor) -> bool:
    """Whether a tensor is a gate by its origin.

    It comes, through shape ops and constant scaling, from Sigmoid, HardSigmoid, Softmax, Tanh or a Clip to 0..1 (also
    spelled Clip to 0..6 with a sixth of it taken).
    """
    node, scale = producer(tensor), 1.0
    while node is not None:
        if node.op in GATES:
            return True
        if node.op == "Clip":
            bounds = [t.values for t in node.inputs[1:3] if isinstance(t, gs.Constant)]
            return len(bounds) == 2 and bool(np.all(bounds[0] == 0) and np.allclose(bounds[1] * scale, 1))
        computed = [t for _, t in variables(node)]
        constants = [t.values for t in node.inputs if isinstance(t, gs.Constant)]
        if node.op in SCALING and len(computed) == 1 and constants and constants[0].size == 1:
            factor = float(constants[0].reshape(-1)[0])
            scale *= {"Mul": factor, "Div": 1 / factor if factor else 0.0}.get(node.op, 1.0)
        elif node.op not in SHAPING and not (node.op in SCALING and len(computed) == 1):
            return False
        node = producer(computed[0])
    return False


def single_position(tensor: gs.Tensor) -> bool:
    """Whether a tensor has one value per channel, (N, C) or (N, C, 1, 1), or is one number for all images."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) != 1 and all(d == 1 for d in shape[2:])


def signals(node: gs.Node) -> tuple[int, ...]:
    """The operands of a product that get relevance: all but the gate; both where there is none."""
    computed = every_input(node)
    if len(computed) < 2:
        return computed
    for test in (is_gate, single_position):
        found = [i for i in computed if test(node.inputs[i])]
        if len(found) == 1:
            return tuple(i for i in computed if i not in found)
    return computed


def div_carries(node: gs.Node) -> tuple[int, ...]:
    """The numerator: a computed denominator is a scale that is held fixed."""
    return (0,)


def is_halved(node: gs.Node) -> bool:
    """Whether a product of two computed tensors has no gate, so that each operand gets half."""
    return node.op == "Mul" and len(signals(node)) == 2


@op("Mul", carries=signals, differentiates=every_input, nonnegative=all_known, affine=scales)
def mul(f: Backend, call: Call) -> Relay:
    """Mul, opset 14: by a constant or a gate R passes to the signal; else each operand gets half."""
    receivers = signals(call.node)

    def relevance(message: Message) -> dict[int, Message]:
        if len(receivers) == 2:
            half = f.Mul(message.relevance(f), 0.5)
            return {i: Message(unbroadcast(f, half, call.inputs[i], call.output)) for i in receivers}
        (i,) = receivers
        if tuple(f.dims(call.inputs[i])[1:]) == tuple(f.dims(call.output)[1:]):
            return {i: message.unsupported()}
        return {i: Message(unbroadcast(f, message.relevance(f), call.inputs[i], call.output))}

    def gradient(g: Value) -> dict[int, Value]:
        return {
            i: unbroadcast(f, f.Mul(g, factor(f, call, 1 - i)), call.inputs[i], call.output)
            for i in every_input(call.node)
        }

    return Relay(relevance, gradient)


def div_refuses(node: gs.Node) -> str | None:
    """A picture in the denominator only has no share to give."""
    return None if not isinstance(node.inputs[0], gs.Constant) else "its numerator is a constant"


@op("Div", carries=div_carries, differentiates=every_input, nonnegative=all_known, affine=scales, refuses=div_refuses)
def div(f: Backend, call: Call) -> Relay:
    """Div, opset 14: R passes to the numerator."""
    x, y = call.inputs[0], call.output

    def relevance(message: Message) -> dict[int, Message]:
        if tuple(f.dims(x)[1:]) == tuple(f.dims(y)[1:]):
            return {0: message.unsupported()}
        return {0: Message(unbroadcast(f, message.relevance(f), x, y))}

    def gradient(g: Value) -> dict[int, Value]:
        over = f.Div(g, factor(f, call, 1))
        found = {0: unbroadcast(f, over, x, y)}
        if not call.constant(1):
            found[1] = unbroadcast(f, f.Neg(f.Mul(over, f.each(y))), call.inputs[1], y)
        return found

    return Relay(relevance, gradient)
