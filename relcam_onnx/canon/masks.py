"""A product with what is true or false is a choice: the value where it is true, else 0."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Model, is_constant, producer
from relcam_onnx.onnx_file.contrib_ops import TRUTH

FEW = 16
"""So many tensors are looked at to see what a mask is made of."""


def name_masks(model: Model) -> None:
    """Write every Mul by a Cast of such as a Where."""
    for node in model.graph.nodes:
        if not is_op(node, "Mul"):
            continue
        for index, factor in enumerate(node.inputs):
            cast = producer(factor)
            if is_op(cast, "Cast") and is_op(producer(cast.inputs[0]), *TRUTH):
                nothing = gs.Constant(f"{node.outputs[0].name}/nothing", np.zeros((), np.float32))
                node.op, node.inputs = "Where", [cast.inputs[0], node.inputs[1 - index], nothing]
                break


def masked(node: gs.Node) -> gs.Tensor | None:
    """What a node leaves as it is or makes 0, by what that is itself: above a number, or the largest around."""
    if not is_op(node, "Where") or is_constant(node.inputs[1]) or not is_constant(node.inputs[2]):
        return None
    source, made_of = node.inputs[1], [node.inputs[0]]
    for tensor in made_of:
        maker = producer(tensor)
        made_of += [] if maker is None or tensor is source or len(made_of) > FEW else maker.inputs
    found = any(tensor is source for tensor in made_of)
    return source if found and not node.inputs[2].values.any() else None
