"""A number divided by what is computed is a Reciprocal, and a factor where the number is not one."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import fresh, is_op, sweep, view
from relcam_onnx.model import Model


def name_reciprocals(model: Model) -> None:
    """Rewrite every Div of a constant by a tensor as large as the result."""
    before = len(model.graph.nodes)
    for node in list(model.graph.nodes):
        if not is_op(node, "Div") or not isinstance(node.inputs[0], gs.Constant) or node.inputs[1].shape is None:
            continue
        number, below = node.inputs
        if list(below.shape) != list(node.outputs[0].shape or ()):
            continue
        if (np.asarray(number.values) == 1).all():
            node.op, node.inputs = "Reciprocal", [below]
            continue
        inverse = view(model, below, fresh(model, f"{node.outputs[0].name}/inverse"), "Reciprocal", below)
        model.graph.nodes.append(gs.Node("Reciprocal", inverse.name, {}, [below], [inverse]))
        node.op, node.inputs = "Mul", [inverse, number]
    if len(model.graph.nodes) > before:
        sweep(model)
