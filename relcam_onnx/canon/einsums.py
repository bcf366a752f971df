"""An Einsum of one tensor is a Transpose, or a sum over the axes that its result has not."""

from __future__ import annotations

from string import ascii_letters

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Model


def name_einsums(model: Model) -> None:
    """Rewrite every such Einsum whose input's rank is known."""
    for node in model.graph.nodes:
        if not is_op(node, "Einsum") or len(node.inputs) != 1 or node.inputs[0].shape is None:
            continue
        before, arrow, after = node.attrs["equation"].replace(" ", "").partition("->")
        free = [letter for letter in ascii_letters if letter not in before]
        others = "".join(free[: len(node.inputs[0].shape) - len(before.replace("...", ""))])
        before, after = (side.replace("...", others) for side in (before, after))
        if not arrow or len(set(before)) != len(before):
            continue
        if sorted(before) == sorted(after):
            node.op, node.attrs = "Transpose", {"perm": [before.index(axis) for axis in after]}
        elif after == "".join(axis for axis in before if axis in after):
            summed = np.array([place for place, axis in enumerate(before) if axis not in after], np.int64)
            node.op, node.attrs = "ReduceSum", {"keepdims": 0}
            node.inputs.append(gs.Constant(f"{node.outputs[0].name}/axes", summed))
