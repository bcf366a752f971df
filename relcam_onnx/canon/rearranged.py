"""Moves that have a name are written by it: channels in another order, nearest upsampling, strided patches.

They are known by where the values go, not by the nodes that take them there (Reshape, Transpose, Slice, Concat, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import bypass, detach, fresh, is_op, reshaped, sweep
from relcam_onnx.canon.places import MOVING, shape_of_one, traced
from relcam_onnx.canon.rows import as_product
from relcam_onnx.model import Model, View, consumers


class Patches(NamedTuple):
    """Windows of (N, C, H, W): their size and stride, and of each value in one where it lies in (C, height, width)."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    grid: tuple[int, int]
    offsets: tuple[np.ndarray, ...]


def name_rearranged(model: Model) -> None:
    """Rewrite every chain of moves that ends in a known one, and every product of patches as a convolution."""
    order = places(model.graph)
    for node in list(model.graph.nodes):
        if is_op(node, *MOVING) and not all(is_op(reader, *MOVING) for reader in consumers(node.outputs[0])):
            any(
                is_gather(model, node, piece) or is_upsampling(node, piece)
                for piece in pictures(node.outputs[0], order)
            )
    for node in list(model.graph.nodes):
        if is_op(node, "MatMul", "Gemm", "Conv") and isinstance(node.inputs[1], gs.Constant):
            any(is_convolution(model, node, piece) for piece in pictures(node.inputs[0], order))
    sweep(model)


def pictures(result: gs.Tensor, order: dict[str, int]) -> Iterator[Piece]:
    """The pieces of several moving nodes that begin at a tensor (N, C, H, W) and end in a result, long ones first."""
    found = [
        piece for piece in pieces(result, order, MOVING) if len(piece.nodes) > 1 and len(piece.source.shape or ()) == 4
    ]
    yield from reversed(found)


def is_gather(model: Model, node: gs.Node, piece: Piece) -> bool:
    """Make a node the Gather of channels that its piece is, as a channel shuffle; False where it is none."""
    sizes, came = shape_of_one(piece.source), traced(piece.source, piece.nodes)
    if (
        came is None
        or sizes is None
        or list(came.shape) != sizes
        or list(node.outputs[0].shape) != list(piece.source.shape)
    ):
        return False
    order = came[0, :, 0, 0] // np.prod(sizes[2:], dtype=int)
    if sorted(order) != list(range(sizes[1])):
        return False
    there = np.arange(came.size).reshape(sizes)
    if not np.array_equal(came, there[:, order]):
        return False
    if list(order) == list(range(sizes[1])) and bypass(model, node, piece.source):
        return True
    node.op, node.attrs = "Gather", {"axis": 1}
    node.inputs = [piece.source, gs.Constant(f"{node.outputs[0].name}/order", order.astype(np.int64))]
    return True


def is_upsampling(node: gs.Node, piece: Piece) -> bool:
    """Make a node the Resize that its piece is: each position over a block of positions; False where it is none."""
    sizes, came = shape_of_one(piece.source), traced(piece.source, piece.nodes)
    if came is None or sizes is None or came.ndim != 4 or list(came.shape[:2]) != sizes[:2]:
        return False
    factors = [after // before for before, after in zip(sizes, came.shape, strict=True)]
    there = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    for axis, factor in enumerate(factors):
        there = there.repeat(factor, axis) if factor else there
    if factors[2:] == [1, 1] or not np.array_equal(came, there):
        return False
    node.op = "Resize"
    node.attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = gs.Constant(f"{node.outputs[0].name}/scales", np.array(factors, np.float32))
    node.inputs = [piece.source, gs.Variable.empty(), scales]
    return True


def is_convolution(model: Model, node: gs.Node, piece: Piece) -> bool:
    """Make a product of patches the strided convolution that it is; False where it is none."""
    last = node.op != "Conv"
    patches = patches_of(piece, last=last) if is_pointwise(node) else None
    if patches is None:
        return False
    if node.op == "Gemm":
        as_product(node)
    weight, *bias = node.inputs[1:]
    table = weight.values.T if last else weight.values.reshape(weight.shape[:2])
    source, result = piece.source, node.outputs[0]
    name, channels = result.name, len(table)
    kernel = np.zeros((channels, source.shape[1], *patches.size), table.dtype)
    channel, row, column = patches.offsets
    kernel[:, channel, row, column] = table
    inputs = [source, gs.Constant(f"{name}/kernel", kernel), *bias]
    attrs = {"kernel_shape": list(patches.size), "strides": list(patches.strides), "pads": [0] * 4}
    if not last:
        node.inputs, node.attrs = inputs, attrs
        return True
    grid = gs.Variable("", result.dtype, (source.shape[0], *patches.grid, channels))
    rows = reshaped(model, result, grid, fresh(model, f"{name}/grid"))
    shape = (source.shape[0], channels, *patches.grid)
    whole = gs.Variable(fresh(model, f"{name}/map"), result.dtype, shape)
    model.views[whole.name] = View("Transpose", (rows,), {"perm": [0, 3, 1, 2]})
    detach(node)
    model.graph.nodes += [
        gs.Node("Conv", whole.name, attrs, inputs, [whole]),
        gs.Node("Transpose", rows.name, {"perm": [0, 2, 3, 1]}, [whole], [rows]),
        gs.Node("Reshape", name, {}, [rows], [result]),
    ]
    return True


def is_pointwise(node: gs.Node) -> bool:
    """Whether a node is a product of each position's values with one matrix."""
    weight = node.inputs[1]
    if node.op == "Conv":
        plain = node.attrs.get("group", 1) == 1 and set(node.attrs.get("strides", [1])) == {1}
        return plain and set(weight.shape[2:]) == {1} and not any(node.attrs.get("pads", []))
    return len(weight.shape) == 2 and not node.attrs.get("transA", 0)


def patches_of(piece: Piece, *, last: bool) -> Patches | None:
    """The windows that a piece puts on its last axis, or on axis 1; the others are the windows' grid, row by row."""
    sizes, came = shape_of_one(piece.source), traced(piece.source, piece.nodes)
    if came is not None and sizes is not None and came.ndim == 2 and len(came) % sizes[0] == 0:
        came = came.reshape(sizes[0], -1, came.shape[-1])  # the windows of all images in one table
    if came is None or sizes is None or came.ndim < 3 or came.shape[0] != sizes[0]:
        return None
    own = (came if last else np.moveaxis(came, 1, -1))[0]
    corners = np.stack(np.unravel_index(own.reshape(-1, own.shape[-1]), sizes[1:]), -1)  # (windows, values, 3)
    first = corners.min(axis=1, keepdims=True)
    offsets = corners - first
    if (offsets != offsets[0]).any() or first[..., 0].any() or first[0].any():
        return None
    rows, columns = (np.unique(first[:, 0, axis]) for axis in (1, 2))
    size = tuple(int(offsets[0, :, axis].max()) + 1 for axis in (1, 2))
    strides = tuple(
        int(places[1]) if len(places) > 1 else extent for places, extent in zip((rows, columns), size, strict=True)
    )
    grid = (len(rows), len(columns))
    there = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(grid, strides, strict=True)), indexing="ij"), -1)
    distinct = len({tuple(offset) for offset in offsets[0].tolist()}) == len(offsets[0])
    if size == (1, 1) or grid == (1, 1) or not distinct or not np.array_equal(first[:, 0, 1:], there.reshape(-1, 2)):
        return None
    if any((extent - k) // s + 1 != n for extent, k, s, n in zip(sizes[2:], size, strides, grid, strict=True)):
        return None
    return Patches(size, strides, grid, tuple(offsets[0].T))
