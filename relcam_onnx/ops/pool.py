"""Ops that share by contribution among positions: average pools, sums, means and lengths over axes, Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.conv import explicit_pads, window_map
from relcam_onnx.ops.grids import resize_grids, window_grids
from relcam_onnx.ops.records import Call, Linear, Term, product
from relcam_onnx.ops.table import Nonnegative, op, sign_kept, sign_nonnegative


def average(f: Backend, call: Call, apply: Any, adjoint: Any) -> Linear:
    """A linear op of one input whose coefficients are fixed and positive."""
    term = Term(
        call.x,
        apply=lambda x, w: apply(x),
        adjoint=lambda s, w: adjoint(s),
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output)


@op("AveragePool", grids=window_grids, nonnegative=sign_kept, role="average")
def average_pool(f: Backend, call: Call) -> Linear:
    """AveragePool, opset 22: a depthwise convolution by ones, over the count of positions in each window."""
    x = call.x
    size, kernel = f.dims(x)[2:], call.node.attrs["kernel_shape"]
    rank = len(size)
    strides, dilations = list(call.attr("strides", [1] * rank)), list(call.attr("dilations", [1] * rank))
    pads = explicit_pads(call, kernel, size, strides, dilations)
    attrs = call.attributes(
        "kernel_shape", "ceil_mode", "count_include_pad", "strides", "dilations", "auto_pad", "pads"
    )
    rounded_up = call.attr("ceil_mode", 0) or call.attr("auto_pad", "NOTSET") != "NOTSET"
    for axis, (o, n, k) in enumerate(zip(f.dims(call.output)[2:], size, kernel, strict=True) if rounded_up else ()):
        # The last window may reach beyond the padding.
        reach = strides[axis] * (o - 1) + dilations[axis] * (k - 1) + 1
        pads[axis + rank] = max(pads[axis + rank], reach - n - pads[axis])
    channels = f.dims(x)[1]
    total, _ = window_map(f, size, kernel, strides, dilations, pads, 1)
    _, spread = window_map(f, size, kernel, strides, dilations, pads, channels)
    ones = f.Expand(1.0, [1, 1, *size])
    # The pool's mean of ones is (positions read) / divisor, whatever it counts of the padding.
    divisor = total(ones, np.ones((1, 1, *kernel), np.float32)) / f.AveragePool(ones, **attrs)
    kernel_of_ones = np.ones((channels, 1, *kernel), np.float32)
    return average(f, call, lambda x: f.AveragePool(x, **attrs), lambda s: spread(s / divisor, kernel_of_ones))


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


def kept_sizes(f: Backend, call: Call) -> list[Any]:
    """The sizes of the output of a ReduceX node, with one for each axis that is reduced."""
    dims = f.dims(call.x)
    axes = reduced_axes(call, len(dims))
    return [1 if axis in axes else d for axis, d in enumerate(dims)]


def weighed(f: Backend, call: Call, weight: Value, slope: Value) -> Linear:
    """Σ x · w over axes, where w is made of x and held fixed; a gradient takes the ``slope``."""
    axes, keepdims = reduced_axes(call, len(f.dims(call.x))), int(call.attr("keepdims", 1))
    kept = kept_sizes(f, call)

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


@op("ReduceL1", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_l1(f: Backend, call: Call) -> Linear:
    """ReduceL1, opset 18: Σ x · sign(x)."""
    sign = f.Sign(call.x)
    return weighed(f, call, sign, sign)


@op("ReduceSumSquare", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_sum_square(f: Backend, call: Call) -> Linear:
    """ReduceSumSquare, opset 18: Σ x · x."""
    x = call.x
    return weighed(f, call, x, x * 2.0)


@op("ReduceL2", nonnegative=sign_nonnegative, role="average", refuses=reduction_refuses)
def reduce_l2(f: Backend, call: Call) -> Linear:
    """ReduceL2, opset 18: Σ x · (x / y), 0 where everything is."""
    x = call.x
    length = f.Reshape(call.output, [0, *kept_sizes(f, call)[1:]])
    share = x / f.Where(f.Greater(length, 0.0), length, 1.0)
    return weighed(f, call, share, share)


def resize_refuses(node: gs.Node) -> str | None:
    """What is cut out of the picture or keeps its aspect is not separable by sizes alone."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "coordinate_transformation_mode tf_crop_and_resize"
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    return None if policy == "stretch" else f"keep_aspect_ratio_policy {policy}"


def resize_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Cubic interpolation overshoots."""
    return node.attrs.get("mode") != "cubic" and nonnegative(node.inputs[0])


@op("Resize", grids=resize_grids, nonnegative=resize_nonnegative, role="average", refuses=resize_refuses)
def resize(f: Backend, call: Call) -> Linear:
    """Resize, opset 18 and later: separable, so one matrix an axis, which resizing the identity gives."""
    x = call.x
    before, after = f.dims(x), f.dims(call.output)
    # Not the batch, which shape inference may call by another name behind a Resize.
    changed = [axis for axis in range(1, len(before)) if after[axis] != before[axis]]
    attrs = call.attributes(
        "mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias"
    )
    scales = call.numbers(2)
    matrices = {}
    for axis in changed:
        # Of four axes: onnxruntime has no other cubic kernel.
        grid = f.Reshape(np.eye(int(before[axis]), dtype=np.float32), [1, 1, before[axis], before[axis]])
        axes = call.attr("axes", list(range(len(before))))
        if scales:
            grown = f.Resize(grid, None, [1.0, 1.0, 1.0, scales[axes.index(axis)]], None, **attrs)
        else:
            grown = f.Resize(grid, None, None, [1, 1, before[axis], after[axis]], **attrs)
        matrices[axis] = f.Reshape(grown, [before[axis], after[axis]])

    def along(value: Value, axis: int, matrix: Value) -> Value:
        order = [i for i in range(len(before)) if i != axis] + [axis]
        back = [order.index(i) for i in range(len(before))]
        return f.Transpose(f.MatMul(f.Transpose(value, perm=order), matrix), perm=back)

    def apply(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, matrix)
        return value

    def adjoint(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, f.Transpose(matrix, perm=[1, 0]))
        return value

    return average(f, call, apply, adjoint)
