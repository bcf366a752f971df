"""The piece of a graph between a tensor and the nearest one that alone decides it: what spelled-out ops are known by.

Such a piece is recognised by what it computes, not by how it is written: it is run on numbers, and the result compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.backends.eager import Eager
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import producer

DEEPEST = 16
"""So many nodes a piece has at most."""
OF_ONE_KIND = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Concat")
"""What takes numbers of one kind alone."""


@dataclass(frozen=True)
class Piece:
    """``nodes`` in the order of the forward pass, which make ``result`` of ``source`` and constants alone."""

    source: gs.Variable
    result: gs.Tensor
    nodes: tuple[gs.Node, ...]

    def run(self, x: np.ndarray) -> np.ndarray | None:
        """The result for these values of the source, in float64; None where that has other axes, or none is made."""
        result = self.values(x)
        return result if result is not None and result.shape == x.shape else None

    def values(self, x: np.ndarray) -> np.ndarray | None:
        """The same whatever its axes."""
        return carried(self.nodes, {self.source.name: x}, self.result)


def carried(nodes: Iterable[gs.Node], values: dict[str, np.ndarray], result: gs.Tensor) -> np.ndarray | None:
    """What nodes in the order of the forward pass make of values, in float64; None where they do not take them."""
    try:
        for node in nodes:
            for output, value in zip(node.outputs, results(node, values), strict=False):
                # A Cast of what was compared is no step to fewer digits here.
                values[output.name] = value.astype(np.float64) if value.dtype.kind == "f" else value
    except CANNOT:
        return None
    return values[result.name]


CANNOT = (ValueError, TypeError, IndexError, AttributeError, KeyError)
"""What running nodes on numbers may raise, where they take others or are made of something else."""


def computed(node: gs.Node, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a node makes first of constants and of tensors' values; one of `CANNOT` where it does not take them."""
    return results(node, values)[0]


def results(node: gs.Node, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All that it makes of them."""
    inputs: list[np.ndarray | None] = []
    for tensor in node.inputs:
        if isinstance(tensor, gs.Constant):
            value = np.asarray(tensor.values)
            inputs.append(value.astype(np.float64) if value.dtype.kind == "f" else value)
        else:
            inputs.append(None if tensor.is_empty() else values[tensor.name])
    if node.op == "MatMul" and len(inputs) == 3:  # a layer's bias stands with it
        a, b, bias = (np.asarray(value) for value in inputs)
        return [np.asarray(Eager().MatMul(a, b) + bias)]
    if node.op == "Reshape" and len(inputs) == 1:  # one of a rewrite: to what is told of the result
        (rows,) = (np.asarray(value) for value in inputs)
        sizes = [size if isinstance(size, int) else -1 for size in node.outputs[0].shape]
        return [rows.reshape([len(rows) if sizes[0] < 0 else sizes[0], *sizes[1:]])]
    kinds = {value.dtype.kind for value in inputs if value is not None}
    if is_op(node, *OF_ONE_KIND) and kinds == {"f", "i"}:  # a Cast between the two went
        inputs = [None if value is None else value.astype(np.float64) for value in inputs]
    made = getattr(Eager(), node.op)(*inputs, **node.attrs)
    return [np.asarray(each) for each in (made if isinstance(made, tuple) else (made,))]


def pieces(result: gs.Tensor, order: Mapping[str, int], ops: frozenset[str]) -> Iterator[Piece]:
    """The pieces that end in ``result``, small ones first, made of these ops alone.

    Parameters
    ----------
    result
        Where they end.
    order
        Tensor -> the place in the forward pass of the node that makes it.
    ops
        What they may be made of.
    """
    frontier: dict[str, gs.Tensor] = {result.name: result}
    nodes: list[gs.Node] = []
    while len(nodes) < DEEPEST:
        # What is made last is opened first, so that what several nodes read is opened once.
        last = max(frontier.values(), key=lambda tensor: order.get(tensor.name, -1))
        node = producer(last)
        if node is None or not is_op(node, *ops) or len(node.outputs) != 1:
            return
        del frontier[last.name]
        nodes.append(node)
        frontier |= {t.name: t for t in node.inputs if isinstance(t, gs.Variable) and not t.is_empty()}
        if len(frontier) == 1:
            (source,) = frontier.values()
            yield Piece(source, result, tuple(reversed(nodes)))


def places(graph: gs.Graph) -> dict[str, int]:
    """Tensor -> the place of its node in the forward pass."""
    return {tensor.name: place for place, node in enumerate(graph.nodes) for tensor in node.outputs}
