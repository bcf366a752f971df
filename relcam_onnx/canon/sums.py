"""Sums of sums are one Sum, differences too, and what is joined in two steps is joined in one."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fold, fresh, is_op, only_reader, sweep, view
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
    """What an operand is made of where it can stand in the operand's place; else the operand itself."""
    inner = producer(operand)
    if inner is None or not is_part(model, node, operand, inner):
        return [operand]
    pieces = list(inner.inputs)
    detach(inner)
    fold(model, operand, node.outputs[0])
    return pieces


def is_part(model: Model, node: gs.Node, operand: gs.Tensor, inner: gs.Node) -> bool:
    """Whether an inner sum or join is made for a node alone, and of several computed tensors."""
    alone = only_reader(model, operand) is node
    if not alone or node.inputs.count(operand) > 1:
        return False
    if node.op == "Concat":
        return is_op(inner, "Concat") and inner.attrs.get("axis") == node.attrs.get("axis")
    return is_op(inner, "Add", "Sum") and len(list(variables(inner))) > 1
