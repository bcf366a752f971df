"""Activations: y = φ(x) element by element. Relevance passes unchanged; a gradient is multiplied by the slope φ'(x).

At a kink the slope is 0, as in PyTorch's Relu, Clip and HardSigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Call, Linear, Relay, Term, through
from relcam_onnx.ops.table import Nonnegative, op, sign_kept, sign_nonnegative, sign_unknown


def activation(
    name: str, nonnegative: Callable[[gs.Node, Nonnegative], bool] = sign_unknown
) -> Callable[[Callable[[Backend, Call], Value]], Callable[[Backend, Call], Value]]:
    """Register an activation by its slope: a function (f, call) -> φ'(x), (N, ...)."""

    def register(slope: Callable[[Backend, Call], Value]) -> Callable[[Backend, Call], Value]:
        def build(f: Backend, call: Call) -> Relay:
            return Relay(
                relevance=lambda m: {0: m},
                gradient=lambda g: {0: g * f.each(slope(f, call))},
                # Where a ReLU is not 0 it is its input, so what was promised of its output still holds.
                keeps_support=name == "Relu",
            )

        op(name, nonnegative=nonnegative)(build)
        return slope

    return register


def step(f: Backend, condition: Value, yes: Value | float = 1.0, no: Value | float = 0.0) -> Value:
    """``yes`` where the condition holds, ``no`` elsewhere."""
    return f.Where(condition, yes, no)


@activation("Relu", sign_nonnegative)
def relu(f: Backend, call: Call) -> Value:
    """Relu, opset 14."""
    return step(f, f.Greater(call.output, 0.0))


@activation("LeakyRelu", sign_kept)
def leaky_relu(f: Backend, call: Call) -> Value:
    """LeakyRelu, opset 16."""
    return step(f, f.Greater(call.x, 0.0), no=call.attr("alpha", 0.01))


@activation("PRelu", sign_kept)
def prelu(f: Backend, call: Call) -> Value:
    """PRelu, opset 16."""
    return step(f, f.Greater(call.x, 0.0), no=call.value(1))


def thresholded_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """A threshold below 0 lets what is between pass."""
    return node.attrs.get("alpha", 1.0) >= 0 or nonnegative(node.inputs[0])


@activation("ThresholdedRelu", thresholded_nonnegative)
def thresholded_relu(f: Backend, call: Call) -> Value:
    """ThresholdedRelu, opset 10."""
    return step(f, f.Greater(call.x, call.attr("alpha", 1.0)))


@activation("Shrink", sign_unknown)
def shrink(f: Backend, call: Call) -> Value:
    """Shrink, opset 9: 0 as far from 0 as lambd."""
    return step(f, f.Greater(f.Abs(call.x), call.attr("lambd", 0.5)))


@activation("Elu", sign_kept)
def elu(f: Backend, call: Call) -> Value:
    """Elu, opset 6: below 0 the slope is alpha · exp(x) = y + alpha."""
    return step(f, f.Greater(call.x, 0.0), no=call.output + call.attr("alpha", 1.0))


@activation("Celu", sign_kept)
def celu(f: Backend, call: Call) -> Value:
    """Celu, opset 12: below 0 the slope is exp(x / alpha) = y / alpha + 1."""
    alpha = call.attr("alpha", 1.0)
    return step(f, f.Greater(call.x, 0.0), no=call.output / alpha + 1.0)


@activation("Selu", sign_kept)
def selu(f: Backend, call: Call) -> Value:
    """Selu, opset 6: gamma above 0, y + gamma · alpha below."""
    alpha, gamma = call.attr("alpha", 1.6732632423543772), call.attr("gamma", 1.0507009873554805)
    return step(f, f.Greater(call.x, 0.0), gamma, call.output + gamma * alpha)


def clip_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """A lower bound of at least 0 (ReLU6, hard sigmoid spelled out), and no upper one below it."""
    low, high = (node.inputs[i] if len(node.inputs) > i and not node.inputs[i].is_empty() else None for i in (1, 2))
    floor = nonnegative(node.inputs[0]) or (isinstance(low, gs.Constant) and nonnegative(low))
    return floor and (high is None or nonnegative(high))


@activation("Clip", clip_nonnegative)
def clip(f: Backend, call: Call) -> Value:
    """Clip, opset 13: 1 strictly between the bounds."""
    x, low, high = call.x, call.get(1), call.get(2)
    slope = step(f, f.Equal(x, x))
    if low is not None:
        slope = slope * step(f, f.Greater(x, low))
    if high is not None:
        slope = slope * step(f, f.Less(x, high))
    return slope


@activation("Sigmoid", sign_nonnegative)
def sigmoid(f: Backend, call: Call) -> Value:
    """Sigmoid, opset 13."""
    return call.output * (1.0 - call.output)


@activation("HardSigmoid", sign_nonnegative)
def hard_sigmoid(f: Backend, call: Call) -> Value:
    """HardSigmoid, opset 6: alpha strictly between 0 and 1."""
    inside = f.And(f.Greater(call.output, 0.0), f.Less(call.output, 1.0))
    return step(f, inside, call.attr("alpha", 0.2))


@activation("Tanh", sign_kept)
def tanh(f: Backend, call: Call) -> Value:
    """Tanh, opset 13."""
    return 1.0 - call.output * call.output


@activation("Softplus", sign_nonnegative)
def softplus(f: Backend, call: Call) -> Value:
    """Softplus, opset 1."""
    return f.Sigmoid(call.x)


@activation("Softsign", sign_kept)
def softsign(f: Backend, call: Call) -> Value:
    """Softsign, opset 1: 1 / (1 + |x|)²."""
    wide = f.Abs(call.x) + 1.0
    return 1.0 / (wide * wide)


@activation("Swish", sign_kept)
def swish(f: Backend, call: Call) -> Value:
    """Swish, opset 24, x · sigmoid(alpha · x); canon writes x · Sigmoid(x) as this (SiLU)."""
    alpha = call.attr("alpha", 1.0)
    gate = f.Sigmoid(call.x * alpha)
    return gate + call.output * alpha * (1.0 - gate)


@activation("HardSwish", sign_kept)
def hard_swish(f: Backend, call: Call) -> Value:
    """HardSwish, opset 14, x · clip(x / 6 + 1/2, 0, 1): slope x / 3 + 1/2 between -3 and 3."""
    x = call.x
    middle = step(f, f.Greater(x, -3.0), x / 3.0 + 0.5)
    return step(f, f.GreaterOrEqual(x, 3.0), no=middle)


@activation("Mish", sign_kept)
def mish(f: Backend, call: Call) -> Value:
    """Mish, opset 18, x · tanh(softplus(x))."""
    x = call.x
    gate = f.Tanh(f.Softplus(x))
    return gate + x * f.Sigmoid(x) * (1.0 - gate * gate)


@activation("Gelu", sign_kept)
def gelu(f: Backend, call: Call) -> Value:
    """Gelu, opset 20: x · Φ(x), exact or by its tanh approximation."""
    x = call.x
    if call.attr("approximate", "none") == "none":
        area = (f.Erf(x * (1 / math.sqrt(2))) + 1.0) * 0.5
        density = f.Exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
        return area + x * density
    root, cubic = math.sqrt(2 / math.pi), 0.044715
    square = x * x
    bend = f.Tanh(x * (square * cubic + 1.0) * root)
    inner = (square * (3 * cubic) + 1.0) * root
    slope = x * (1.0 - bend * bend) * inner
    return (bend + 1.0 + slope) * 0.5


def softmax_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    return "it goes along the batch" if node.attrs.get("axis", -1) == 0 else None


@op("Softmax", nonnegative=sign_nonnegative, refuses=softmax_refuses)
def softmax(f: Backend, call: Call) -> Relay:
    """Softmax, opset 13: p_i (g_i - Σ_j p_j g_j) is its gradient, and what it is for small changes."""
    p, axis = call.output, [int(call.attr("axis", -1))]

    def along(weights: Value, g: Value) -> Value:
        return weights * (g - f.ReduceSum(g * weights, axis, keepdims=1))

    def expansion() -> Linear:
        x = f.Where(f.Greater(p, 0.0), call.x, 0.0)  # a mask may write -inf
        term = Term(x, apply=lambda x, w: along(p, x), adjoint=lambda s, w: along(f.each(p), s))
        return Linear((term,), p, p - along(p, x))

    return Relay(lambda m: {0: m}, lambda g: {0: along(f.each(p), g)}, expansion=expansion)


@op("QuantizeLinear", "DequantizeLinear", "Ceil", "Floor", "Round")
def quantize(f: Backend, call: Call) -> Relay:
    """QuantizeLinear, DequantizeLinear, Ceil, Floor and Round, opset 13 and later: rounding is stepped over."""
    return through(f)
