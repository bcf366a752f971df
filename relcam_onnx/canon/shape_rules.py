"""The shapes of results where ONNX's own inference tells too little.

Of ops whose result hangs on a list of sizes, which it cannot read, of those that it gets wrong, and of those that keep
sizes which only a run knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.pools import windows
from relcam_onnx.canon.size_rules import Shape, Size, Values, is_number, is_open, quotient


def reshape(node: gs.Node, values: Values) -> Shape:
    """Reshape, opset 14: what -1 stands for is told where the sizes on both sides cancel."""
    before, target = node.inputs[0].shape, values[1]
    if target is None:
        return None
    sizes: list[Size] = [n if isinstance(n, str) else None if n is None else int(n) for n in target.tolist()]
    if not node.attrs.get("allowzero"):
        sizes = [(before[i] if before and i < len(before) else None) if n == 0 else n for i, n in enumerate(sizes)]
    unknown = -1 if -1 in sizes else None
    if sizes.count(unknown) == 1:  # the elements are as many as before
        place = sizes.index(unknown)
        sizes[place] = quotient(before, [*sizes[:place], *sizes[place + 1 :]], exact=True)
    return sizes


def expand(node: gs.Node, values: Values) -> Shape:
    """Expand, opset 13."""
    before, target = node.inputs[0].shape, values[1]
    if before is None or target is None:
        return None
    rank = max(len(before), len(target))
    sides = ([1] * (rank - len(side)) + list(side) for side in (before, target.tolist()))
    return whole(
        b if a == 1 else a if b in (1, a) or not is_open(a) else b if b else None for a, b in zip(*sides, strict=True)
    )


def whole(sizes: Iterable[Any]) -> list[Size]:
    """Sizes with NumPy's numbers as Python's."""
    return [int(size) if isinstance(size, np.integer) else size for size in sizes]


def constant_of_shape(node: gs.Node, values: Values) -> Shape:
    """ConstantOfShape, opset 9."""
    return None if values[0] is None else whole(values[0])


def same_shape(node: gs.Node, values: Values) -> Shape:
    """An op that changes no size, of which ONNX infers nothing."""
    shape: Shape = node.inputs[0].shape
    return shape


def pool(node: gs.Node, values: Values) -> Shape:
    """AveragePool and MaxPool: one position for each window."""
    shape = node.inputs[0].shape
    return None if shape is None else [*shape[:2], *(axis.count if axis else None for axis in windows(node, shape[2:]))]


def flatten(node: gs.Node, values: Values) -> Shape:
    """Flatten, opset 13: the batch may be one of several axes that become the first."""
    before = node.inputs[0].shape
    if before is None:
        return None
    axis = int(node.attrs.get("axis", 1))
    axis += len(before) if axis < 0 else 0
    return [quotient(before[:axis], []), quotient(before[axis:], [])]


def tile(node: gs.Node, values: Values) -> Shape:
    """Tile, opset 13."""
    before, times = node.inputs[0].shape, values[1]
    if before is None or times is None:
        return None
    return [quotient([size, count], []) for size, count in zip(before, whole(times), strict=True)]


def resize(node: gs.Node, values: Values) -> Shape:
    """Resize, opset 19: sizes as they are told, or a share of those before, rounded down."""
    before = node.inputs[0].shape
    scales, sizes = (values[i] if i < len(values) else None for i in (2, 3))
    if before is None or node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    axes = [int(axis) % len(before) for axis in node.attrs.get("axes", range(len(before)))]
    after: list[Size] = list(before)
    if sizes is not None and sizes.size:
        told = whole(sizes)
    elif scales is not None and scales.size:
        told = [scaled(before[axis], scale) for axis, scale in zip(axes, scales, strict=False)]
    else:
        return None
    for axis, size in zip(axes, told, strict=False):
        after[axis] = size
    return after


def scaled(size: Size, scale: Any) -> Size:
    """A share of a size, in ONNX's single precision."""
    if scale == 1:
        return size
    return int(np.float32(size) * np.float32(scale)) if is_number(size) else None


RULES: dict[str, Callable[[gs.Node, Values], Shape]] = {
    "Reshape": reshape,
    "Expand": expand,
    "Flatten": flatten,
    "Tile": tile,
    "Resize": resize,
    "ConstantOfShape": constant_of_shape,
    "DequantizeLinear": same_shape,  # also of what no type is told
    "GroupNormalization": same_shape,
    "MeanVarianceNormalization": same_shape,
    "QuantizeLinear": same_shape,
    "AveragePool": pool,
    "MaxPool": pool,
}
