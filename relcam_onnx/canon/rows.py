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
from relcam_onnx.canon.edit import fresh, is_op, reshaped, sweep
from relcam_onnx.model import Model, consumers, variables

CURVED = ELEMENTWISE | {"Celu", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Selu", "Softsign", "Swish"}
NORMS = ("LayerNormalization", "RMSNormalization")


def unfold_rows(model: Model) -> None:
    """Let whatever works row by row read the tensor with positions instead."""
    unfolded: dict[str, gs.Tensor] = {}
    waiting = [node.outputs[0] for node in model.graph.nodes if is_table(node)]
    tables = {table.name: table.inputs[0].inputs[0] for table in waiting}
    while waiting:
        table = waiting.pop(0)
        for reader in consumers(table):
            if reader.outputs and reader.outputs[0].name not in unfolded and works_by_row(reader, tables):
                result = unfold(model, reader, tables)
                unfolded[result.name] = tables[result.name] = result.inputs[0].inputs[0]
                waiting.append(result)
    sweep(model)


def is_table(node: gs.Node) -> bool:
    """Whether a node puts positions into rows: (N, positions..., C) becomes (rows, C), more rows than images."""
    if not is_op(node, *RESHAPES):
        return False
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if before is None or after is None or len(before) < 3 or len(after) != 2:
        return False
    open_ = sum(not isinstance(size, int) for size in before)
    return open_ <= 1 and before[-1] == after[-1] and before[0] != after[0] and None not in before


def works_by_row(node: gs.Node, tables: Mapping[str, gs.Tensor]) -> bool:
    """Whether a node makes each row of tables of one shape from their rows of that place alone."""
    if len(node.outputs) != 1 or node.outputs[0].shape is None or len(node.outputs[0].shape) != 2:
        return False
    read = [(index, tables.get(tensor.name)) for index, tensor in variables(node)]
    sources = [source for _, source in read if source is not None]
    if len(sources) < len(read) or any(list(s.shape[:-1]) != list(sources[0].shape[:-1]) for s in sources):
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


def unfold(model: Model, node: gs.Node, tables: Mapping[str, gs.Tensor]) -> gs.Tensor:
    """Let a node read tensors with positions; what it made is a Reshape of what it makes now."""
    result = node.outputs[0]
    places = next(tables[tensor.name].shape[:-1] for _, tensor in variables(node))
    for index, tensor in list(variables(node)):
        node.inputs[index] = tables[tensor.name]
    if is_op(node, "Gemm"):
        as_product(node)
    elif is_op(node, *NORMS):
        node.attrs = {**node.attrs, "axes": [len(places)]}
        node.attrs.pop("axis", None)
    shape = gs.Variable("", result.dtype, (*places, result.shape[-1]))
    whole = reshaped(model, result, shape, fresh(model, f"{result.name}/positions"))
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
