"""How the windows of a convolution or a pool lie over a tensor, one axis at a time.

Nothing is ever padded: for each position in the kernel (a *tap*) an axis says, as a pair of slices, which
inputs meet which windows there. Windows whose tap falls into the padding are not among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from relcam_onnx.backends._arrays import Array


@dataclass(frozen=True)
class Axis:
    """The windows along one spatial axis.

    Attributes
    ----------
    size
        Positions of the tensor that the windows lie over.
    count
        Windows.
    kernel, stride, dilation
        Taps per window, and the steps from window to window and from tap to tap.
    before, after
        Padded positions at either end; negative ones cut positions off.
    """

    size: int
    count: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    def taps(self) -> Iterator[tuple[int, slice, slice]]:
        """Give each tap that meets the tensor: its number, the positions it reads, and for which windows."""
        for tap in range(self.kernel):
            offset = tap * self.dilation - self.before
            first = max(0, -(offset // self.stride))
            last = min(self.count, (self.size - 1 - offset) // self.stride + 1)
            if first < last:
                start = first * self.stride + offset
                stop = start + (last - first - 1) * self.stride + 1
                yield tap, slice(start, stop, self.stride), slice(first, last)

    def positions(self) -> Array:
        """Give the position that each tap of each window reads, int64 (count, kernel), padding included."""
        starts = np.arange(self.count) * self.stride - self.before
        return np.asarray(starts[:, None] + np.arange(self.kernel) * self.dilation)

    def block(self, start: int, stop: int) -> Axis:
        """Keep the windows from ``start`` up to ``stop`` alone, over the same tensor."""
        return replace(self, count=stop - start, before=self.before - start * self.stride)


Slices = tuple[slice, ...]


def taps(axes: Sequence[Axis]) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Give each tap of a kernel over several axes in row-major order: numbers, sources and windows."""
    for combination in itertools.product(*(list(axis.taps()) for axis in axes)):
        numbers, sources, targets = zip(*combination, strict=True)
        yield numbers, sources, targets


def layout(
    shape: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> tuple[Axis, ...]:
    """Place the windows of a Conv or a pool, from ONNX's attributes, over a tensor of spatial ``shape``."""
    rank = len(shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = pads if pads and auto_pad == "NOTSET" else [0] * (2 * rank)
    axes = []
    for i, (size, width, stride, dilation) in enumerate(zip(shape, kernel, strides, dilations, strict=True)):
        extent = (width - 1) * dilation + 1
        if auto_pad.startswith("SAME"):
            count = -(-size // stride)
            before, after = _split(max((count - 1) * stride + extent - size, 0), auto_pad)
        else:
            before, after = pads[i], pads[rank + i]
            room = size + before + after - extent
            count = (-(-room // stride) if ceil_mode else room // stride) + 1
            if ceil_mode and (count - 1) * stride >= size + before:
                count -= 1  # a window may hang over the end, but not begin in the padding there
        axes.append(Axis(size, count, width, stride, dilation, before, after))
    return tuple(axes)


def transposed_layout(
    shape: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
) -> tuple[Axis, ...]:
    """Place the windows of a ConvTranspose: its input has a value per window, its output lies under them."""
    rank = len(shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = pads if pads and auto_pad == "NOTSET" else [0] * (2 * rank)
    extra = output_padding or [0] * rank
    axes = []
    for i, (count, width, stride, dilation) in enumerate(zip(shape, kernel, strides, dilations, strict=True)):
        full = (count - 1) * stride + (width - 1) * dilation + 1 + extra[i]
        if output_shape:
            size = output_shape[i - rank]
            before, after = _split(max(full - size, 0), auto_pad)
        else:
            if auto_pad.startswith("SAME"):
                before, after = _split(max(full - count * stride, 0), auto_pad)
            else:
                before, after = pads[i], pads[rank + i]
            size = full - before - after
        axes.append(Axis(size, count, width, stride, dilation, before, after))
    return tuple(axes)


def _split(total: int, auto_pad: str) -> tuple[int, int]:
    small, large = total // 2, total - total // 2
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)
