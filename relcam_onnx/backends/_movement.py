"""Ops that move values and compute nothing: shapes, slices, gathers, scatters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import helper

from relcam_onnx.backends._arrays import Array, as_array, integers, operands

_SCATTERS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def reshape(x: ArrayLike, shape: ArrayLike, *, allowzero: int = 0) -> Array:
    """Give another shape; 0 keeps a size (unless ``allowzero``), one -1 takes what is left."""
    x = as_array(x)
    sizes = integers(shape)
    if not allowzero:
        sizes = [size or x.shape[axis] for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def transpose(x: ArrayLike, *, perm: Sequence[int] | None = None) -> Array:
    """Put the axes in the order ``perm``; reverse them without one."""
    return np.transpose(as_array(x), perm)


def concat(*values: ArrayLike, axis: int) -> Array:
    """Join along an axis."""
    return np.concatenate(operands(*values), axis=axis)


def split(
    x: ArrayLike, split: ArrayLike | None = None, *, axis: int = 0, num_outputs: int | None = None
) -> tuple[Array, ...]:
    """Divide an axis into parts of sizes ``split``, or into equal ones of which the last may be smaller."""
    x = as_array(x)
    if split is None:
        step = -(-x.shape[axis] // (num_outputs or 1))
        ends = list(range(step, x.shape[axis], step))
    else:
        ends = np.cumsum(integers(split))[:-1].tolist()
    return tuple(np.split(x, ends, axis=axis))


def slice_(
    x: ArrayLike,
    starts: ArrayLike,
    ends: ArrayLike,
    axes: ArrayLike | None = None,
    steps: ArrayLike | None = None,
) -> Array:
    """Cut from ``starts`` up to ``ends``; ONNX clamps and counts from the end as Python does."""
    x = as_array(x)
    first, last = integers(starts), integers(ends)
    over = range(len(first)) if axes is None else integers(axes)
    by = [1] * len(first) if steps is None else integers(steps)
    index = [slice(None)] * x.ndim
    for axis, *bounds in zip(over, first, last, by, strict=True):
        index[axis] = slice(*bounds)
    return x[tuple(index)]


def pad(
    x: ArrayLike,
    pads: ArrayLike,
    value: ArrayLike | None = None,
    axes: ArrayLike | None = None,
    *,
    mode: str = "constant",
) -> Array:
    """Add positions around (``pads``: all begins, then all ends); negative pads cut them off."""
    x = as_array(x)
    amounts = integers(pads)
    over = range(x.ndim) if axes is None else integers(axes)
    widths = [(0, 0)] * x.ndim
    for axis, before, after in zip(over, amounts[: len(over)], amounts[len(over) :], strict=True):
        widths[axis] = (before, after)
    kept = tuple(slice(max(0, -b), size - max(0, -a)) for size, (b, a) in zip(x.shape, widths, strict=True))
    added = [(max(0, b), max(0, a)) for b, a in widths]
    fill = {"constant_values": 0 if value is None else np.asarray(value).item()} if mode == "constant" else {}
    how: Any = mode  # NumPy's names for the modes are ONNX's; its stubs want them spelled out
    return np.pad(x[kept], added, how, **fill)


def gather(x: ArrayLike, indices: ArrayLike, *, axis: int = 0) -> Array:
    """Take entries along an axis; negative indices count from the end."""
    return np.asarray(np.take(as_array(x), np.asarray(indices, np.int64), axis=axis))


def gather_elements(x: ArrayLike, indices: ArrayLike, *, axis: int = 0) -> Array:
    """Take one entry along an axis for each index, whose own place gives the other coordinates."""
    x = as_array(x)
    return x.reshape(-1)[_flat_index(np.asarray(indices, np.int64), x.shape, axis)]


def scatter_elements(
    data: ArrayLike, indices: ArrayLike, updates: ArrayLike, *, axis: int = 0, reduction: str = "none"
) -> Array:
    """Copy ``data`` and write, or reduce, ``updates`` where `gather_elements` would read."""
    data, updates = operands(data, updates)
    result = np.array(data, order="C")
    flat = _flat_index(np.asarray(indices, np.int64), data.shape, axis)
    if reduction == "none":
        result.reshape(-1)[flat] = updates
    else:
        _SCATTERS[reduction].at(result.reshape(-1), flat.reshape(-1), updates.reshape(-1))
    return result


def top_k(x: ArrayLike, k: ArrayLike, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Array, Array]:
    """The k largest or smallest values along an axis, in order, and where they stand; the first of equals first."""
    x = as_array(x)
    order = np.argsort(-x if largest else x, axis=axis, kind="stable")
    places = order.take(range(integers(k)[0]), axis=axis)
    return np.take_along_axis(x, places, axis), places


def one_hot(indices: ArrayLike, depth: ArrayLike, values: ArrayLike, *, axis: int = -1) -> Array:
    """Mark each index along a new axis of length ``depth``; ``values`` are (off, on), and set the dtype."""
    (count,) = integers(depth)
    off, on = as_array(values)
    index, classes = np.asarray(indices)[..., None], np.arange(count)
    hits = (index == classes) | (index + count == classes)
    return np.moveaxis(np.where(hits, on, off), -1, axis)


def _flat_index(indices: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Find the flat index into an array of ``shape`` of each entry named by ``indices`` along ``axis``."""
    grid: list[Array] = list(np.ix_(*map(np.arange, indices.shape)))
    grid[axis] = np.where(indices < 0, indices + shape[axis], indices)
    return np.asarray(np.ravel_multi_index(np.broadcast_arrays(*grid), shape))


def expand(x: ArrayLike, shape: ArrayLike) -> Array:
    """Broadcast ``x`` and ``shape`` against each other; the result may be a read-only view."""
    x = as_array(x)
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(integers(shape))))


def tile(x: ArrayLike, repeats: ArrayLike) -> Array:
    """Repeat along each axis."""
    return np.tile(as_array(x), integers(repeats))


def squeeze(x: ArrayLike, axes: ArrayLike | None = None) -> Array:
    """Drop axes of length one: those named, else all."""
    return np.squeeze(as_array(x), None if axes is None else tuple(integers(axes)))


def unsqueeze(x: ArrayLike, axes: ArrayLike) -> Array:
    """Insert axes of length one where the result has ``axes``."""
    return np.expand_dims(as_array(x), tuple(integers(axes)))


def flatten(x: ArrayLike, *, axis: int = 1) -> Array:
    """Make two axes: of those before ``axis``, and of the rest."""
    x = as_array(x)
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def shape_of(x: ArrayLike, *, start: int = 0, end: int | None = None) -> Array:
    """Give the sizes of the axes from ``start`` up to ``end``, int64."""
    return np.asarray(as_array(x).shape[start:end], np.int64)


@np.errstate(all="ignore")
def cast(x: ArrayLike, *, to: int) -> Array:
    """Convert to another dtype, ``to`` being an ``onnx.TensorProto.DataType``."""
    return np.asarray(x).astype(helper.tensor_dtype_to_np_dtype(to))
