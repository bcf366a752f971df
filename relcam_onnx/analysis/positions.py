"""Which axes of a tensor are positions of the picture, wherever they sit.

(N, C, h, w), (N, h, w, C), (N, tokens, C) with or without other tokens around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import frames_first
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.lines import of_line, resized, without
from relcam_onnx.analysis.merging import merged
from relcam_onnx.analysis.products import is_pointwise, kept_by_product
from relcam_onnx.analysis.rows import concatenated, cut, leaves_row, length_of
from relcam_onnx.canon.axes import RESHAPES, Size, groups, moves, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import over
from relcam_onnx.model import consumers, is_constant, static_shape
from relcam_onnx.ops import TABLE, Grid, key
from relcam_onnx.ops.grids import evenly, sizes_of
from relcam_onnx.ops.sampling import sampling_grid

SPATIAL = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "DepthToSpace", "SpaceToDepth", "Col2Im")
"""Ops whose axes behind the channels are positions by definition."""


def of_image(tensor: gs.Tensor) -> Layout | None:
    """The layout of an input: its last axes, or those before the channels; None where it has no positions.

    Frames of a clip are positions too, in front of the others.
    """
    rank = len(tensor.shape or ())
    if rank < 3:
        return None
    if frames_first(tensor):
        return Layout((1, 3, 4), rank)
    if rank == 3 and gets_channel(tensor):
        return Layout((1, 2), rank)
    return Layout(tuple(range(1, rank - 1) if looks_channels_last(tensor) else range(2, rank)), rank)


def gets_channel(tensor: gs.Tensor) -> bool:
    """Whether what reads a picture without channels, a spectrogram, gives it the axis of one, at once or rescaled."""
    waiting, seen = [tensor], {tensor.name}
    while waiting:
        current = waiting.pop()
        for node in consumers(current):
            sizes, result = list(current.shape or ()), node.outputs[0]
            after = list(result.shape or ())
            one = [axis for axis in (1, 3) if len(after) == 4 and after[axis] == 1]
            if is_op(node, *RESHAPES) and any([*after[1:axis], *after[axis + 1 :]] == sizes[1:] for axis in one):
                return True
            turned = is_op(node, "Transpose") and permutation(node)[:1] == [0]
            same = len(after) == 3 if is_op(node, "Pad") else turned or (after == sizes and is_op(node, *RESCALES))
            if same and result.name not in seen:
                seen.add(result.name)
                waiting.append(result)
    return False


RESCALES = (
    "Abs", "Add", "BatchNormalization", "Cast", "Clip", "Div", "Exp", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Sqrt",
    "Sub",
)  # fmt: skip
"""What makes other numbers of a picture, place by place."""


def looks_channels_last(tensor: gs.Tensor) -> bool:
    """Whether an image input ends in its 1, 3 or 4 channels."""
    shape = static_shape(tensor)
    few = (1, 3, 4)
    return shape is not None and len(shape) == 4 and shape[3] in few and shape[1] not in few


def follow(
    nodes: Iterable[gs.Node], images: Iterable[gs.Tensor]
) -> tuple[dict[str, Layout], dict[str, tuple[Grid, ...]]]:
    """Tensor -> layout, for all tensors that some nodes, in order, make of the images, and have positions still.

    The second is of those that moves alone make coarser: where their positions lie on those they came from.
    """
    layouts = {t.name: layout for t in images if (layout := of_image(t)) is not None}
    alive, coarser = set(layouts), {}

    def lives(node: gs.Node, tensor: gs.Tensor) -> bool:
        """Whether something of the picture's positions is left in what a node makes of a tensor."""
        own = layouts.get(tensor.name)
        if tensor.name not in alive or own is None:
            return tensor.name in alive
        picks = is_op(node, "Gather", "GatherElements") and is_constant(node.inputs[1])
        return not (picks and disordered(node, tensor, own)) and not leaves_row(node, own)

    for node in nodes:
        name = node.outputs[0].name
        layout = of_node(node, layouts)
        ends = is_op(node, "Transpose", *RESHAPES) and not all(map(moves, consumers(node.outputs[0])))
        if layout is None and ends and (merging := merged(node.outputs[0], layouts)) is not None:
            layout, coarser[name] = merging
        windows = is_op(node, *SPATIAL) and not is_pointwise(node)
        if layout is None and windows and any(t.name in alive for t in node.inputs):
            # Windows and the like tear positions apart; what such an op reads are positions again, where it is several.
            shape = static_shape(node.outputs[0]) or ()
            layout = Layout(tuple(range(2, len(shape))), len(shape)) if any(d != 1 for d in shape[2:]) else None
        if layout is not None and not collapses(node, layout, layouts):
            layouts[name] = layout
            alive.add(name)
        elif layout is not None or key(node) not in TABLE or node.op.startswith("Reduce"):
            continue  # an unknown op may thin them out
        elif any(lives(node, t) for t in node.inputs):
            alive.add(name)
    return layouts, coarser


def collapses(node: gs.Node, layout: Layout, layouts: Mapping[str, Layout]) -> bool:
    """Whether a node makes one position of all: a mean or maximum over everything, or a window as large as its input.

    A picture may be so small that strides alone leave one: that is a position still.
    """
    after = static_shape(node.outputs[0])
    if after is None:
        return True
    if layout.grid:
        return length_of(layout) not in (None, after[layout.axes[0]]) and after[layout.axes[0]] == 1
    if any(after[axis] != 1 for axis in layout.axes):
        return False
    if is_op(node, "Conv", "AveragePool", "LpPool", "MaxPool"):
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
    if arriving and (gone := taken_away(node)):
        return without(arriving[0][1], gone, node.outputs[0])
    if not fitting:
        return None
    # Where rows meet columns, the picture's own order counts, whichever is named first.
    tensor, layout = min(fitting, key=lambda read: read[1].axes != tuple(sorted(read[1].axes)))
    if is_op(node, "Gather", "GatherElements") and disordered(node, tensor, layout):
        return None
    if is_op(node, "GridSample") and sampling_grid(node) is None:
        return None  # in an order that a run tells
    if is_op(node, "Transpose"):
        perm = permutation(node)
        return replace(layout, axes=tuple(perm.index(axis) for axis in layout.axes))
    if is_op(node, "MatMul", "Gemm", "Einsum"):
        return kept_by_product(node, fitting)
    if is_op(node, "Conv", "ConvTranspose") and 1 in layout.axes:
        return None  # it sums over them, as a product does
    if layout.grid and is_op(node, "Concat"):
        return concatenated(node, tensor, layout, several=len(fitting) > 1)
    if layout.grid and is_op(node, "Slice"):
        return cut(node, layout)
    if layout.grid and is_op(node, *SPATIAL) and list(tensor.shape[2:]) != list(node.outputs[0].shape[2:]):
        return resized(layout, node.outputs[0])
    if layout.grid and is_op(node, "Pad", "Tile", "Expand", "Resize") and lengthened(node, tensor, layout):
        return None
    return layout


def reduced(node: gs.Node) -> set[int]:
    """The axes of its input that a reduction goes over; none where a node is no reduction."""
    axes = over(node) if node.op.startswith("Reduce") else []
    return set(range(len(node.inputs[0].shape or ())) if axes is None else axes)


def taken_away(node: gs.Node) -> set[int]:
    """The axes of its input that a node reduces or picks from and leaves none of, as where stacks end."""
    if is_op(node, "Gather") and is_constant(node.inputs[1]) and node.inputs[1].values.ndim == 0:
        return {int(node.attrs.get("axis", 0)) % len(node.inputs[0].shape or (0,))}
    return set() if node.attrs.get("keepdims", 1) else reduced(node)


def disordered(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> bool:
    """Whether a Gather reads positions in an order that a run tells, or not evenly; of a row, in any but its own."""
    if not is_constant(node.inputs[1]):
        return True
    rank = len(tensor.shape or ())
    axis = int(node.attrs.get("axis", 0)) % rank
    if axis not in layout.axes:
        return False
    if is_op(node, "GatherElements"):
        return True
    grid = evenly(node.inputs[1].values, sizes_of(tensor, [axis])[0])
    return grid is None or (bool(layout.grid) and (grid != Grid() or lengthened(node, tensor, layout)))


def lengthened(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> bool:
    """Whether a row has another length behind a node."""
    before, after = static_shape(tensor), static_shape(node.outputs[0])
    return before is None or after is None or any(before[axis] != after[axis] for axis in layout.axes)


def reshaped(node: gs.Node, tensor: gs.Tensor, layout: Layout) -> Layout | None:
    """Positions that are put in a row, or in rows again; None where they are torn apart."""
    before, after = tensor.shape, node.outputs[0].shape
    if before is None or after is None:
        return None
    every = [(old, new) for old, new in groups(before, after) if any(axis in layout.axes for axis in old)]
    whole = [(longer(old, before), longer(new, after)) for old, new in every]
    if (line := of_line(layout, before, after, node.outputs[0])) is not None:
        return line
    if len(every) == 1 and (row := in_row(tensor, layout, *every[0], after)) is not None:
        return row
    if len(whole) > 1 and not layout.grid and whole[0][1] == [0]:  # frames go into the batch
        alone = all(len(old) == len(new) == 1 for old, new in whole[1:])
        return Layout(tuple(new[0] for _, new in whole[1:]), len(after)) if alone else None
    if all(len(old) == len(new) == 1 for old, new in whole):
        moved = {old[0]: new[0] for old, new in whole}
        if not moved.keys() >= set(layout.axes):
            return None  # an axis of length one changes places with another
        return replace(layout, axes=tuple(moved[axis] for axis in layout.axes), rank=len(after))
    return None


def in_row(tensor: gs.Tensor, layout: Layout, old: list[int], new: list[int], after: Sequence[Size]) -> Layout | None:
    """Positions that are put in a row, or in rows and columns again; None where they are not."""
    if tuple(old) != layout.axes or layout.tokens:
        return None
    if layout.grid:
        again = tuple(after[axis] for axis in new) == layout.grid
        return Layout(tuple(new), len(after)) if again else None
    sizes = tuple(tensor.shape[axis] for axis in old)
    return Layout((new[0],), len(after), sizes, tensor.name, layout.axes) if len(new) == 1 < len(old) else None


def longer(axes: list[int], shape: Sequence[Size]) -> list[int]:
    """The one axis of several that is longer than one, where there is just one such; else all of them."""
    long = [axis for axis in axes if shape[axis] != 1]
    return long if len(long) == 1 else axes
