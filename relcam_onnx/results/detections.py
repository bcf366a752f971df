"""What a detector found: boxes with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relcam_onnx.pictures.geometry import Floats, Geometry

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; the upper left corner is (0, 0)."""
CONFIDENCE = 0.25
"""What is detected scores more."""


@dataclass(frozen=True)
class Detection:
    """One of them.

    Attributes
    ----------
    box
        In the picture's pixels, in the input's where arrays were explained; None where the file has no boxes.
    label
        Of its class, or None.
    score
        What the model says of it, 0 to 1.
    place, index
        Which anchor or query it is, and its class.
    """

    box: Box | None
    label: str | None
    score: float
    place: int
    index: int


@dataclass(frozen=True)
class Detected:
    """What a detector's outputs say of its targets.

    Attributes
    ----------
    boxes
        (N, K, 4): left, top, right, bottom in the input's pixels; None where the file has none.
    shares
        (N, K): what they say of each, 0 to 1.
    best
        (N,): the most that it says of anything in an image.
    """

    boxes: Floats | None
    shares: Floats
    best: Floats

    def rows(self, rows: slice) -> Detected:
        """Those of some of the images."""
        return Detected(None if self.boxes is None else self.boxes[rows], self.shares[rows], self.best[rows])

    @classmethod
    def joined(cls, parts: Sequence[Detected]) -> Detected:
        """Those of several batches as one."""
        boxes = [part.boxes for part in parts if part.boxes is not None]
        others = (np.concatenate(values) for values in zip(*((p.shares, p.best) for p in parts), strict=True))
        return cls(np.concatenate(boxes) if boxes else None, *others)


def in_picture(box: np.ndarray, geometry: Geometry | None) -> Box:
    """A box in the model's input, (4,), as it lies in the picture, cut off at its edges."""
    if geometry is None:
        left, top, right, bottom = map(float, box)
        return left, top, right, bottom
    down, across = (
        np.clip((box[[1 - axis, 3 - axis]] - geometry.offset[axis]) / geometry.scale[axis], 0, geometry.original[axis])
        for axis in (0, 1)
    )
    return float(across[0]), float(down[0]), float(across[1]), float(down[1])
