"""Where the weights of layers stand in a file, what may stand between, and how they are turned."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from relcam_onnx.onnx_file.protos import attribute

DENSE: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("FusedGemm", "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat"), (0, 1)),
    **dict.fromkeys(("Attention", "DynamicQuantizeMatMul"), (1,)),
    **dict.fromkeys(("QGemm", "QLinearMatMul"), (0, 3)),
}
"""Products of matrices -> where their factors stand, each of which may be the weight."""
FACTORS = {
    **DENSE,
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "DeformConv", "FusedConv"), (1,)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2)),
    "Einsum": tuple(range(8)),
    "QLinearConv": (3,),
}
"""Layers -> the same."""
KEEPING = frozenset({"Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Transpose"})
"""What may stand between a weight as it is stored and as it is read: its numbers stay apart."""
SHAPING = frozenset({"Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Unsqueeze"})
"""What else may where a run alone knows the sizes."""
DEQUANTISING = KEEPING | SHAPING | {"Mul", "Sub"}
"""What else may behind integers: `relcam_onnx.onnx_file.float_products` writes so what dequantises them."""


def axes_of(node: onnx.NodeProto, place: int, between: Sequence[onnx.NodeProto], rank: int) -> tuple[int, ...]:
    """The axes of a stored weight, as many as ``rank``: those of its layer's outputs before those that it sums over."""
    if any(each.op_type in SHAPING for each in between):
        return tuple(range(rank))
    axes = list(range(rank))
    if node.op_type == "Einsum":
        axes = outputs_first(attribute(node, "equation", ""), place, rank)
    elif node.op_type in DENSE and rank > 1:
        first = place == 0
        if attribute(node, "transA" if first else "transB", 0) == first:
            axes[-2:] = axes[:-3:-1]
    for each in between:
        if each.op_type == "Transpose":
            order = attribute(each, "perm", range(rank)[::-1])
            axes = [order[axis] for axis in axes]
    return tuple(axes)


def outputs_first(equation: str, place: int, rank: int) -> list[int]:
    """Of an operand of Einsum: the axes that stand in the output, in its order, then the others."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    own = left.split(",")[place]
    if not arrow:
        result = "".join(sorted(letter for letter in own if left.count(letter) == 1))
    if "." in own:
        return list(range(rank))
    return sorted(range(rank), key=lambda axis: (result.find(own[axis]) % (len(result) + 1), axis))
