"""What a detector's outputs say: boxes, confidence, and what is left of them by non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.analysis.heads import BOX, Scores
from relcam_onnx.analysis.sides import form_of, tells_y_first
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results.detections import CONFIDENCE
from relcam_onnx.results.probabilities import probabilities
from relcam_onnx.runners.boxes import corners, overlaps
from relcam_onnx.runners.matching import matched

OVERLAP, MOST = 0.5, 20
"""A detection overlaps no better one of its class by more, and there are so many at most."""


@dataclass(frozen=True)
class Told:
    """What a detector's outputs say of N images.

    Attributes
    ----------
    shares
        (N, places, classes), 0 to 1, the background's 0.
    boxes
        (N, places, 4): left, top, right, bottom in the input's pixels, NaN where that is not told; None where the file
        has none.
    chosen
        The places and classes that the file detects by itself, best first, for each image; None where it does not, or
        tells other scores than those it chose by.
    """

    shares: Floats
    boxes: Floats | None
    chosen: Sequence[Sequence[tuple[int, int]] | None] | None = None

    def __getitem__(self, rows: slice) -> Told:
        """What is said of some of the images."""
        boxes = None if self.boxes is None else self.boxes[rows]
        return Told(self.shares[rows], boxes, None if self.chosen is None else self.chosen[rows])

    @classmethod
    def joined(cls, parts: Sequence[Told]) -> Told:
        """What is said of several batches as one."""
        boxes = [part.boxes for part in parts if part.boxes is not None]
        chosen = [own for part in parts for own in part.chosen or [None] * len(part.shares)]
        return cls(
            np.concatenate([part.shares for part in parts]),
            np.concatenate(boxes) if len(boxes) == len(parts) else None,
            chosen,
        )


def told(values: Mapping[str, NDArray[Any]], scores: Scores, choices: Choices, size: Size) -> Told:
    """Read what a detector's outputs say, and the tensors inside that they were chosen from.

    Parameters
    ----------
    values
        By name, those of ``scores.output`` and of `relcam_onnx.analysis.heads.Head.told_by`.
    scores, choices
        What the model has.
    size
        Height and width of its input.
    """
    head, y_first = scores.head, False
    boxes, raw = None, [np.asarray(values[name], np.float32) for name in head.levels or (scores.output,)]
    raw = [level[:, :, None] if level.ndim == 2 else level for level in raw]
    if head.boxes is not None:
        sides = [np.moveaxis(np.asarray(values[n], np.float32), head.boxes.axis, 2) for n in head.boxes.outputs]
        form = form_of(sides[0], head.boxes.form)
        seen = tells_y_first(sides[0], form) if head.boxes.y_first is None else head.boxes.y_first
        y_first = bool(seen)
        boxes = corners(sides, size, form, y_first=y_first)
    if head.joined is not None:
        shares = np.moveaxis(raw[0], head.joined, 2)[:, :, BOX:]
        shares = shares if head.objectness or choices.classes is None else shares[:, :, : choices.classes]
        shares = shares[:, :, 1:] * shares[:, :, :1] if head.objectness else shares
    else:
        shares = np.concatenate([np.moveaxis(level, head.axis, 2) for level in raw], axis=1)
        shared = scores.squashed_by is None and bool((shares >= 0).all() and (shares <= 1).all())
        if scores.unsquashed and not shared:
            flat = shares.reshape(-1, shares.shape[2])
            shares = probabilities(flat, scores.squashed_by, choices.classes).reshape(*shares.shape[:2], -1)
    if choices.background is not None:
        shares = shares.copy()
        shares[:, :, choices.background] = 0
    if head.rows is None:
        return Told(shares, boxes)
    return Told(shares, *matched(shares, boxes, values, head.rows, size, y_first=y_first))


def detections(found: Told, index: int) -> list[tuple[int, int]]:
    """Place and class of what is detected in one image, best first."""
    if found.chosen is not None and (own := found.chosen[index]) is not None:
        return list(own)[:MOST]
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
