"""Layers whose weight has an axis for each head, or several: one matrix, and what it reads or makes with one axis.

Keras' attention is written so (EinsumDense: ``abc,cde->abde`` and back, ``abcd,cde->abe``), and so are products by
stacked matrices that are summed over the stack.
"""

from __future__ import annotations

from string import ascii_letters
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fresh, is_op, only_reader, result_of, sweep, view
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.moving import transposed, turned
from relcam_onnx.model import Model, producer, static_shape
from relcam_onnx.ops.einsum import einsum_refuses, labels
from relcam_onnx.ops.product import is_product


class Contraction(NamedTuple):
    """A layer by the axes of what it reads, of its weight, and of what it makes, a letter each."""

    x: str
    w: str
    y: str
    source: gs.Tensor
    weight: np.ndarray

    @property
    def kept(self) -> str:
        """What stays, in the order of what is made."""
        return "".join(axis for axis in self.y if axis in self.x)

    @property
    def read(self) -> str:
        """What the weight reads."""
        return "".join(axis for axis in self.w if axis not in self.y)

    @property
    def made(self) -> str:
        """What the weight makes."""
        return "".join(axis for axis in self.w if axis not in self.x)

    @property
    def whole(self) -> bool:
        """Whether all that is read lies in the weight, no axis is both read and made, and one of them has several."""
        apart = len(self.read) + len(self.made) == len(self.w) > 2
        return apart and bool(self.read and self.made) and sorted(self.x) == sorted(self.kept + self.read)


def name_contractions(model: Model) -> None:
    """Make each such layer a MatMul over the last axis, between the moves that join and part the others."""
    before = len(model.graph.nodes)
    for node in list(model.graph.nodes):
        product = producer(node.inputs[0]) if is_op(node, "ReduceSum") and node.inputs else None
        if is_op(product, "MatMul"):
            found = of_sum(model, node, product)
        else:
            found = of_stack(model, node) if is_op(node, "MatMul") else of_einsum(node)
        if found is not None and found.whole:
            lay_flat(model, node, found)
    if len(model.graph.nodes) != before:
        sweep(model)


def of_einsum(node: gs.Node) -> Contraction | None:
    """An Einsum by a constant."""
    if not is_op(node, "Einsum") or einsum_refuses(node) is not None or is_product(node):
        return None
    x, w, y, computed = labels(node)
    source = node.inputs[computed]
    return None if source.shape is None else Contraction(x, w, y, source, node.inputs[1 - computed].values)


def of_sum(model: Model, node: gs.Node, product: gs.Node) -> Contraction | None:
    """A product by stacked matrices, summed over all axes of the stack."""
    axes, stack = over(node), stacked(product)
    if stack is None or node.attrs.get("keepdims", 1) or only_reader(model, product.outputs[0]) is not node:
        return None
    shape = static_shape(product.inputs[0]) or ()
    if axes != stack.axes or any(
        shape[axis] != size for axis, size in zip(stack.axes, stack.weight.shape, strict=False)
    ):
        return None
    x = ascii_letters[: len(shape)]
    w = "".join(x[axis] for axis in stack.axes) + x[-1] + ascii_letters[len(shape)]
    y = "".join(axis for axis in x[:-1] if axis not in w) + w[-1]
    return Contraction(x, w, y, product.inputs[0], stack.weight)


def of_stack(model: Model, node: gs.Node) -> Contraction | None:
    """A product of one matrix by each of a stack: what it makes has the stack's axes."""
    stack = stacked(node)
    if stack is None:
        return None
    source = node.inputs[0]
    shape = static_shape(source) or ()
    if any(shape[axis] != 1 for axis in stack.axes):
        return None
    every = ascii_letters[: len(shape)]
    x = "".join(label for axis, label in enumerate(every) if axis not in stack.axes)
    w = "".join(every[axis] for axis in stack.axes) + x[-1] + ascii_letters[len(shape)]
    thin = gs.Variable("", source.dtype, [size for axis, size in enumerate(source.shape) if axis not in stack.axes])
    source = result_of(model, thin, f"{node.outputs[0].name}/one", "Squeeze", source, np.array(stack.axes))
    return Contraction(x, w, every[:-1] + w[-1], source, stack.weight)


class Stack(NamedTuple):
    """Matrices, (..., before, after), along these axes of what a product reads."""

    axes: list[int]
    weight: np.ndarray


def stacked(node: gs.Node) -> Stack | None:
    """The matrices that a MatMul reads for each picture, where they are several."""
    shape, table = static_shape(node.inputs[0]), node.inputs[1]
    if not isinstance(table, gs.Constant) or shape is None or not 2 < table.values.ndim <= len(shape):
        return None
    sizes = (1,) * (len(shape) - table.values.ndim) + table.values.shape
    axes = [axis for axis, size in enumerate(sizes[:-2]) if size > 1]
    return None if 0 in axes or not axes else Stack(axes, table.values.reshape([sizes[a] for a in (*axes, -2, -1)]))


def lay_flat(model: Model, node: gs.Node, found: Contraction) -> None:
    """Write a layer as a MatMul."""
    kept, read, made = found.kept, found.read, found.made
    result, name, alike = node.outputs[0], node.outputs[0].name, [0] * len(found.kept)
    weight = found.weight.transpose([found.w.index(axis) for axis in read + made])
    table = np.ascontiguousarray(weight.reshape(np.prod(weight.shape[: len(read)], dtype=int), -1))
    source = found.source
    if found.x != kept + read:
        source = turned(model, source, [found.x.index(axis) for axis in kept + read], f"{name}/turned")
    if len(read) > 1:
        like = gs.Variable("", result.dtype, (*source.shape[: len(kept)], len(table)))
        source = result_of(model, like, f"{name}/joined", "Reshape", source, np.array([*alike, len(table)]))
    detach(node)
    if found.y != kept + made:
        order = kept + made
        last = transposed(model, result, [found.y.index(axis) for axis in order], f"{name}/last")
        back = {"perm": [order.index(axis) for axis in found.y]}
        model.graph.nodes.append(gs.Node("Transpose", name, back, [last], [result]))
        result = last
    if len(made) > 1:
        sizes = weight.shape[len(read) :]
        like = gs.Variable("", result.dtype, (*source.shape[: len(kept)], table.shape[1]))
        flat = view(model, like, fresh(model, f"{name}/flat"), "Reshape", result, np.array([*alike, table.shape[1]]))
        apart = gs.Constant(f"{flat.name}/apart", np.array([*alike, *sizes]))
        model.graph.nodes.append(gs.Node("Reshape", flat.name, {}, [flat, apart], [result]))
        result = flat
    inputs = [source, gs.Constant(f"{name}/weight", table)]
    model.graph.nodes.append(gs.Node("MatMul", name, {}, inputs, [result]))
