"""Ops that leave out, repeat or reorder what lies along single axes.

Slice, Gather by a constant list, a Pad that cuts; of channels SpaceToDepth, and the other way round DepthToSpace.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers

Along = Callable[[int], np.ndarray]
"""Which of so many positions along an axis are kept, in their new order."""


def picks(node: gs.Node | None) -> dict[int, Along] | None:
    """What a node keeps along each axis that it changes; None where it does anything else, or a run tells it."""
    if not is_op(node, "Gather", "Pad", "Slice", "SpaceToDepth") or node.inputs[0].shape is None:
        return None
    rank = len(node.inputs[0].shape)
    found = {"Gather": gathered, "Pad": cropped, "Slice": sliced, "SpaceToDepth": blocked}[node.op](node)
    return None if found is None else {axis % rank: kept for axis, kept in found.items()}


def gathered(node: gs.Node) -> dict[int, Along] | None:
    """A Gather's, where the axis stays."""
    order = integers(node, 1)
    if order is None or isinstance(node.inputs[0], gs.Constant) or len(node.inputs[1].shape) != 1:
        return None
    return {int(node.attrs.get("axis", 0)): lambda size: np.arange(size)[order]}


def sliced(node: gs.Node) -> dict[int, Along] | None:
    """A Slice's."""
    starts, ends, axes, steps = (integers(node, place) for place in range(1, 5))
    if not starts or not ends or axes is None or steps is None:
        return None
    spans = map(slice, starts, ends, steps or [1] * len(starts))
    return {axis: along(span) for axis, span in zip(axes or range(len(starts)), spans, strict=True)}


def cropped(node: gs.Node) -> dict[int, Along] | None:
    """A Pad's that only takes away."""
    amounts, axes = integers(node, 1), integers(node, 3)
    if not amounts or axes is None or max(amounts) > 0:
        return None
    count = len(amounts) // 2
    cut = {axes[i] if axes else i: (-amounts[i], -amounts[i + count]) for i in range(count)}
    return {axis: along(slice(before, -after or None)) for axis, (before, after) in cut.items() if before or after}


def blocked(node: gs.Node) -> dict[int, Along]:
    """The channel that each of a SpaceToDepth's is made of."""
    return {1: lambda size: np.tile(np.arange(size), node.attrs["blocksize"] ** 2)}


def unblocked(node: gs.Node) -> Along | None:
    """Into which of so many channels of what it makes a DepthToSpace puts each of its own; None of any other node."""
    if not is_op(node, "DepthToSpace"):
        return None
    count, each = node.attrs["blocksize"] ** 2, node.attrs.get("mode", "DCR") == "CRD"
    return lambda size: np.arange(size).repeat(count) if each else np.tile(np.arange(size), count)


def along(span: slice) -> Along:
    """The positions of a span."""
    return lambda size: np.arange(size)[span]
