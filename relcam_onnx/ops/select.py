"""Ops that let the largest through: MaxPool, GlobalMaxPool, ReduceMax.

The first largest in row-major order takes all.
"""

from __future__ import annotations

import numpy as np

from relcam_onnx.ops.linear import conv_strides
from relcam_onnx.ops.movement import moved
from relcam_onnx.ops.pool import reduced_axes
from relcam_onnx.ops.records import Backend, Call, Relay, Value
from relcam_onnx.ops.table import op, sign_kept


@op("MaxPool", strides=conv_strides, nonnegative=sign_kept)
def max_pool(f: Backend, call: Call) -> Relay:
    """MaxPool, opset 12. Windows may overlap: what each hands to its winner adds up there."""
    x = call.inputs[0]
    attrs = call.given("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")
    _, winners = f.MaxPool(x, **attrs)
    # ONNX counts indices through the whole tensor; one image's channels are one row each here.
    dims, positions = f.dims(x), int(np.prod(f.dims(x)[2:]))
    inside = f.Mod(f.Reshape(winners, [dims[0] * dims[1], -1]), positions)
    return scatter(f, call, f.Reshape(inside, [dims[0], dims[1], -1]), positions)


@op("GlobalMaxPool", nonnegative=sign_kept)
def global_max_pool(f: Backend, call: Call) -> Relay:
    """GlobalMaxPool, opset 1."""
    dims = f.dims(call.inputs[0])
    flat = f.Reshape(call.inputs[0], [dims[0], dims[1], -1])
    return scatter(f, call, f.ArgMax(flat, axis=2, keepdims=1), int(np.prod(dims[2:])))


def scatter(f: Backend, call: Call, winners: Value, positions: int) -> Relay:
    """Each (n, c) row's outputs go to the positions ``winners`` (N, C, outputs) of its input."""
    dims = f.dims(call.inputs[0])

    def adjoint(s: Value) -> Value:
        index = f.each(winners)
        rows = f.Reshape(s, [-1, *f.dims(winners)[1:]])
        index = f.Expand(index, f.dims(rows))
        nothing = f.Expand(0.0, [f.dims(rows)[0], dims[1], positions])
        return f.Reshape(f.ScatterElements(nothing, index, rows, axis=2, reduction="add"), [-1, *dims[1:]])

    return moved(f, call, adjoint)


@op("ReduceMax", nonnegative=sign_kept)
def reduce_max(f: Backend, call: Call) -> Relay:
    """ReduceMax, opset 18."""
    x, dims = call.inputs[0], f.dims(call.inputs[0])
    axes = reduced_axes(call, len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in axes]
    order = [*kept, *axes]
    back = [order.index(axis) for axis in range(len(dims))]
    turned = [dims[axis] for axis in order]
    flat = f.Reshape(f.Transpose(x, perm=order), [*turned[: len(kept)], -1])
    winners = f.ArgMax(flat, axis=len(kept), keepdims=1)

    def adjoint(s: Value) -> Value:
        rows = f.Reshape(s, [-1, *turned[1 : len(kept)], 1])
        index = f.Expand(f.each(winners), f.dims(rows))
        nothing = f.Expand(0.0, [*f.dims(rows)[:-1], int(np.prod(turned[len(kept) :]))])
        spread = f.ScatterElements(nothing, index, rows, axis=len(kept), reduction="add")
        return f.Transpose(f.Reshape(spread, [-1, *turned[1:]]), perm=back)

    return moved(f, call, adjoint)
