"""Sums of sums are one Sum, moved or not, differences too, and what is joined in two steps is joined in one."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import detach, fold, fresh, is_op, only_reader, scaled, sweep, view
from relcam_onnx.canon.moving import repeated
from relcam_onnx.model import Model, producer, variables


def flatten_sums(model: Model) -> None:
    """Add and Sum of what an Add or Sum alone makes for it, and Concat of a Concat on the same axis."""
    for node in [node for node in model.graph.nodes if is_op(node, "Sub")]:
        add_negative(model, node)
    for node in model.graph.nodes:
        if is_op(node, "Add", "Sum"):
            inputs = [part for operand in node.inputs for part in parts(model, node, operand)]
            if len(inputs) > 2:
                node.op, node.inputs = "Sum", inputs
        elif is_op(node, "Concat"):
            node.inputs = [part for operand in node.inputs for part in parts(model, node, operand)]
    sweep(model)


def unfold_means(model: Model) -> None:
    """Mean of several tensors -> their Sum, and a scale."""
    for node in list(model.graph.nodes):
        if is_op(node, "Mean") and len(node.inputs) > 1:
            node.op = "Sum"
            scaled(model, node, 1 / len(node.inputs))
    sweep(model)


def add_negative(model: Model, node: gs.Node) -> None:
    """Spell a difference of two computed tensors as a sum with the second one's negative."""
    if len(list(variables(node))) < 2:
        return
    second = node.inputs[1]
    negative = view(model, second, fresh(model, f"{node.outputs[0].name}/negative"), "Neg", second)
    model.graph.nodes.append(gs.Node("Neg", negative.name, {}, [second], [negative]))
    node.op = "Add"
    node.inputs[1] = negative


def parts(model: Model, node: gs.Node, operand: gs.Tensor) -> list[gs.Tensor]:
    """What an operand is made of where it can stand in the operand's place; else the operand itself.

    Where the operand is a moved sum, its terms are moved each: M(a + b) is M a + M b.
    """
    between: list[gs.Node] = []
    reader, tensor = node, operand
    while only_reader(model, tensor) is reader and node.inputs.count(operand) == 1:
        inner = producer(tensor)
        if inner is None:
            break
        if is_part(node, inner) and (not between or is_even(inner)):
            pieces = list(inner.inputs)
            for move in reversed(between):
                name = fresh(model, f"{move.outputs[0].name}/term")
                pieces = [repeated(model, move, piece, fresh(model, f"{name}{i}")) for i, piece in enumerate(pieces)]
            for gone in (inner, *between):
                fold(model, gone.outputs[0], node.outputs[0])
                detach(gone)
            return pieces
        if not moves(inner) or node.op == "Concat":
            break
        between.append(inner)
        reader, tensor = inner, inner.inputs[0]
    return [operand]


def is_part(node: gs.Node, inner: gs.Node) -> bool:
    """Whether what makes an operand is a sum of several computed tensors too, or a join along the same axis."""
    if node.op == "Concat":
        return is_op(inner, "Concat") and inner.attrs.get("axis") == node.attrs.get("axis")
    return is_op(inner, "Add", "Sum") and len(list(variables(inner))) > 1


def is_even(node: gs.Node) -> bool:
    """Whether all terms of a sum are computed and as large as it, so that each can be moved as it is."""
    whole = list(node.outputs[0].shape or ())
    return len(list(variables(node))) == len(node.inputs) and all(list(t.shape or ()) == whole for t in node.inputs)
