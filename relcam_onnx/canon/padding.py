"""Padding: what repeats values at the ends is a Pad, and one of zeros belongs to what reads it.

That is to a convolution's own pads, or to a pool's where it is the same; before a maximum one of the lowest number.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import fold, is_op, sweep
from relcam_onnx.canon.identity import integers, is_float
from relcam_onnx.canon.moving import turned
from relcam_onnx.canon.places import shape_of_one, traced
from relcam_onnx.model import Model, consumers, producer
from relcam_onnx.ops.signs import Signs


class Padding(NamedTuple):
    """How many positions stand before and after, for each axis, and the number that they all are."""

    before: list[int]
    after: list[int]
    value: float


REPEATS = frozenset({"Concat", "Gather", "Pad", "Slice"})
"""What repeats values at the ends, as PyTorch's circular padding does, or blurs that gather their indices."""
MODES: tuple[Literal["edge", "reflect", "wrap"], ...] = ("edge", "reflect", "wrap")


def name_padding(model: Model) -> None:
    """Parts of a tensor that are joined around it, or gathered -> one Pad that repeats them."""
    order = places(model.graph)
    for node in reversed(list(model.graph.nodes)):
        if is_op(node, "Concat", "Gather", "Pad"):
            any(is_padding(node, piece) for piece in reversed([*pieces(node.outputs[0], order, REPEATS)]))
    sweep(model)


def is_padding(node: gs.Node, piece: Piece) -> bool:
    """Make a node the Pad that a piece before it is; False where it is none."""
    sizes, alone = shape_of_one(piece.source), len(piece.nodes) == 1 and node.op == "Pad"
    if sizes is None or alone or any(step.op == "Pad" and step.attrs.get("mode") not in MODES for step in piece.nodes):
        return False
    came = traced(piece.source, piece.nodes)
    if came is None or came.ndim != len(sizes) or came.size <= np.prod(sizes):
        return False
    own = np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
    for before in np.argwhere(came == 0):
        pads = np.stack((before, came.shape - before - sizes))
        if pads[:, 0].any() or pads.min() < 0 or (pads >= sizes).any():
            continue  # nothing that is there as often as that has ends
        for mode in MODES:
            if np.array_equal(np.pad(own, pads.T, mode=mode), came):
                node.op, node.attrs = "Pad", {"mode": mode}
                node.inputs = [piece.source, gs.Constant(f"{node.outputs[0].name}/pads", pads.reshape(-1))]
                return True
    return False


def absorb_padding(model: Model) -> None:
    """Pad of zeros, or of the lowest number, + Conv, AveragePool or MaxPool -> the layer alone, its pads wider."""
    signs = Signs()
    for node in list(model.graph.nodes):
        if is_op(node, "Transpose"):
            pad_behind(model, node)
    for node in model.graph.nodes:
        if is_op(node, "Conv") and set(node.attrs.get("kernel_shape", ())) == {1} and "auto_pad" in node.attrs:
            del node.attrs["auto_pad"]  # nothing lies around a single tap
        while is_op(node, "Conv", "AveragePool", "MaxPool") and absorb(model, node, signs):
            pass
    sweep(model)


def absorb(model: Model, node: gs.Node, signs: Signs) -> bool:
    """Take a Pad before a layer into it, where its own pads can do that; whether there was one."""
    pad = producer(node.inputs[0])
    found = padding(pad) if pad is not None else None
    if pad is None or found is None or not takes(node, found, signs.nonnegative(pad.inputs[0])):
        return False
    if any(found.before[:2]) or any(found.after[:2]):
        return False
    own = list(node.attrs.get("pads") or [0] * (2 * (len(found.before) - 2)))
    pads = [a + b for a, b in zip(own, found.before[2:] + found.after[2:], strict=True)]
    if not is_op(node, "Conv") and any(p >= k for p, k in zip(pads, node.attrs["kernel_shape"] * 2, strict=True)):
        return False  # no pool may have a window of nothing but padding
    node.attrs["pads"] = pads
    node.attrs.pop("auto_pad", None)
    if node.op == "AveragePool":
        node.attrs["count_include_pad"] = 1
    fold(model, pad.outputs[0], node.outputs[0])
    node.inputs[0] = pad.inputs[0]
    return True


def padding(node: gs.Node) -> Padding | None:
    """How far a node pads with one number; None where it is no such Pad, or a run tells how far, or with what."""
    if not is_op(node, "Pad") or node.attrs.get("mode", "constant") != "constant" or node.inputs[0].shape is None:
        return None
    amounts, axes = integers(node, 1), integers(node, 3)
    value = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    told = value is None or (isinstance(value, gs.Constant) and value.values.size == 1)
    if not amounts or axes is None or min(amounts) < 0 or not told:
        return None
    rank = len(node.inputs[0].shape)
    axes = [axis % rank for axis in axes] or list(range(rank))
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = amounts[place], amounts[place + len(axes)]
    return Padding(before, after, 0.0 if value is None else float(value.values.item()))


def takes(node: gs.Node, found: Padding, nonnegative: bool) -> bool:
    """Whether a layer's own pads can do what a Pad before it does."""
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    if node.op == "MaxPool":
        # Its own pads never win, nor does the lowest number, and zeros do not where nothing is negative.
        lowest = np.finfo(node.inputs[0].dtype).min if is_float(node.inputs[0]) else -np.inf
        loses = found.value <= lowest or (nonnegative and found.value == 0)
        return bool(loses) and not node.attrs.get("ceil_mode")
    if node.op == "AveragePool":
        counted = node.attrs.get("count_include_pad") or not any(node.attrs.get("pads") or ())
        return bool(counted) and not node.attrs.get("ceil_mode") and found.value == 0
    return found.value == 0


def pad_behind(model: Model, node: gs.Node) -> None:
    """Transpose of a Pad -> Pad of the Transpose, so that the Pad meets its reader."""
    pad = producer(node.inputs[0])
    found = padding(pad) if pad is not None else None
    if pad is None or found is None:
        return
    if not all(is_op(reader, "Conv", "AveragePool", "MaxPool") for reader in consumers(node.outputs[0])):
        return
    source, result, perm = pad.inputs[0], node.outputs[0], permutation(node)
    bare = turned(model, source, perm, f"{result.name}/unpadded")
    before, after = ([side[axis] for axis in perm] for side in (found.before, found.after))
    node.op, node.attrs = "Pad", {"mode": "constant"}
    node.inputs = [bare, gs.Constant(f"{bare.name}/pads", np.array(before + after)), *pad.inputs[2:3]]
