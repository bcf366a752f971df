"""What is added to a term of a sum, or done to a factor or to parts of a Concat, stands behind.

There it meets others, or a layer.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import AFFINE, Affine, affine_of, along, number
from relcam_onnx.canon.branches import begun
from relcam_onnx.canon.edit import detach, fold, fresh, is_op, only_reader, read_instead, view
from relcam_onnx.model import Model, producer, variables


def split_constants(model: Model, node: gs.Node) -> None:
    """Let the constants of a sum that run along one axis stand behind it; what varies over positions stays a term."""
    summed = node.outputs[0]
    if summed.shape is None or len(list(variables(node))) < 2:
        return
    total = number(1.0)
    kept: list[gs.Tensor] = []
    for operand in node.inputs:
        vector = along(operand, summed) if isinstance(operand, gs.Constant) else None
        joined = total.then(Affine(vector[0], np.ones_like(vector[1]), vector[1])) if vector is not None else None
        total, kept = (total, [*kept, operand]) if joined is None else (joined, kept)
    if len(kept) < len(node.inputs):
        node.inputs = kept
        shift_behind(model, node, total)


def behind_sum(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Let the shift of one term of a sum be one of the sum, where it may meet others, or a layer."""
    result, affine = node.outputs[0], affine_of(node)
    total = only_reader(model, result)
    if affine.is_scale or not is_op(total, "Add", "Sum") or list(total.inputs).count(result) != 1:
        return False
    summed = total.outputs[0]
    if summed.shape is None or list(result.shape or ()) != list(summed.shape):
        return False
    if not affine.is_shift and is_op(producer(begun(node.inputs[0])), "Add", "Sum"):
        return False  # it may become one layer, which takes both
    scale, shift = affine.apart()
    if affine.is_shift:
        read_instead(total, result, node.inputs[0])
        detach(node)
    else:
        sides = affine.shaped(affine.shift, len(summed.shape)).astype(np.float32)
        node.outputs[0] = view(model, result, fresh(model, f"{result.name}/scaled"), "Sub", result, sides)
        node.attrs["affine"] = scale
        read_instead(total, result, node.outputs[0])
    fold(model, result, summed)
    shift_behind(model, total, shift)
    return True


def behind_product(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Let the scale of one factor be one of the product: x (s t) is s (x t), and x (1 + s t) is x + s (x t).

    So global response normalisation has one form (ConvNeXt V2, Woo et al. 2023).
    """
    factor, (scale, shift) = node.outputs[0], affine_of(node).apart()
    product, rest = only_reader(model, factor), set(shift.shift.tolist())
    if not is_op(product, "Mul") or len(product.inputs) != 2 or rest - {0.0, 1.0} or len(rest) > 1:
        return False
    result, (other,) = product.outputs[0], [t for t in product.inputs if t is not factor] or [factor]
    plain, added = list(result.shape or ()), rest == {1.0}
    alike = len(plain) == len(factor.shape or ()) and (not added or list(other.shape or ()) == plain)
    wide = scale.axis is None or plain[scale.axis : scale.axis + 1] == [len(scale.scale)]
    if other is factor or isinstance(other, gs.Constant) or not plain or not alike or not wide:
        return False
    source, name = node.inputs[0], result.name
    bare = view(model, result, fresh(model, f"{name}/product"), "Mul", other, source)
    product.inputs, product.outputs[0] = [other, source], bare
    fold(model, factor, result)
    detach(node)
    scaled = result
    if added:
        scaled = view(model, result, fresh(model, f"{name}/scaled"), "Sub", result, other)
        model.graph.nodes.append(gs.Node("Add", f"{name}/added", {}, [other, scaled], [result]))
    model.graph.nodes.append(gs.Node(AFFINE, f"{name}/scale", {"affine": scale}, [bare], [scaled]))
    return True


def shift_behind(model: Model, node: gs.Node, affine: Affine) -> None:
    """Let an affine node that adds make what a node made; the node itself makes as much less."""
    summed = node.outputs[0]
    shift = affine.shaped(affine.shift, len(summed.shape)).astype(np.float32)
    bare = view(model, summed, fresh(model, f"{summed.name}/sum"), "Sub", summed, shift)
    node.outputs[0] = bare
    model.graph.nodes.append(gs.Node(AFFINE, f"{summed.name}/shift", {"affine": affine}, [bare], [summed]))


def behind_concat(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Let what is done to parts of a Concat be done to the whole, channel by channel."""
    total = only_reader(model, node.outputs[0])
    if not is_op(total, "Concat") or total.outputs[0].shape is None:
        return False
    whole = total.outputs[0]
    axis = total.attrs["axis"] % len(whole.shape)
    makers = [producer(part) if only_reader(model, part) is total else None for part in total.inputs]
    affines = [affine_of(maker) if is_op(maker, AFFINE) else number(1.0) for maker in makers]
    wide = []
    for affine, part in zip(affines, total.inputs, strict=True):
        count = part.shape[axis] if part.shape is not None else None
        if not isinstance(count, int) or not affine.fits(axis, count) or list(total.inputs).count(part) > 1:
            return False
        wide.append(affine.over(count))
    for maker in makers:
        if is_op(maker, AFFINE):
            part = maker.outputs[0]
            read_instead(total, part, maker.inputs[0])
            fold(model, part, whole)
            detach(maker)
    bare = view(model, whole, fresh(model, f"{whole.name}/parts"), "Concat", *total.inputs, axis=axis)
    total.outputs[0] = bare
    joined = Affine(axis, *(np.concatenate([getattr(a, side) for a in wide]) for side in ("scale", "shift")))
    model.graph.nodes.append(gs.Node(AFFINE, f"{whole.name}/joined", {"affine": joined}, [bare], [whole]))
    return True
