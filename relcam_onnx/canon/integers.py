"""What integers stand for, and what float ops stand for the ops that compute in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import onnx_graphsurgeon as gs


class Meaning(NamedTuple):
    """What integers stand for: (q - zero) · scale, per channel along ``axis``."""

    scale: gs.Tensor
    zero: gs.Tensor | None = None
    axis: int = -1


def meaning(node: gs.Node, scale: int, zero: int, axis: int = -1) -> Meaning:
    """What a node says of integers, in its inputs of these numbers."""
    held = node.inputs[zero] if len(node.inputs) > zero and not node.inputs[zero].is_empty() else None
    return Meaning(node.inputs[scale], held, axis)


class Form(NamedTuple):
    """A quantised op as the float op that it stands for.

    Attributes
    ----------
    op
        The float op.
    operands
        Where its inputs have their integers, scale and zero.
    result
        Where the scale and zero of its output stand.
    bias
        Where int32 of scale (the first operand's · the second's) stands, which is added.
    plain
        How many inputs before them are as they are.
    """

    op: str
    operands: Sequence[tuple[int, int, int]]
    result: tuple[int, int]
    bias: int | None = None
    plain: int = 0


ONE, TWO = ((0, 1, 2),), ((0, 1, 2), (3, 4, 5))
FORMS: dict[str, Form] = {
    "QLinearConv": Form("Conv", TWO, (6, 7), 8),
    "QLinearMatMul": Form("MatMul", TWO, (6, 7)),
    "QGemm": Form("Gemm", TWO, (7, 8), 6),
    "QLinearAdd": Form("Add", TWO, (6, 7)),
    "QLinearMul": Form("Mul", TWO, (6, 7)),
    "QLinearSigmoid": Form("Sigmoid", ONE, (3, 4)),
    "QLinearLeakyRelu": Form("LeakyRelu", ONE, (3, 4)),
    "QLinearSoftmax": Form("Softmax", ONE, (3, 4)),
    "QLinearAveragePool": Form("AveragePool", ONE, (3, 4)),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", ONE, (3, 4)),
    "QLinearReduceMean": Form("ReduceMean", ONE, (3, 4)),
    "QLinearWhere": Form("Where", ((1, 2, 3), (4, 5, 6)), (7, 8), plain=1),
}
