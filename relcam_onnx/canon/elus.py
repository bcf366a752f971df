"""Exponential linear units that are spelled out become one op: Elu, Celu or Selu.

As JAX, Keras and older exporters write them: a choice between x and exp(x) - 1, or a sum of a maximum and a minimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import CHOOSING, CURVE_TOLERANCE, ELEMENTWISE, GRID, has_numbers_alone
from relcam_onnx.canon.affine import read
from relcam_onnx.canon.cut import pieces, places
from relcam_onnx.canon.edit import is_op, only_reader, sweep, take_over
from relcam_onnx.model import Model

ALPHA, GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""A Selu's numbers (ONNX, Selu, opset 6; Klambauer et al. 2017)."""
BELOW = GRID[GRID < 0]


def name_elus(model: Model) -> None:
    """Rewrite every node that ends the pieces of one."""
    if any(is_op(node, "Exp") for node in model.graph.nodes):
        order = places(model.graph)
        for node in list(model.graph.nodes):
            if is_op(node, "Add", "Sub", "Where"):
                name_unit(node, order)
        sweep(model)
    for node in list(model.graph.nodes):
        if is_op(node, "Elu") and near(node.attrs.get("alpha", 1.0), ALPHA):
            name_selu(model, node)
    sweep(model)


def name_unit(node: gs.Node, order: Mapping[str, int]) -> None:
    """Make a node the Elu or Celu that a piece which it ends is; nothing where it is none."""
    for piece in pieces(node.outputs[0], order, ELEMENTWISE | CHOOSING):
        if any(is_op(step, "Exp") for step in piece.nodes) and has_numbers_alone(piece.nodes):
            values = piece.run(GRID)
            found = None if values is None else unit_of(values)
            if found is not None:
                node.op, node.attrs, node.inputs = *found, [piece.source]
                return


def unit_of(values: np.ndarray) -> tuple[str, dict[str, Any]] | None:
    """The op that has these values on the grid: x above zero, and a (exp(b x) - 1) / b below, a or b being 1."""
    if values.shape != GRID.shape or not np.allclose(values[GRID >= 0], GRID[GRID >= 0], atol=CURVE_TOLERANCE):
        return None
    one, two = np.interp([-1.0, -2.0], GRID, values)
    fall = two / one - 1 if one < 0 else 0.0  # exp(-b): exp(-2 b) - 1 is (exp(-b) - 1) (exp(-b) + 1)
    if not 0 < fall < 1:
        return None
    rate = -float(np.log(fall))
    alpha = float(one * rate / (fall - 1))
    if not np.allclose(values[GRID < 0], alpha * np.expm1(rate * BELOW) / rate, atol=CURVE_TOLERANCE):
        return None
    return ("Elu", {"alpha": alpha}) if near(rate, 1) else ("Celu", {"alpha": 1 / rate}) if near(alpha, 1) else None


def name_selu(model: Model, node: gs.Node) -> None:
    """Make an Elu and the scale that alone reads it the Selu that they are."""
    scale = only_reader(model, node.outputs[0])
    spelled = None if scale is None else read(scale)
    if scale is None or spelled is None:
        return
    _, affine = spelled
    if affine.is_scale and affine.axis is None and near(affine.scale[0], GAMMA):
        node.op, node.attrs = "Selu", {"alpha": ALPHA, "gamma": GAMMA}
        take_over(model, node, scale)


def near(value: float, other: float) -> bool:
    """Whether two numbers of float32 mean the same."""
    return bool(np.isclose(value, other, rtol=CURVE_TOLERANCE, atol=0))
