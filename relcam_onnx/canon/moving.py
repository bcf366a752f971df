"""Moving nodes written for other tensors, and undone: every tensor that they make is a view of the file's."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import is_op, reshaped, view
from relcam_onnx.model import Model


def undone(model: Model, node: gs.Node, moved: gs.Tensor, like: gs.Tensor, name: str) -> gs.Variable:
    """The tensor that a moving node makes ``moved`` of, in the shape of ``like``."""
    if is_op(node, "Transpose"):
        perm = permutation(node)
        return view(model, like, name, "Transpose", moved, perm=[perm.index(axis) for axis in range(len(perm))])
    return reshaped(model, moved, like, name)


def repeated(model: Model, node: gs.Node, source: gs.Tensor, name: str) -> gs.Variable:
    """What a moving node makes of another tensor of the shape that it reads, with a node that makes it."""
    like = node.outputs[0]
    if is_op(node, "Transpose"):
        attrs = {"perm": permutation(node)}
        result = view(model, like, name, "Transpose", source, **attrs)
    else:
        attrs, result = {}, reshaped(model, source, like, name)
    model.graph.nodes.append(gs.Node(node.op if attrs else "Reshape", name, attrs, [source], [result]))
    return result
