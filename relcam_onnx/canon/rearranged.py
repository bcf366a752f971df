"""Moves that have a name are written by it: channels in another order, nearest upsampling, strided patches.

They are known by where the values go, not by the nodes that take them there (Reshape, Transpose, Slice, Concat, ...).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.cut import pieces, places
from relcam_onnx.canon.edit import bypass, detach, fresh, is_op, reshaped, sweep
from relcam_onnx.canon.places import MOVING, Moved, shape_of_one, traced
from relcam_onnx.canon.rows import as_product
from relcam_onnx.canon.shuffles import is_shuffle
from relcam_onnx.model import Model, View, consumers, producer, variables
from relcam_onnx.ops.product import is_product

FAR = 16
"""So many tensors back a product of two tensors is looked for."""


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
        if (values := multiplied(node)) is not None:
            found = (is_convolution(model, node, c) for c in chains_to(values, order, 4) if is_grid(c.source))
            any(found)
    for node in reversed(list(model.graph.nodes)):
        if is_op(node, *MOVING) and node.outputs and not all(map(goes_on, consumers(node.outputs[0]))):
            grids, rows = ([*chains_to(node.outputs[0], order, rank)] for rank in (4, 3))
            any(is_gather(model, node, chain) or is_upsampling(node, chain) for chain in grids) or any(
                is_shuffle(model, node, chain) for chain in (*grids, *rows)
            )
    sweep(model)


def goes_on(node: gs.Node) -> bool:
    """Whether a chain of moves goes on through a node: what joins it with others ends it."""
    return is_op(node, *MOVING) and len(list(variables(node))) == 1


def chains_to(result: gs.Tensor, order: dict[str, int], rank: int) -> Iterator[Moved]:
    """The chains of several moves from a tensor of so many axes to another, long ones first.

    One move counts that makes patches.
    """
    found = [p for p in pieces(result, order, MOVING) if len(p.nodes) > 1 or is_op(p.nodes[0], "SpaceToDepth")]
    for piece in reversed(found):
        sizes = shape_of_one(piece.source)
        came = traced(piece.source, piece.nodes) if sizes is not None and len(sizes) == rank else None
        if sizes is not None and came is not None:
            yield Moved(piece.source, sizes, came, piece.nodes)


def is_gather(model: Model, node: gs.Node, chain: Moved) -> bool:
    """Make a node the Gather of channels that its chain is, as a channel shuffle; False where it is none."""
    source, sizes, came, _ = chain
    if list(came.shape) != sizes or list(node.outputs[0].shape) != list(source.shape):
        return False
    order = came[0, :, 0, 0] // np.prod(sizes[2:], dtype=int)
    every = list(range(sizes[1]))
    if sorted(order) != every or not np.array_equal(came, numbered(sizes)[:, order]):
        return False
    if list(order) == every and bypass(model, node, source):
        return True
    node.op, node.attrs = "Gather", {"axis": 1}
    node.inputs = [source, gs.Constant(f"{node.outputs[0].name}/order", order.astype(np.int64))]
    return True


def is_upsampling(node: gs.Node, chain: Moved) -> bool:
    """Make a node the Resize that its chain is: each position over a block of positions; False where it is none."""
    source, sizes, came, _ = chain
    if came.ndim != 4 or list(came.shape[:2]) != sizes[:2]:
        return False
    factors = [after // before for before, after in zip(sizes, came.shape, strict=True)]
    if factors[2:] == [1, 1] or 0 in factors:
        return False
    spread = numbered(sizes).repeat(factors[2], axis=2).repeat(factors[3], axis=3)
    if not np.array_equal(came, spread):
        return False
    node.op = "Resize"
    node.attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = gs.Constant(f"{node.outputs[0].name}/scales", np.array(factors, np.float32))
    node.inputs = [source, gs.Variable.empty(), scales]
    return True


def numbered(sizes: list[int]) -> np.ndarray:
    """The elements of a shape as `traced` numbers them."""
    return np.arange(np.prod(sizes, dtype=int)).reshape(sizes)


def is_convolution(model: Model, node: gs.Node, chain: Moved) -> bool:
    """Make a product of patches the strided convolution that it is; False where it is none."""
    last = is_op(node, "Gemm") or (is_op(node, "MatMul") and isinstance(node.inputs[1], gs.Constant))
    patches, result = patches_of(chain, last=last), node.outputs[0]
    if patches is None or (not last and np.prod(result.shape[2:]) != np.prod(patches.grid)):
        return False
    if node.op == "Gemm":
        as_product(node)
    weight, *bias = node.inputs[1:] if last or is_op(node, "Conv") else node.inputs[:1]
    table = weight.values.T if last else weight.values.reshape(weight.shape[:2])
    source, name, channels = chain.source, result.name, len(table)
    kernel = np.zeros((channels, source.shape[1], *patches.size), table.dtype)
    channel, row, column = patches.offsets
    kernel[:, channel, row, column] = table
    inputs = [source, gs.Constant(f"{name}/kernel", kernel), *bias]
    attrs = {"kernel_shape": list(patches.size), "strides": list(patches.strides), "pads": [0] * 4}
    if not last and list(result.shape[2:]) == list(patches.grid):
        node.op, node.inputs, node.attrs = "Conv", inputs, attrs
        return True
    shape = (source.shape[0], channels, *patches.grid)
    grid = gs.Variable("", result.dtype, (source.shape[0], *patches.grid, channels) if last else shape)
    rows = whole = reshaped(model, result, grid, fresh(model, f"{name}/grid"))
    detach(node)
    if last:
        whole = gs.Variable(fresh(model, f"{name}/map"), result.dtype, shape)
        model.views[whole.name] = View("Transpose", (rows,), {"perm": [0, 3, 1, 2]})
        model.graph.nodes.append(gs.Node("Transpose", rows.name, {"perm": [0, 2, 3, 1]}, [whole], [rows]))
    model.graph.nodes += [
        gs.Node("Conv", whole.name, attrs, inputs, [whole]),
        gs.Node("Reshape", name, {}, [rows], [result]),
    ]
    return True


def is_grid(tensor: gs.Tensor) -> bool:
    """Whether a tensor of four axes may be channels of a picture, as far as can be seen from what made it."""
    return not (has_heads(tensor) or is_channels_last(tensor))


def is_channels_last(tensor: gs.Tensor) -> bool:
    """Whether a tensor's last axis is the channels of the layer, the norm or the Transpose that made it."""
    node = producer(tensor)
    while is_op(node, *ELEMENTWISE) or (is_op(node, *RESHAPES) and keeps_last(node)):
        before = next((t for _, t in variables(node)), None)
        node = None if before is None else producer(before)
    if is_op(node, "Transpose"):
        return permutation(node) == [0, 2, 3, 1]
    by_rows = is_op(node, "MatMul") and isinstance(node.inputs[1], gs.Constant) and len(node.inputs[1].shape) == 2
    return by_rows or is_op(node, "LayerNormalization", "RMSNormalization")


def keeps_last(node: gs.Node) -> bool:
    """Whether the last axis is as long behind a node as before it."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    return bool(before and after) and before[-1] == after[-1]


def has_heads(tensor: gs.Tensor) -> bool:
    """Whether a tensor's axes are heads, positions and channels, as attention makes them: no rows of a picture."""
    waiting, seen = [tensor], {tensor.name}
    while waiting and len(seen) < FAR:
        node = producer(waiting.pop())
        if node is not None and is_product(node):
            return True
        # Heads that stood in the batch, as products of three axes have them, are put on an axis of their own.
        ends = [list(t.shape or ())[-2:] for t in (*node.inputs[:1], *node.outputs)] if is_op(node, *RESHAPES) else []
        if (ends and ends[0] == ends[1]) or is_op(node, "Concat", "Slice", *ELEMENTWISE):
            others = [t for _, t in variables(node) if t.name not in seen]
            waiting += others
            seen.update(t.name for t in others)
    return False


def multiplied(node: gs.Node) -> gs.Tensor | None:
    """What a node multiplies by one matrix, each position's values by themselves; None of any other node."""
    if is_op(node, "MatMul", "Gemm", "Conv") and isinstance(node.inputs[1], gs.Constant):
        weight = node.inputs[1]
        if node.op == "Conv":
            plain = node.attrs.get("group", 1) == 1 and set(node.attrs.get("strides", [1])) == {1}
            alone = plain and set(weight.shape[2:]) == {1} and not any(node.attrs.get("pads", []))
        else:
            alone = len(weight.shape) == 2 and not node.attrs.get("transA", 0)
        return node.inputs[0] if alone else None
    left = is_op(node, "MatMul") and isinstance(node.inputs[0], gs.Constant) and len(node.inputs[0].shape) == 2
    return node.inputs[1] if left and len(node.inputs[1].shape or ()) == 3 else None


def patches_of(chain: Moved, *, last: bool) -> Patches | None:
    """The windows that a chain puts on its last axis, or on axis 1; the others are the windows' grid, row by row."""
    _, sizes, came, _ = chain
    if came.ndim == 2 and len(came) % sizes[0] == 0:
        came = came.reshape(sizes[0], -1, came.shape[-1])  # the windows of all images in one table
    if came.ndim < 3 or came.shape[0] != sizes[0]:
        return None
    own = (came if last else np.moveaxis(came, 1, -1))[0]
    corners = np.stack(np.unravel_index(own.reshape(-1, own.shape[-1]), sizes[1:]), -1)  # (windows, values, 3)
    first = corners.min(axis=1, keepdims=True)
    offsets = corners - first
    if (offsets != offsets[0]).any() or first[..., 0].any() or first[0].any():
        return None
    rows, columns = (np.unique(first[:, 0, axis]) for axis in (1, 2))
    size = tuple(int(offsets[0, :, axis].max()) + 1 for axis in (1, 2))
    strides = tuple(int(at[1]) if len(at) > 1 else k for at, k in zip((rows, columns), size, strict=True))
    grid = (len(rows), len(columns))
    there = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(grid, strides, strict=True)), indexing="ij"), -1)
    distinct = len({tuple(offset) for offset in offsets[0].tolist()}) == len(offsets[0])
    if size == (1, 1) or grid == (1, 1) or not distinct or not np.array_equal(first[:, 0, 1:], there.reshape(-1, 2)):
        return None
    if any((extent - k) // s + 1 != n for extent, k, s, n in zip(sizes[2:], size, strides, grid, strict=True)):
        return None
    return Patches(size, strides, grid, tuple(offsets[0].T))
