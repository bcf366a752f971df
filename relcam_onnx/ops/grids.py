"""Where the positions of an op's output lie on those of its input: strides, and where the first one is.

What a chain of ops makes of that is the place in the picture that a cell of a map stands for: a tile of it where the
network pads; without padding a margin of the picture holds no cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import producer, static_shape


class Grid(NamedTuple):
    """Positions along one axis, on another's: the centre of position o lies at ``stride * o + offset``.

    Both count from the centre of the first position; a reversed axis has a stride below 0.
    """

    stride: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def on(self, base: Grid) -> Grid:
        """The same positions on what ``base`` itself lies on."""
        return Grid(base.stride * self.stride, base.stride * self.offset + base.offset)

    def inverse(self) -> Grid:
        """The other axis on this one."""
        return Grid(1 / self.stride, -self.offset / self.stride)


Grids: TypeAlias = Callable[[gs.Node, Sequence[int]], tuple[Grid, ...]]
"""(node, the axes of its input that hold positions) -> a grid for each of those axes."""

NEAREST: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda x: math.ceil(x - Fraction(1, 2)),
    "round_prefer_ceil": lambda x: math.floor(x + Fraction(1, 2)),
}
"""Resize's ``nearest_mode``."""


def window_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """Conv and pools: in the middle of each window. A Pad before them is theirs."""
    maker = producer(node.inputs[0])
    pads = pad_amounts(maker) if maker is not None and maker.op == "Pad" else {}
    each = zip(windows(node, len(axes)), (pads.get(axis, (0, 0)) for axis in axes), strict=False)
    return tuple(window(*sizes, *amounts) for sizes, amounts in each)


def transposed_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """ConvTranspose: the other way round, each in the middle of the window that an input position writes."""
    if node.attrs.get("output_shape") is not None:
        return tuple(window(stride, 0, 0, 0).inverse() for stride, *_ in windows(node, len(axes)))
    return tuple(window(*sizes).inverse() for sizes in windows(node, len(axes)))


def window(stride: int, reach: int, before: int, beyond: int, added: int = 0, more: int = 0) -> Grid:
    """One axis of windows that reach ``reach`` positions beyond their first.

    There are ``before`` and ``beyond`` positions of padding, and ``added`` and ``more`` that the input got from a Pad.
    Padding that makes one window of every ``stride`` positions has the windows tile what they read, on whichever side
    it stands: networks learn to make up for the side. (On photographs the gradient of EfficientNet-Lite0's activations
    is centred at most 2.2 pixels from the tiles at strides 4, 8 and 16, and up to 6.8 from the middles of the windows.)
    With less of it the windows' middles count.
    """
    if reach - stride < before + beyond + added + more <= reach:
        return Grid(Fraction(stride), Fraction(stride - 1, 2) + added)
    return Grid(Fraction(stride), Fraction(reach, 2) - before)


def windows(node: gs.Node, rank: int) -> list[tuple[int, int, int, int]]:
    """Stride, reach, and padding before and beyond, along each axis; SAME pads as much as tiling takes."""
    ones, none = [1] * rank, [0] * rank
    kernel = node.attrs.get("kernel_shape") or (node.inputs[1].shape or ())[2:] or ones
    strides, dilations = (node.attrs.get(name) or ones for name in ("strides", "dilations"))
    reach = [d * (k - 1) for k, d in zip(kernel, dilations, strict=False)]
    mode = node.attrs.get("auto_pad", "NOTSET")
    pads = [*none, *none] if mode == "VALID" else list(node.attrs.get("pads") or [*none, *none])
    if mode.startswith("SAME"):
        pads = [*none, *reach]
    # What ConvTranspose adds behind its output is padding that it does not cut off.
    beyond = [pad - more for pad, more in zip(pads[rank:], node.attrs.get("output_padding") or none, strict=False)]
    return list(zip(strides, reach, pads[:rank], beyond, strict=False))


def sizes_of(tensor: gs.Tensor, axes: Sequence[int]) -> list[int | None]:
    """The sizes of some axes, None where only a run knows."""
    shape = static_shape(tensor)
    return [None if shape is None or axis >= len(shape) else shape[axis] for axis in axes]


def slice_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """Slice: its steps, from its starts; a start that a run computes counts as 0."""
    starts, cut, steps = (constant_at(node, index) for index in (1, 3, 4))
    rank = len(node.inputs[0].shape or ()) or 4
    count = len(starts or steps or ())
    along = [axis % rank for axis in cut or range(count)]
    grids = dict.fromkeys(axes, Grid())
    for axis, start, step in zip(along, starts or [0] * count, steps or [1] * count, strict=False):
        if axis in grids:
            (size,), (left,) = (sizes_of(tensor, [axis]) for tensor in (node.inputs[0], node.outputs[0]))
            first = start if start >= 0 else start + (size or -start)
            apart = 1 if left == 1 else step  # of one position there is no step to the next
            grids[axis] = Grid(Fraction(apart), Fraction(min(first, size - 1) if size else first))
    return tuple(grids.values())


def gather_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """Gather at known places: where they lie evenly."""
    axis = int(node.attrs.get("axis", 0)) % (len(node.inputs[0].shape or ()) or 4)
    (size,) = sizes_of(node.inputs[0], [axis])
    places = node.inputs[1].values if isinstance(node.inputs[1], gs.Constant) else None
    return tuple((evenly(places, size) if one == axis else None) or Grid() for one in axes)


def evenly(places: np.ndarray | None, size: int | None) -> Grid | None:
    """The grid of positions that are read evenly, each perhaps several times in a row; None where they are not."""
    if places is None or places.ndim != 1 or not len(places) or (size is None and (places < 0).any()):
        return None
    read = places.astype(np.int64) % (size or places.max() + 1)
    times = int(np.argmax(read != read[0])) or len(read)
    first, steps = read[::times], np.diff(read[::times])
    if len(read) % times or (np.repeat(first, times) != read).any() or (steps != steps[:1]).any():
        return None
    step = Fraction(int(steps[0]) if len(steps) else 1, times)
    return Grid(step, int(first[0]) - step * Fraction(times - 1, 2)) if step else None


def pad_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """Pad: what was the first position stands behind those that are added."""
    amounts = pad_amounts(node)
    return tuple(Grid(offset=-Fraction(amounts.get(axis, (0, 0))[0])) for axis in axes)


def pad_amounts(node: gs.Node) -> dict[int, tuple[int, int]]:
    """Axis -> how many positions a Pad adds before and behind; {} where a run computes them."""
    amounts, axes = constant_at(node, 1), constant_at(node, 3)
    if amounts is None:
        return {}
    count = len(amounts) // 2
    rank = len(node.inputs[0].shape or ()) or 4
    along = range(count) if axes is None else [axis % rank for axis in axes]
    return dict(zip(along, zip(amounts[:count], amounts[count:], strict=True), strict=False))


def block_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """SpaceToDepth: a block becomes one position, in its middle."""
    block = Fraction(node.attrs["blocksize"])
    return (Grid(block, (block - 1) / 2),) * len(axes)


def unblock_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """DepthToSpace: a position becomes a block around it."""
    part = 1 / Fraction(node.attrs["blocksize"])
    return (Grid(part, (part - 1) / 2),) * len(axes)


def resize_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """Resize: one over each scale, from ``scales`` or from sizes that are static.

    ``align_corners`` is laid out like half_pixel, whose middle is the same: at the edges it is off by half a position.
    """
    scales, chosen = constant_at(node, 2), node.attrs.get("axes")
    rank = len(node.inputs[0].shape or ()) or 4
    along = [axis % rank for axis in (range(len(scales or ())) if chosen is None else chosen)]
    told = dict(zip(along, scales or (), strict=False))
    before, after = sizes_of(node.inputs[0], axes), sizes_of(node.outputs[0], axes)
    strides = [
        1 / Fraction(float(told.get(axis, 1))).limit_denominator(64) if told else Fraction(b, a) if a and b else None
        for axis, b, a in zip(axes, before, after, strict=True)
    ]
    return tuple(Grid() if stride is None else resized(node, stride) for stride in strides)


def resized(node: gs.Node, stride: Fraction) -> Grid:
    """One axis of a Resize. Rounding to the nearest position has a period; its mean is taken."""
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    shift, back = {
        "asymmetric": (Fraction(0), Fraction(0)),
        "tf_half_pixel_for_nn": (Fraction(1, 2), Fraction(0)),
    }.get(mode, (Fraction(1, 2), Fraction(1, 2)))
    offset = shift * stride - back
    if node.attrs.get("mode", "nearest") == "nearest":
        pick = NEAREST[node.attrs.get("nearest_mode", "round_prefer_floor")]
        period = stride.denominator
        reads = [stride * o + offset for o in range(period)]
        offset += sum((pick(x) - x for x in reads), Fraction(0)) / period
    return Grid(stride, offset)


def constant_at(node: gs.Node, index: int) -> list[Any] | None:
    """A constant input as a list of numbers; None where it is left out, empty or computed."""
    tensor = node.inputs[index] if index < len(node.inputs) else None
    if not isinstance(tensor, gs.Constant) or not tensor.values.size:
        return None
    values: list[Any] = tensor.values.reshape(-1).tolist()
    return values
