"""Weights that are divided by their sum behind a product, as kernels of attention do: (e V) / Σe is (e / Σe) V."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, result_of, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, producer


def divide_first(model: Model) -> None:
    """Let every such division stand before the product, where what it makes has a name."""
    for node in list(model.graph.nodes):
        if is_op(node, "Div", "Mul") and len(node.inputs) == 2:
            turns = (node.inputs, node.inputs[::-1]) if node.op == "Mul" else (node.inputs,)
            any(divided_before(model, node, whole, by) for whole, by in turns)
    sweep(model)


def divided_before(model: Model, node: gs.Node, whole: gs.Tensor, by: gs.Tensor) -> bool:
    """Divide one factor of a product instead of the product, where the divisor is the sum of that factor."""
    product, inverse, result = producer(whole), producer(by), node.outputs[0]
    if node.op == "Mul":
        if not is_op(inverse, "Reciprocal"):
            return False
        by = inverse.inputs[0]
    if not is_op(product, "MatMul") or len(product.inputs) != 2 or only_reader(model, whole) is not node:
        return False
    for place, axis in ((0, -1), (1, -2)):
        weights = product.inputs[place]
        if not sums(by, weights, axis):
            continue
        name, factors = f"{result.name}/shares", list(product.inputs)
        below = result_of(model, by, f"{name}/sum", "ReduceSum", weights, np.array([axis]), keepdims=1)
        factors[place] = result_of(model, weights, name, "Div", weights, below)
        fold(model, whole, result)
        detach(product)
        detach(node)
        model.graph.nodes.append(gs.Node("MatMul", result.name, {}, factors, [result]))
        return True
    return False


def sums(tensor: gs.Tensor, weights: gs.Tensor, axis: int) -> bool:
    """Whether a tensor is the sum of another along an axis, which it keeps with length one."""
    if weights.shape is None or tensor.shape is None or len(weights.shape) < 2:
        return False
    wanted = list(weights.shape)
    wanted[axis] = 1
    node = producer(tensor)
    if is_op(node, "Unsqueeze", "Reshape"):
        node = producer(node.inputs[0])
    if list(tensor.shape) != wanted or node is None or not any(own is weights for own in node.inputs):
        return False
    if is_op(node, "ReduceSum"):
        return [own % len(wanted) for own in integers(node, 1) or ()] == [axis % len(wanted)]
    ones = [t.values for t in node.inputs if isinstance(t, gs.Constant)]
    first = node.inputs[0] is weights
    return is_op(node, "MatMul") and first == (axis == -1) and len(ones) == 1 and bool(np.all(ones[0] == 1))
