"""Activations that exporters spell out become one op: Sigmoid, SiLU, hard-swish, Mish, Gelu and their like.

A product x · g(x) looks like a gate; these are recognised first, so that relevance passes them as an activation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.backends._elementwise import erf, sigmoid, softplus
from relcam_onnx.canon.affine import read
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op, only_reader, scaled, sweep
from relcam_onnx.model import Model, consumers, producer, variables

Curve = Callable[[np.ndarray], np.ndarray]

CURVES: tuple[tuple[str, dict[str, Any], Curve], ...] = (
    ("Sigmoid", {}, sigmoid),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}, lambda x: np.clip(x / 5 + 0.5, 0, 1)),
    ("Softplus", {}, softplus),
    ("Tanh", {}, np.tanh),
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
BOUNDS = ("Clip", "HardSigmoid", "Max", "Min", "Relu")
"""What bends curves in one place, or two."""
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
    for node in model.graph.nodes:
        turn_over(model, node)
    sweep(model)
    order = places(model.graph)
    for node in model.graph.nodes:
        if not may_end(node):
            continue
        for piece in pieces(node.outputs[0], order, ELEMENTWISE | CHOOSING):
            curve = curve_of(piece) if len(piece.nodes) > 1 and has_numbers_alone(piece.nodes) else None
            if curve is not None:
                write(node, piece, *curve)
                break
    sweep(model)
    name_gates(model)
    sweep(model)


def turn_over(model: Model, node: gs.Node) -> None:
    """Write the negative of the least of negatives as the largest, -min(-a, -b) as max(a, b), and turned about."""
    inner = negated(node)
    least = None if inner is None or only_reader(model, inner) is not node else producer(inner)
    if not is_op(least, "Max", "Min"):
        return
    bare = [opposite(t) if isinstance(t, gs.Constant) else negated(producer(t)) for t in least.inputs]
    found = [t for t in bare if t is not None]
    if len(found) == len(bare) and any(isinstance(t, gs.Variable) for t in found):
        node.op, node.attrs, node.inputs = "Min" if least.op == "Max" else "Max", {}, found


def opposite(constant: gs.Constant) -> gs.Constant:
    """The negative of a constant; 0 stays 0."""
    return gs.Constant(f"{constant.name}/opposite", np.asarray(0 - constant.values))


def negated(node: gs.Node | None) -> gs.Tensor | None:
    """What a node makes the negative of; None where it does something else."""
    spelled = None if node is None else read(node)
    if spelled is None or not spelled[1].is_scale or not np.all(spelled[1].scale == -1):
        return None
    return spelled[0]


def write(node: gs.Node, piece: Piece, op: str, attrs: dict[str, Any]) -> None:
    """Make a node this op of what a piece that it ends is of."""
    node.op, node.attrs, node.inputs = op, dict(attrs), [piece.source]
    if op == "Clip":
        bounds = {name: np.array(node.attrs.pop(name), np.float32) for name in ("min", "max")}
        node.inputs += [gs.Constant(f"{node.outputs[0].name}/{name}", value) for name, value in bounds.items()]


def name_gates(model: Model) -> None:
    """Make hard sigmoids, times what they are at most, of bounds that weigh another tensor: x · ReLU6(y + 3) / 6."""
    order = places(model.graph)
    for node in list(model.graph.nodes):
        if not is_op(node, "Clip", "Min") or not any(map(weighs, consumers(node.outputs[0]))):
            continue
        for piece in pieces(node.outputs[0], order, ELEMENTWISE | CHOOSING):
            values = piece.run(GRID) if has_numbers_alone(piece.nodes) else None
            most = 1.0 if values is None else float(values.max())
            curve = None if values is None or most in (0, 1) else known(values / most)
            if curve is not None and curve[0] == "HardSigmoid":
                write(node, piece, *curve)
                scaled(model, node, most)
                break


def weighs(node: gs.Node) -> bool:
    """Whether a node multiplies two computed tensors."""
    return is_op(node, "Mul") and len({tensor.name for _, tensor in variables(node)}) == 2


def may_end(node: gs.Node) -> bool:
    """Whether an activation can end here: in a product or quotient of two, a bound, a logarithm, a choice."""
    if is_op(node, "Where"):
        return True
    if is_op(node, "Neg"):
        return is_op(producer(node.inputs[0]), "Log", *BOUNDS)
    if is_op(node, "Sub") and isinstance(node.inputs[1], gs.Constant):
        return is_op(producer(node.inputs[0]), "Mul", "Div")
    if is_op(node, "Sub"):
        return isinstance(node.inputs[0], gs.Constant) and is_op(producer(node.inputs[1]), "Sigmoid", "Div", *BOUNDS)
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
    return is_op(producer(computed[0]), "Add", "Mul", "Div", *BOUNDS) if computed else False


def has_numbers_alone(nodes: tuple[gs.Node, ...]) -> bool:
    """Whether all constants of some nodes are single numbers: an activation is the same everywhere."""
    constants = [tensor for node in nodes for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    return all(np.prod(tensor.shape) == 1 for tensor in constants)


def curve_of(piece: Piece) -> tuple[str, dict[str, Any]] | None:
    """The op that makes what a piece makes on the grid."""
    values = piece.run(GRID)
    if values is None:
        return None
    if (found := known(values)) is not None:
        return found
    slopes = values / GRID_SIGNED if values.shape == GRID.shape else None
    if slopes is not None and np.allclose(slopes[GRID > 0], 1) and np.ptp(slopes[GRID < 0]) < CURVE_TOLERANCE:
        for scale in (NEAR, FAR):  # another one has its bend near 0, or is bounded far from it
            there = piece.run(GRID * scale)
            if there is None or not np.allclose(there, values * scale, atol=CURVE_TOLERANCE * scale):
                return None
        alpha = float(slopes[0])
        return ("Identity", {}) if abs(alpha - 1) < CURVE_TOLERANCE else ("LeakyRelu", {"alpha": alpha})
    most = float(values.max())
    if 0 < most < GRID[-1] and np.allclose(values, np.clip(GRID, 0, most), atol=CURVE_TOLERANCE):
        return "Clip", {"min": 0.0, "max": most}
    return None


def known(values: np.ndarray) -> tuple[str, dict[str, Any]] | None:
    """The op among the curves that has these values on the grid."""
    for (name, attrs, _), curve in zip(CURVES, KNOWN, strict=True):
        if values.shape == curve.shape and (np.abs(values - curve) <= CURVE_TOLERANCE).all():
            return name, attrs
    return None
