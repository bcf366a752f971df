"""Which positions are left behind a product, and which convolutions are one of channels alone."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.canon.edit import is_op
from relcam_onnx.ops.einsum import labels


def is_pointwise(node: gs.Node) -> bool:
    """Whether a node is a convolution that looks at one position alone."""
    return is_op(node, "Conv") and set(node.inputs[1].shape[2:]) == {1}


def kept_by_product(node: gs.Node, arriving: Sequence[tuple[gs.Tensor, Layout]]) -> Layout | None:
    """A product keeps the positions that it does not sum over: of attention's weights those of the queries."""
    if is_op(node, "Einsum"):
        return next((own for t, own in arriving if kept_by_name(node, t, own)), None)
    kept = (own for t, own in arriving if own.rank - (1 if node.inputs[0] is t else 2) not in own.axes)
    return next(kept, None)


def kept_by_name(node: gs.Node, tensor: gs.Tensor, own: Layout) -> bool:
    """Whether an Einsum of two tensors leaves the positions of one on the axes that they are on."""
    if len(node.inputs) != 2:
        return False
    x, w, y, computed = labels(node)
    read = x if node.inputs[computed] is tensor else w
    return all(read[axis : axis + 1] == y[axis : axis + 1] for axis in own.axes)
