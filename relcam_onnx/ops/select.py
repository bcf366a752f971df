"""Ops that let the largest through: MaxPool, GlobalMaxPool, ReduceMax.

The first largest in row-major order takes all.
"""

from __future__ import annotations

from typing import Any

from relcam_onnx.ops.grids import window_grids
from relcam_onnx.ops.movement import moved
from relcam_onnx.ops.pool import reduced_axes
from relcam_onnx.ops.records import Backend, Call, Relay, Value, product
from relcam_onnx.ops.table import op, sign_kept


@op("MaxPool", grids=window_grids, nonnegative=sign_kept)
def max_pool(f: Backend, call: Call) -> Relay:
    """MaxPool, opset 12. Windows may overlap: what each hands to its winner adds up there."""
    x = call.inputs[0]
    attrs = call.given("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")
    _, winners = f.MaxPool(x, **attrs)
    # ONNX counts indices through the whole tensor; one image's channels are one row each here.
    positions = product(f.dims(x)[2:])
    return scatter(f, call, f.Mod(winners, positions), product(f.dims(call.output)[2:]))


@op("GlobalMaxPool", nonnegative=sign_kept)
def global_max_pool(f: Backend, call: Call) -> Relay:
    """GlobalMaxPool, opset 1."""
    dims = f.dims(call.inputs[0])
    flat = f.Reshape(call.inputs[0], [-1, dims[1], product(dims[2:])])
    return scatter(f, call, f.ArgMax(flat, axis=2, keepdims=1), 1)


def scatter(f: Backend, call: Call, winners: Value, outputs: Any) -> Relay:
    """Each (n, c) row's ``outputs`` go to the positions ``winners`` (N, C, ...) of its input."""
    dims = f.dims(call.inputs[0])
    index = f.Reshape(winners, [-1, dims[1], outputs])

    def adjoint(s: Value) -> Value:
        rows = f.Reshape(s, [-1, dims[1], outputs])
        return f.Reshape(spread(f, rows, index, [dims[1], product(dims[2:])]), [-1, *dims[1:]])

    return moved(f, call, adjoint)


def spread(f: Backend, rows: Value, winners: Value, shape: list[Any]) -> Value:
    """Zeros of (K·N, *shape) with each of ``rows`` (K·N, ..., outputs) added at its winner on the last axis."""
    leading = f.Slice(f.Shape(rows), [0], [1])
    nothing = f.Expand(0.0, f.Concat(leading, f.sizes(shape), axis=0))
    index = f.Expand(f.each(winners), f.Shape(rows))
    return f.ScatterElements(nothing, index, rows, axis=len(shape), reduction="add")


@op("ReduceMax", nonnegative=sign_kept)
def reduce_max(f: Backend, call: Call) -> Relay:
    """ReduceMax, opset 18."""
    x, dims = call.inputs[0], f.dims(call.inputs[0])
    axes = reduced_axes(call, len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in axes]
    order = [*kept, *axes]
    back = [order.index(axis) for axis in range(len(dims))]
    turned = [dims[axis] for axis in order]
    flat = f.Reshape(f.Transpose(x, perm=order), [-1, *turned[1 : len(kept)], product(turned[len(kept) :])])
    winners = f.ArgMax(flat, axis=len(kept), keepdims=1)

    def adjoint(s: Value) -> Value:
        rows = f.Reshape(s, [-1, *turned[1 : len(kept)], 1])
        found = spread(f, rows, winners, [*turned[1 : len(kept)], product(turned[len(kept) :])])
        return f.Transpose(f.Reshape(found, [-1, *turned[1:]]), perm=back)

    return moved(f, call, adjoint)
