"""Activations that exporters spell out become one op: Sigmoid, SiLU, hard-swish, Mish, Gelu and their like.

A product x · g(x) looks like a gate; these are recognised first, so that relevance passes them as an activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.backends._elementwise import erf, sigmoid, softplus
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op, sweep
from relcam_onnx.model import Model, producer, variables

Curve = Callable[[np.ndarray], np.ndarray]

CURVES: tuple[tuple[str, dict[str, Any], Curve], ...] = (
    ("Sigmoid", {}, sigmoid),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(x / 5 + 0.5, 0, 1)),
    ("Softplus", {}, softplus),
    ("Swish", {}, lambda x: x * sigmoid(x)),
    ("Swish", {"alpha": 1.702}, lambda x: x * sigmoid(1.702 * x)),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("Mish", {}, lambda x: x * np.tanh(softplus(x))),
    ("Gelu", {"approximate": "none"}, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    (
        "Gelu",
        {"approximate": "tanh"},
        lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
)
"""Ops by their curves: name, attributes, x -> y."""

ELEMENTWISE = frozenset({
    "Abs", "Add", "Clip", "Div", "Erf", "Exp", "HardSigmoid", "Log", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
    "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh",
})  # fmt: skip
"""What a spelled-out activation is made of."""
CHOOSING = frozenset({"Cast", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sign", "Where"})
"""What tells a curve's two halves apart."""

GRID = np.linspace(-7.0, 7.0, 57)
"""Where curves are compared. Float32 constants such as 0.70710677 leave 1e-7; the two forms of Gelu differ by 5e-4."""
GRID_SIGNED = np.where(GRID == 0, 1.0, GRID)
"""The same without 0, to divide by."""
NEAR = 1e-4
"""So much smaller the bend of a LeakyRelu looks the same."""
FAR = 1e4
"""And so much larger."""
CURVE_TOLERANCE = 1e-5
KNOWN = np.stack([curve(GRID) for _, _, curve in CURVES])
"""The curves there."""


def name_activations(model: Model) -> None:
    """Rewrite every node that ends such a piece; what nothing reads any more is swept away."""
    order = places(model.graph)
    for node in model.graph.nodes:
        if not may_end(node):
            continue
        for piece in pieces(node.outputs[0], order, ELEMENTWISE | CHOOSING):
            curve = curve_of(piece) if len(piece.nodes) > 1 and has_numbers_alone(piece.nodes) else None
            if curve is not None:
                node.op, node.attrs, node.inputs = curve[0], dict(curve[1]), [piece.source]
                break
    sweep(model)


def may_end(node: gs.Node) -> bool:
    """Whether an activation can end here: in a product or quotient of two, a bound, a logarithm, a choice."""
    if is_op(node, "Where"):
        return True
    if is_op(node, "Sub"):
        return isinstance(node.inputs[0], gs.Constant) and is_op(producer(node.inputs[1]), "Sigmoid", "Div")
    if is_op(node, "Add"):
        return is_op(producer(node.inputs[0]), "Mul", "Div") and isinstance(node.inputs[1], gs.Constant)
    if is_op(node, "Reciprocal", "Log", "Clip", "Pow"):
        before = producer(node.inputs[0])
        return is_op(before, "Add", "Mul", "Div")
    if not is_op(node, "Mul", "Div"):
        return False
    computed = [tensor for _, tensor in variables(node)]
    if len(computed) == 2 or isinstance(node.inputs[0], gs.Constant):
        return True
    return is_op(producer(computed[0]), "Add", "Mul", "Div") if computed else False


def has_numbers_alone(nodes: tuple[gs.Node, ...]) -> bool:
    """Whether all constants of some nodes are single numbers: an activation is the same everywhere."""
    constants = [tensor for node in nodes for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    return all(np.prod(tensor.shape) == 1 for tensor in constants)


def curve_of(piece: Piece) -> tuple[str, dict[str, Any]] | None:
    """The op that makes what a piece makes on the grid."""
    values = piece.run(GRID)
    if values is None:
        return None
    for (name, attrs, _), known in zip(CURVES, KNOWN, strict=True):
        if values.shape == known.shape and (np.abs(values - known) <= CURVE_TOLERANCE).all():
            return name, attrs
    slopes = values / GRID_SIGNED if values.shape == GRID.shape else None
    if slopes is not None and np.allclose(slopes[GRID > 0], 1) and np.ptp(slopes[GRID < 0]) < CURVE_TOLERANCE:
        for scale in (NEAR, FAR):  # another one has its bend near 0, or is bounded far from it
            scaled = piece.run(GRID * scale)
            if scaled is None or not np.allclose(scaled, values * scale, atol=CURVE_TOLERANCE * scale):
                return None
        alpha = float(slopes[0])
        return ("Identity", {}) if abs(alpha - 1) < CURVE_TOLERANCE else ("LeakyRelu", {"alpha": alpha})
    return None
