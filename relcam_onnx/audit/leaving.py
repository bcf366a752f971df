"""What is not measured of a head because it would mean nothing there, by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.subjects import Subject

MOSAICS = {
    "detector": "what it detects in a mosaic has boxes of its own, and places.energy and places.peak ask for those",
    "segmenter": "a mosaic has a segment for each class, and places.energy and places.peak ask for those",
    "embedding": "a mosaic of four pictures is like none of them",
}
"""Why a head is not asked which tile of a mosaic shows a class."""
OUTPUTS = {
    "detector": "drift.top1, drift.kl and drift.largest are left out: drift.matched, lost, new, box-iou and confidence "
                "stand for them",
    "segmenter": "drift.top1, drift.kl and drift.largest are left out: drift.pixels and drift.miou stand for them",
    "embedding": "drift.kl and drift.largest are left out: drift.likeness stands for them",
}  # fmt: skip

QUANTITY = "one score that nothing squashes may be any quantity (if it is a yes or no, give two --labels)"
"""Why of such a score nothing is measured that needs a probability."""


OF_RIGHT = "faithfulness, sanity.weights, sanity.noise, sanity.moved (and with --full sanity.to-*, gradients)"
"""What is measured of right answers alone: see `experiments.sampled`."""


class Left(NamedTuple):
    """An experiment that is not made, or None where only some of its measures mean nothing; and a line on it."""

    experiment: str | None
    said: str


def left_out(model: Audited, subjects: Sequence[Subject], *, against: bool) -> Iterator[Left]:
    """All of that, ``against`` a reference or not."""
    kind = model.kind
    if subjects and not any(subject.right for subject in subjects):
        yield Left(None, f"{OF_RIGHT} are left out: they are of what the model is right about, and that is none of "
                   f"{len(subjects)}")  # fmt: skip
    if subjects and all(subject.second == subject.label for subject in subjects):
        why = "name a second picture with --like" if kind == "embedding" else "the model has one class"
        yield Left(None, f"sanity.second-class and sanity.random-class are left out: {why}")
    if model.whole.quantity:
        yield Left(None, f"faithfulness, but for single-deletion, is left out: {QUANTITY}")
        if against:
            yield Left(None, f"drift.top1 and drift.kl are left out, and drift.largest is of the values: {QUANTITY}")
    if kind == "classifier":
        return
    yield Left("grid", f"places.gridpg and places.pointing are left out: {MOSAICS[kind]}")
    yield Left("focus", f"places.focus is left out: {MOSAICS[kind]}")
    if against:
        yield Left(None, OUTPUTS[kind])
    if kind == "embedding":
        yield Left(None, "faithfulness.single-deletion-log is left out: a cosine has no logarithm")
        yield Left("region", "places.energy and places.peak are left out: an embedding marks no region of its own")
    elif subjects and all(subject.spot.region is None for subject in subjects):
        yield Left("region", "places.energy, places.peak and sanity.moved are left out: the file tells no boxes")
