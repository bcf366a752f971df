"""Ops that move values without changing them: Reshape, Transpose, Concat, Slice, Pad and their like.

Relevance moves back the way the values came. The batch must stay the leading axis: relevance has K of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import static_shape
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.grids import block_grids, pad_grids, slice_grids, unblock_grids
from relcam_onnx.ops.records import Call, Message, Relay
from relcam_onnx.ops.table import Nonnegative, every_input, op, sign_kept, sign_of_all


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


def slice_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart: along the first axis all is read."""
    bounds = (t.values.tolist() if isinstance(t, gs.Constant) else [] for t in node.inputs[1:4])
    starts, ends, axes = (*bounds, [0])[:3]
    whole = [axis for start, end, axis in zip(starts, ends, axes, strict=False) if start == 0 and end >= 2**31 - 1]
    return "it cuts along the batch" if 0 in axes and 0 not in whole else None


@op("Slice", grids=slice_grids, nonnegative=sign_kept, refuses=slice_refuses)
def slice_(f: Backend, call: Call) -> Relay:
    """Slice, opset 13, with any steps."""
    dims = f.dims(call.x)
    starts = call.numbers(1)
    axes = [a % len(dims) for a in call.numbers(3)] or list(range(len(starts)))
    steps = call.numbers(4) or [1] * len(starts)
    counts = f.dims(call.output)  # they tell the ends, which may be computed

    def adjoint(s: Value) -> Value:
        for axis, start, step in zip(axes, starts, steps, strict=True):
            if step == 1 and start >= 0:  # needs no size to be known before a run
                s = surround(f, s, len(dims), axis, start, dims[axis] - start - counts[axis])
            else:
                s = place(f, s, dims, {axis: np.arange(int(dims[axis]))[start::step][: int(counts[axis])]})
        return s

    return moved(f, call, adjoint)


def surround(f: Backend, s: Value, rank: int, axis: int, before: Size, after: Size) -> Value:
    """So many zeros before and after along one axis."""
    pads: list[Size] = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = before, after
    return f.Pad(s, pads)


def place(f: Backend, s: Value, dims: Sequence[Size], read: dict[int, np.ndarray]) -> Value:
    """The adjoint of reading the positions ``read`` along each axis: what was read twice adds up, the rest is 0."""
    for axis, positions in read.items():
        size = dims[axis]
        first, count = (int(positions[0]), len(positions)) if len(positions) else (0, 0)
        if np.array_equal(positions, np.arange(first, first + count)):
            s = surround(f, s, len(dims), axis, first, size - first - count)
            continue
        matrix = np.zeros((count, int(size)), np.float32)
        matrix[np.arange(count), positions] = 1
        last = [i for i in range(len(dims)) if i != axis] + [axis]
        back = [last.index(i) for i in range(len(dims))]
        s = f.Transpose(f.MatMul(f.Transpose(s, perm=last), matrix), perm=back)
    return s


def gather_refuses(node: gs.Node) -> str | None:
    """Positions that do not depend on the picture, and not along the batch, but for the same ones of each image."""
    if node.attrs.get("axis", 0) == 0 and places_per_image(node) is None:
        return "it picks along the batch"
    return None if isinstance(node.inputs[1], gs.Constant) else "its indices are computed"


def places_per_image(node: gs.Node) -> np.ndarray | None:
    """What Gather reads of each image where all were flattened to one axis (``as_strided``); None: something else."""
    shape, indices = static_shape(node.inputs[0]), node.inputs[1]
    if not isinstance(indices, gs.Constant) or shape is None or len(shape) != 1 or shape[0] is None:
        return None
    places = np.asarray(indices.values, np.int64)
    if places.ndim < 2 or shape[0] % len(places):
        return None
    size = shape[0] // len(places)
    own = places % shape[0] - size * np.arange(len(places)).reshape(-1, *[1] * (places.ndim - 1))
    return own[0] if (own == own[0]).all() and own.min() >= 0 and own.max() < size else None


@op("Gather", nonnegative=sign_kept, refuses=gather_refuses)
def gather(f: Backend, call: Call) -> Relay:
    """Gather, opset 13, by constant indices."""
    dims = f.dims(call.x)
    axis = int(call.attr("axis", 0)) % len(dims)
    indices = np.asarray(call.value(1)).astype(np.int64)
    own = places_per_image(call.node) if axis == 0 else None
    if own is not None:
        images = (len(indices), dims[0] // len(indices))

        def spread(s: Value) -> Value:
            rows = place(f, f.Reshape(s, [-1, own.size]), images, {1: own.reshape(-1)})
            return f.Reshape(rows, [-1])

        return moved(f, call, spread)

    def adjoint(s: Value) -> Value:
        flat = f.Reshape(s, [-1, *dims[1:axis], indices.size, *dims[axis + 1 :]])
        return place(f, flat, dims, {axis: indices.reshape(-1) % int(dims[axis])})

    return moved(f, call, adjoint)


def pad_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """What a constant Pad writes must not be negative either; other modes repeat values."""
    written = len(node.inputs) > 2 and isinstance(node.inputs[2], gs.Constant)
    return nonnegative(node.inputs[0]) and (not written or float(node.inputs[2].values.reshape(-1)[0]) >= 0)


@op("Pad", grids=pad_grids, nonnegative=pad_nonnegative)
def pad(f: Backend, call: Call) -> Relay:
    """Pad, opset 21, all modes: a position that is repeated (reflect, edge, wrap) gets the sum.

    A negative amount crops, before anything is repeated.
    """
    dims = f.dims(call.x)
    amounts, axes = call.numbers(1), [a % len(dims) for a in call.numbers(3)] or list(range(len(dims)))
    before, after = [0] * len(dims), [0] * len(dims)
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    mode: Any = call.attr("mode", "constant")
    if mode == "constant":
        return moved(f, call, lambda s: f.Pad(s, [-n for n in before + after]))
    read = {}
    for axis in (axis for axis in axes if before[axis] or after[axis]):
        kept = np.arange(max(0, -before[axis]), int(dims[axis]) - max(0, -after[axis]))
        read[axis] = np.pad(kept, (max(0, before[axis]), max(0, after[axis])), mode=mode)
    return moved(f, call, lambda s: place(f, s, dims, read))


@op("Expand", "Tile", nonnegative=sign_kept)
def expand(f: Backend, call: Call) -> Relay:
    """Expand, opset 13, and Tile: every copy hands back to its original."""
    before, after = f.dims(call.x), f.dims(call.output)
    padded = (1,) * (len(after) - len(before)) + tuple(before)
    # Axis by axis as (copies, size): the copies are summed.
    split = [n for size, grown in zip(padded, after, strict=True) for n in (grown // size if size else 1, size)]

    def adjoint(s: Value) -> Value:
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
