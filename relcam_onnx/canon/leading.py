"""Tensors of one image that have lost the axis of the batch get it back: relevance of many targets stands there.

A file for one image may drop that axis (``squeeze()``), or write a dense layer as a matrix by a column. Nodes from
there to where the axis is back are written one axis higher; Reshapes at both ends meet others and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import detach, fresh, is_op, reshaped, sweep, view
from relcam_onnx.canon.identity import integers
from relcam_onnx.canon.rows import CURVED
from relcam_onnx.model import Model, View, consumers, fixed_batch, is_constant, producer, static_shape, variables
from relcam_onnx.ops import TABLE, key, lookup

EACH = CURVED | {"Cast", "CastLike", "Dropout", "Identity", "Sum", "Where"}
"""Ops that work element by element, whatever the axes."""
AXIS = frozenset({"Concat", "Gather", "LayerNormalization", "LogSoftmax", "Softmax"})
"""Ops with an attribute that names an axis."""
PRODUCTS = frozenset({"Gemm", "MatMul"})
AXES = {"ReduceL2": 1, "ReduceMax": 1, "ReduceMean": 1, "ReduceSum": 1, "Slice": 3}
"""Ops with an input that lists axes: which."""


def batch_first(model: Model) -> None:
    """Rewrite each stretch of such tensors that begins so, or in which a node could not be explained."""
    if fixed_batch(model.graph.inputs) != 1:
        return
    for stretch in stretches(model):
        if all(map(can_rise, stretch)) and any(map(must_rise, stretch)):
            rise(model, stretch)
    sweep(model)


def stretches(model: Model) -> Iterator[list[gs.Node]]:
    """The nodes around tensors without a batch, together where they share one, in the order of the forward pass."""
    stretch_of: dict[str, list[gs.Node]] = {}
    for node in model.graph.nodes:
        bare = [t.name for t in (*(t for _, t in variables(node)), *node.outputs) if is_bare(t)]
        parts = {id(s): s for name in bare if (s := stretch_of.get(name)) is not None}.values()
        whole, *others = sorted(parts, key=len, reverse=True) or [[]]
        whole.append(node)
        for other in others:
            whole += other
            stretch_of |= {t.name: whole for inner in other for t in (*inner.inputs, *inner.outputs) if is_bare(t)}
        stretch_of |= dict.fromkeys(bare, whole)
    place = {id(node): i for i, node in enumerate(model.graph.nodes)}
    for stretch in {id(s): s for s in stretch_of.values()}.values():
        yield sorted({id(node): node for node in stretch}.values(), key=lambda node: place[id(node)])


def is_bare(tensor: gs.Tensor) -> bool:
    """Whether a computed tensor, of numbers or pixels, has no axis of length one in front, where the batch would be."""
    shape = static_shape(tensor)
    if not isinstance(tensor, gs.Variable) or tensor.is_empty() or shape is None or None in shape:
        return False
    if shape[:1] == (1,) or tensor.dtype is None:
        return False
    return np.dtype(tensor.dtype).kind == "f" or (tensor.dtype == np.uint8 and len(shape) == 3)


def must_rise(node: gs.Node) -> bool:
    """Whether a node drops the batch's axis alone, or cannot be explained as it stands."""
    if is_op(node, *RESHAPES) and list(node.inputs[0].shape or ()) == [1, *(node.outputs[0].shape or ())]:
        return True
    vector = any(len(t.shape) == 1 for t in node.outputs if is_bare(t))
    return vector or (key(node) in TABLE and lookup(node).refuses(node) is not None)


def can_rise(node: gs.Node) -> bool:
    """Whether it is known how a node is written one axis higher."""
    if len(node.outputs) != 1 or static_shape(node.outputs[0]) is None or not is_op(node, *WRITE):
        return False
    if node.op in AXES:
        return integers(node, AXES[node.op]) is not None
    if node.op in PRODUCTS:
        return len(list(variables(node))) == 1
    return node.op != "Gather" or not isinstance(node.inputs[0], gs.Constant)


def rise(model: Model, stretch: list[gs.Node]) -> None:
    """Write a stretch of nodes one axis higher."""
    risen: dict[str, gs.Tensor] = {}
    inside, results = {id(node) for node in stretch}, {tensor.name for tensor in model.graph.outputs}

    def higher(tensor: gs.Tensor) -> gs.Tensor:
        """A computed tensor with one more axis, in front; constants broadcast."""
        if not isinstance(tensor, gs.Variable) or tensor.is_empty():
            return tensor
        if tensor.name not in risen:
            like = gs.Variable("", tensor.dtype, (1, *tensor.shape))
            risen[tensor.name] = reshaped(model, tensor, like, fresh(model, f"{tensor.name}/image"))
            if id(producer(tensor)) not in inside:
                put(model, "Reshape", {}, [tensor], risen[tensor.name])
        return risen[tensor.name]

    for node in stretch:
        result, inputs = node.outputs[0], [higher(tensor) for tensor in node.inputs]
        WRITE[node.op](model, node, inputs, higher(result))
        detach(node)
        if result.name in results or any(id(reader) not in inside for reader in consumers(result)):
            put(model, "Reshape", {}, [higher(result)], result)
        else:
            model.replaced[result.name] = higher(result).name


def put(model: Model, op: str, attrs: dict[str, object], inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """A node more."""
    model.graph.nodes.append(gs.Node(op, result.name, attrs, inputs, [result]))


def as_it_is(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """The same op: it names no axis."""
    put(model, node.op, dict(node.attrs), inputs, result)


def as_reshape(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """Any change of shape."""
    put(model, "Reshape", {}, inputs[:1], result)


def as_transpose(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """The new axis stays in front."""
    put(model, "Transpose", {"perm": [0, *(axis + 1 for axis in permutation(node))]}, inputs, result)


def at_axis(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """An axis that is counted from the front is one further; a Concat's constants get one too."""
    default = -1 if node.op in ("LayerNormalization", "LogSoftmax", "Softmax") else 0
    axis = int(node.attrs.get("axis", default))
    if node.op == "Concat":
        inputs = [gs.Constant(f"{result.name}/{t.name}", t.values[None]) if is_constant(t) else t for t in inputs]
    put(model, node.op, {**node.attrs, "axis": axis + (axis >= 0)}, inputs, result)


def at_axes(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """The same for a list of them, which means all where it is left out."""
    place = AXES[node.op]
    first = node.inputs[1].values if node.op == "Slice" else node.inputs[0].shape
    axes = integers(node, place) or list(range(len(first)))
    listed = gs.Constant(f"{result.name}/axes", np.array([axis + (axis >= 0) for axis in axes], np.int64))
    put(model, node.op, dict(node.attrs), [*inputs[:place], listed, *inputs[place + 1 :]], result)


def as_matmul(model: Model, node: gs.Node, inputs: list[gs.Tensor], result: gs.Tensor) -> None:
    """MatMul and Gemm with one constant factor; a column behind a matrix is a row before it, turned."""
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    factors: list[gs.Tensor] = []
    for index, tensor in enumerate(node.inputs[:2]):
        turned = bool(node.attrs.get(("transA", "transB")[index], 0))
        if isinstance(tensor, gs.Constant):
            value = alpha * (tensor.values.T if turned else tensor.values)
            factors.append(gs.Constant(f"{result.name}/factor", np.ascontiguousarray(value, tensor.values.dtype)))
        elif turned:
            rows = gs.Variable("", tensor.dtype, (1, *tensor.shape[::-1]))
            column = gs.Variable(fresh(model, f"{result.name}/turned"), tensor.dtype, rows.shape)
            model.views[column.name] = View("Transpose", (inputs[index],), {"perm": [0, 2, 1]})
            put(model, "Transpose", {"perm": [0, 2, 1]}, [inputs[index]], column)
            factors.append(column)
        else:
            factors.append(inputs[index])
    if isinstance(factors[0], gs.Constant) and len(node.inputs[1].shape) == 1:
        factors = [factors[1], gs.Constant(f"{result.name}/factor", np.ascontiguousarray(factors[0].values.T))]
    bias = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    if bias is None:
        put(model, "MatMul", {}, factors, result)
        return
    bare = view(model, result, fresh(model, f"{result.name}/bare"), "Sub", result, beta * bias.values)
    put(model, "MatMul", {}, factors, bare)
    put(model, "Add", {}, [bare, gs.Constant(f"{result.name}/bias", beta * bias.values)], result)


Write = Callable[[Model, gs.Node, list[gs.Tensor], gs.Tensor], None]
WRITE: dict[str, Write] = {
    **dict.fromkeys(RESHAPES, as_reshape),
    "Transpose": as_transpose,
    **dict.fromkeys(EACH, as_it_is),
    **dict.fromkeys(AXIS, at_axis),
    **dict.fromkeys(AXES, at_axes),
    **dict.fromkeys(PRODUCTS, as_matmul),
}
"""How an op is written one axis higher."""
