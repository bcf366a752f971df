"""What stands behind a classifier's scores, however it is written: it is known by what it makes of numbers.

Shares may be put in another order, bounded away from 0, divided by their sum, or told by both of two classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import ONE_VS_REST, Scores, holds_scores
from relcam_onnx.analysis.stepping import is_table
from relcam_onnx.backends._elementwise import sigmoid
from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import made
from relcam_onnx.model import Model, fixed_batch, producer, static_shape

OPS = ELEMENTWISE | {
    "BatchNormalization", "Cast", "Concat", "Expand", "Gather", "Gemm", "HardSigmoid", "Identity", "LogSoftmax",
    "LpNormalization", "MatMul", "Mean", "ReduceL1", "ReduceLogSumExp", "ReduceMax", "ReduceSum", "Slice", "Softmax",
    "Sum", "Transpose", *RESHAPES,
}  # fmt: skip
"""What it is made of."""
CLOSE = 1e-2
"""What was kept away from 0 by a small number differs by less, as a part of the share, or of its logarithm."""
ROWS, TIMES, FAR = 8, 4, 8
"""Numbers are drawn so often, from -1 to 1; what hands on scores as they are does so ``FAR`` further, too."""


class Squash(NamedTuple):
    """What shares are to scores (n, classes), the op that is said to stand behind them, and the scores' sign."""

    name: str | None
    curve: Callable[[np.ndarray], np.ndarray]
    sign: int = 1


def softmax(x: np.ndarray) -> np.ndarray:
    """Of scores that are not large."""
    return np.asarray(np.exp(x) / np.exp(x).sum(axis=1, keepdims=True))


SQUASHES = (
    Squash("Softmax", softmax),
    Squash("LogSoftmax", lambda x: np.log(softmax(x))),
    Squash("Sigmoid", sigmoid),
    Squash(ONE_VS_REST, lambda x: np.asarray(sigmoid(x) / sigmoid(x).sum(axis=1, keepdims=True))),
    Squash("Softmax", lambda x: softmax(-x), -1),
    Squash("Sigmoid", lambda x: sigmoid(-x), -1),
    Squash("Sigmoid", lambda x: np.log(sigmoid(x))),
    Squash(None, lambda x: x),
)


def before_tail(model: Model, tensor: gs.Tensor) -> Scores | None:
    """The scores nearest to a table of which what is behind them makes shares, logarithms of such, or log odds.

    The graph gets them in the table's order, and both of two classes where the table tells both and one score decides.
    """
    order, odds = places(model.graph), None
    for piece in pieces(tensor, order, OPS):
        if len(piece.nodes) > 1 and sizes_of(piece.source) is not None:
            found = recognised(model, piece)
            if found is not None and found.squashed_by is not None:
                return found
            odds = found or odds
    return odds


def of_vector(model: Model, output: gs.Tensor) -> Scores | None:
    """One score for each image whose axis of classes the file took away, (N,), before what stands behind it."""
    sizes = [t.shape[0] for t in model.graph.inputs if t.shape]
    if not holds_scores(output) or len(output.shape or ()) != 1 or output.shape[0] not in sizes:
        return None
    node = producer(output)
    if is_op(node, "Sigmoid"):
        return Scores(with_axis(model, node.inputs[0]), output.name, "Sigmoid")
    return before_tail(model, output) or Scores(with_axis(model, output), output.name, None)


def recognised(model: Model, piece: Piece) -> Scores | None:
    """The scores that a piece begins with, where it is such a tail."""
    sizes, after = sizes_of(piece.source), sizes_of(piece.result)
    if sizes is None or after is None:
        return None
    count, classes = math.prod(sizes), math.prod(after)
    both = (count, classes) == (1, 2)
    if not (both or count == classes):
        return None
    rng = np.random.default_rng(0)
    rows = fixed_batch(model.graph.inputs) or ROWS
    runs = [rng.uniform(-1, 1, (rows, *sizes)) * (FAR if time >= TIMES else 1) for time in range(2 * TIMES)]
    values = [piece.values(x) for x in runs]
    made_of = [y.reshape(rows, -1) for y in values if y is not None and y.size == rows * classes and len(y) == rows]
    if len(made_of) < len(runs) or not all(np.isfinite(y).all() for y in made_of):
        return None
    near, x, y = TIMES * rows, np.concatenate(runs).reshape(-1, count), np.concatenate(made_of)
    x = np.concatenate([0 * x, x], axis=1) if both else x
    for squash in SQUASHES:
        end = None if squash.name is None else near
        wanted, told = squash.curve(x[:end]), y[:end]
        turned = np.argsort(wanted[0])[np.argsort(np.argsort(told[0]))]  # the score that each share is made of
        wanted = wanted[:, turned]
        if (np.abs(told - wanted) <= CLOSE * np.maximum(np.abs(wanted), CLOSE * (squash.name is None))).all():
            start = two_sides(model, piece.source) if both else with_axis(model, piece.source)
            return Scores(in_order(model, signed(model, start, squash.sign), turned), piece.result.name, squash.name)
    return None


def sizes_of(tensor: gs.Tensor) -> tuple[int, ...] | None:
    """Behind the batch, those of a table or of one number for each image; None where it is neither, or not known."""
    shape = static_shape(tensor)
    if shape is None or not (is_table(tensor) or len(shape) == 1) or (len(shape) > 1 and None in shape[1:]):
        return None
    sizes = tuple(size or 0 for size in shape[1:])
    return sizes if math.prod(sizes[1:]) == 1 else None


def with_axis(model: Model, scores: gs.Tensor) -> gs.Tensor:
    """Scores with an axis for the only class where they have none."""
    alone = len(scores.shape) == 1
    return made(model, "Unsqueeze", [scores, np.array([1])], (*scores.shape, 1)) if alone else scores


def signed(model: Model, scores: gs.Tensor, sign: int) -> gs.Tensor:
    """Scores, or their negatives."""
    return scores if sign > 0 else made(model, "Mul", [scores, -np.ones(1, np.float32)], scores.shape)


def two_sides(model: Model, score: gs.Tensor) -> gs.Tensor:
    """Nothing for the first of two classes, and one score for the second."""
    score = with_axis(model, score)
    nothing = made(model, "Mul", [score, np.zeros(1, np.float32)], score.shape)
    return made(model, "Concat", [nothing, score], (score.shape[0], 2, *score.shape[2:]), axis=1)


def in_order(model: Model, scores: gs.Tensor, order: np.ndarray) -> gs.Tensor:
    """Scores in another order; as they are where that is theirs."""
    if (order == np.arange(len(order))).all():
        return scores
    return made(model, "Gather", [scores, order.astype(np.int64)], scores.shape, axis=1)
