"""How the windows of pools lie along each axis, and when those of two pools are those of one."""

from __future__ import annotations

from itertools import starmap
from typing import NamedTuple

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op


class Span(NamedTuple):
    """How a pool's windows lie along one axis."""

    kernel: int = 1
    stride: int = 1
    before: int = 0
    behind: int = 0

    def tiles(self, size: int | str | None) -> bool:
        """Whether the windows lie side by side and leave none of so many positions out."""
        return self[1:] == (self.kernel, 0, 0) and isinstance(size, int) and size % self.kernel == 0

    def covers(self, size: int | str | None) -> bool:
        """Whether each of so many positions lies in some window."""
        if self == STILL or not isinstance(size, int):
            return self == STILL
        last = (size + self.before + self.behind - self.kernel) // self.stride * self.stride - self.before
        return self.stride <= self.kernel and last + self.kernel >= size

    def then(self, other: Span, size: int | str | None) -> Span | None:
        """One that does what this and then another does to so many positions; None where there is none."""
        if STILL in (self, other):
            return other if self == STILL else self
        # What the last windows leave out at the end lies in no window of theirs, unless that reaches into padding.
        if not self.tiles(size if other.before or other.behind else 0):
            return None
        return Span(*(self.kernel * number for number in other))


STILL = Span()
"""Nothing happens along an axis."""


def spans(node: gs.Node) -> list[Span] | None:
    """Those of an AveragePool or MaxPool that says where each window lies; None of any other node."""
    if not is_op(node, "AveragePool", "MaxPool") or len(node.outputs) > 1:
        return None
    if node.attrs.get("ceil_mode") or set(node.attrs.get("dilations") or [1]) != {1}:
        return None
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.inputs[0].shape is None:
        return None
    kernel, sizes = node.attrs["kernel_shape"], node.inputs[0].shape[2:]
    rank = len(kernel)
    pads = node.attrs.get("pads") or [0] * (2 * rank)
    found = starmap(Span, zip(kernel, node.attrs.get("strides") or [1] * rank, pads[:rank], pads[rank:], strict=True))
    # A single window may be as far from the next as one likes.
    return [
        Span(size, size) if span == Span(size, span.stride) else span for span, size in zip(found, sizes, strict=True)
    ]
