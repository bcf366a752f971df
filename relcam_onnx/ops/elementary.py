"""Elementary functions of one tensor: Neg, Abs, Sign, Sqrt, Reciprocal, Exp, Log, Erf, Atan, Sin, Cos, Pow by a number.

Relevance passes, as under any activation; a gradient is multiplied by the slope. A root has none at 0, where it would
be infinite and what is handed on no number.
"""

from __future__ import annotations

import math

import onnx_graphsurgeon as gs

from relcam_onnx.ops.activation import activation
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Call, Relay, through
from relcam_onnx.ops.table import Nonnegative, op, sign_kept, sign_nonnegative, sign_unknown


@op("Neg")
def neg(f: Backend, call: Call) -> Relay:
    """Neg, opset 13: a product with a constant."""
    return Relay(lambda m: {0: m}, lambda g: {0: -g})


@activation("Abs", sign_nonnegative)
def absolute(f: Backend, call: Call) -> Value:
    """Abs, opset 13."""
    return f.Sign(call.x)


@activation("Sign", sign_kept)
def sign(f: Backend, call: Call) -> Value:
    """Sign, opset 13: the activation of binary networks; flat but for its step."""
    return call.x * 0.0


@activation("Sqrt", sign_nonnegative)
def sqrt(f: Backend, call: Call) -> Value:
    """Sqrt, opset 13."""
    above = f.Greater(call.output, 0.0)
    return f.Where(above, 0.5, 0.0) / f.Where(above, call.output, 1.0)


@activation("Reciprocal", sign_kept)
def reciprocal(f: Backend, call: Call) -> Value:
    """Reciprocal, opset 13."""
    return -(call.output * call.output)


@activation("Exp", sign_nonnegative)
def exp(f: Backend, call: Call) -> Value:
    """Exp, opset 13."""
    return call.output


@activation("Log", sign_unknown)
def log(f: Backend, call: Call) -> Value:
    """Log, opset 13."""
    return 1.0 / call.x


@activation("Erf", sign_kept)
def erf(f: Backend, call: Call) -> Value:
    """Erf, opset 13."""
    x = call.x
    return f.Exp(-(x * x)) * (2 / math.sqrt(math.pi))


@activation("Atan", sign_kept)
def atan(f: Backend, call: Call) -> Value:
    """Atan, opset 7."""
    return 1.0 / (call.x * call.x + 1.0)


@activation("Sin", sign_unknown)
def sin(f: Backend, call: Call) -> Value:
    """Sin, opset 7."""
    return f.Cos(call.x)


@activation("Cos", sign_unknown)
def cos(f: Backend, call: Call) -> Value:
    """Cos, opset 7."""
    return -f.Sin(call.x)


def exponent(node: gs.Node) -> float | None:
    """The number that a power is raised to; None where it is computed, or not one number."""
    held = node.inputs[1]
    return float(held.values.reshape(-1)[0]) if isinstance(held, gs.Constant) and held.values.size == 1 else None


def pow_refuses(node: gs.Node) -> str | None:
    """An exponent that the picture decides is no factor of anything."""
    return "its exponent is not one constant number" if exponent(node) is None else None


def pow_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Of a base that is, or an even power."""
    power = exponent(node)
    return nonnegative(node.inputs[0]) or (power is not None and power % 2 == 0)


@op("Pow", nonnegative=pow_nonnegative, refuses=pow_refuses)
def pow_(f: Backend, call: Call) -> Relay:
    """Pow, opset 15, by one constant number."""
    power = exponent(call.node) or 0.0
    slope = f.Pow(call.x, power - 1) * power
    return through(f, f.Where(f.Equal(call.x, 0.0), 0.0, slope) if 0 < power < 1 else slope)
