"""What stands behind a classifier's scores, however it is written: it is known by what it makes of numbers.

Shares may be put in another order, bounded away from 0, divided by their sum, or told by both of two classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.drawn import told_as_they_are
from relcam_onnx.analysis.heads import ONE_VS_REST, Scores, holds_scores
from relcam_onnx.analysis.shifted import OPS, softmax
from relcam_onnx.analysis.stepping import is_table
from relcam_onnx.backends._elementwise import sigmoid
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import made
from relcam_onnx.model import Model, fixed_batch, producer, static_shape

CLOSE = 1e-2
"""What was kept away from 0 by a small number differs by less, as a part of the share, or of its logarithm."""
ROWS, TIMES, FAR = 8, 4, 8
"""Numbers are drawn so often, from -1 to 1; what hands on scores as they are does so ``FAR`` further, too."""


class Squash(NamedTuple):
    """What shares are to scores (n, classes), the op that is said to stand behind them, and the scores' sign."""

    name: str | None
    curve: Callable[[np.ndarray], np.ndarray]
    sign: int = 1


SQUASHES = (
    Squash("Softmax", softmax),
    Squash("LogSoftmax", lambda x: np.log(softmax(x))),
    Squash("Sigmoid", sigmoid),
    Squash(ONE_VS_REST, lambda x: np.asarray(sigmoid(x) / sigmoid(x).sum(axis=1, keepdims=True))),
    Squash("Softmax", lambda x: softmax(-x), -1),
    Squash("Sigmoid", lambda x: sigmoid(-x), -1),
    Squash("Sigmoid", lambda x: np.log(sigmoid(x))),
    Squash("LogSoftmax", lambda x: -np.log(softmax(x))),
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
    if (found := before_tail(model, output)) is not None:
        return found
    alone = with_axis(model, output)
    return Scores(alone, output.name, told_as_they_are(model, alone, 1))


def recognised(model: Model, piece: Piece) -> Scores | None:
    """The scores that a piece begins with, where it is such a tail."""
    sizes, after = sizes_of(piece.source), sizes_of(piece.result)
    if sizes is None or after is None:
        return None
    count, classes = math.prod(sizes), math.prod(after)
    both = (count, classes) == (1, 2)
    values = runs_of(model, piece) if both or count == classes else None
    if values is None:
        return None
    x, y = values
    near, x = len(x) // 2, sides(x) if both else x
    for squash in SQUASHES:
        end = None if squash.name is None else near
        wanted, told = squash.curve(x[:end]), y[:end]
        turned = np.argsort(wanted[0])[np.argsort(np.argsort(told[0]))]  # the score that each share is made of
        wanted = wanted[:, turned]
        if (np.abs(told - wanted) <= CLOSE * np.maximum(np.abs(wanted), CLOSE * (squash.name is None))).all():
            start = two_sides(model, piece.source) if both else with_axis(model, piece.source)
            return Scores(in_order(model, signed(model, start, squash.sign), turned), piece.result.name, squash.name)
    return None


def runs_of(model: Model, piece: Piece) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores near 0, then others further away, (n, scores), and what a piece makes of them, (n, classes)."""
    sizes, rows = sizes_of(piece.source) or (), fixed_batch(model.graph.inputs) or ROWS
    rng = np.random.default_rng(0)
    runs = [rng.uniform(-1, 1, (rows, *sizes)) * (FAR if time >= TIMES else 1) for time in range(2 * TIMES)]
    values = [piece.values(x) for x in runs]
    classes = math.prod(sizes_of(piece.result) or ())
    made_of = [y.reshape(rows, -1) for y in values if y is not None and y.size == rows * classes and len(y) == rows]
    if len(made_of) < len(runs) or not all(np.isfinite(y).all() for y in made_of):
        return None
    return np.concatenate(runs).reshape(-1, math.prod(sizes)), np.concatenate(made_of)


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


def sides(x: np.ndarray) -> np.ndarray:
    """Nothing for the first of two classes, and one score for the second."""
    return np.concatenate([0 * x, x], axis=1)


def two_sides(model: Model, score: gs.Tensor) -> gs.Tensor:
    """`sides` in the graph."""
    score = with_axis(model, score)
    nothing = made(model, "Mul", [score, np.zeros(1, np.float32)], score.shape)
    return made(model, "Concat", [nothing, score], (score.shape[0], 2, *score.shape[2:]), axis=1)


def in_order(model: Model, scores: gs.Tensor, order: np.ndarray) -> gs.Tensor:
    """Scores in another order; as they are where that is theirs."""
    if (order == np.arange(len(order))).all():
        return scores
    return made(model, "Gather", [scores, order.astype(np.int64)], scores.shape, axis=1)
