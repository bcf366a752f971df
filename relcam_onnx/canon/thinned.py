"""Every second position, or every third: what leaves the others out is a Slice, or the stride of the layer beside it.

As shortcuts spell it: x[:, :, ::2, ::2] before a pointwise layer, a pool of windows of one position, a layer's stride.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, sweep, take_over
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, producer

WINDOWS = ("AveragePool", "Conv", "MaxPool")
END = 2**31 - 1
"""An end behind every axis."""


class Thinning(NamedTuple):
    """Along each axis of positions: the first one that is kept, and the step to the next."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]


def name_single_pools(model: Model) -> None:
    """Write pools of windows of one position as the Slices that they are."""
    for node in list(model.graph.nodes):
        single = is_op(node, "MaxPool", "AveragePool") and set(node.attrs["kernel_shape"]) == {1}
        if single and len(node.outputs) == 1 and not any(node.attrs.get("pads") or ()):
            rank = len(node.attrs["kernel_shape"])
            slice_steps(node, node.attrs.get("strides") or [1] * rank)


def drop_steps(model: Model) -> None:
    """Let windows over all that is there go on by no step: there is none to be left out.

    One with padding may be a detector's coarsest level, and one over rows alone a recogniser's line: those keep theirs.
    """
    for node in model.graph.nodes:
        shape = node.inputs[0].shape if is_op(node, *WINDOWS) else None
        if shape is None or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        rank = len(shape) - 2
        kernel = node.attrs.get("kernel_shape") or (node.inputs[1].shape or ())[2:]
        wide = node.attrs.get("dilations") or [1] * rank
        reach = [(k - 1) * by + 1 for k, by in zip(kernel, wide, strict=False) if isinstance(k, int)]
        if list(shape[2:]) == reach and not any(node.attrs.get("pads") or ()):
            node.attrs["strides"] = [1] * rank


def slice_steps(node: gs.Node, steps: list[int]) -> None:
    """Make a node the Slice of every so manieth position of its first input."""
    rank, result = len(steps), node.outputs[0]
    told = ([0] * rank, [END] * rank, list(range(2, 2 + rank)), steps)
    names = ("starts", "ends", "axes", "steps")
    constants = [
        gs.Constant(f"{result.name}/{name}", np.array(each, np.int64)) for name, each in zip(names, told, strict=True)
    ]
    node.op, node.attrs, node.inputs = "Slice", {}, [node.inputs[0], *constants]


def stride_instead(model: Model) -> bool:
    """Let convolutions and pools make only what is read of them, and pointwise layers read only what they need.

    Whether there was any such.
    """
    seen = False
    for node in list(model.graph.nodes):
        found = thinning(node) if is_op(node, "Slice") else None
        if found is None:
            continue
        before = producer(node.inputs[0])
        if is_op(before, *WINDOWS) and only_reader(model, node.inputs[0]) is node and makes_fewer(before, found):
            take_over(model, before, node)
            seen = True
            continue
        source, thin = node.inputs[0], node.outputs[0]
        reader = only_reader(model, thin)
        if is_op(reader, "Conv") and reader.inputs[0] is thin and not any(found.starts) and is_pointwise(reader):
            stride(reader, found.steps)
            reader.inputs[0] = source
            fold(model, thin, reader.outputs[0])
            detach(node)
            seen = True
    sweep(model)
    return seen


def thinning(node: gs.Node) -> Thinning | None:
    """What a Slice leaves of positions; None where it leaves out ends, or a run tells it."""
    starts, ends, axes, steps = (integers(node, place) for place in range(1, 5))
    shape = node.inputs[0].shape
    if not starts or not ends or not steps or axes is None or shape is None or len(shape) < 3:
        return None
    first, step = [0] * len(shape), [1] * len(shape)
    for start, end, axis, by in zip(starts, ends, axes or range(len(starts)), steps, strict=True):
        size = shape[axis]
        if not 0 <= start <= END or by < 1 or end < (size if isinstance(size, int) else END):
            return None
        first[axis], step[axis] = start, by
    if any(first[:2]) or set(step[:2]) != {1} or set(step) == {1}:
        return None
    return Thinning(tuple(first[2:]), tuple(step[2:]))


def makes_fewer(layer: gs.Node, found: Thinning) -> bool:
    """Let a layer make only what is kept; False where its windows would begin behind the first position."""
    rank = len(found.steps)
    if layer.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or layer.attrs.get("ceil_mode"):
        return False
    pads, own = layer.attrs.get("pads") or [0] * 2 * rank, layer.attrs.get("strides") or [1] * rank
    begins = [pad - start * step for pad, start, step in zip(pads[:rank], found.starts, own, strict=True)]
    if min(begins) < 0:
        return False
    layer.attrs["pads"] = [*begins, *pads[rank:]]
    stride(layer, found.steps)
    return True


def is_pointwise(layer: gs.Node) -> bool:
    """Whether a convolution reads single positions, and none that is padding."""
    return set(layer.inputs[1].shape[2:]) == {1} and not any(layer.attrs.get("pads") or ())


def stride(layer: gs.Node, steps: tuple[int, ...]) -> None:
    """Let a convolution go on by so many of its own steps."""
    own = layer.attrs.get("strides") or [1] * len(steps)
    layer.attrs["strides"] = [a * b for a, b in zip(own, steps, strict=True)]
