"""Sums of products by their names.

An Einsum of one tensor is a Transpose or a sum, one with a constant a layer, one of two tensors a MatMul. A Mul with a
constant is a layer, too, where its features are summed.
"""

from __future__ import annotations

from string import ascii_letters

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import fresh, is_op, reshaped, sweep, view
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.moving import transposed, turned
from relcam_onnx.model import Model, producer, static_shape, variables
from relcam_onnx.ops.einsum import einsum_refuses, labels
from relcam_onnx.ops.product import is_product


def name_einsums(model: Model) -> None:
    """Rewrite every such Einsum whose input's rank is known."""
    for node in list(model.graph.nodes):
        if is_op(node, "Einsum") and len(node.inputs) == 2:
            name_layer(model, node)
            name_product(model, node)
        if not is_op(node, "Einsum") or len(node.inputs) != 1 or node.inputs[0].shape is None:
            continue
        before, arrow, after = node.attrs["equation"].replace(" ", "").partition("->")
        free = [letter for letter in ascii_letters if letter not in before]
        others = "".join(free[: len(node.inputs[0].shape) - len(before.replace("...", ""))])
        before, after = (side.replace("...", others) for side in (before, after))
        if not arrow or len(set(before)) != len(before):
            continue
        if sorted(before) == sorted(after):
            node.op, node.attrs = "Transpose", {"perm": [before.index(axis) for axis in after]}
        elif after == "".join(axis for axis in before if axis in after):
            summed = np.array([place for place, axis in enumerate(before) if axis not in after], np.int64)
            node.op, node.attrs = "ReduceSum", {"keepdims": 0}
            node.inputs.append(gs.Constant(f"{node.outputs[0].name}/axes", summed))
    sweep(model)


def name_layer(model: Model, node: gs.Node) -> None:
    """Rewrite a product by a matrix that leaves the other axes in order: a MatMul over one of the last two, a Conv."""
    x, w, y, computed = labels(node)
    read, made = "".join(set(x) - set(y)), "".join(set(y) - set(x))
    if einsum_refuses(node) is not None or is_product(node) or w not in (read + made, made + read):
        return
    axis, weight, source = y.index(made), node.inputs[1 - computed], node.inputs[computed]
    by_position, left = axis == 1 < len(y) - 1, axis == len(y) - 2 > 1
    if len(w) != 2 or x.replace(read, "") != y.replace(made, "") or not (by_position or left or axis == len(y) - 1):
        return
    if x.index(read) != axis:
        perm = [x.index(label) for label in y.replace(made, read)]
        source = turned(model, source, perm, f"{node.outputs[0].name}/turned")
    if by_position or w != (made + read if left else read + made):
        values = weight.values if w == made + read else weight.values.T  # a row for each number that is made
        if by_position:
            values = values.reshape(*values.shape, *[1] * (len(x) - 2))
        elif not left:
            values = values.T
        weight = gs.Constant(f"{node.outputs[0].name}/weight", np.ascontiguousarray(values))
    node.op, node.attrs = "Conv" if by_position else "MatMul", {}
    node.inputs = [weight, source] if left else [source, weight]


def name_product(model: Model, node: gs.Node) -> None:
    """Rewrite a product of two tensors' matrices as a MatMul, whose first factor has the result's rows.

    ``acbe,aecd->abcd`` is how Keras writes attention.
    """
    if not is_op(node, "Einsum") or not is_product(node) or einsum_refuses(node) is not None:
        return
    a, b, y, _ = labels(node)
    alike, summed = [[label for label in part if label in a and label in b] for part in (y, a)]
    summed = [label for label in summed if label not in y]
    first, second = [label for label in y if label not in b], [label for label in y if label not in a]
    if [len(part) for part in (summed, first, second)] != [1, 1, 1] or any(t.shape is None for t in node.inputs):
        return
    result, factors = node.outputs[0], list(zip((a, b), node.inputs, strict=True))
    if y.index(first[0]) > y.index(second[0]):
        first, second, factors = second, first, factors[::-1]
    orders = [*alike, *first, *summed], [*alike, *summed, *second]
    read = []
    for (own, source), order in zip(factors, orders, strict=True):
        perm = [own.index(label) for label in order]
        moved = perm != sorted(perm)
        read.append(turned(model, source, perm, f"{result.name}/turned") if moved else source)
    node.op, node.attrs, node.inputs = "MatMul", {}, read
    order = [*alike, *first, *second]
    if order != list(y):
        matrices = transposed(model, result, [y.index(label) for label in order], f"{result.name}/last")
        node.outputs = [matrices]
        back = {"perm": [order.index(label) for label in y]}
        model.graph.nodes.append(gs.Node("Transpose", result.name, back, [matrices], [result]))


def name_products(model: Model) -> None:
    """A product with a constant, summed over the features that both have, is the dense layer that it spells out."""
    before = len(model.graph.nodes)
    for node in list(model.graph.nodes):
        if is_op(node, "MatMul") and isinstance(node.inputs[1], gs.Constant) and len(node.inputs[1].shape) == 1:
            widen(model, node)
        product = producer(node.inputs[0]) if is_op(node, "ReduceSum", "ReduceMean") and node.inputs else None
        if is_op(product, "Mul") and (found := layer_of(node, product)) is not None:
            x, weight = found
            name, result = node.outputs[0].name, node.outputs[0]
            if len(x.shape) > 2:
                like = gs.Variable("", x.dtype, (x.shape[0], len(weight)))
                rows = reshaped(model, x, like, fresh(model, f"{name}/rows"))
                model.graph.nodes.append(gs.Node("Reshape", rows.name, {}, [x], [rows]))
                x = rows
            node.op, node.attrs = "MatMul", {}
            node.inputs = [x, gs.Constant(f"{name}/weight", weight)]
            if len(result.shape) > 2:
                like = gs.Variable("", result.dtype, (result.shape[0], weight.shape[1]))
                node.outputs = [reshaped(model, result, like, fresh(model, f"{name}/table"))]
                model.graph.nodes.append(gs.Node("Reshape", name, {}, list(node.outputs), [result]))
    if len(model.graph.nodes) > before:
        sweep(model)


def widen(model: Model, node: gs.Node) -> None:
    """Write a product by a vector as one by a matrix of one column, which goes again behind it."""
    result, weight = node.outputs[0], node.inputs[1].values
    shape = None if result.shape is None else (*result.shape, 1)
    last, name = np.array([-1]), fresh(model, f"{result.name}/wide")
    wide = view(model, gs.Variable("", result.dtype, shape), name, "Unsqueeze", result, last)
    node.outputs = [wide]
    node.inputs[1] = gs.Constant(f"{wide.name}/weight", weight[:, None])
    inputs = [wide, gs.Constant(f"{wide.name}/last", last)]
    model.graph.nodes.append(gs.Node("Squeeze", result.name, {}, inputs, [result]))


def layer_of(node: gs.Node, product: gs.Node) -> tuple[gs.Tensor, np.ndarray] | None:
    """What is multiplied, (N, D), or with axes of length one for the classes, and the weights (D, classes).

    D may be several axes, as of a template (C, h, w) that each class has.
    """
    axes, kept, shape = over(node), bool(node.attrs.get("keepdims", 1)), node.outputs[0].shape
    both = [t for t in product.inputs if isinstance(t, gs.Constant)], [t for _, t in variables(product)]
    if not axes or shape is None or [len(part) for part in both] != [1, 1] or len(product.outputs[0].outputs) > 1:
        return None
    weight, x = np.asarray(both[0][0].values, np.float32), both[1][0]
    sizes = static_shape(x)
    if sizes is None or weight.ndim > len(sizes) or not isinstance(x, gs.Variable) or 0 in axes:
        return None
    whole = weight.reshape([1] * (len(sizes) - weight.ndim) + list(weight.shape))
    others = [axis for axis in range(1, len(sizes)) if axis not in axes]
    single = len(sizes) == 2 and kept
    apart = len(others) == 1 and sizes[others[0]] == 1 and all(sizes[axis] != 1 for axis in axes)
    if not (single or apart) or whole.shape[0] != 1 or any(whole.shape[axis] != sizes[axis] for axis in axes):
        return None
    table = whole[0].transpose([axis - 1 for axis in (*axes, *others)])
    table = table.reshape(np.prod([whole.shape[axis] for axis in axes], dtype=int), -1)
    return x, np.ascontiguousarray(table / (len(table) if node.op == "ReduceMean" else 1))
