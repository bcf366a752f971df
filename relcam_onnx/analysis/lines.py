"""Planes of which one row, or one column, is left: pooled along the other axis, which may be taken away then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.canon.axes import Size


def without(layout: Layout, gone: set[int], result: gs.Tensor) -> Layout | None:
    """A layout without these axes, of a plane what is left of it; None where the batch, or all positions, went."""
    axes = tuple(axis - sum(each < axis for each in gone) for axis in layout.axes if axis not in gone)
    rank = layout.rank - len(gone)
    if not gone & {0, *layout.axes}:
        return replace(layout, axes=axes, rank=rank)
    if 0 in gone or layout.grid or len(layout.axes) != 2 or len(axes) != 1:
        return None
    grid = tuple(1 if axis in gone else result.shape[axes[0]] for axis in layout.axes)
    return Layout(axes, rank, grid, result.name, axes * 2)


def of_line(layout: Layout, before: Sequence[Size], after: Sequence[Size], result: gs.Tensor) -> Layout | None:
    """The layout of a plane of one row, or column, without the axis of length one, or with it again; None otherwise."""
    place = along(layout)
    if place is None:
        gone = {axis for axis in layout.axes if before[axis] == 1 and [*before[:axis], *before[axis + 1 :]] == [*after]}
        return without(layout, gone, result) if len(gone) == 1 else None
    row = layout.axes[0]
    axis = row + (place == 0)
    again = [*before[:axis], 1, *before[axis:]] == [*after]
    return Layout((row, row + 1), layout.rank + 1) if again else None


def along(layout: Layout) -> int | None:
    """Which axis of its grid a row lies along, where that is of one row, or column, and nothing else stands in it."""
    several = [place for place, size in enumerate(layout.grid) if size != 1]
    return several[0] if len(several) == 1 and len(layout.grid) > 1 and not layout.tokens else None


def resized(layout: Layout, result: gs.Tensor) -> Layout | None:
    """The layout of what windows make of such a row; None of rows that were several."""
    place = along(layout)
    if place is None:
        return None
    row = layout.axes[0]
    grid = tuple(result.shape[row] if i == place else size for i, size in enumerate(layout.grid))
    return replace(layout, grid=grid, origin=result.name, origin_axes=(row,) * len(grid))
