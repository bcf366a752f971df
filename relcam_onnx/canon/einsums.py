"""An Einsum that only reorders the axes of one tensor is a Transpose."""

from __future__ import annotations

from string import ascii_letters

from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Model


def transpose_einsums(model: Model) -> None:
    """Rewrite every such Einsum whose input's rank is known."""
    for node in model.graph.nodes:
        if not is_op(node, "Einsum") or len(node.inputs) != 1 or node.inputs[0].shape is None:
            continue
        before, arrow, after = node.attrs["equation"].replace(" ", "").partition("->")
        free = [letter for letter in ascii_letters if letter not in before]
        others = "".join(free[: len(node.inputs[0].shape) - len(before.replace("...", ""))])
        before, after = (side.replace("...", others) for side in (before, after))
        if arrow and len(set(before)) == len(before) and sorted(before) == sorted(after):
            node.op, node.attrs = "Transpose", {"perm": [before.index(axis) for axis in after]}
