"""Ops whose output tells only sizes of what they read: no relevance and no gradient takes them."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.records import Call, Relay
from relcam_onnx.ops.table import Nonnegative, op


def no_input(node: gs.Node) -> tuple[int, ...]:
    """Relevance goes nowhere."""
    return ()


def sizes_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Sizes are; ConstantOfShape is what it fills with."""
    value = node.attrs.get("value")
    return value is None or bool((value.values >= 0).all())


@op("Shape", "Size", "ConstantOfShape", receivers=no_input, nonnegative=sizes_nonnegative)
def sizes(f: Backend, call: Call) -> Relay:
    """Shape and Size, opset 21, and ConstantOfShape, opset 21."""
    return Relay(lambda m: {}, lambda g: {})
