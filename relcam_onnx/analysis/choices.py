"""What targets choose among: the classes of a head, and its places where one is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from relcam_onnx.analysis.heads import APART, EACH_ITS_SHARE, SHARES, Head, Scores
from relcam_onnx.model import static_shape


class Choices:
    """What the scores of a model and its labels tell.

    Attributes
    ----------
    head
        How scores are seen.
    columns
        The number of scores; None where only a run knows, as for all that follow.
    paired
        Whether two labels share a single score: the negative class and the positive one.
    classes
        The number of classes.
    count
        The number of targets there are: classes, or places times classes where a place is chosen.
    middle
        What a score has to be above to win by itself: 0, and a share one half.
    background
        The class that is none, by its label, of a recogniser's characters the blank; None where there is none.
    apart
        Whether a place may have several classes, or none: each above the middle. A background is a rival of all others.
    unnamed
        What is said of labels that are one too few.
    """

    def __init__(self, scores: Scores, labels: Sequence[str] | None) -> None:
        self.head: Head = scores.head
        behind = (static_shape(scores.tensor) or (None,))[1:]
        known = [size for size in behind if size is not None]
        self.columns = int(np.prod(known)) if behind and len(known) == len(behind) else None
        own = self.columns if self.head.kind == "classifier" else behind[self.head.axis - 1]
        self.paired = own == 1 and len(labels or ()) == 2 and self.head.kind != "detector"
        self.middle = 0.5 if scores.squashed_by in (SHARES, EACH_ITS_SHARE) else 0.0
        self.classes = 2 if self.paired else own
        self.count = self.columns if self.head.kind == "detector" else self.classes
        names = enumerate(labels if labels and (own is None or len(labels) <= own) else ())
        none = ("background", "blank") if self.head.kind == "detector" else ("background",)
        self.background = next((place for place, name in names if name.strip("_<>[]").lower() in none), None)
        detects, boxes = self.head.kind == "detector", self.head.boxes
        raw = detects and self.head.rows is None and scores.squashed_by not in APART
        self.unnamed = ""
        if raw and boxes is None:  # the one without a name may be the first, the last, or a space
            self.unnamed = ", the blank of a recogniser among them: first as a rule, or last"
        elif raw and boxes is not None and boxes.anchored:  # SSD's is the first, mmdetection's the last
            self.unnamed = ", the background among them, where it stands: first as a rule, or last"
        elif detects and scores.squashed_by not in APART and labels and own == len(labels) + 1:
            self.background = own - 1  # "no object", as DETR has it, behind the classes that have names
        alone = self.head.kind == "segmenter" and own == 1 and not self.paired
        self.apart = alone or (self.head.apart and not self.paired and self.background is None)
