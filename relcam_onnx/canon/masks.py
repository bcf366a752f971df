"""A product with what is true or false is a choice: the value where it is true, else 0."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Model, producer
from relcam_onnx.onnx_file.contrib_ops import TRUTH


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
