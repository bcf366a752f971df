"""Positions that moves alone make coarser: blocks of them become channels, as where Swin merges its patches.

What a chain of Reshapes, Transposes and Slices does is seen by where numbered elements end up.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.places import shape_of_one, traced
from relcam_onnx.model import producer
from relcam_onnx.ops import Grid

FAR = 8
"""So many moves a chain has at most."""


class Coarse(NamedTuple):
    """One coordinate of positions in what a chain makes: in blocks of so many, along one axis."""

    stride: int
    axis: int
    block: NDArray[np.int64]


def merged(result: gs.Tensor, layouts: Mapping[str, Layout]) -> tuple[Layout, tuple[Grid, ...]] | None:
    """The layout of what a chain of moves makes of a tensor with one, and where its positions lie on that one's."""
    nodes: list[gs.Node] = []
    source = result
    while source.name not in layouts:
        node = producer(source)
        if not is_op(node, "Transpose", "Slice", *RESHAPES) or len(nodes) == FAR:
            return None
        nodes.append(node)
        source = node.inputs[0]
    layout, sizes = layouts[source.name], shape_of_one(source)
    if not all(isinstance(size, int) for size in layout.grid):
        return None  # only a run knows where positions in a row lie
    came = traced(source, nodes[::-1]) if sizes is not None else None
    if sizes is None or came is None or came.ndim < 2 or came.shape[0] != sizes[0] or layout.before or layout.after:
        return None
    coarse = [in_blocks(coordinate[0]) for coordinate in coordinates(layout, sizes, came)]
    found = [one for one in coarse if one is not None]
    if len(found) < len(coarse) or max(one.stride for one in found) == 1:
        return None
    grids = tuple(Grid(Fraction(one.stride), Fraction(one.stride - 1, 2)) for one in found)
    axes = tuple(one.axis + 1 for one in found)
    if came.ndim - 1 - len(set(axes)) > 1:
        return None  # windows: what is within them keeps an axis of its own, and they are undone again
    if len(set(axes)) == len(axes):
        return Layout(axes, came.ndim), grids
    grid = tuple(int(one.block.max()) + 1 for one in found)
    row = np.ravel_multi_index(tuple(one.block for one in found), grid)
    in_order = len(set(axes)) == 1 and np.array_equal(row, np.arange(len(row)))
    return (Layout(axes[:1], came.ndim, grid, result.name), grids) if in_order else None


def coordinates(layout: Layout, sizes: list[int], came: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Of numbered elements of a tensor, where each lies along its axes of positions."""
    places = np.unravel_index(came, sizes)
    if not layout.grid:
        return [np.asarray(places[axis]) for axis in layout.axes]
    return [np.asarray(along) for along in np.unravel_index(places[layout.axes[0]], layout.grid)]  # type: ignore[arg-type]


def in_blocks(coordinate: NDArray[np.int64]) -> Coarse | None:
    """A coordinate as the number of a block, which one axis tells, and a place in it, which the others do."""
    for stride in range(1, int(coordinate.max(initial=0)) + 2):
        block, within = np.divmod(coordinate, stride)
        axes = [axis for axis in range(block.ndim) if varies(block, axis)]
        if len(axes) == 1 and not (stride > 1 and varies(within, axes[0])):
            index = np.moveaxis(block, axes[0], 0).reshape(block.shape[axes[0]], -1)[:, 0]
            return Coarse(stride, axes[0], index)
    return None


def varies(values: NDArray[np.int64], axis: int) -> bool:
    """Whether an array is not the same all along an axis."""
    return bool((values != values.take([0], axis)).any())
