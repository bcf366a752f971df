"""What a report calls things, by the head that it is of."""

from __future__ import annotations

from typing import NamedTuple

from relcam_onnx.audit.model import Audited


class Words(NamedTuple):
    """A head's own words.

    Attributes
    ----------
    head
        What such a model is.
    subjects
        What is asked about: pictures, or what is found in them.
    region
        What the model itself marks in a picture.
    share
        What says how sure it is, `Spot.shares`.
    another
        What a wrong answer does.
    other
        What two files have that do not agree.
    unrelated
        What is asked at random beside a subject's class.
    """

    head: str
    subjects: str
    region: str
    share: str = "probability"
    another: str = "puts another class first on"
    other: str = "have another top class on"
    unrelated: str = "unrelated classes"

    def says(self, text: str) -> str:
        """A line of a measure, which may speak of ``{share}``."""
        return text.format(share=self.share)

    def written(self, share: float) -> str:
        """How sure the model is, as a reader takes it: a probability as a percentage."""
        return f"{100 * share:.0f} %" if self.share == "probability" else f"{self.share} {share:.3g}"


WORDS: dict[str, Words] = {
    "classifier": Words("a classifier", "pictures", "region"),
    "detector": Words("a detector", "detections", "detection's box", unrelated="unrelated classes at one place"),
    "segmenter": Words("a segmenter", "segments", "class's segment", unrelated="unrelated classes over one region"),
    "embedding": Words(
        "an embedding", "pictures", "region", share="cosine",
        another="finds another of --like more alike in", other="find another of --like most alike in",
        unrelated="what pictures may be like",
    ),
}  # fmt: skip
"""Kind of model -> its words."""


def words_of(model: Audited) -> Words:
    """Those of a model; what nothing squashes is a value, and no probability."""
    words = WORDS[model.kind]
    return words._replace(share="value") if model.whole.quantity else words
