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
from relcam_onnx.canon.moving import of_shape, turned
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
        found = of_stack(model, node, product) if is_op(product, "MatMul") else of_einsum(node)
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


def of_stack(model: Model, node: gs.Node, product: gs.Node) -> Contraction | None:
    """A product by stacked matrices, summed over all axes of the stack."""
    source, stack = product.inputs
    shape, axes = static_shape(source), over(node)
    if not isinstance(stack, gs.Constant) or shape is None or node.attrs.get("keepdims", 1):
        return None
    rank, sizes = len(shape), (1,) * (len(shape) - stack.values.ndim) + stack.values.shape
    long = [axis for axis, size in enumerate(sizes[:-2]) if size > 1]
    alone = only_reader(model, product.outputs[0]) is node
    if not alone or len(sizes) != rank or axes != long or 0 in long or any(shape[a] != sizes[a] for a in long):
        return None
    x = ascii_letters[:rank]
    w = "".join(x[axis] for axis in long) + x[-1] + ascii_letters[rank]
    y = "".join(axis for axis in x[:-1] if axis not in w) + w[-1]
    return Contraction(x, w, y, source, stack.values.reshape([sizes[axis] for axis in (*long, -2, -1)]))


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
        perm = [found.y.index(axis) for axis in order]
        like = of_shape(result, perm)
        last = view(model, like, fresh(model, f"{name}/last"), "Transpose", result, perm=perm)
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
