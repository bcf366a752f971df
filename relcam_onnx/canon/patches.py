"""Products of patches are the strided convolutions that they are: windows as rows or columns, and a matrix.

As ViT's and ConvNeXt's first layers are spelled, YOLOv5's Focus, and whatever unfolds a picture before a product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.cut import places
from relcam_onnx.canon.edit import detach, fresh, is_op, reshaped, sweep
from relcam_onnx.canon.places import Moved, chains_to
from relcam_onnx.canon.rows import as_product
from relcam_onnx.model import Model, View, producer, variables
from relcam_onnx.ops.product import is_product

FAR = 16
"""So many tensors back a product of two tensors is looked for."""


class Patches(NamedTuple):
    """Windows of (N, C, H, W): their size and stride, and of each value in one where it lies in (C, height, width)."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    grid: tuple[int, int]
    offsets: tuple[np.ndarray, ...]


def name_patches(model: Model) -> None:
    """Rewrite every product of patches as a convolution."""
    order = places(model.graph)
    for node in list(model.graph.nodes):
        if (values := multiplied(node)) is not None:
            found = (is_convolution(model, node, c) for c in chains_to(values, order, 4) if is_grid(c.source))
            any(found)
    sweep(model)


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
    by_rows = (
        is_op(node, "Gemm", "MatMul") and isinstance(node.inputs[1], gs.Constant) and len(node.inputs[1].shape) == 2
    )
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
