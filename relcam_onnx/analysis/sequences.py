"""Scores of a sequence, (places, N, classes), as recognisers of text tell them: the batch stands behind the places."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import holds_scores
from relcam_onnx.analysis.stepping import SQUASHING
from relcam_onnx.canon.axes import RESHAPES, groups, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.unsquashing import made
from relcam_onnx.model import Model, is_constant, producer, static_shape, variables


def is_sequence(model: Model, output: gs.Tensor) -> bool:
    """Whether an output has three axes and the batch on the second one, not on the first."""
    batch, shape = model.graph.inputs[0].shape[:1], list(output.shape or ())
    return len(shape) == 3 and holds_scores(output) and shape[1:2] == list(batch) != shape[:1]


def classes_along(tensor: gs.Tensor) -> int | None:
    """Where the numbers stand that the last layer made for each place, the classes; None where that is not seen."""
    node = producer(tensor)
    if node is None or tensor.shape is None:
        return None
    if is_op(node, "Conv"):
        return 1
    if is_op(node, "Gemm") or (is_op(node, "MatMul") and is_constant(node.inputs[1])):
        return len(tensor.shape) - 1
    computed = [t for _, t in variables(node)]
    own = classes_along(computed[0]) if len(computed) == 1 else None
    if own is None:
        return None
    if is_op(node, "Transpose"):
        return permutation(node).index(own)
    if node.op.startswith("Reduce"):
        gone = over(node) or []
        return None if own in gone else own - (0 if node.attrs.get("keepdims", 1) else sum(each < own for each in gone))
    if is_op(node, *RESHAPES):
        told = [new for old, new in groups(computed[0].shape, tensor.shape) if own in old and len(old) == len(new) == 1]
        return told[0][0] if told else None
    return own if list(computed[0].shape or ()) == list(tensor.shape) else None


def batch_in_front(model: Model, output: gs.Tensor) -> gs.Tensor:
    """A sequence as (N, places, classes): before the turn that the graph ends in, else turned; others as they are."""
    if not is_sequence(model, output):
        return output
    node = producer(output)
    if is_op(node, "Transpose") and permutation(node) == [1, 0, 2]:
        return node.inputs[0]
    current = output
    while (node := producer(current)) is not None and is_op(node, *RESHAPES):  # of one image a turn is one of these
        current = node.inputs[0]
    squashing = node if node is not None and node.op in SQUASHING else None
    scores = current if squashing is None else squashing.inputs[0]
    places, batch, classes = output.shape
    before, wide = static_shape(scores), (batch, places, classes)
    if before is not None and [size for size in before if size != 1] == [places, classes]:
        table, along = made(model, "Reshape", [scores, np.array(wide)], wide), before
    elif current is output:
        table, along = made(model, "Transpose", [scores], wide, perm=[1, 0, 2]), (places, batch, classes)
    else:
        return made(model, "Transpose", [output], wide, perm=[1, 0, 2])
    if squashing is None:
        return table
    if squashing.op == "Sigmoid":
        return made(model, "Sigmoid", [table], wide)
    over_classes = along[int(squashing.attrs.get("axis", -1))] == classes != places
    return made(model, squashing.op, [table], wide, axis=2) if over_classes else output
