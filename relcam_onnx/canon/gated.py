"""Activations that exporters spell as products become one op: SiLU, hard-swish, Mish, Gelu.

A product x · g(x) looks like a gate; these are recognised first, so that relevance passes them as an activation.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import Model, producer

Pattern: TypeAlias = Any
"""``"x"`` for the activation's input, a number for a constant, (op, *patterns) for a node."""

RELU6_SHIFTED = ("Clip", ("Add", "x", 3.0), 0.0, 6.0)
CUBES = (("Pow", "x", 3.0), ("Mul", "x", ("Mul", "x", "x")))
HALF_AREA = ("Add", ("Erf", ("Div", "x", math.sqrt(2))), 1.0)
HALF_AREA_MUL = ("Add", ("Erf", ("Mul", "x", math.sqrt(0.5))), 1.0)
BENT = tuple(
    ("Add", ("Tanh", ("Mul", ("Add", "x", ("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))), 1.0) for cube in CUBES
)

PATTERNS: tuple[tuple[str, dict[str, Any], Pattern], ...] = (
    ("Swish", {}, ("Mul", "x", ("Sigmoid", "x"))),
    ("HardSwish", {}, ("Mul", "x", ("HardSigmoid", "x"))),
    ("HardSwish", {}, ("Mul", "x", ("Div", RELU6_SHIFTED, 6.0))),
    ("HardSwish", {}, ("Mul", "x", ("Mul", RELU6_SHIFTED, 1 / 6))),
    ("HardSwish", {}, ("Div", ("Mul", "x", RELU6_SHIFTED), 6.0)),
    ("HardSwish", {}, ("Mul", ("Mul", "x", RELU6_SHIFTED), 1 / 6)),
    ("Mish", {}, ("Mul", "x", ("Tanh", ("Softplus", "x")))),
    *(
        ("Gelu", {"approximate": how}, pattern)
        for how, area in (("none", HALF_AREA), ("none", HALF_AREA_MUL), *(("tanh", bent) for bent in BENT))
        for pattern in (
            ("Mul", ("Mul", "x", area), 0.5),
            ("Mul", ("Mul", "x", 0.5), area),
            ("Mul", "x", ("Mul", area, 0.5)),
        )
    ),
)
COMMUTATIVE = frozenset({"Mul", "Add"})


def name_gated_activations(model: Model) -> None:
    """Rewrite every node that ends such a pattern; what it no longer reads is cleaned up."""
    for node in model.graph.nodes:
        if node.op not in ("Mul", "Div"):
            continue
        for name, attrs, pattern in PATTERNS:
            bound = match(node.outputs[0], pattern, None)
            if bound is not None:
                node.op, node.attrs, node.inputs = name, dict(attrs), [bound]
                break
    model.graph.cleanup(remove_unused_graph_inputs=False)


def match(tensor: gs.Tensor, pattern: Pattern, x: gs.Tensor | None) -> gs.Tensor | None:
    """The tensor that "x" stands for if the pattern fits (x where it is bound already), else None."""
    if pattern == "x":
        return tensor if isinstance(tensor, gs.Variable) and (x is None or x is tensor) else None
    node = producer(tensor)
    if node is None or node.op != pattern[0]:
        return None
    if node.op == "HardSigmoid" and not (
        math.isclose(node.attrs.get("alpha", 0.2), 1 / 6, rel_tol=1e-4)
        and math.isclose(node.attrs.get("beta", 0.5), 0.5, rel_tol=1e-4)
    ):
        return None
    orders = [pattern[1:], pattern[:0:-1]] if node.op in COMMUTATIVE else [pattern[1:]]
    for order in orders:
        found = match_operands(node.inputs, order, x)
        if found is not None:
            return found
    return None


def match_operands(inputs: list[gs.Tensor], patterns: Pattern, x: gs.Tensor | None) -> gs.Tensor | None:
    """`match` over the operands of one node, constants compared to float32 rounding."""
    if len(inputs) != len(patterns):
        return None
    for tensor, pattern in zip(inputs, patterns, strict=True):
        if isinstance(pattern, float):
            if not (isinstance(tensor, gs.Constant) and np.allclose(tensor.values, pattern, rtol=1e-4)):
                return None
            continue
        if isinstance(tensor, gs.Constant):
            return None
        x = match(tensor, pattern, x)
        if x is None:
            return None
    return x
