"""What a detector's outputs say: boxes, confidence, and what is left of them by non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.analysis.heads import BOX
from relcam_onnx.analysis.scores import Scores
from relcam_onnx.errors import TargetError
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results.probabilities import probabilities

CONFIDENCE, OVERLAP, MOST = 0.25, 0.5, 20
"""A detection has more confidence, overlaps no better one of its class by more, and there are so many at most."""
NORMALISED = (-0.5, 1.5)
"""Boxes whose every number lies within are shares of the picture."""


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
    raw, boxes = outputs[scores.output], None
    if head.boxes is not None:
        table = np.moveaxis(np.asarray(outputs[head.boxes.output], np.float32), head.boxes.axis, 2)
        boxes = corners(table[:, :, :BOX], size, centred=head.boxes.centred)
    if head.boxes is not None and head.boxes.output == scores.output:
        shares = np.moveaxis(np.asarray(raw, np.float32), head.boxes.axis, 2)[:, :, BOX:]
        shares = shares[:, :, 1:] * shares[:, :, :1] if head.objectness else shares
    else:
        shares = np.moveaxis(np.asarray(raw, np.float32), head.axis, 2)
        if scores.squashed_by in (None, "LogSoftmax"):
            flat = shares.reshape(-1, shares.shape[2])
            shares = probabilities(flat, scores.squashed_by, choices.classes).reshape(*shares.shape[:2], -1)
    if choices.background is not None:
        shares = shares.copy()
        shares[:, :, choices.background] = 0
    return Told(shares, boxes)


def corners(boxes: Floats, size: Size, *, centred: bool) -> Floats:
    """Boxes (N, places, 4) as left, top, right, bottom in pixels."""
    if centred:
        middle, half = boxes[:, :, :2], boxes[:, :, 2:] / 2
        boxes = np.concatenate([middle - half, middle + half], axis=2)
    low, high = NORMALISED
    if boxes.size and boxes.min() >= low and boxes.max() <= high:
        boxes = boxes * np.array([size[1], size[0]] * 2, np.float32)
    return boxes


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
