"""Which axes of a tensor are positions of the picture, wherever they sit.

(N, C, h, w), (N, h, w, C), (N, tokens, C) with or without other tokens around them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, groups, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import static_shape
from relcam_onnx.ops.product import is_product

Size = int | str | None


SPATIAL = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "DepthToSpace", "SpaceToDepth")
"""Ops whose axes behind the channels are positions by definition."""


@dataclass(frozen=True)
class Layout:
    """Where the positions of a tensor are.

    Attributes
    ----------
    axes
        The axes that are positions, in the picture's order; one where they were put in a row.
    rank
        Of the tensor: all axes but the first and these are channels.
    grid
        The sizes that positions in a row came from; () where they have axes of their own.
    origin, origin_axes
        The tensor that has those sizes, for the ones that only a run knows, and where they stand in it.
    before, after
        How many more entries the row has at either end: class tokens.
    """

    axes: tuple[int, ...]
    rank: int
    grid: tuple[Size, ...] = ()
    origin: str = ""
    origin_axes: tuple[int, ...] = ()
    before: int = 0
    after: int = 0

    @property
    def channels(self) -> tuple[int, ...]:
        """The axes that are neither the batch nor positions."""
        return tuple(axis for axis in range(1, self.rank) if axis not in self.axes)

    @property
    def places(self) -> int:
        """How many axes of positions there are, or were before they were put in a row."""
        return len(self.grid or self.axes)

    @property
    def plain(self) -> bool:
        """Whether the tensor is (N, C, positions...) as it stands."""
        return not self.grid and self.axes == tuple(range(2, self.rank))


def of_image(tensor: gs.Tensor) -> Layout | None:
    """The layout of an input: its last axes, or those before the channels; None where it has no positions."""
    rank = len(tensor.shape or ())
    if rank < 3:
        return None
    return Layout(tuple(range(1, rank - 1) if looks_channels_last(tensor) else range(2, rank)), rank)


def looks_channels_last(tensor: gs.Tensor) -> bool:
    """Whether an image input ends in its 1, 3 or 4 channels."""
    shape = static_shape(tensor)
    few = (1, 3, 4)
    return shape is not None and len(shape) == 4 and shape[3] in few and shape[1] not in few


def follow(nodes: Iterable[gs.Node], images: Iterable[gs.Tensor]) -> dict[str, Layout]:
    """Tensor -> layout, for all tensors that some nodes, in order, make of the images, and have positions still."""
    layouts = {t.name: layout for t in images if (layout := of_image(t)) is not None}
    alive = set(layouts)
    for node in nodes:
        name = node.outputs[0].name
        layout = of_node(node, layouts)
        if layout is None and is_op(node, *SPATIAL) and any(t.name in alive for t in node.inputs):
            # Windows and the like tear positions apart; what such an op reads are positions again, where it is several.
            shape = static_shape(node.outputs[0]) or ()
            layout = Layout(tuple(range(2, len(shape))), len(shape)) if any(d != 1 for d in shape[2:]) else None
        if layout is not None and not collapses(node, layout, layouts):
            layouts[name] = layout
            alive.add(name)
        elif layout is None and not node.op.startswith("Reduce") and any(t.name in alive for t in node.inputs):
            alive.add(name)
    return layouts


def collapses(node: gs.Node, layout: Layout, layouts: Mapping[str, Layout]) -> bool:
    """Whether a node makes one position of all: a mean or maximum over everything, or a window as large as its input.

    A picture may be so small that strides alone leave one: that is a position still.
    """
    after = static_shape(node.outputs[0])
    if after is None:
        return True
    if layout.grid or any(after[axis] != 1 for axis in layout.axes):
        return False
    if is_op(node, "Conv", "AveragePool", "MaxPool"):
        padded = any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        if padded or max(node.attrs.get("strides") or (1,)) > 1:
            return False
    sizes = [(static_shape(t), layouts[t.name]) for t in node.inputs if t.name in layouts]
    return any(before is not None and any(before[axis] != 1 for axis in own.axes) for before, own in sizes)


def of_node(node: gs.Node, layouts: Mapping[str, Layout]) -> Layout | None:
    """The layout of what a node makes, from those of what it reads."""
    rank = len(node.outputs[0].shape or ())
    arriving = [(t, layouts[t.name]) for t in node.inputs if t.name in layouts]
    fitting = [(t, layout) for t, layout in arriving if layout.rank == rank]
    if is_op(node, *RESHAPES) and arriving:
        return reshaped(node, *arriving[0])
    if not fitting:
        return None
    tensor, layout = fitting[0]
    if is_op(node, "Transpose"):
        perm = permutation(node)
        return replace(layout, axes=tuple(perm.index(axis) for axis in layout.axes))
    if is_op(node, "MatMul", "Gemm", "Einsum"):
        return kept_by_product(node, tensor, layout)
    if layout.grid and is_op(node, "Concat"):
        return concatenated(node, tensor, layout)
    if layout.grid and is_op(node, "Slice"):
        return cut(node, layout)
    if layout.grid and is_op(node, *SPATIAL) and list(tensor.shape[2:]) != list(node.outputs[0].shape[2:]):
        return None
    return layout


def reshaped(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> Layout | None:
    """Positions that are put in a row, or in rows again; None where they are torn apart."""
    before, after = tensor.shape, node.outputs[0].shape
    if before is None or after is None:
        return None
    whole = [
        (longer(old, before), longer(new, after))
        for old, new in groups(before, after)
        if any(axis in layout.axes for axis in old)
    ]
    if all(len(old) == len(new) == 1 for old, new in whole):
        moved = {old[0]: new[0] for old, new in whole}
        return replace(layout, axes=tuple(moved[axis] for axis in layout.axes), rank=len(after))
    if len(whole) != 1:
        return None
    (old, new), sizes = whole[0], tuple(before[axis] for axis in layout.axes)
    if not layout.grid and tuple(old) == layout.axes and len(new) == 1:
        return Layout((new[0],), len(after), sizes, tensor.name, layout.axes)
    whole_row = layout.grid and old == list(layout.axes) and not (layout.before or layout.after)
    if whole_row and tuple(after[axis] for axis in new) == layout.grid:
        return Layout(tuple(new), len(after))
    return None


def longer(axes: list[int], shape: Sequence[Size]) -> list[int]:
    """The one axis of several that is longer than one, where there is just one such; else all of them."""
    long = [axis for axis in axes if shape[axis] != 1]
    return long if len(long) == 1 else axes


def kept_by_product(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> Layout | None:
    """A product keeps the positions that it does not sum over; a square one of two tensors makes as many of them."""
    if is_op(node, "Einsum"):
        before, after = tensor.shape or (), node.outputs[0].shape or ()
        return layout if all(before[axis] == after[axis] for axis in layout.axes) else None
    left = node.inputs[0] is tensor
    summed = layout.rank - (1 if left else 2)
    square = is_product(node) and list(tensor.shape) == list(node.outputs[0].shape)
    return layout if square or summed not in layout.axes else None


def concatenated(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> Layout | None:
    """More entries of a row: what stands before and behind the positions."""
    axis = int(node.attrs.get("axis", 0)) % layout.rank
    if axis != layout.axes[0]:
        return layout
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
    if end >= 2**31 - 1 or end < 0:
        gone = max(-end, 0)
    else:
        sizes = [size for size in layout.grid if isinstance(size, int)]
        if len(sizes) < len(layout.grid):
            return None
        gone = layout.before + math.prod(sizes) + layout.after - end
    if gone > layout.after:
        return None
    return replace(layout, before=layout.before - start, after=layout.after - gone)


def leaves_row(node: gs.Node, layout: Layout) -> bool:
    """Whether a node reads of a row with positions nothing but entries before or behind them, as of a class token."""
    sizes = [size for size in layout.grid if isinstance(size, int)]
    if not layout.grid or len(sizes) < len(layout.grid):
        return False
    row, length = layout.axes[0], layout.before + math.prod(sizes) + layout.after
    if is_op(node, "Gather"):
        read, axes = integers(node, 1), [int(node.attrs.get("axis", 0)) % layout.rank]
    elif is_op(node, "Slice"):
        starts, ends, axes = (integers(node, i) or [] for i in range(1, 4))
        axes = [axis % layout.rank for axis in axes]
        place = axes.index(row) if row in axes else 0
        read = list(range(length))[starts[place] : ends[place]] if row in axes else None
    else:
        return False
    extra = {*range(layout.before), *range(length - layout.after, length)}
    return bool(read) and row in axes and {index % length for index in read or ()} <= extra
