"""Outputs that a file returns beside what it is for: tensors that its layers make another output of."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.model import Model, captured, producer

LAYERS = frozenset({
    "Conv", "ConvInteger", "ConvTranspose", "Einsum", "Gemm", "MatMul", "MatMulInteger", "QGemm", "QLinearConv",
    "QLinearMatMul",
})  # fmt: skip
"""Ops that are layers where one of their operands is a weight."""
TABLE = 2
"""Axes that a table has: a row for each image."""
HANDED_ON = frozenset({"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Transpose", *RESHAPES})
"""What may stand between a weight and its layer."""


def drop_inner_outputs(model: Model, asked: str | None = None) -> None:
    """Let outputs that layers lead on from be tensors like others; ``asked`` stays, whatever follows.

    An output keeps its place in the canonical form, and a file that returns its activations too would have another one.
    Tables stay too: they may be the embeddings that are asked for.
    """
    wanted, layered = {id(tensor) for tensor in model.graph.outputs}, set[int]()
    for node in reversed(model.graph.nodes):
        made, read = ({id(t) for t in tensors} for tensors in (node.outputs, (*node.inputs, *captured(node))))
        if made & wanted:  # what a branch reads that leads nowhere is not led on
            wanted |= read
            layered |= read if made & layered or is_layer(node) else set()
    model.graph.outputs = [
        t for t in model.graph.outputs if id(t) not in layered or len(t.shape or ()) <= TABLE or t.name == asked
    ]


def is_layer(node: gs.Node) -> bool:
    """Whether a node has weights, perhaps quantised ones."""
    return node.op in LAYERS and any(is_weight(tensor) for tensor in node.inputs)


def is_weight(tensor: gs.Tensor) -> bool:
    """Whether a tensor stands in the file, perhaps rounded or moved."""
    while (node := producer(tensor)) is not None and node.op in HANDED_ON:
        tensor = node.inputs[0]
    return isinstance(tensor, gs.Constant)
