"""What is done to each row of a table, whose rows are positions, is done to each position.

A dense layer over positions is written as Reshape to (rows, channels), Gemm, and Reshape back by Keras, by tf2onnx and
by onnxruntime's optimiser. Here the layer reads the tensor with positions, and the Reshape to rows stands behind it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import detach, fresh, is_op, reshaped, sweep
from relcam_onnx.model import Model, consumers, variables

CURVED = ELEMENTWISE | {"Celu", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Selu", "Softsign", "Swish"}
NORMS = ("LayerNormalization", "RMSNormalization")


def unfold_rows(model: Model) -> None:
    """Let whatever works row by row read the tensor with positions instead."""
    unfolded: dict[str, gs.Tensor] = {}
    tables = {node.outputs[0].name: source for node in model.graph.nodes if (source := in_rows(node)) is not None}
    waiting = [node.outputs[0] for node in model.graph.nodes if node.outputs[0].name in tables]
    while waiting:
        table = waiting.pop(0)
        for reader in consumers(table):
            if reader.outputs and reader.outputs[0].name not in unfolded and works_by_row(reader, tables):
                result = unfold(model, reader, tables)
                unfolded[result.name] = tables[result.name] = result.inputs[0].inputs[0]
                waiting.append(result)
    sweep(model)


def in_rows(node: gs.Node) -> gs.Tensor | None:
    """The positions that a node puts into rows: (N, positions..., C) becomes (rows, C), more rows than images.

    Where heads stand behind the positions, (N, positions, heads, d), that is what the file itself makes of them beside.
    """
    if not is_op(node, *RESHAPES):
        return None
    source, after = node.inputs[0], node.outputs[0].shape
    if source.shape is None or after is None or len(source.shape) < 3 or len(after) != 2:
        return None
    if None in source.shape or source.shape[0] == after[0]:
        return None
    if source.shape[-1] == after[-1]:
        return source
    joined = [*source.shape[:-2], after[-1]]
    beside = (reader.outputs[0] for reader in consumers(source) if is_op(reader, "Reshape"))
    return next((tensor for tensor in beside if list(tensor.shape or ()) == joined), None)


def works_by_row(node: gs.Node, tables: Mapping[str, gs.Tensor]) -> bool:
    """Whether a node makes each row of tables of one shape from their rows of that place alone."""
    if len(node.outputs) != 1 or node.outputs[0].shape is None or len(node.outputs[0].shape) != 2:
        return False
    read = [(index, tables.get(tensor.name)) for index, tensor in variables(node)]
    sources = [source for _, source in read if source is not None]
    if len(sources) < len(read) or any(list(s.shape[:-1]) != list(sources[0].shape[:-1]) for s in sources):
        return False
    if sources and with_positions(node.outputs[0], sources[0])[0] is None:
        return False
    constants = [tensor for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    if is_op(node, "MatMul", "Gemm"):
        turned = node.attrs.get("transA", 0)
        biases = all(np.prod(t.shape, dtype=int) in (1, t.shape[-1]) for t in constants[1:] if t.shape)
        return [index for index, _ in read] == [0] and not turned and len(node.inputs[1].shape) == 2 and biases
    if is_op(node, *NORMS):
        axes = node.attrs.get("axes") or [node.attrs.get("axis", -1)]
        return [axis % 2 for axis in axes] == [1]
    # A constant of one row is the same for all.
    return is_op(node, *CURVED) and all(len(t.shape) < 2 or t.shape[0] == 1 for t in constants)


def with_positions(result: gs.Tensor, source: gs.Tensor) -> tuple[gs.Tensor | None, gs.Node | None]:
    """What rows are like with the positions of a source, and the node that gives them these again.

    None where several of the sizes are open and no tensor has them.
    """
    shape = [*source.shape[:-1], result.shape[-1]]
    back = (node for node in consumers(result) if is_op(node, "Reshape") and list(node.outputs[0].shape or ()) == shape)
    if (node := next(back, None)) is not None:
        return node.outputs[0], node
    if sum(not isinstance(size, int) for size in shape) < 2:
        return gs.Variable("", result.dtype, shape), None
    return (source if list(source.shape) == shape else None), None


def unfold(model: Model, node: gs.Node, tables: Mapping[str, gs.Tensor]) -> gs.Tensor:
    """Let a node read tensors with positions; what it made is a Reshape of what it makes now."""
    result = node.outputs[0]
    source = next(tables[tensor.name] for _, tensor in variables(node))
    whole, back = with_positions(result, source)
    for index, tensor in list(variables(node)):
        node.inputs[index] = tables[tensor.name]
    if is_op(node, "Gemm"):
        as_product(node)
    elif is_op(node, *NORMS):
        node.attrs = {**node.attrs, "axes": [len(source.shape) - 1]}
        node.attrs.pop("axis", None)
    if back is not None:
        detach(back)
    elif whole is not None:
        whole = reshaped(model, result, whole, fresh(model, f"{result.name}/positions"))
    node.outputs[0] = whole
    model.graph.nodes.append(gs.Node("Reshape", f"{result.name}/rows", {}, [whole], [result]))
    return result


def as_product(node: gs.Node) -> None:
    """Spell a Gemm as the engine's MatMul, which has a bias."""
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    weight, *biases = node.inputs[1:]
    if alpha != 1.0 or node.attrs.get("transB", 0):
        values = weight.values.T if node.attrs.get("transB", 0) else weight.values
        weight = gs.Constant(f"{node.outputs[0].name}/weight", np.ascontiguousarray(alpha * values, weight.dtype))
    if biases and not biases[0].is_empty():
        bias = np.broadcast_to(beta * biases[0].values, (1, weight.shape[1])).reshape(-1)
        biases = [gs.Constant(f"{node.outputs[0].name}/bias", bias.astype(np.float32))]
    node.op, node.attrs, node.inputs = "MatMul", {}, [node.inputs[0], weight, *biases]
