"""Positions in a row with other entries around them: class and register tokens come and go."""

from __future__ import annotations

import math
from dataclasses import replace

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import WHOLE, integers
from relcam_onnx.model import static_shape


def concatenated(node: gs.Node, tensor: gs.Tensor, layout: Layout, *, several: bool) -> Layout | None:
    """More entries of a row: what stands before and behind the positions.

    Where ``several`` operands have positions (the levels of a detector) a row of them lies nowhere.
    """
    axis = int(node.attrs.get("axis", 0)) % layout.rank
    if axis != layout.axes[0]:
        return layout
    if several:
        return None
    place = next(i for i, t in enumerate(node.inputs) if t is tensor)
    sizes = [(static_shape(t) or (None,) * layout.rank)[axis] for t in node.inputs]
    added = sizes[:place] + sizes[place + 1 :]
    if any(size is None for size in added):
        return None
    before = sum(size or 0 for size in sizes[:place])
    after = sum(size or 0 for size in sizes[place + 1 :])
    return replace(layout, before=layout.before + before, after=layout.after + after)


def cut(node: gs.Node, layout: Layout) -> Layout | None:
    """Fewer entries of a row: extra ones may go, positions may not."""
    starts, ends, axes, steps = (integers(node, i) for i in range(1, 5))
    if starts is None or ends is None or axes is None or steps is None:
        return None
    axes = [axis % layout.rank for axis in axes] or list(range(len(starts)))
    if layout.axes[0] not in axes:
        return layout
    place = axes.index(layout.axes[0])
    start, end = starts[place], ends[place]
    if start < 0 or start > layout.before or (steps and steps[place] != 1):
        return None
    if end >= WHOLE or end < 0:
        gone = max(-end, 0)
    else:
        length = length_of(layout)
        if length is None:
            return None
        gone = length - end
    if gone > layout.after:
        return None
    return replace(layout, before=layout.before - start, after=layout.after - gone)


def leaves_row(node: gs.Node, layout: Layout) -> bool:
    """Whether a node reads of a row with positions nothing but entries before or behind them, as of a class token."""
    if not layout.grid:
        return False
    row, length = layout.axes[0], length_of(layout)
    if is_op(node, "Gather"):
        read, axes = integers(node, 1), [int(node.attrs.get("axis", 0)) % layout.rank]
    elif is_op(node, "Slice"):
        starts, ends, axes = (integers(node, i) or [] for i in range(1, 4))
        axes = [axis % layout.rank for axis in axes]
        place = axes.index(row) if row in axes else 0
        told = row in axes and place < min(len(starts), len(ends))  # bounds may be computed
        read = between(starts[place], ends[place], length) if told else None
    else:
        return False
    # Counted from either end, since only a run may know how many positions there are.
    extra = {*range(layout.before), *range(-layout.after, 0)}
    known = {index if length is None or index < layout.before else index % length - length for index in read or ()}
    return bool(read) and row in axes and known <= extra


def length_of(layout: Layout) -> int | None:
    """How many entries a row has; None where only a run knows how many positions there are."""
    sizes = [size for size in layout.grid if isinstance(size, int)]
    return layout.before + math.prod(sizes) + layout.after if len(sizes) == len(layout.grid) else None


def between(start: int, end: int, length: int | None) -> list[int] | None:
    """The entries that a Slice reads, those at the end of a row of unknown length from -1 on; None where none tells."""
    if length is not None:
        return list(range(length))[start:end]
    if 0 <= start < WHOLE and 0 <= end < WHOLE:
        return list(range(start, end))
    return list(range(start, 0))[: end if end < 0 else None] if start < 0 and not 0 <= end < WHOLE else None
