"""What only the file decides becomes a constant.

That is Shape of static sizes, Gather and Concat chains, ConstantOfShape, dequantised weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from onnx_graphsurgeon.logger import G_LOGGER

from relcam_onnx.backends.eager import Eager
from relcam_onnx.model import Derived, Model, captured

NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
"""How a Constant node may tell numbers without a tensor, and of which type they are."""
DEQUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
SILENT, WARNINGS = 4, 2
"""Levels of onnxruntime's log; the second is its own. What goes wrong is in its exceptions, told in our words."""


def fold_constants(model: Model) -> bool:
    """Fold what hangs on constants alone; whether there was anything.

    onnx-graphsurgeon evaluates it with onnxruntime; dequantised weights, which it spares, follow.
    """
    lower_constants(model.graph)
    name_casts(model)
    folded = dequantise(model)
    with G_LOGGER.suppress(G_LOGGER.CRITICAL), quiet_sessions(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while (part := foldable(model.graph)) is not None:
            nodes = list(part.nodes)
            part.fold_constants(fold_shapes=False)
            if len(part.nodes) == len(nodes) and all(node.outputs for node in nodes):
                break  # what a damaged file cannot compute stays
            folded = True
            if not dequantise(model):  # what was folded may be what is dequantised
                break
    if folded:
        forget_branches(model.graph)
        model.graph.cleanup(remove_unused_graph_inputs=False)
    return folded


def forget_branches(graph: gs.Graph) -> None:
    """Let no tensor be read by a node of a branch that was not taken."""
    known = {id(node) for own in (graph, *graph.subgraphs(recursive=True)) for node in own.nodes}
    for tensor in graph.tensors().values():
        for reader in list(tensor.outputs):
            if id(reader) not in known:
                reader.inputs.clear()
                reader.outputs.clear()


@contextmanager
def quiet_sessions() -> Iterator[None]:
    """Keep what sessions of other libraries' making have to say of their optimisers from the terminal."""
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)


def name_casts(model: Model) -> None:
    """A CastLike whose type is told is a Cast: what it casts may be a constant."""
    for node in model.graph.nodes:
        if node.op == "CastLike" and node.inputs[1].dtype is not None and not isinstance(node.inputs[1].dtype, int):
            node.attrs = {"to": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(node.inputs[1].dtype))}
            node.op, node.inputs = "Cast", [node.inputs[0]]


def lower_constants(graph: gs.Graph) -> None:
    """Constant nodes become constants, of the types that the file has: a value_float is float32."""
    for node in graph.nodes:
        for inner in held(node):
            lower_constants(inner)
        if node.op != "Constant" or len(node.attrs) != 1 or not node.outputs:
            continue
        ((kind, value),) = node.attrs.items()
        (result,) = node.outputs
        if kind == "value" or kind in NUMBERS:
            node.outputs.clear()
            result.to_constant(value.values if kind == "value" else np.array(value, NUMBERS[kind]))
    graph.nodes = [node for node in graph.nodes if node.op != "Constant" or node.outputs]


def held(node: gs.Node) -> list[gs.Graph]:
    """The graphs that a node holds."""
    return [value for value in node.attrs.values() if isinstance(value, gs.Graph)]


def foldable(graph: gs.Graph) -> gs.Graph | None:
    """The nodes whose values only the file decides, as a graph of the same tensors; None where there are none.

    The whole graph where nodes hold graphs: of an If that a constant decides one branch remains.
    """
    constant: set[int] = set()
    nodes = []
    for node in graph.nodes:
        if node.op not in DEQUANTISED and all(
            isinstance(t, gs.Constant) or t.is_empty() or id(t) in constant for t in (*node.inputs, *captured(node))
        ):
            constant.update(map(id, node.outputs))
            nodes.append(node)
    if any(map(held, graph.nodes)):
        decided = any(node.op == "If" and isinstance(node.inputs[0], gs.Constant) for node in graph.nodes)
        return graph if nodes or decided else None
    if not nodes:
        return None
    return gs.Graph(nodes, opset=graph.opset, import_domains=graph.import_domains, ir_version=graph.ir_version)


def dequantise(model: Model) -> bool:
    """What quantises or dequantises constants -> its values; whether there was any."""
    seen = False
    stored = {tensor.name for tensor in model.proto.graph.initializer}
    for node in model.graph.nodes:
        constant = all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs)
        if node.op not in DEQUANTISED or not constant or not node.outputs:
            continue
        arrays = [None if t.is_empty() else np.asarray(t.values) for t in node.inputs]
        made = getattr(Eager(), node.op)(*arrays, **node.attrs)
        values, results = made if isinstance(made, tuple) else (made,), list(node.outputs)
        node.outputs.clear()
        for result, value in zip(results, values, strict=True):
            result.to_constant(np.asarray(value))
        seen = True
        if node.op == "DequantizeLinear":
            # onnxruntime folds no DequantizeLinear: what is made of its result would be computed in every run.
            whole = node.inputs[0].name in stored and not node.attrs.get("block_size")
            told = spelled_out(node) if whole else Derived("", results[0].values.dtype, np.ones(()))
            model.derived[results[0].name] = told
    return seen


def spelled_out(node: gs.Node) -> Derived:
    """What DequantizeLinear of a stored tensor does, as a difference and a product."""
    x, scale, *zero = (np.asarray(t.values) for t in node.inputs if not t.is_empty())
    axes = [1] * x.ndim
    if scale.size > 1:
        axes[node.attrs.get("axis", 1)] = -1
    shift = zero[0].reshape(axes).astype(np.float32) if zero and zero[0].any() else None
    return Derived(node.inputs[0].name, x.dtype, scale.reshape(axes).astype(np.float64), shift)
