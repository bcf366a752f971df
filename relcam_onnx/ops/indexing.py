"""Ops that read some positions of an input, or write more around it: Slice, Gather, Trilu, Pad.

Relevance goes back to the positions that were read; the batch must stay whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import static_shape
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.grids import gather_grids, pad_grids, slice_grids
from relcam_onnx.ops.movement import moved
from relcam_onnx.ops.records import Call, Relay, product
from relcam_onnx.ops.table import Nonnegative, op, sign_kept


def slice_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart: along the first axis all is read."""
    bounds = (t.values.tolist() if isinstance(t, gs.Constant) else [] for t in node.inputs[1:4])
    starts, ends, axes = (*bounds, [0])[:3]
    steps = next((t.values.tolist() for t in node.inputs[4:5] if isinstance(t, gs.Constant)), [1] * len(starts))
    rank = len(node.inputs[0].shape or ())
    axes = [axis % rank if rank else axis for axis in axes]
    told = zip(starts, ends, axes, steps, strict=False)
    whole = [axis for start, end, axis, step in told if start == 0 and end >= 2**31 - 1 and step == 1]
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
        else:
            s = summed(f, s, dims, axis, positions)
    return s


OFTEN = 8
"""Where no position is read by more, its readers are gathered; else they are added one by one."""


def summed(f: Backend, s: Value, dims: Sequence[Size], axis: int, positions: np.ndarray) -> Value:
    """What the readers of positions along one axis hand back, those of one position together."""
    table = readers(positions, int(dims[axis]))
    if len(table) > OFTEN:
        places: Any = positions.astype(np.int64).reshape([-1 if i == axis else 1 for i in range(len(dims))])
        return spread(f, s, places, dims[1:], axis=axis)
    padded = surround(f, s, len(dims), axis, 0, 1) if (table == len(positions)).any() else s
    parts = [f.Gather(padded, row, axis=axis) for row in table]
    return parts[0] if len(parts) == 1 else f.Sum(*parts)


def readers(positions: np.ndarray, size: int) -> np.ndarray:
    """Who reads each of ``size`` positions, (most, size): filled up with their number, which is none of them."""
    order = np.argsort(positions, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(positions, minlength=size))[:-1]])
    nth = np.arange(len(positions)) - starts[positions[order]]
    table = np.full((int(nth.max()) + 1, size), len(positions))
    table[nth, positions[order]] = order
    return table


def spread(f: Backend, rows: Value, places: Value, shape: Sequence[Size], *, axis: int) -> Value:
    """Zeros of (K·N, *shape), to which ``rows`` (K·N, ...) are added at ``places`` (N, ...) along an axis."""
    leading = f.Slice(f.Shape(rows), [0], [1])
    nothing = f.Expand(0.0, f.Concat(leading, f.sizes(shape), axis=0))
    index = f.Expand(f.each(places), f.Shape(rows))
    return f.ScatterElements(nothing, index, rows, axis=axis, reduction="add")


def trilu_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    return "it cuts along the batch" if len(node.inputs[0].shape or ()) == 2 else None


@op("Trilu", nonnegative=sign_kept, refuses=trilu_refuses)
def trilu(f: Backend, call: Call) -> Relay:
    """Trilu, opset 14: one triangle of each matrix, the rest is 0."""
    return moved(f, call, lambda s: f.Trilu(s, call.get(1), upper=int(call.attr("upper", 1))))


def gather_refuses(node: gs.Node) -> str | None:
    """Not along the batch, but for the same positions of each image; those that a run tells are of one image."""
    if node.attrs.get("axis", 0) in (0, -len(node.inputs[0].shape or ())) and places_per_image(node) is None:
        return "it picks along the batch"
    single = (static_shape(node.inputs[0]) or (None,))[0] == 1
    return None if single or isinstance(node.inputs[1], gs.Constant) else "its indices are computed"


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


@op("Gather", grids=gather_grids, nonnegative=sign_kept, refuses=gather_refuses)
def gather(f: Backend, call: Call) -> Relay:
    """Gather, opset 13; which positions one image's run chooses is held fixed."""
    dims = f.dims(call.x)
    axis = int(call.attr("axis", 0)) % len(dims)
    if not call.constant(1):
        count = product(f.dims(call.value(1)))
        places = f.Reshape(call.value(1), [1] * axis + [count] + [1] * (len(dims) - axis - 1))
        apart = [-1, *dims[1:axis], count, *dims[axis + 1 :]]
        return moved(f, call, lambda s: spread(f, f.Reshape(s, apart), places, dims[1:], axis=axis))
    indices = np.asarray(call.value(1)).astype(np.int64)
    own = places_per_image(call.node) if axis == 0 else None
    if own is not None:
        images = (len(indices), dims[0] // len(indices))

        def of_images(s: Value) -> Value:
            rows = place(f, f.Reshape(s, [-1, own.size]), images, {1: own.reshape(-1)})
            return f.Reshape(rows, [-1])

        return moved(f, call, of_images)

    def adjoint(s: Value) -> Value:
        flat = f.Reshape(s, [-1, *dims[1:axis], indices.size, *dims[axis + 1 :]])
        return place(f, flat, dims, {axis: indices.reshape(-1) % int(dims[axis])})

    return moved(f, call, adjoint)


def gather_elements_refuses(node: gs.Node) -> str | None:
    """Images of a batch stay apart."""
    rank = len(node.inputs[0].shape or ())
    return "it picks along the batch" if node.attrs.get("axis", 0) in (0, -rank) else None


@op("GatherElements", nonnegative=sign_kept, refuses=gather_elements_refuses)
def gather_elements(f: Backend, call: Call) -> Relay:
    """GatherElements, opset 13: which values are read, as queries that a detector chose are, is held fixed."""
    axis, dims, indices = int(call.attr("axis", 0)), f.dims(call.x), call.value(1)

    return moved(f, call, lambda s: spread(f, s, indices, dims[1:], axis=axis % len(dims)))


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
