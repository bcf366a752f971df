"""Ops that move all values without changing them: Reshape, Transpose, Concat, Expand and their like.

Relevance moves back the way the values came. The batch must stay the leading axis: relevance has K of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.grids import block_grids, unblock_grids
from relcam_onnx.ops.records import Call, Message, Relay
from relcam_onnx.ops.table import every_input, op, sign_kept, sign_of_all


def moved(f: Backend, call: Call, adjoint: Callable[[Value], Value], index: int = 0) -> Relay:
    """Input ``index`` gets what ``adjoint`` makes of the output's: relevance, quotient and gradient alike."""

    def relevance(message: Message) -> dict[int, Message]:
        return {index: carried(f, call, message, adjoint, index)}

    return Relay(relevance, lambda g: {index: adjoint(g)}, keeps_support=True)


def carried(f: Backend, call: Call, message: Message, adjoint: Callable[[Value], Value], index: int) -> Message:
    """A message taken from the output to input ``index``; what it says of y it says of x, whose values y holds."""
    x = call.value(index)
    support = x if message.support is call.output else None
    if message.of is call.output:
        return Message(adjoint(message.value), x, support)
    return Message(adjoint(message.relevance(f)), support=support)


@op("Identity", "Dropout", nonnegative=sign_kept)
def identity(f: Backend, call: Call) -> Relay:
    """Identity, and Dropout in inference."""
    return moved(f, call, lambda s: s)


@op("Cast", nonnegative=sign_kept)
def cast(f: Backend, call: Call) -> Relay:
    """Cast, opset 13; from integers relevance itself passes: a quotient would be by numbers of another type."""
    if np.issubdtype(np.dtype(call.node.inputs[0].dtype or np.float32), np.floating):
        return moved(f, call, lambda s: s)
    return Relay(lambda m: {0: Message(m.relevance(f))}, lambda g: {0: g})


@op("Reshape", "Flatten", "Squeeze", "Unsqueeze", nonnegative=sign_kept)
def reshape(f: Backend, call: Call) -> Relay:
    """Any change of shape that keeps the order of the elements."""
    before, after = f.dims(call.x), f.dims(call.output)
    # 0 keeps the leading axis, which shape inference can follow; -1 where positions have joined the batch.
    leading = 0 if before[0] == after[0] else -1
    return moved(f, call, lambda s: f.Reshape(s, [leading, *before[1:]]))


def transpose_refuses(node: gs.Node) -> str | None:
    """The batch stays first."""
    perm = node.attrs.get("perm")
    return None if perm and perm[0] == 0 else "it moves the batch from the first axis"


@op("Transpose", nonnegative=sign_kept, refuses=transpose_refuses)
def transpose(f: Backend, call: Call) -> Relay:
    """Transpose, opset 13."""
    rank = len(f.dims(call.output))
    perm = list(call.attr("perm", list(range(rank))[::-1]))
    return moved(f, call, lambda s: f.Transpose(s, perm=[perm.index(axis) for axis in range(rank)]))


def concat_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    return "it joins along the batch" if node.attrs.get("axis") == 0 else None


@op("Concat", receivers=every_input, nonnegative=sign_of_all, refuses=concat_refuses)
def concat(f: Backend, call: Call) -> Relay:
    """Concat, opset 13: each input gets its slice."""
    axis = int(call.attr("axis", 1)) % len(f.dims(call.output))
    ends = list(accumulate(f.dims(call.value(i))[axis] for i in range(len(call.inputs))))
    starts = [0, *ends[:-1]]
    receivers = every_input(call.node)

    def part(s: Value, index: int) -> Value:
        return f.Slice(s, [starts[index]], [ends[index]], [axis])

    def relevance(message: Message) -> dict[int, Message]:
        return {i: carried(f, call, message, partial(part, index=i), i) for i in receivers}

    return Relay(relevance, lambda g: {i: part(g, i) for i in receivers}, keeps_support=True)


@op("Expand", "Tile", nonnegative=sign_kept)
def expand(f: Backend, call: Call) -> Relay:
    """Expand, opset 13, and Tile: every copy hands back to its original."""
    before, after = f.dims(call.x), f.dims(call.output)
    padded = (1,) * (len(after) - len(before)) + tuple(before)
    # Axis by axis as (copies, size): the copies are summed.
    split = [n for size, grown in zip(padded, after, strict=True) for n in (grown // size if size else 1, size)]

    # Of the batch, all of it so often.
    rows = int(call.numbers(1)[0]) if call.node.op == "Tile" and call.constant(1) and len(before) == len(after) else 1

    def adjoint(s: Value) -> Value:
        if rows > 1:
            s = f.ReduceSum(f.Reshape(s, [-1, rows, before[0], *after[1:]]), [1], keepdims=0)
        summed = f.ReduceSum(f.Reshape(s, [1, -1, *split[2:]]), list(range(0, len(split), 2)), keepdims=0)
        return f.Reshape(summed, [-1, *before[1:]])

    return moved(f, call, adjoint)


@op("DepthToSpace", grids=unblock_grids, nonnegative=sign_kept)
def depth_to_space(f: Backend, call: Call) -> Relay:
    """DepthToSpace, opset 13, modes DCR and CRD."""
    block, mode = call.node.attrs["blocksize"], call.attr("mode", "DCR")
    _, channels, height, width = f.dims(call.x)
    fewer = channels // block**2

    def adjoint(s: Value) -> Value:
        apart = f.Reshape(s, [-1, fewer, height, block, width, block])
        perm = [0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4]
        return f.Reshape(f.Transpose(apart, perm=perm), [-1, channels, height, width])

    return moved(f, call, adjoint)


@op("SpaceToDepth", grids=block_grids, nonnegative=sign_kept)
def space_to_depth(f: Backend, call: Call) -> Relay:
    """SpaceToDepth, opset 13."""
    return moved(f, call, lambda s: f.DepthToSpace(s, blocksize=call.node.attrs["blocksize"], mode="DCR"))
