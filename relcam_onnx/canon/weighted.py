"""A product of two tensors that is summed over axes of both is a MatMul, as attention that pools positions has it.

(N, T, D) · (N, T, 1) summed over T is (N, 1, T) · (N, T, D): the product has positions too, but is no layer of any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import (
    detach,
    fold,
    fresh,
    is_op,
    only_reader,
    read_instead,
    reshaped,
    result_of,
    scaled,
    sweep,
    take_over,
)
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.moving import turned
from relcam_onnx.model import Model, producer, variables
from relcam_onnx.ops.product import is_shares

SUMS = ("ReduceSum", "ReduceMean", "GlobalAveragePool")


def share_weights(model: Model) -> None:
    """Divide weights where the weighted sum is divided by theirs: what makes them may be a softmax in pieces."""
    for node, product in weighted_sums(model):
        divide_weights(model, node, product)
    sweep(model)


def name_weighted_sums(model: Model) -> None:
    """Rewrite every such sum by shares where each other axis but the batch is one factor's alone."""
    for node, product in weighted_sums(model):
        contract(model, node, product)
    sweep(model)


def weighted_sums(model: Model) -> Iterator[tuple[gs.Node, gs.Node]]:
    """The sums of a product that nothing else reads, and the product."""
    for node in list(model.graph.nodes):
        product = producer(node.inputs[0]) if is_op(node, *SUMS) and node.inputs else None
        if is_op(product, "Mul") and only_reader(model, product.outputs[0]) is node:
            yield node, product


def divide_weights(model: Model, node: gs.Node, product: gs.Node) -> None:
    """Where a sum is divided by that of one of its factors, divide that factor: it is a softmax, or may be."""
    share, result, axes = only_reader(model, node.outputs[0]), node.outputs[0], over(node)
    if not is_op(node, "ReduceSum") or not is_op(share, "Div") or share.inputs[0] is not result or not axes:
        return
    below = producer(share.inputs[1])
    while is_op(below, *RESHAPES):
        below = producer(below.inputs[0])
    weights = below.inputs[0] if is_op(below, "ReduceSum") and over(below) == axes else None
    if weights is None or weights.shape is None or all(weights is not factor for factor in product.inputs):
        return
    name = share.outputs[0].name
    like = gs.Variable("", weights.dtype, [1 if axis in axes else size for axis, size in enumerate(weights.shape)])
    total = result_of(model, like, f"{name}/total", "ReduceSum", weights, np.array(axes), keepdims=1)
    read_instead(product, weights, result_of(model, weights, f"{name}/shares", "Div", weights, total))
    take_over(model, node, share)


def contract(model: Model, node: gs.Node, product: gs.Node) -> None:
    """Write the sum of a product as a MatMul, the factor whose own axes come first on the left.

    Where one is of shares: a sigmoid before a mean of positions is a gate.
    """
    factors, axes, shape = [t for _, t in variables(product)], over(node), node.outputs[0].shape
    if (
        len(factors) < 2
        or not any(map(is_shares, factors))
        or axes is None
        or 0 in axes
        or any(t.shape is None for t in (*factors, product.outputs[0]))
    ):
        return
    whole = list(product.outputs[0].shape)
    if shape is None or any(len(t.shape) != len(whole) for t in factors):
        return
    own = [[a for a, size in enumerate(t.shape) if a and a not in axes and size != 1] for t in factors]
    left, right = sorted((0, 1), key=lambda side: own[side] or [0])
    kept = [*own[left], *own[right]]
    if not kept or kept != sorted(set(kept)) or any(t.shape[a] != whole[a] for t in factors for a in (0, *axes)):
        return
    if not all(whole_size(whole, part) for part in (axes, *own)) or (node.op != "ReduceSum" and not known(whole, axes)):
        return
    if node.op != "ReduceSum":
        scaled(model, node, 1 / math.prod(whole[axis] for axis in axes))
    result = node.outputs[0]
    a, b = as_matrices(model, factors[left], own[left], axes), as_matrices(model, factors[right], axes, own[right])
    table = gs.Variable("", result.dtype, (whole[0], a.shape[1], b.shape[2]))
    table = reshaped(model, result, table, fresh(model, f"{result.name}/table"))
    fold(model, product.outputs[0], result)
    detach(product)
    node.op, node.attrs, node.inputs, node.outputs = "MatMul", {}, [a, b], [table]
    model.graph.nodes.append(gs.Node("Reshape", result.name, {}, [table], [result]))


def known(sizes: Sequence[object], axes: Sequence[int]) -> bool:
    """Whether the sizes of some axes are numbers."""
    return all(isinstance(sizes[axis], int) for axis in axes)


def whole_size(sizes: Sequence[object], axes: Sequence[int]) -> bool:
    """Whether some axes may be one: their sizes are numbers, or there is one of them."""
    return known(sizes, axes) or (len(axes) == 1 and sizes[axes[0]] is not None)


def as_matrices(model: Model, tensor: gs.Tensor, rows: Sequence[int], columns: Sequence[int]) -> gs.Tensor:
    """A matrix for each picture of a tensor whose other axes are of length one, or none."""
    alone = [axis for axis in range(1, len(tensor.shape)) if axis not in (*rows, *columns)]
    rows, columns = (part or [alone.pop(0)] if part or alone else [] for part in (rows, columns))
    order = [0, *rows, *columns, *alone]
    if order != sorted(order):
        tensor = turned(model, tensor, order, f"{tensor.name}/turned")
    sizes = [tensor.shape[0]]
    start = 1
    for part in (rows, columns):
        span = tensor.shape[start : start + len(part)]
        sizes.append(span[0] if len(part) == 1 else math.prod(span))
        start += len(part)
    if list(tensor.shape) == sizes:
        return tensor
    like = reshaped(model, tensor, gs.Variable("", tensor.dtype, sizes), fresh(model, f"{tensor.name}/matrices"))
    model.graph.nodes.append(gs.Node("Reshape", like.name, {}, [tensor], [like]))
    return like
