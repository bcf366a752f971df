"""Ops that share by contribution among positions: average pools, sums, means and lengths over axes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.conv import explicit_pads, window_map
from relcam_onnx.ops.grids import window_grids
from relcam_onnx.ops.records import Call, Linear, Term, product
from relcam_onnx.ops.table import op, sign_kept, sign_nonnegative


def average(f: Backend, call: Call, apply: Any, adjoint: Any) -> Linear:
    """A linear op of one input whose coefficients are fixed and positive."""
    term = Term(
        call.x,
        apply=lambda x, w: apply(x),
        adjoint=lambda s, w: adjoint(s),
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output)


class Windows(NamedTuple):
    """Where the windows of a pool lie: what `window_map` asks for."""

    size: list[Any]
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[Any]


def windows(f: Backend, call: Call) -> Windows:
    """Those of a node, padded up to the end of the last one."""
    size, kernel = list(f.dims(call.x)[2:]), list(call.node.attrs["kernel_shape"])
    rank = len(size)
    strides, dilations = list(call.attr("strides", [1] * rank)), list(call.attr("dilations", [1] * rank))
    pads = explicit_pads(call, kernel, size, strides, dilations)
    rounded_up = call.attr("ceil_mode", 0) or call.attr("auto_pad", "NOTSET") != "NOTSET"
    for axis, (o, n, k) in enumerate(zip(f.dims(call.output)[2:], size, kernel, strict=True) if rounded_up else ()):
        # The last window may reach beyond the padding.
        reach = strides[axis] * (o - 1) + dilations[axis] * (k - 1) + 1
        pads[axis + rank] = max(pads[axis + rank], reach - n - pads[axis])
    return Windows(size, kernel, strides, dilations, pads)


@op("AveragePool", grids=window_grids, nonnegative=sign_kept, role="average")
def average_pool(f: Backend, call: Call) -> Linear:
    """AveragePool, opset 22: a depthwise convolution by ones, over the count of positions in each window."""
    x, placed = call.x, windows(f, call)
    attrs = call.attributes(
        "kernel_shape", "ceil_mode", "count_include_pad", "strides", "dilations", "auto_pad", "pads"
    )
    channels = f.dims(x)[1]
    total, _ = window_map(f, *placed, group=1)
    _, spread = window_map(f, *placed, group=channels)
    ones = f.Expand(1.0, [1, 1, *placed.size])
    # The pool's mean of ones is (positions read) / divisor, whatever it counts of the padding.
    divisor = total(ones, np.ones((1, 1, *placed.kernel), np.float32)) / f.AveragePool(ones, **attrs)
    kernel_of_ones = np.ones((channels, 1, *placed.kernel), np.float32)
    return average(f, call, lambda x: f.AveragePool(x, **attrs), lambda s: spread(s / divisor, kernel_of_ones))


def by_power(f: Backend, x: Value, p: int) -> Value:
    """What x is multiplied with to be |x|ᵖ."""
    if p == 1:
        return f.Sign(x)
    return x if p == 2 else f.Sign(x) * f.Pow(f.Abs(x), float(p - 1))


def of_length(f: Backend, y: Value, p: int) -> Value:
    """What Σ |x|ᵖ is divided by to be the length y; 1 where there is none."""
    return by_power(f, f.Where(f.Greater(y, 0.0), y, 1.0), p)


@op("LpPool", grids=window_grids, nonnegative=sign_nonnegative, role="average")
def lp_pool(f: Backend, call: Call) -> Linear:
    """LpPool, opset 22: each window's Σ x · (x |x|ᵖ⁻² / yᵖ⁻¹)."""
    p, channels, placed = int(call.attr("p", 2)), f.dims(call.x)[1], windows(f, call)
    add, spread = window_map(f, *placed, group=channels)
    ones, length = np.ones((channels, 1, *placed.kernel), np.float32), of_length(f, call.output, p)

    term = Term(
        call.x,
        apply=lambda x, w: add(x * w, ones) / length,
        adjoint=lambda s, w: spread(s / f.each(length), ones) * f.each(w),
        weight=by_power(f, call.x, p),
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output)


@op("Col2Im", nonnegative=sign_kept, role="average")
def col2im(f: Backend, call: Call) -> Linear:
    """Col2Im, opset 18: windows are added up where they overlap (PyTorch's fold)."""
    size, kernel, dims = call.numbers(1), call.numbers(2), f.dims(call.x)
    rank, count = len(size), int(np.prod(kernel))
    strides, dilations, pads = (list(call.attr(name, [value] * (rank * times))) for name, value, times in WINDOWS)
    channels = dims[1] // count
    one_hot = np.eye(count, dtype=np.float32).reshape(count, 1, *kernel)

    def windows(s: Value) -> Value:
        """Each window of the picture as a column."""
        kernels = np.tile(one_hot, (int(channels), *[1] * (rank + 1)))
        read = f.Conv(s, kernels, strides=strides, dilations=dilations, pads=pads, group=channels)
        return f.Reshape(read, [0, *dims[1:]])

    attrs = {"strides": strides, "dilations": dilations, "pads": pads}
    return average(f, call, lambda x: f.Col2Im(x, call.value(1), call.value(2), **attrs), windows)


WINDOWS = (("strides", 1, 1), ("dilations", 1, 1), ("pads", 0, 2))
"""Attributes of windows: name, what is meant where they are not set, how many for each axis."""


def cumsum_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    if not isinstance(node.inputs[1], gs.Constant):
        return "its axis is computed"
    return (
        "it adds up along the batch" if {0, -len(node.inputs[0].shape or ())} & {*node.inputs[1].values.flat} else None
    )


@op("CumSum", nonnegative=sign_kept, role="average", refuses=cumsum_refuses)
def cumsum(f: Backend, call: Call) -> Linear:
    """CumSum, opset 14: the other way round each position gets the sum of those behind it."""
    axis, exclusive, reverse = call.value(1), int(call.attr("exclusive", 0)), int(call.attr("reverse", 0))
    return average(
        f,
        call,
        lambda x: f.CumSum(x, axis, exclusive=exclusive, reverse=reverse),
        lambda s: f.CumSum(s, axis, exclusive=exclusive, reverse=1 - reverse),
    )


def reduction_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    axes, rank = node.inputs[1] if len(node.inputs) > 1 else None, len(node.inputs[0].shape or ())
    if axes is not None and not axes.is_empty() and not isinstance(axes, gs.Constant):
        return "its axes are computed"
    over = [] if axes is None or axes.is_empty() else axes.values.reshape(-1).tolist()
    if not over:
        return None if node.attrs.get("noop_with_empty_axes") else "it reduces over the batch"
    return "it reduces over the batch" if {0, -rank} & set(over) else None


def reduced_axes(call: Call, rank: int) -> list[int]:
    """The axes that a ReduceX node, opset 18, removes, from 0 to rank - 1."""
    axes = call.numbers(1)
    if not axes:
        return [] if call.attr("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(a % rank for a in axes)


@op("GlobalAveragePool", nonnegative=sign_kept, role="average")
def global_average_pool(f: Backend, call: Call) -> Linear:
    """GlobalAveragePool, opset 1."""
    return reduction(f, call, list(range(2, len(f.dims(call.x)))), mean=True)


@op("ReduceMean", nonnegative=sign_kept, role="average", refuses=reduction_refuses)
def reduce_mean(f: Backend, call: Call) -> Linear:
    """ReduceMean, opset 18."""
    return reduction(f, call, reduced_axes(call, len(f.dims(call.x))), mean=True)


@op("ReduceSum", nonnegative=sign_kept, role="average", refuses=reduction_refuses)
def reduce_sum(f: Backend, call: Call) -> Linear:
    """ReduceSum, opset 13."""
    return reduction(f, call, reduced_axes(call, len(f.dims(call.x))), mean=False)


def reduction(f: Backend, call: Call, axes: list[int], *, mean: bool) -> Linear:
    """A sum or a mean over axes: every position has the same coefficient."""
    dims = f.dims(call.x)
    kept = [1 if axis in axes else d for axis, d in enumerate(dims)]
    reduce = f.ReduceMean if mean else f.ReduceSum
    count = f.number(product([dims[a] for a in axes]) if mean else 1)
    keepdims = int(call.attr("keepdims", 1))

    def adjoint(s: Value) -> Value:
        return f.Expand(f.Reshape(s / count, [0, *kept[1:]]), [1, *dims[1:]])

    return average(f, call, lambda x: reduce(x, axes, keepdims=keepdims), adjoint)


def weighed(f: Backend, call: Call, weight: Value, slope: Value, axes: list[int]) -> Linear:
    """Σ x · w over axes, where w is made of x and held fixed; a gradient takes the ``slope``."""
    kept, keepdims = kept_sizes(f, call, axes), int(call.attr("keepdims", 1))

    def adjoint(s: Value, w: Any) -> Value:
        repeated: Value = f.each(w)
        return f.Reshape(s, [0, *kept[1:]]) * repeated

    term = Term(
        call.x,
        apply=lambda x, w: f.ReduceSum(x * w, axes, keepdims=keepdims),
        adjoint=adjoint,
        weight=weight,
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output, derivative=lambda g: {0: adjoint(g, slope)})


def kept_sizes(f: Backend, call: Call, axes: list[int]) -> list[Any]:
    """The sizes of the input, one for each axis that is reduced."""
    return [1 if axis in axes else d for axis, d in enumerate(f.dims(call.x))]


def length_over(f: Backend, call: Call, p: int, axes: list[int]) -> Linear:
    """(Σ |x|ᵖ) to the power 1 / p over axes: Σ x · (x |x|ᵖ⁻² / yᵖ⁻¹), 0 where everything is."""
    length = of_length(f, f.Reshape(call.output, [0, *kept_sizes(f, call, axes)[1:]]), p)
    share = by_power(f, call.x, p) / length
    return weighed(f, call, share, share, axes)


@op("GlobalLpPool", nonnegative=sign_nonnegative, role="average")
def global_lp_pool(f: Backend, call: Call) -> Linear:
    """GlobalLpPool, opset 22."""
    return length_over(f, call, int(call.attr("p", 2)), list(range(2, len(f.dims(call.x)))))


@op("ReduceL1", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_l1(f: Backend, call: Call) -> Linear:
    """ReduceL1, opset 18."""
    return length_over(f, call, 1, reduced_axes(call, len(f.dims(call.x))))


@op("ReduceL2", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_l2(f: Backend, call: Call) -> Linear:
    """ReduceL2, opset 18."""
    return length_over(f, call, 2, reduced_axes(call, len(f.dims(call.x))))


@op("ReduceSumSquare", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_sum_square(f: Backend, call: Call) -> Linear:
    """ReduceSumSquare, opset 18: Σ x · x."""
    x = call.x
    return weighed(f, call, x, x * 2.0, reduced_axes(call, len(f.dims(x))))
