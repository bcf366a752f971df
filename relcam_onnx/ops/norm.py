"""Normalisation by statistics of the picture itself: y = (x - mean) / deviation · w + b.

For relevance the deviation is a number, so x -> (x - mean) · w / deviation is one linear map over the normalised
features and only b is a bias: R_i = x_i (s_i - mean_j s_j), s_j = w_j R_j / (deviation · stab(y_j)) by ε (Ali et al.
2022, arXiv:2202.07304; Achtibat et al. 2024, arXiv:2402.05602). The gradient is the true one, through the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.ops.arithmetic import coefficient
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.conv import per_channel
from relcam_onnx.ops.linear import diagonal
from relcam_onnx.ops.records import Call, Linear, Relay, Term
from relcam_onnx.ops.table import op, sign_kept


def normalised(
    f: Backend,
    call: Call,
    grouped: Sequence[Size],
    axes: Sequence[int],
    gain: Value,
    shift: Value | None,
    epsilon: float | None = None,
) -> Linear:
    """(x - mean) / deviation · gain + shift, statistics over ``axes`` of x in the shape ``grouped``."""
    x = call.x
    if epsilon is None:
        epsilon = call.attr("epsilon", 1e-5)
    dims, axes = list(f.dims(x)), list(axes)

    def over_groups(value: Value) -> Value:
        """The mean over each group, broadcast back to the shape of x; any leading axis."""
        apart = f.Reshape(value, [0, *grouped[1:]])
        mean = f.Expand(f.ReduceMean(apart, axes, keepdims=1), [1, *grouped[1:]])
        return f.Reshape(mean, [0, *dims[1:]])

    def centred(value: Value) -> Value:
        """What is left without the mean: a projection, so its own adjoint."""
        return value - over_groups(value)

    mean = over_groups(x)
    rest = x - mean
    inverse = 1.0 / f.Sqrt(over_groups(rest * rest) + epsilon)

    def derivative(g: Value) -> dict[int, Value]:
        unit = f.each(rest * inverse)
        inner = g * gain
        along = unit * over_groups(inner * unit)
        return {0: (centred(inner) - along) * f.each(inverse)}

    term = Term(
        x,
        apply=lambda x, w: centred(x) * inverse * w,
        adjoint=lambda s, w: centred(s * w * f.each(inverse)),
        weight=gain,
        nonnegative=0 in call.nonnegative,
    )

    def elementwise() -> Linear:
        scale = inverse * gain
        offset = -(mean * scale)
        return diagonal(f, call, scale, offset if shift is None else offset + shift)

    return Linear((term,), call.output, shift, derivative, elementwise)


@op("InstanceNormalization", role="norm")
def instance_normalization(f: Backend, call: Call) -> Linear:
    """InstanceNormalization, opset 6."""
    dims = f.dims(call.x)
    gain, shift = (per_channel(f, call.value(i), call.output) for i in (1, 2))
    return normalised(f, call, dims, range(2, len(dims)), gain, shift)


@op("GroupNormalization", role="norm")
def group_normalization(f: Backend, call: Call) -> Linear:
    """GroupNormalization, opset 21: gain and shift per channel."""
    dims, groups = f.dims(call.x), call.node.attrs["num_groups"]
    grouped = [dims[0], groups, dims[1] // groups, *dims[2:]]
    gain, shift = (per_channel(f, call.value(i), call.output) for i in (1, 2))
    return normalised(f, call, grouped, range(2, len(grouped)), gain, shift)


@op("LayerNormalization", role="norm")
def layer_normalization(f: Backend, call: Call) -> Linear:
    """LayerNormalization, opset 17; ``axes``, which canon sets, are any that are normalised together."""
    dims = f.dims(call.x)
    axes = call.attr("axes", list(range(int(call.attr("axis", -1)) % len(dims), len(dims))))
    return normalised(f, call, dims, axes, call.value(1), call.get(2))


@op("RMSNormalization")
def rms_normalization(f: Backend, call: Call) -> Relay:
    """RMSNormalization, opset 23, x / √(mean of x² + ε) · gain: the divisor is held fixed, and relevance passes."""
    x, gain, rank = call.x, call.value(1), len(f.dims(call.x))
    axes = call.attr("axes", list(range(int(call.attr("axis", -1)) % rank, rank)))

    def mean(value: Value) -> Value:
        return f.ReduceMean(value, axes, keepdims=1)

    def gradient(g: Value) -> dict[int, Value]:
        inverse = 1.0 / f.Sqrt(mean(x * x) + call.attr("epsilon", 1e-5))
        unit, inner = f.each(x * inverse), g * gain
        return {0: (inner - unit * mean(inner * unit)) * f.each(inverse)}

    return Relay(lambda m: {0: m}, gradient)


def mean_variance_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart; without ``axes`` the op averages over the batch too."""
    return "it averages over the batch" if 0 in (node.attrs.get("axes") or [0, 2, 3]) else None


@op("MeanVarianceNormalization", role="norm", refuses=mean_variance_refuses)
def mean_variance_normalization(f: Backend, call: Call) -> Linear:
    """MeanVarianceNormalization, opset 13: 1e-9 is added to the deviation itself."""
    dims = f.dims(call.x)
    axes = sorted(int(a) % len(dims) for a in call.attr("axes", [0, 2, 3]))
    return normalised(f, call, dims, axes, coefficient(1.0), None, epsilon=1e-18)


@op("LpNormalization", nonnegative=sign_kept)
def lp_normalization(f: Backend, call: Call) -> Relay:
    """LpNormalization, opset 1: y = x / ‖x‖, the length held fixed: R passes."""
    x, y, axis = call.x, call.output, call.attr("axis", -1)
    axes = [int(axis) % len(f.dims(x))]
    squared = int(call.attr("p", 2)) == 2

    def gradient(g: Value) -> dict[int, Value]:
        length = f.ReduceL2(x, axes, keepdims=1) if squared else f.ReduceSum(f.Abs(x), axes, keepdims=1)
        along = f.ReduceSum(g * f.each(y), axes, keepdims=1)
        direction = y if squared else f.Sign(x)
        return {0: (g - along * f.each(direction)) / f.each(length)}

    return Relay(lambda m: {0: m}, gradient)


@op("LRN", nonnegative=sign_kept)
def lrn(f: Backend, call: Call) -> Relay:
    """LRN, opset 13: y = x · d^-beta, d = bias + alpha / size · Σ x² over neighbouring channels; R passes."""
    x = call.x
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
        d = neighbours(x * x, below, above) * (alpha / size) + bias
        own = g * f.each(f.Pow(d, -beta))
        shared = g * f.each(x * f.Pow(d, -beta - 1))
        others = neighbours(shared, above, below) * f.each(x) * (2 * alpha * beta / size)
        return {0: own - others}

    return Relay(lambda m: {0: m}, gradient)
