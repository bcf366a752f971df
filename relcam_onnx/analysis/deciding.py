"""What a file makes of its scores one by one: thresholds, masks, whole numbers, and factors of all of them."""

from __future__ import annotations

import onnx_graphsurgeon as gs
from onnx import TensorProto

from relcam_onnx.analysis.heads import holds_scores
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import is_constant, producer

WHOLE = ("Ceil", "Floor", "Round")
SMALL = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16)
"""What scores and shares are rounded to; classes are told by larger types."""


def scales(node: gs.Node) -> bool:
    """Whether a node multiplies with a number above 0, or divides by one."""
    values = [t.values for t in node.inputs[node.op == "Div" :] if is_constant(t)] if node.op in {"Mul", "Div"} else []
    return len(values) == 1 and values[0].size == 1 and bool((values[0] > 0).all())


def factor(node: gs.Node) -> float:
    """What a node that `scales` multiplies with; 1 where it does not."""
    if not scales(node):
        return 1.0
    value = next(float(t.values.reshape(-1)[0]) for t in node.inputs[node.op == "Div" :] if is_constant(t))
    return 1 / value if node.op == "Div" else value


def rounds(node: gs.Node) -> bool:
    """Whether a node makes whole numbers of scores or shares, and they stay that: large ones are classes."""
    if is_op(node, *WHOLE):
        return True
    if not is_op(node, "Cast", "QuantizeLinear") or any(is_op(t, "DequantizeLinear") for t in node.outputs[0].outputs):
        return False
    small = is_op(node, "QuantizeLinear") or node.attrs["to"] in SMALL or is_op(producer(node.inputs[0]), *WHOLE)
    return small and holds_scores(node.inputs[0]) and not holds_scores(node.outputs[0])


def decides(node: gs.Node) -> bool:
    """Whether a node says which of its values are above a number, or makes other numbers of what was said."""
    by_constant = [is_constant(t) for t in node.inputs]
    if is_op(node, "Greater", "GreaterOrEqual"):
        return by_constant == [False, True]
    if is_op(node, "Less", "LessOrEqual"):
        return by_constant == [True, False]
    if is_op(node, "Where"):
        return by_constant == [False, True, True] and bool((node.inputs[1].values > node.inputs[2].values).all())
    return scales(node) and is_decided(producer(node.inputs[0]))


def is_decided(node: gs.Node | None) -> bool:
    """Whether that was said already, but for casts."""
    while is_op(node, "Cast", "Identity"):
        node = producer(node.inputs[0])
    return node is not None and (decides(node) or rounds(node))
