"""Which detections of two lists are of one object: of one class, and boxes that overlap by at least a half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from relcam_onnx.audit.model import Audited
from relcam_onnx.pictures.finding import Found
from relcam_onnx.results.detections import Detection
from relcam_onnx.runners.boxes import overlaps
from relcam_onnx.runners.found import OVERLAP


class Pair(NamedTuple):
    """Places in two lists, and the intersection over union of the two boxes."""

    mine: int
    theirs: int
    iou: float


def pairs(mine: Sequence[Detection], theirs: Sequence[Detection]) -> list[Pair]:
    """Greedily: each of ``theirs``, the surest first, takes the one left of ``mine`` whose box overlaps its own most.

    That is how COCO's average precision matches. Where a file tells no boxes, one place and class are one detection.
    """
    left, found = list(range(len(mine))), []
    for place in sorted(range(len(theirs)), key=lambda place: -theirs[place].score):
        shared = {other: alike(mine[other], theirs[place]) for other in left}
        best = max(left, key=lambda other: shared[other], default=None)
        if best is not None and shared[best] >= OVERLAP:
            found.append(Pair(best, place, shared[best]))
            left.remove(best)
    return found


class Unmatched(NamedTuple):
    """A detection that only one of two files has; ``only`` says which, "model" or "reference"."""

    picture: str
    only: str
    detection: Detection


def unmatched(pictures: Sequence[Found], model: Audited, reference: Audited | None) -> list[Unmatched]:
    """All of some pictures, of two detectors."""
    found: list[Unmatched] = []
    for picture in pictures if reference is not None and model.kind == "detector" else ():
        assert reference is not None
        sides = {"reference": reference.detections(picture.path), "model": model.detections(picture.path)}
        both = pairs(sides["model"], sides["reference"])
        met = {"reference": {pair.theirs for pair in both}, "model": {pair.mine for pair in both}}
        for only, every in sides.items():
            found += [Unmatched(picture.name, only, each) for n, each in enumerate(every) if n not in met[only]]
    return found


def alike(one: Detection, other: Detection) -> float:
    """How much the boxes of two detections of one class overlap; 0 where they are of two."""
    if one.index != other.index:
        return 0.0
    if one.box is None or other.box is None:
        return float(one.place == other.place)
    return float(overlaps(np.array(one.box), np.array([other.box]))[0])


def compared(mine: Sequence[Detection], theirs: Sequence[Detection]) -> dict[str, float]:
    """How two lists of one picture agree: NaN where nothing is there to be compared."""
    found = pairs(mine, theirs)
    every = len(mine) + len(theirs) - len(found)
    apart = [abs(mine[pair.mine].score - theirs[pair.theirs].score) for pair in found]
    return {
        "matched": len(found) / every if every else float("nan"),
        "lost": float(len(theirs) - len(found)),
        "new": float(len(mine) - len(found)),
        "box": float(np.mean([pair.iou for pair in found])) if found else float("nan"),
        "confidence": float(np.mean(apart)) if found else float("nan"),
    }
