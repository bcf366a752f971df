"""Walks over ONNX messages: the graphs, nodes, tensors and names inside them, nested graphs included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that a node holds itself (the branches of an If, the body of a Loop)."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and every graph inside its nodes, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors that a node needs, those that its subgraphs take from outside included."""
    yield from filter(None, node.input)
    for inner in subgraphs(node):
        own = {value.name for value in (*inner.input, *inner.initializer)}
        own.update(name for child in inner.node for name in child.output)
        yield from (name for child in inner.node for name in reads(child) if name not in own)


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield every node of a model: its graph's, its nested graphs' and its functions'."""
    for graph in graphs(proto.graph):
        yield from graph.node
    for function in proto.functions:
        for node in function.node:
            yield node
            for inner in subgraphs(node):
                for graph in graphs(inner):
                    yield from graph.node


def stored(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Name -> tensor, of those whose values stand in a graph: its initializers, and what its Constant nodes hold."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            found.update((node.output[0], held.t) for held in node.attribute if held.name == "value")
    return found


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute, texts as ``str``; the default where a node does not name it."""
    value = next((onnx.helper.get_attribute_value(held) for held in node.attribute if held.name == name), default)
    return value.decode() if isinstance(value, bytes) else value


def tensors(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield every stored tensor and a name for it: its own, or the output of the node that holds it."""
    for graph in graphs(proto.graph):
        yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in nodes(proto):
        name = next(iter(node.output), node.name)
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield name, attribute.t
            yield from ((name, tensor) for tensor in attribute.tensors)


def has_shape(value: onnx.ValueInfoProto | None) -> bool:
    """Whether what is said of a tensor, if anything, tells its rank."""
    return value is not None and value.type.tensor_type.HasField("shape")
