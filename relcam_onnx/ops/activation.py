"""Activations: y = φ(x) element by element. Relevance passes unchanged; a gradient is multiplied by the slope φ'(x).

At a kink the slope is 0, as in PyTorch's Relu, Clip and HardSigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.records import Backend, Call, Relay, Value, through
from relcam_onnx.ops.table import Affine, Known, op, sign_kept, sign_nonnegative, sign_unknown


def activation(
    name: str, nonnegative: Callable[[gs.Node, Known], bool] = sign_unknown
) -> Callable[[Callable[[Backend, Call], Value]], Callable[[Backend, Call], Value]]:
    """Register an activation by its slope: a function (f, call) -> φ'(x), (N, ...)."""

    def register(slope: Callable[[Backend, Call], Value]) -> Callable[[Backend, Call], Value]:
        def build(f: Backend, call: Call) -> Relay:
            return Relay(
                # Where a ReLU is not 0 it is its input, so what was promised of its output still holds.
                relevance=lambda m: {0: m if name == "Relu" else m.unsupported()},
                gradient=lambda g: {0: f.Mul(g, f.each(slope(f, call)))},
            )

        op(name, nonnegative=nonnegative)(build)
        return slope

    return register


def step(f: Backend, condition: Value, yes: Value = 1.0, no: Value = 0.0) -> Value:
    """``yes`` where the condition holds, ``no`` elsewhere."""
    return f.Where(condition, yes, no)


@activation("Relu", sign_nonnegative)
def relu(f: Backend, call: Call) -> Value:
    """Relu, opset 14."""
    return step(f, f.Greater(call.output, 0.0))


@activation("LeakyRelu", sign_kept)
def leaky_relu(f: Backend, call: Call) -> Value:
    """LeakyRelu, opset 16."""
    return step(f, f.Greater(call.inputs[0], 0.0), no=call.attr("alpha", 0.01))


@activation("PRelu", sign_kept)
def prelu(f: Backend, call: Call) -> Value:
    """PRelu, opset 16."""
    return step(f, f.Greater(call.inputs[0], 0.0), no=call.inputs[1])


def thresholded_nonnegative(node: gs.Node, known: Known) -> bool:
    """A threshold below 0 lets what is between pass."""
    return node.attrs.get("alpha", 1.0) >= 0 or known(node.inputs[0])


@activation("ThresholdedRelu", thresholded_nonnegative)
def thresholded_relu(f: Backend, call: Call) -> Value:
    """ThresholdedRelu, opset 10."""
    return step(f, f.Greater(call.inputs[0], call.attr("alpha", 1.0)))


@activation("Elu", sign_kept)
def elu(f: Backend, call: Call) -> Value:
    """Elu, opset 6: below 0 the slope is alpha · exp(x) = y + alpha."""
    return step(f, f.Greater(call.inputs[0], 0.0), no=f.Add(call.output, call.attr("alpha", 1.0)))


@activation("Celu", sign_kept)
def celu(f: Backend, call: Call) -> Value:
    """Celu, opset 12: below 0 the slope is exp(x / alpha) = y / alpha + 1."""
    alpha = call.attr("alpha", 1.0)
    return step(f, f.Greater(call.inputs[0], 0.0), no=f.Add(f.Div(call.output, alpha), 1.0))


@activation("Selu", sign_kept)
def selu(f: Backend, call: Call) -> Value:
    """Selu, opset 6: gamma above 0, y + gamma · alpha below."""
    alpha, gamma = call.attr("alpha", 1.6732632423543772), call.attr("gamma", 1.0507009873554805)
    return step(f, f.Greater(call.inputs[0], 0.0), gamma, f.Add(call.output, gamma * alpha))


def clip_nonnegative(node: gs.Node, known: Known) -> bool:
    """A lower bound of at least 0 (ReLU6, hard sigmoid spelled out), and no upper one below it."""
    low, high = (node.inputs[i] if len(node.inputs) > i and not node.inputs[i].is_empty() else None for i in (1, 2))
    floor = known(node.inputs[0]) or (isinstance(low, gs.Constant) and known(low))
    return floor and (high is None or known(high))


@activation("Clip", clip_nonnegative)
def clip(f: Backend, call: Call) -> Value:
    """Clip, opset 13: 1 strictly between the bounds."""
    x, low, high = call.inputs[0], call.get(1), call.get(2)
    slope = step(f, f.Equal(x, x))
    if low is not None:
        slope = f.Mul(slope, step(f, f.Greater(x, low)))
    if high is not None:
        slope = f.Mul(slope, step(f, f.Less(x, high)))
    return slope


@activation("Sigmoid", sign_nonnegative)
def sigmoid(f: Backend, call: Call) -> Value:
    """Sigmoid, opset 13."""
    return f.Mul(call.output, f.Sub(1.0, call.output))


@activation("HardSigmoid", sign_nonnegative)
def hard_sigmoid(f: Backend, call: Call) -> Value:
    """HardSigmoid, opset 6: alpha strictly between 0 and 1."""
    inside = f.And(f.Greater(call.output, 0.0), f.Less(call.output, 1.0))
    return step(f, inside, call.attr("alpha", 0.2))


@activation("Tanh", sign_kept)
def tanh(f: Backend, call: Call) -> Value:
    """Tanh, opset 13."""
    return f.Sub(1.0, f.Mul(call.output, call.output))


@activation("Softplus", sign_nonnegative)
def softplus(f: Backend, call: Call) -> Value:
    """Softplus, opset 1."""
    return f.Sigmoid(call.inputs[0])


@activation("Softsign", sign_kept)
def softsign(f: Backend, call: Call) -> Value:
    """Softsign, opset 1: 1 / (1 + |x|)²."""
    wide = f.Add(f.Abs(call.inputs[0]), 1.0)
    return f.Div(1.0, f.Mul(wide, wide))


@activation("Exp", sign_nonnegative)
def exp(f: Backend, call: Call) -> Value:
    """Exp, opset 13."""
    return call.output


@activation("Swish", sign_kept)
def swish(f: Backend, call: Call) -> Value:
    """Swish, opset 24, x · sigmoid(alpha · x); canon writes x · Sigmoid(x) as this (SiLU)."""
    alpha = call.attr("alpha", 1.0)
    gate = f.Sigmoid(f.Mul(call.inputs[0], alpha))
    return f.Add(gate, f.Mul(f.Mul(call.output, alpha), f.Sub(1.0, gate)))


@activation("HardSwish", sign_kept)
def hard_swish(f: Backend, call: Call) -> Value:
    """HardSwish, opset 14, x · clip(x / 6 + 1/2, 0, 1): slope x / 3 + 1/2 between -3 and 3."""
    x = call.inputs[0]
    middle = step(f, f.Greater(x, -3.0), f.Add(f.Div(x, 3.0), 0.5))
    return step(f, f.GreaterOrEqual(x, 3.0), no=middle)


@activation("Mish", sign_kept)
def mish(f: Backend, call: Call) -> Value:
    """Mish, opset 18, x · tanh(softplus(x))."""
    x = call.inputs[0]
    gate = f.Tanh(f.Softplus(x))
    return f.Add(gate, f.Mul(f.Mul(x, f.Sigmoid(x)), f.Sub(1.0, f.Mul(gate, gate))))


@activation("Gelu", sign_kept)
def gelu(f: Backend, call: Call) -> Value:
    """Gelu, opset 20: x · Φ(x), exact or by its tanh approximation."""
    x = call.inputs[0]
    if call.attr("approximate", "none") == "none":
        area = f.Mul(f.Add(f.Erf(f.Mul(x, 1 / math.sqrt(2))), 1.0), 0.5)
        density = f.Mul(f.Exp(f.Mul(f.Mul(x, x), -0.5)), 1 / math.sqrt(2 * math.pi))
        return f.Add(area, f.Mul(x, density))
    root, cubic = math.sqrt(2 / math.pi), 0.044715
    square = f.Mul(x, x)
    bend = f.Tanh(f.Mul(f.Mul(x, f.Add(f.Mul(square, cubic), 1.0)), root))
    inner = f.Mul(f.Add(f.Mul(square, 3 * cubic), 1.0), root)
    slope = f.Mul(f.Mul(x, f.Sub(1.0, f.Mul(bend, bend))), inner)
    return f.Mul(f.Add(f.Add(bend, 1.0), slope), 0.5)


def quantised(node: gs.Node) -> Affine | None:
    """Scale and zero point, where the file has them; rounding left aside."""
    told = [t for t in node.inputs[1:] if not t.is_empty()]
    if not all(isinstance(t, gs.Constant) for t in told):
        return None
    step, zero = (np.asarray(t.values, np.float64) for t in (*told, gs.Constant("", np.zeros(1)))[:2])
    return (1 / step, zero) if node.op == "QuantizeLinear" else (step, -zero * step)


@op("QuantizeLinear", "DequantizeLinear", affine=quantised)
def quantize(f: Backend, call: Call) -> Relay:
    """QuantizeLinear and DequantizeLinear, opset 13 and later: straight through, rounding has no slope."""
    return through(f)
