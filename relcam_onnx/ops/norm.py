"""Normalisation by statistics of the picture itself: y = x · scale + shift with the scale held fixed.

For relevance that is a diagonal linear op whose mean and scale are numbers; the gradient is the true one, through the
statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

from relcam_onnx.ops.linear import diagonal, per_channel
from relcam_onnx.ops.records import Backend, Call, Linear, Relay, Value
from relcam_onnx.ops.table import op, sign_kept


def normalised(
    f: Backend, call: Call, grouped: Sequence[int], axes: Sequence[int], gain: Value, shift: Value | None
) -> Linear:
    """(x - mean) / deviation · gain + shift, statistics over ``axes`` of x in the shape ``grouped``."""
    x, epsilon = call.inputs[0], call.attr("epsilon", 1e-5)
    dims, axes = list(f.dims(x)), list(axes)

    def over_groups(value: Value) -> Value:
        """The mean over each group, broadcast back to the shape of x; any leading axis."""
        apart = f.Reshape(value, [0, *grouped[1:]])
        mean = f.Expand(f.ReduceMean(apart, axes, keepdims=1), [1, *grouped[1:]])
        return f.Reshape(mean, [0, *dims[1:]])

    mean = over_groups(x)
    centred = f.Sub(x, mean)
    inverse = f.Div(1.0, f.Sqrt(f.Add(over_groups(f.Mul(centred, centred)), epsilon)))
    scale = f.Mul(inverse, gain)
    offset = f.Neg(f.Mul(mean, scale))
    record = diagonal(f, call, scale, offset if shift is None else f.Add(offset, shift))

    def derivative(g: Value) -> Value:
        unit = f.each(f.Mul(centred, inverse))
        inner = f.Mul(g, gain)
        along = f.Mul(unit, over_groups(f.Mul(inner, unit)))
        return f.Mul(f.Sub(f.Sub(inner, over_groups(inner)), along), f.each(inverse))

    return Linear(record.terms, record.y, record.bias, derivative)


@op("InstanceNormalization", role="norm")
def instance_normalization(f: Backend, call: Call) -> Linear:
    """InstanceNormalization, opset 6."""
    dims = f.dims(call.inputs[0])
    gain, shift = (per_channel(f, v, call.output) for v in call.inputs[1:3])
    return normalised(f, call, dims, range(2, len(dims)), gain, shift)


@op("GroupNormalization", role="norm")
def group_normalization(f: Backend, call: Call) -> Linear:
    """GroupNormalization, opset 21: gain and shift per channel."""
    dims, groups = f.dims(call.inputs[0]), call.node.attrs["num_groups"]
    grouped = [dims[0], groups, dims[1] // groups, *dims[2:]]
    gain, shift = (per_channel(f, v, call.output) for v in call.inputs[1:3])
    return normalised(f, call, grouped, range(2, len(grouped)), gain, shift)


@op("LayerNormalization", role="norm")
def layer_normalization(f: Backend, call: Call) -> Linear:
    """LayerNormalization, opset 17."""
    dims = f.dims(call.inputs[0])
    axis = int(call.attr("axis", -1)) % len(dims)
    return normalised(f, call, dims, range(axis, len(dims)), call.inputs[1], call.get(2))


@op("LRN", nonnegative=sign_kept)
def lrn(f: Backend, call: Call) -> Relay:
    """LRN, opset 13: y = x · d^-beta, d = bias + alpha / size · Σ x² over neighbouring channels; R passes."""
    x = call.inputs[0]
    size, alpha = call.node.attrs["size"], call.attr("alpha", 1e-4)
    beta, bias = call.attr("beta", 0.75), call.attr("bias", 1.0)
    below, above = (size - 1) // 2, size - 1 - (size - 1) // 2
    channels, rank = f.dims(x)[1], len(f.dims(x))

    def neighbours(value: Value, before: int, after: int) -> Value:
        """Sums over the channels from c - before to c + after."""
        amounts = [0, before, *[0] * (rank - 2), 0, after, *[0] * (rank - 2)]
        padded = f.Pad(value, amounts)
        return f.Sum(*(f.Slice(padded, [i], [i + channels], [1]) for i in range(size)))

    def gradient(g: Value) -> dict[int, Value]:
        d = f.Add(f.Mul(neighbours(f.Mul(x, x), below, above), alpha / size), bias)
        own = f.Mul(g, f.each(f.Pow(d, -beta)))
        shared = f.Mul(g, f.each(f.Mul(x, f.Pow(d, -beta - 1))))
        others = f.Mul(f.Mul(neighbours(shared, above, below), f.each(x)), 2 * alpha * beta / size)
        return {0: f.Sub(own, others)}

    return Relay(lambda m: {0: m.unsupported()}, gradient)
