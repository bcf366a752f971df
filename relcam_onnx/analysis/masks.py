"""Segmenters whose outputs are not scores of pixels any more: painted masks, a channel alone, pixels in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.deciding import decides, scales
from relcam_onnx.analysis.heads import Head, Scores, holds_scores
from relcam_onnx.analysis.stepping import SQUASHING, of_turned, step_back
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import all_unsquashed, keeps, made
from relcam_onnx.model import Model, is_constant, producer, static_shape, variables

PIXELS = 4
"""The rank of (N, classes, h, w)."""
MOVES = ("Cast", "Identity", "Transpose")
PAINTS = ("Clip", "Floor", "Round")
"""What stands around a factor that makes grey values of shares."""
MADE_OF = frozenset({*MOVES, *PAINTS, *RESHAPES, "Equal", "Gather", "Mul", "Div", "Not", "ReduceMax", "Slice", "Where"})
"""What may stand between scores of pixels and a mask that is refused."""


def unpainted(tensor: gs.Tensor) -> gs.Tensor:
    """Shares before they are made grey values, bounded or enlarged; classes before they are turned; others as they are.

    What is enlarged as shares is no logit any more, and its middle is no 0.
    """
    current, painted, turned = tensor, False, False
    while (node := producer(current)) is not None and not decides(node):
        if not (is_op(node, "Resize", *MOVES, *PAINTS) or scales(node)):
            break
        painted |= scales(node) or is_op(node, "Resize") or (is_op(node, "Clip") and keeps(node))
        turned |= is_op(node, "Transpose")
        current = next((t for _, t in variables(node)), current)
    ends = (painted and is_op(node, "Sigmoid", "Softmax")) or (turned and is_op(node, "ArgMax"))
    return current if ends else tensor


def of_channel(model: Model, output: gs.Tensor, *, named: bool) -> Scores | None:
    """Scores of a channel that was picked, (N, h, w), behind a sigmoid, with an axis for it; any where ``named``."""
    if len(output.shape or ()) != PIXELS - 1 or not holds_scores(output):
        return None
    found = all_unsquashed(model, output)
    scores = step_back(output, places=True) if found is None else Scores(found, output.name, "Sigmoid")
    source = picked_from(scores.tensor)
    if is_share(scores.tensor) or not (named or (source is not None and scores.squashed_by == "Sigmoid")):
        return None
    shape = (scores.tensor.shape[0], 1, *scores.tensor.shape[1:])
    if source is None:
        wide = made(model, "Unsqueeze", [scores.tensor, np.array([1])], shape)
    else:
        wide = made(model, "Gather", source, shape, axis=1)
    head = Head("segmenter", 1, apart=True)
    return Scores(wide, output.name, scores.squashed_by, head)


def picked_from(tensor: gs.Tensor) -> list[gs.Tensor | np.ndarray] | None:
    """Scores (N, classes, h, w) that one class was picked from, and its number, (1); None where nothing was."""
    node = producer(tensor)
    if node is None or not is_op(node, "Gather") or node.attrs.get("axis", 0) != 1 or not is_constant(node.inputs[1]):
        return None
    whole = len(node.inputs[0].shape or ()) == PIXELS
    return [node.inputs[0], np.asarray(node.inputs[1].values, np.int64).reshape(1)] if whole else None


def is_share(tensor: gs.Tensor) -> bool:
    """Whether a tensor is one of the shares of a Softmax, or what was decided: no score of it alone."""
    node = producer(tensor)
    while is_op(node, "Gather", "Slice", *MOVES, *RESHAPES):
        node = producer(node.inputs[0])
    return is_op(node, "Softmax", "Equal", "ArgMax")


def of_rows(model: Model, output: gs.Tensor, *, named: bool) -> Scores | None:
    """Pixels in rows, (N, h · w, classes), that a softmax is made of, as Keras has them; any where ``named``."""
    rows, squashed, wide = static_shape(output), None, None
    if rows is None or len(rows) != PIXELS - 1 or None in rows[1:] or rows[1] == rows[2]:
        return None
    last, current = rows, output
    while (node := producer(current)) is not None and len(current.shape or ()) == PIXELS - 1:
        last = static_shape(current) or rows
        if node.op in SQUASHING and squashed is None:
            squashed, wide = node.op, last[int(node.attrs.get("axis", -1))]
        elif not is_op(node, *MOVES, *RESHAPES):
            return None
        current = node.inputs[0]
    grid = static_shape(current) or ()
    if len(grid) != PIXELS or None in grid[1:]:
        return None
    sides = {axis: [size or 0 for i, size in enumerate(grid) if i not in (0, axis)] for axis in (1, 3)}
    fitting = [
        axis
        for axis, place in ((1, 1), (3, 2))
        if grid[axis] == last[place] and prod(sides[axis]) == last[3 - place] and min(sides[axis]) > 1
    ]
    if len(fitting) != 1 or (squashed not in (None, "Sigmoid") and wide != grid[fitting[0]]):
        return None
    scores = of_turned(model, current)[0] if squashed is None else Scores(current, current.name, squashed)
    if not named and scores.squashed_by not in ("Softmax", "LogSoftmax"):
        return None
    head = Head("segmenter", fitting[0], apart=scores.squashed_by == "Sigmoid")
    return replace(scores, output=current.name, head=head)


def made_of(model: Model, outputs: Sequence[gs.Tensor]) -> gs.Tensor | None:
    """The scores or shares of pixels nearest to outputs that are made of such; None where there are none."""
    told = {name for node in model.proto.graph.node for name in node.output}
    waiting, chosen, seen = list(outputs), False, set[tuple[str, bool]]()
    while waiting:
        tensor = waiting.pop(0)
        node = producer(tensor)
        if node is None or (tensor.name, chosen) in seen:
            continue
        seen.add((tensor.name, chosen))
        ends = chosen or is_op(node, "Softmax", "Sigmoid")
        if ends and len(tensor.shape or ()) == PIXELS and holds_scores(tensor) and not is_op(node, *MADE_OF):
            return tensor if tensor.name in told and tensor not in outputs else None
        if is_op(node, "ArgMax", *MADE_OF) or decides(node):
            chosen |= is_op(node, "ArgMax")
            waiting += [part for _, part in variables(node)]
    return None
