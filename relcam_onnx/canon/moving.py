"""Moving nodes written for other tensors, and undone: every tensor that they make is a view of the file's."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import fresh, is_op, reshaped, result_of, view
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


def transposed(model: Model, tensor: gs.Tensor, perm: Sequence[int], name: str) -> gs.Variable:
    """A tensor's values with its axes in another order."""
    return view(model, of_shape(tensor, perm), fresh(model, name), "Transpose", tensor, perm=list(perm))


def turned(model: Model, tensor: gs.Tensor, perm: Sequence[int], name: str) -> gs.Variable:
    """The same, with a node that makes it."""
    return result_of(model, of_shape(tensor, perm), name, "Transpose", tensor, perm=list(perm))


def of_shape(tensor: gs.Tensor, perm: Sequence[int]) -> gs.Variable:
    """What such a tensor is like."""
    shape = None if tensor.shape is None else [tensor.shape[axis] for axis in perm]
    return gs.Variable("", tensor.dtype, shape)
