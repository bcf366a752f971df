"""Resizes: along one axis after the other they are one; some are means of windows, or Slices."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, sweep
from relcam_onnx.canon.places import shape_of_one
from relcam_onnx.canon.thinned import slice_steps
from relcam_onnx.model import Model, producer

HOW = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias")
"""What tells how a Resize fills places in."""
CENTRED = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
"""Modes where the two positions of a half count alike."""
STRETCH = (None, "stretch")


def join_resizes(model: Model) -> None:
    """Write every chain of Resizes along different axes as one, means of pairs as pools, what leaves out as a Slice."""
    for node in reversed(list(model.graph.nodes)):
        if not is_op(node, "Resize") or not node.outputs:
            continue
        while join(model, node):
            pass
        halve(node)
        thin(node)
    sweep(model)


def join(model: Model, node: gs.Node) -> bool:
    """Let a Resize do what one before it does along other axes; whether there was such a one."""
    before, result = producer(node.inputs[0]), node.outputs[0]
    alone = is_op(before, "Resize") and only_reader(model, node.inputs[0]) is node
    first, second = factors(before) if before is not None and alone else None, factors(node)
    if before is None or not first or not second or first.keys() & second.keys():
        return False
    if any(before.attrs.get(name) != node.attrs.get(name) for name in HOW):
        return False
    axes = sorted({*first, *second})
    fold(model, node.inputs[0], result)
    sizes = gs.Constant(f"{result.name}/sizes", np.array([result.shape[axis] for axis in axes], np.int64))
    node.attrs["axes"] = axes
    node.inputs = [before.inputs[0], gs.Variable.empty(), gs.Variable.empty(), sizes]
    detach(before)
    return True


def halve(node: gs.Node) -> None:
    """Make a linear Resize to the half of some positions the mean of pairs that it is."""
    centred = node.attrs.get("coordinate_transformation_mode", "half_pixel") in CENTRED
    if node.attrs.get("mode") != "linear" or not centred or node.attrs.get("antialias"):
        return
    shares = factors(node)
    if shares and set(shares.values()) == {0.5} and min(shares) > 1:
        window = [2 if axis in shares else 1 for axis in range(2, len(node.inputs[0].shape))]
        node.op, node.inputs = "AveragePool", node.inputs[:1]
        node.attrs = {"kernel_shape": window, "strides": window}


def thin(node: gs.Node) -> None:
    """Make a nearest Resize that keeps the first of so many positions the Slice that it is."""
    first = node.attrs.get("coordinate_transformation_mode", "half_pixel") == "asymmetric"
    if not is_op(node, "Resize") or node.attrs.get("mode", "nearest") != "nearest" or not first:
        return
    shares, rank = factors(node), len(node.inputs[0].shape or ())
    steps = [1 / share for share in (shares or {}).values()]
    if shares and min(shares) > 1 and all(step.is_integer() for step in steps):
        by_axis = dict(zip(shares, map(int, steps), strict=True))
        node.inputs = node.inputs[:1]
        slice_steps(node, [by_axis.get(axis, 1) for axis in range(2, rank)])


def factors(node: gs.Node) -> dict[int, float] | None:
    """By how much a Resize makes each axis longer that it changes; None where a size is open.

    None too where it is told a scale that is not the share of the sizes, which are rounded.
    """
    before, after = shape_of_one(node.inputs[0]), shape_of_one(node.outputs[0])
    if before is None or after is None or node.attrs.get("keep_aspect_ratio_policy") not in STRETCH:
        return None
    found = {axis: b / a for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        axes = [axis % len(before) for axis in node.attrs.get("axes") or range(len(before))]
        scales = node.inputs[2].values.tolist() if isinstance(node.inputs[2], gs.Constant) else []
        if {a: s for a, s in zip(axes, scales, strict=False) if s != 1} != found:
            return None
    return found
