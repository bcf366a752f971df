"""What a detector's outputs say: boxes, confidence, and what is left of them by non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.analysis.heads import BOX
from relcam_onnx.analysis.scores import Scores
from relcam_onnx.errors import TargetError
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results.detections import CONFIDENCE
from relcam_onnx.results.probabilities import probabilities

OVERLAP, MOST = 0.5, 20
"""A detection overlaps no better one of its class by more, and there are so many at most."""
REVERSED = 0.05
"""Where more of them end before they begin, they are no boxes yet: offsets from priors, or logarithms."""
STRIDES = (4, 8, 16, 32, 64, 128)
NORMALISED = 1.5
"""Boxes are shares of the picture where three quarters of those that are any lie within so many of it."""


class Told(NamedTuple):
    """What a detector's outputs say of N images.

    Attributes
    ----------
    shares
        (N, places, classes), 0 to 1, the background's 0.
    boxes
        (N, places, 4): left, top, right, bottom in the input's pixels; None where the file has none.
    """

    shares: Floats
    boxes: Floats | None


def told(outputs: Mapping[str, NDArray[Any]], scores: Scores, choices: Choices, size: Size) -> Told:
    """Read a detector's outputs, its input (height, width) large.

    Raises
    ------
    TargetError
        The scores are no output of the file.
    """
    head = scores.head
    if scores.output not in outputs:
        raise TargetError(
            f"tensor {scores.output!r} is no output, so what is detected cannot be read: give targets (N, K, 2), place "
            "and class"
        )
    boxes, raw = None, [np.asarray(outputs[name], np.float32) for name in head.levels or (scores.output,)]
    if head.boxes is not None:
        sides = [np.moveaxis(np.asarray(outputs[n], np.float32), head.boxes.axis, 2) for n in head.boxes.outputs]
        boxes = corners(sides, size, head.boxes.form)
    if head.boxes is not None and head.boxes.outputs == (scores.output,):
        shares = np.moveaxis(raw[0], head.boxes.axis, 2)[:, :, BOX:]
        shares = shares if head.objectness or choices.classes is None else shares[:, :, : choices.classes]
        shares = shares[:, :, 1:] * shares[:, :, :1] if head.objectness else shares
    else:
        shares = np.concatenate([np.moveaxis(level, head.axis, 2) for level in raw], axis=1)
        if scores.squashed_by in (None, "LogSoftmax"):
            flat = shares.reshape(-1, shares.shape[2])
            shares = probabilities(flat, scores.squashed_by, choices.classes).reshape(*shares.shape[:2], -1)
    if choices.background is not None:
        shares = shares.copy()
        shares[:, :, choices.background] = 0
    return Told(shares, boxes)


def corners(levels: Sequence[Floats], size: Size, form: str) -> Floats | None:
    """Boxes of all levels, each (N, places, ...), as left, top, right, bottom in pixels, (N, places, 4).

    None where they are none yet, or a level's stride is not told.
    """
    if form == "distances":
        found = [around_cells(level, size) for level in levels]
        known = [boxes for boxes in found if boxes is not None]
        return np.concatenate(known, axis=1) if len(known) == len(found) else None
    boxes = levels[0][:, :, :BOX]
    if form == "centred":
        middle, half = boxes[:, :, :2], boxes[:, :, 2:] / 2
        boxes = np.concatenate([middle - half, middle + half], axis=2)
    if (boxes[:, :, :2] > boxes[:, :, 2:]).mean() > REVERSED:
        return None
    far = np.abs(boxes).max(axis=2)
    if far.any() and np.quantile(far[far > 0], 0.75) <= NORMALISED:
        boxes = boxes * np.array([size[1], size[0]] * 2, np.float32)
    return boxes


def sides_of(box: Any) -> NDArray[np.float64]:
    """A box that is asked for, (4,).

    Raises
    ------
    TargetError
        It is none.
    """
    try:
        sides = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        sides = np.zeros(0)
    if sides.shape != (4,) or not (sides[:2] < sides[2:]).all():
        raise TargetError(f"a box is left, top, right and bottom, not {box!r}")
    return sides


def around_cells(level: Floats, size: Size) -> Floats | None:
    """Boxes by the distances of their sides from the middles of a level's cells; None where its stride is not told.

    Each distance is the mean of a distribution over 0, 1, ... cells, whose logits are given (Li et al. 2020,
    Generalized Focal Loss, arXiv:2006.04388, eq. 6).
    """
    count = level.shape[1]
    strides = [s for s in STRIDES if -(-size[0] // s) * -(-size[1] // s) == count]
    if not strides:
        return None
    stride, across = strides[0], -(-size[1] // strides[0])
    logits = level.reshape(*level.shape[:2], BOX, -1).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=3, keepdims=True))
    away = (powers * np.arange(powers.shape[3])).sum(axis=3) / powers.sum(axis=3) * stride
    down, right = np.divmod(np.arange(count), across)
    middle = (np.stack([right, down, right, down], axis=1) + 0.5) * stride
    return np.asarray(middle + away * [-1, -1, 1, 1], np.float32)


def detections(found: Told, index: int) -> list[tuple[int, int]]:
    """Place and class of what is detected in one image, best first."""
    shares = found.shares[index]
    best, classes = shares.max(axis=1), shares.argmax(axis=1)
    kept: list[int] = []
    for place in np.argsort(-best, kind="stable"):
        if best[place] <= CONFIDENCE or len(kept) == MOST:
            break
        alike = [other for other in kept if classes[other] == classes[place]]
        boxes = found.boxes
        if boxes is None or not alike or overlaps(boxes[index, place], boxes[index, alike]).max() <= OVERLAP:
            kept.append(int(place))
    return [(place, int(classes[place])) for place in kept]


def overlaps(box: NDArray[Any], boxes: NDArray[Any]) -> Floats:
    """Intersection over union of a box, (4,), with others, (M, 4)."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    inner = np.prod(np.maximum(sides, 0), axis=1)
    outer = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - inner
    return np.asarray(inner / np.maximum(outer, 1e-9), np.float32)
