"""Ops that let one of several values through: MaxPool, GlobalMaxPool, ReduceMax, ReduceMin, Max, Min, Where.

The one chosen takes all; of equal ones the first, in row-major order of the window, or of the inputs. ReduceLogSumExp
is a smooth maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import onnx_graphsurgeon as gs

from relcam_onnx.ops.arithmetic import factor, passed, unbroadcast
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.grids import window_grids
from relcam_onnx.ops.indexing import spread
from relcam_onnx.ops.movement import moved
from relcam_onnx.ops.pool import kept_sizes, reduced_axes, reduction_refuses
from relcam_onnx.ops.records import Call, Message, Relay, product
from relcam_onnx.ops.table import Nonnegative, every_input, op, sign_kept, sign_of_all, sign_of_any


@op("MaxPool", grids=window_grids, nonnegative=sign_kept)
def max_pool(f: Backend, call: Call) -> Relay:
    """MaxPool, opset 12. Windows may overlap: what each hands to its winner adds up there."""
    x = call.x
    attrs = call.attributes("kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad")
    _, winners = f.MaxPool(x, **attrs)
    # ONNX counts indices through the whole tensor; one image's channels are one row each here.
    positions = product(f.dims(x)[2:])
    return scatter(f, call, f.Mod(winners, positions), product(f.dims(call.output)[2:]))


@op("GlobalMaxPool", nonnegative=sign_kept)
def global_max_pool(f: Backend, call: Call) -> Relay:
    """GlobalMaxPool, opset 1."""
    dims = f.dims(call.x)
    flat = f.Reshape(call.x, [-1, dims[1], product(dims[2:])])
    return scatter(f, call, f.ArgMax(flat, axis=2, keepdims=1), 1)


def scatter(f: Backend, call: Call, winners: Value, outputs: Any) -> Relay:
    """Each (n, c) row's ``outputs`` go to the positions ``winners`` (N, C, ...) of its input."""
    dims = f.dims(call.x)
    index = f.Reshape(winners, [-1, dims[1], outputs])

    def adjoint(s: Value) -> Value:
        rows = f.Reshape(s, [-1, dims[1], outputs])
        return f.Reshape(spread(f, rows, index, [dims[1], product(dims[2:])], axis=2), [-1, *dims[1:]])

    return moved(f, call, adjoint)


@op("ReduceMax", nonnegative=sign_kept, refuses=reduction_refuses)
def reduce_max(f: Backend, call: Call) -> Relay:
    """ReduceMax, opset 18."""
    return largest_of(f, call, call.x)


@op("ReduceMin", nonnegative=sign_kept, refuses=reduction_refuses)
def reduce_min(f: Backend, call: Call) -> Relay:
    """ReduceMin, opset 18."""
    return largest_of(f, call, -call.x)


def largest_of(f: Backend, call: Call, x: Value) -> Relay:
    """A reduction over axes goes back to where ``x`` is largest."""
    dims = f.dims(call.x)
    axes = reduced_axes(call, len(dims))
    kept = [axis for axis in range(len(dims)) if axis not in axes]
    order = [*kept, *axes]
    back = [order.index(axis) for axis in range(len(dims))]
    turned = [dims[axis] for axis in order]
    flat = f.Reshape(f.Transpose(x, perm=order), [-1, *turned[1 : len(kept)], product(turned[len(kept) :])])
    winners = f.ArgMax(flat, axis=len(kept), keepdims=1)

    def adjoint(s: Value) -> Value:
        rows = f.Reshape(s, [-1, *turned[1 : len(kept)], 1])
        placed = spread(f, rows, winners, [*turned[1 : len(kept)], product(turned[len(kept) :])], axis=len(kept))
        return f.Transpose(f.Reshape(placed, [-1, *turned[1:]]), perm=back)

    return moved(f, call, adjoint)


@op("ReduceLogSumExp", refuses=reduction_refuses)
def reduce_log_sum_exp(f: Backend, call: Call) -> Relay:
    """ReduceLogSumExp, opset 18: log Σ exp x goes to each value by its share of the sum, as a gradient does."""
    kept = kept_sizes(f, call, reduced_axes(call, len(f.dims(call.x))))[1:]
    share = f.Exp(call.x - f.Reshape(call.output, [0, *kept]))

    def shared(s: Value) -> Value:
        return f.Reshape(s, [0, *kept]) * f.each(share)

    return Relay(lambda m: {0: Message(shared(m.relevance(f)))}, lambda g: {0: shared(g)})


@op("Max", receivers=every_input, nonnegative=sign_of_any)
def maximum(f: Backend, call: Call) -> Relay:
    """Max, opset 13: with constants alone a clip."""
    return extreme(f, call, f.Max)


@op("Min", receivers=every_input, nonnegative=sign_of_all)
def minimum(f: Backend, call: Call) -> Relay:
    """Min, opset 13: with constants alone a clip."""
    return extreme(f, call, f.Min)


def extreme(f: Backend, call: Call, choose: Callable[..., Value]) -> Relay:
    """Of the computed operands the one chosen takes relevance; a gradient stops where a constant was chosen."""
    computed = every_input(call.node)
    constants = [index for index in range(len(call.inputs)) if index not in computed]

    def share(s: Value, operands: Iterable[int], chosen: Value) -> dict[int, Value]:
        """Each position to the first operand that has the value chosen there."""
        parts = {}
        for index in operands:
            wins = f.each(f.Equal(call.value(index), chosen))
            parts[index] = unbroadcast(f, f.Where(wins, s, 0.0), call.value(index), call.output)
            s = f.Where(wins, 0.0, s)
        return parts

    def relevance(message: Message) -> dict[int, Message]:
        if len(computed) == 1:
            return passed(f, call, message, computed[0])
        chosen = choose(*(call.value(index) for index in computed))
        return {index: Message(part) for index, part in share(message.relevance(f), computed, chosen).items()}

    def gradient(g: Value) -> dict[int, Value]:
        parts = share(g, [*constants, *computed], call.output)
        return {index: parts[index] for index in computed}

    return Relay(relevance, gradient)


def where_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output is one of two operands."""
    return all(map(nonnegative, node.inputs[1:]))


def operands(node: gs.Node) -> tuple[int, ...]:
    """What is chosen from; a condition that is computed is held fixed, as a mask."""
    return tuple(index for index in every_input(node) if index)


@op("Where", receivers=operands, nonnegative=where_nonnegative)
def where(f: Backend, call: Call) -> Relay:
    """Where, opset 16."""
    condition = factor(f, call, 0)

    def parts(s: Value) -> dict[int, Value]:
        chosen = {1: f.Where(condition, s, 0.0), 2: f.Where(condition, 0.0, s)}
        return {i: unbroadcast(f, chosen[i], call.value(i), call.output) for i in operands(call.node)}

    return Relay(lambda m: {i: Message(part) for i, part in parts(m.relevance(f)).items()}, parts)
