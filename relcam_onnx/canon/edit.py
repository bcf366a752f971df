"""The edits that all rewrites are made of; each keeps the record of where a tensor went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeGuard

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import Model, View, captured, consumers

STANDARD = (None, "", "ai.onnx")
"""How a node of ONNX's own domain says so."""


def is_op(node: gs.Node | None, *names: str) -> TypeGuard[gs.Node]:
    """Whether a node is one of ONNX's own ops of these names."""
    return node is not None and node.op in names and getattr(node, "domain", None) in STANDARD


def is_output(model: Model, tensor: gs.Tensor) -> bool:
    """Whether a tensor is an output of the model: it stays, whatever else goes."""
    return any(tensor is output for output in model.graph.outputs)


def only_reader(model: Model, tensor: gs.Tensor) -> gs.Node | None:
    """The one node that reads a tensor; None where several do, or the world outside."""
    readers = consumers(tensor)
    return readers[0] if len(readers) == 1 and not is_output(model, tensor) else None


def read_instead(reader: gs.Node, old: gs.Tensor, new: gs.Tensor) -> None:
    """Let a node read ``new`` wherever it reads ``old``."""
    for index, tensor in enumerate(reader.inputs):
        if tensor is old:
            reader.inputs[index] = new


def detach(node: gs.Node) -> None:
    """Take a node out of the graph; `sweep` forgets it."""
    node.inputs.clear()
    node.outputs.clear()


def bypass(model: Model, node: gs.Node, source: gs.Tensor) -> bool:
    """Let all that read a node's output read ``source``, which holds the same value; False where the node must stay."""
    result = node.outputs[0]
    if is_output(model, result):
        if isinstance(source, gs.Constant) or is_output(model, source) or not source.inputs:
            return False
        # The output keeps its name: what made the source makes it now.
        for reader in consumers(source):
            if reader is not node:
                read_instead(reader, source, result)
        maker = source.inputs[0]
        place = next(i for i, tensor in enumerate(maker.outputs) if tensor is source)
        detach(node)
        maker.outputs[place] = result
        model.replaced[source.name] = result.name
        if source.name in model.rounded:
            model.rounded.add(result.name)
        return True
    for reader in consumers(result):
        read_instead(reader, result, source)
    detach(node)
    model.replaced[result.name] = source.name
    return True


def take_over(model: Model, layer: gs.Node, follower: gs.Node) -> None:
    """Let a layer make what its only reader made; the name in between means the layer's new output."""
    gone, result = layer.outputs[0], follower.outputs[0]
    detach(follower)
    layer.outputs[0] = result
    fold(model, gone, result)


def fold(model: Model, gone: gs.Tensor, into: gs.Tensor) -> None:
    """Remember that no tensor holds the value of ``gone`` any more, and which one to name instead."""
    model.folded[gone.name] = into.name


def view(
    model: Model, like: gs.Tensor, name: str, op: str, *inputs: gs.Tensor | np.ndarray, **attrs: object
) -> gs.Variable:
    """A new tensor of the canonical graph, in the shape of ``like``, that the file does not have."""
    model.views[name] = View(op, inputs, attrs)
    return gs.Variable(name, like.dtype, like.shape)


def result_of(
    model: Model, like: gs.Tensor, name: str, op: str, *inputs: gs.Tensor | np.ndarray, **attrs: object
) -> gs.Variable:
    """Such a tensor, by a name that no view has, and the node of the graph that makes it."""
    result = view(model, like, fresh(model, name), op, *inputs, **attrs)
    read = [t if isinstance(t, gs.Tensor) else gs.Constant(f"{result.name}/{i}", t) for i, t in enumerate(inputs)]
    model.graph.nodes.append(gs.Node(op, result.name, dict(attrs), read, [result]))
    return result


Step: TypeAlias = tuple[str, Sequence[int | str | None], tuple[np.ndarray, ...], dict[str, object]]
"""An op, the shape that it makes of one image, and its other inputs and attributes."""


def written(model: Model, node: gs.Node, source: gs.Tensor, steps: Sequence[Step]) -> None:
    """Let these ops, one behind the other, make of the source what a node makes."""
    result, batch, tensor = node.outputs[0], source.shape[0], source
    detach(node)
    for op, sizes, inputs, attrs in steps:
        like = gs.Variable("", result.dtype, [batch, *sizes])
        tensor = result_of(model, like, f"{result.name}/{op}", op, tensor, *inputs, **attrs)
    del model.views[tensor.name]
    tensor.inputs[0].outputs[0] = result


def scaled(model: Model, node: gs.Node, factor: float) -> None:
    """Let what a node makes be so many times as much."""
    result = node.outputs[0]
    whole = view(model, result, fresh(model, f"{result.name}/whole"), "Mul", result, np.array(1 / factor, np.float32))
    node.outputs[0] = whole
    constant = gs.Constant(f"{whole.name}/factor", np.array(factor, np.float32))
    model.graph.nodes.append(gs.Node("Mul", result.name, {}, [whole, constant], [result]))


def reshaped(model: Model, source: gs.Tensor, like: gs.Tensor, name: str) -> gs.Variable:
    """A tensor's values in the shape of another."""
    sizes = [size if isinstance(size, int) else -1 for size in like.shape]
    if sizes.count(-1) > 1:
        for op, wide, thin in (("Squeeze", source, like), ("Unsqueeze", like, source)):
            if (ones := more_ones(wide.shape, thin.shape)) is not None:
                return view(model, like, name, op, source, np.array(ones, np.int64))
        return view(model, like, name, "Like", source, like)
    return view(model, like, name, "Reshape", source, np.array(sizes, np.int64))


def more_ones(wide: Sequence[int | str | None], thin: Sequence[int | str | None]) -> list[int] | None:
    """The axes of length one that a shape has more than another has; None where that is not all."""
    rest, ones = list(thin), []
    for axis, size in enumerate(wide):
        if rest and rest[0] == size:
            rest.pop(0)
        elif size == 1:
            ones.append(axis)
        else:
            return None
    return None if rest else ones


def fresh(model: Model, name: str) -> str:
    """A name like ``name`` that no view has."""
    while name in model.views:
        name += "'"
    return name


def sweep(model: Model) -> None:
    """Forget nodes that were taken out and what nothing reads; put the others in order."""
    graph = model.graph
    graph.nodes = [node for node in graph.nodes if node.outputs]
    if not in_order(graph):
        graph.toposort()
    wanted, kept = {tensor.name for tensor in graph.outputs}, []
    for node in reversed(graph.nodes):
        if any(tensor.name in wanted for tensor in node.outputs):
            wanted.update(tensor.name for tensor in (*node.inputs, *captured(node)))
            kept.append(node)
        else:
            detach(node)
    graph.nodes = kept[::-1]


def in_order(graph: gs.Graph) -> bool:
    """Whether every node stands behind those that make what it reads."""
    ready: set[str] = set()
    for node in graph.nodes:
        for tensor in (*node.inputs, *captured(node)):
            if tensor.inputs and tensor.name not in ready:
                return False
        ready.update(tensor.name for tensor in node.outputs)
    return True
