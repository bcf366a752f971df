"""What is taken from all scores alike before a softmax, which that does not change: their largest, their mean.

So is what else all have in common, as the square of the features in a distance to each prototype.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.cut import pieces, places
from relcam_onnx.canon.edit import fresh, is_op, view
from relcam_onnx.canon.unsquashing import MADE
from relcam_onnx.model import Model, producer, static_shape, variables

OPS = ELEMENTWISE | {
    "BatchNormalization", "Cast", "Concat", "Expand", "Gather", "Gemm", "HardSigmoid", "Identity", "LogSoftmax",
    "LpNormalization", "MatMul", "Mean", "ReduceL1", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceSum",
    "Slice", "Softmax", "Sum", "Transpose", *RESHAPES,
}  # fmt: skip
"""What it is made of."""
SAME = 1e-5
"""Shares that are the same differ by less, as a part of them."""
FEW = 8
"""Positions, and pictures, that numbers are drawn for; from -1 to 1, and so much further."""


def softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    """Of scores that are not large."""
    return np.asarray(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))


def unshifted(model: Model, scores: gs.Tensor, axis: int) -> gs.Tensor:
    """The scores furthest back that a softmax makes the same shares of."""
    shape = static_shape(scores)
    if shape is None or shape[axis] in (None, 1):  # of one class alone a softmax tells nothing
        return scores
    sizes = [size or FEW if place == axis % len(shape) else min(size or FEW, FEW) for place, size in enumerate(shape)]
    rng = np.random.default_rng(0)
    runs = [rng.uniform(-1, 1, sizes) * far for far in (1, FEW)]
    for piece in pieces(scores, places(model.graph), OPS):
        values = [piece.run(x) for x in runs] if static_shape(piece.source) == shape else []
        pairs = [(softmax(x, axis), softmax(y, axis)) for x, y in zip(runs, values, strict=False) if y is not None]
        if len(pairs) == len(runs) and all(np.allclose(*pair, rtol=SAME, atol=0) for pair in pairs):
            scores = piece.source
    return less_common(model, scores, axis)


def less_common(model: Model, scores: gs.Tensor, axis: int) -> gs.Tensor:
    """Scores less what all have alike: terms of a sum, a bias, a part of the features that a layer weighs alike."""
    node, shape = producer(scores), list(scores.shape)
    if is_op(node, "Add", "Sum", "Sub"):
        own = [term for _, term in variables(node) if list(term.shape or ()) == shape]
        others = [list(term.shape) for term in node.inputs if all(term is not each for each in own)]
        alike = all(len(sizes) == 0 or (len(sizes) == len(shape) and sizes[axis] == 1) for sizes in others)
        if len(own) == 1 and alike and (node.op != "Sub" or node.inputs[0] is own[0]):
            return less_common(model, own[0], axis)
    if is_op(node, "Gemm", "MatMul") and all(isinstance(t, gs.Constant) for t in node.inputs[1:]):
        return of_layer(model, node, scores)
    return scores


def of_layer(model: Model, node: gs.Node, scores: gs.Tensor) -> gs.Tensor:
    """What a dense layer makes less a bias that is one number, and less a part of its features that it weighs alike."""
    source, weight, *biases = node.inputs
    join, value = producer(source), scores
    if biases and not np.ptp(biases[0].values):
        beta = np.float32(node.attrs.get("beta", 1.0))
        value = view(
            model, scores, fresh(model, f"{MADE}unbiased"), "Sub", value, beta * biases[0].values.reshape(-1)[:1]
        )
        biases = []
    if is_op(join, "Concat") and len(join.inputs) == 2 and not node.attrs:
        (features, common), table = join.inputs, np.asarray(weight.values)
        count = features.shape[-1]
        if isinstance(count, int) and not np.ptp(table[count:], axis=1).any():
            column = gs.Variable("", scores.dtype, (scores.shape[0], 1))
            column = view(model, column, fresh(model, f"{MADE}common"), "MatMul", common, table[count:, :1])
            value = view(model, scores, fresh(model, f"{MADE}own"), "Sub", value, column)
            source, weight = features, gs.Constant(f"{value.name}/weight", table[:count])
    if value is not scores:
        model.graph.nodes.append(gs.Node(node.op, value.name, dict(node.attrs), [source, weight, *biases], [value]))
    return value
