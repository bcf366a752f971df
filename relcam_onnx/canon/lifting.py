"""Constants that meet a layer's values after they were moved meet them before, where they are one for each channel.

A bias behind a Squeeze of the batch, or behind a Reshape that splits the channels in groups, runs along no axis that a
layer has; among the values as the layer made them it does.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import along
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import fold, fresh, is_op, only_reader, sweep
from relcam_onnx.canon.moving import undone
from relcam_onnx.canon.places import shape_of_one, traced
from relcam_onnx.model import Model, producer, variables


def lift_constants(model: Model) -> None:
    """Let a sum or product with a constant stand before the moves that it stands behind."""
    for node in list(model.graph.nodes):
        if is_op(node, "Add", "Sub", "Mul", "Div") and len(node.inputs) == 2:
            computed = list(variables(node))
            if len(computed) == 1 and not (node.op == "Div" and computed[0][0] == 1):
                lift_constant(model, node, *computed[0])
    sweep(model)


def lift_constant(model: Model, node: gs.Node, index: int, moved: gs.Tensor) -> None:
    """Move one node up: a sum all the way, a product as far as its constant runs along one axis, or is one number.

    A constant for each place of a layer's values is no bias, though it runs along one axis where the values were moved
    into one.
    """
    constant, result = node.inputs[1 - index], node.outputs[0]
    if list(moved.shape or ()) != list(result.shape or ()):
        return
    between: list[gs.Node] = []
    values = [constant]
    reader, tensor = node, moved
    while only_reader(model, tensor) is reader and moves(reader := producer(tensor)) and reader is not None:
        tensor = reader.inputs[0]
        value = before(constant, tensor, [reader, *between[::-1]])
        if value is None:
            break
        between.append(reader)
        values.append(value)
    sources = [moved, *(inner.inputs[0] for inner in between)]
    vectors = [along(value, source) for value, source in zip(values, sources, strict=True)]
    simple = [place for place, vector in enumerate(vectors) if vector is not None]
    up = len(between) if is_op(node, "Add", "Sub") else max(simple, default=0)
    if not up:
        return
    value, vector = values[up], vectors[up]
    if vector is not None:
        axis, numbers = vector
        shape = [-1 if place == axis else 1 for place in range(len(sources[up].shape))] if axis is not None else []
        value.values = numbers.reshape(shape).astype(np.asarray(constant.values).dtype)
    put_before(model, node, index, value, between[:up])


def before(constant: gs.Constant, source: gs.Tensor, nodes: list[gs.Node]) -> gs.Constant | None:
    """A constant that meets what nodes make of a source, as one that meets the source."""
    places, sizes = traced(source, nodes), shape_of_one(source)
    value = np.asarray(constant.values)
    if places is None or sizes is None or value.ndim > places.ndim:
        return None
    spread = np.empty(places.size, value.dtype)
    spread[places.reshape(-1)] = np.broadcast_to(value, places.shape).reshape(-1)
    spread = spread.reshape(sizes)
    same = bool(sizes) and bool(np.all(spread == spread[:1]))
    return gs.Constant(f"{constant.name}/{source.name}", spread[:1] if same else spread)


def put_before(model: Model, node: gs.Node, index: int, constant: gs.Constant, between: list[gs.Node]) -> None:
    """Let a node read what the last of the moves between reads, and the first of them make what the node made."""
    result = above = node.outputs[0]
    node.outputs.clear()
    for place, inner in enumerate(between):
        old, source = inner.outputs[0], inner.inputs[0]
        new = undone(model, inner, above, source, fresh(model, f"{result.name}/before{place}"))
        inner.outputs[0] = above
        inner.inputs[0] = new
        fold(model, old, result)
        above = new
    node.inputs = [source, constant] if index == 0 else [constant, source]
    node.outputs = [above]
