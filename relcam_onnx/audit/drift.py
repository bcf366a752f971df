"""Does one file still say and see what another does: outputs and maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import APART
from relcam_onnx.audit import metrics
from relcam_onnx.audit.asking import won
from relcam_onnx.audit.experiments import Item, log
from relcam_onnx.audit.kept import REFERENCE, Kept
from relcam_onnx.audit.matching import compared, pairs
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.planes import Maps, planes
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.same_task import check_same_task
from relcam_onnx.audit.spots import Likeness, Place, Segment
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.audit.written import WrittenMaps
from relcam_onnx.errors import ModelFileError
from relcam_onnx.pictures import finding
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.detections import Detection
from relcam_onnx.results.render import resize_map

OUTPUTS = "outputs"
"""What stands for a layer where outputs are compared."""
HALF = 0.5
"""Over it a single probability says yes."""


class Reference(Protocol):
    """What a model is held against."""

    @property
    def digests(self) -> list[str]:
        """What tells it from any other."""

    def notes(self, subjects: Sequence[Subject]) -> list[str]:
        """What is to be said of it beforehand; `OptionError` where nothing can be compared."""

    def look(self, subject: Subject) -> tuple[dict[str, float], Maps]:
        """How the subject's outputs differ, as far as they can be told; and layer -> (1, h, w) for its class."""


class OtherFile:
    """Another model, asked as the audited one is.

    Raises
    ------
    InputError
        They do not do the same task.
    """

    def __init__(self, model: Audited, reference: Audited) -> None:
        check_same_task(model, reference)
        self._model, self._reference = model, reference

    @property
    def digests(self) -> list[str]:
        """See `Reference`."""
        return [self._reference.prepared.model.sha256, repr(self._reference.pictures.preprocess)]

    def notes(self, subjects: Sequence[Subject]) -> list[str]:
        """See `Reference`: whether both files see the same part of pictures, in the same size."""
        sizes = [audited.pictures.preprocess for audited in (self._reference, self._model)]
        if len({(how.size, how.resize, how.resize_size) for how in sizes}) == 1:
            return []
        how = [f"{each.resize} to {each.size or each.resize_size or 'the size that they have'}" for each in sizes]
        return [f"the reference reads pictures {how[0]}, the model {how[1]}: what differs may be due to that alone"]

    def look(self, subject: Subject) -> tuple[dict[str, float], Maps]:
        """See `Reference`."""
        x, spot = self._reference.read(subject.file)[None], subject.spot
        if isinstance(spot, Place):
            other = self._counterpart(subject, spot)
            return {}, {} if other is None else planes(self._reference.explain(x, [(other.place, other.index)]))
        explained = self._reference.explain(x, subject.targets(subject.label))
        if isinstance(spot, Segment):
            return {}, planes(explained)
        if isinstance(spot, Likeness):
            cosines = self._reference.scores(x)[0]
            return of_cosines(subject, cosines), planes(explained)
        if spot.quantity:
            return {"largest": float(abs(subject.scores - explained.scores[0]).max())}, planes(explained)
        each = self._model.prepared.scores.squashed_by in APART and not self._model.prepared.choices.paired
        return of_outputs(subject.probabilities, explained.probabilities[0], each=each), planes(explained)

    def _counterpart(self, subject: Subject, spot: Place) -> Detection | None:
        """What the reference has of a detection."""
        mine, theirs = self._model.detections(subject.file), self._reference.detections(subject.file)
        if spot.found not in mine:  # told by its class, and too weak to be detected
            mine = (spot.found,)
        own = mine.index(spot.found)
        return next((theirs[pair.theirs] for pair in pairs(mine, theirs) if pair.mine == own), None)


def by_reference(subjects: Sequence[Subject], reference: Reference, kept: Kept) -> Iterator[Item]:
    """Outputs and maps of the same pictures; the model's maps are kept already, the reference's are from now on."""
    for subject in subjects:

        def measure(source: Source, subject: Subject = subject) -> Found:
            outputs, theirs = reference.look(subject)
            kept.add(subject.name, theirs, REFERENCE)
            mine = kept.maps(subject.name)
            # What nothing arrives at in either file is no agreement.
            common = {k: (mine[k][0], theirs[k][0]) for k in mine if k in theirs and (mine[k].any() or theirs[k].any())}
            found = {layer: of_maps(*pair) for layer, pair in common.items()}
            return {AUDITED: {OUTPUTS: outputs, **found} if outputs else found}

        yield Item(subject.name, measure, 0, 1)


def by_outputs(pictures: Sequence[finding.Found], model: Audited, reference: Audited) -> Iterator[Item]:
    """What two detectors detect in a picture, or which class two segmenters see in each pixel."""
    for picture in pictures if model.kind in ("detector", "segmenter") else ():

        def measure(source: Source, file: Path = picture.path) -> Found:
            if model.kind == "detector":
                return {AUDITED: {OUTPUTS: compared(model.detections(file), reference.detections(file))}}
            seen = [next(each.say(each.read(file)[None])) for each in (model, reference)]
            classes = [won(said, model.prepared.choices) for said in seen]
            return {AUDITED: {OUTPUTS: of_pixels(*classes) if seen[0].grid == seen[1].grid else {}}}

        yield Item(picture.name, measure, 2, 0)


def of_pixels(mine: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> dict[str, float]:
    """Of (places, classes) the share of pixels with the same ones, and the mean IoU of where each is seen, or none."""
    pair = [np.concatenate([seen, ~seen.any(axis=1, keepdims=True)], axis=1).T for seen in (mine, theirs)]
    kinds = [(one, other) for one, other in zip(*pair, strict=True) if (one | other).any()]
    return {
        "pixels": float((mine == theirs).all(axis=1).mean()),
        "miou": float(np.mean([metrics.iou(one, other) for one, other in kinds])),
    }


def of_cosines(subject: Subject, theirs: Floats) -> dict[str, float]:
    """How two files' cosines of a picture differ; of several, whether it is most like the same."""
    found = {"likeness": float(abs(subject.scores[subject.label] - theirs[subject.label]))}
    return found if len(theirs) == 1 else {**found, "top1": float(subject.scores.argmax() == theirs.argmax())}


def of_outputs(mine: Floats, theirs: Floats, *, each: bool = False) -> dict[str, float]:
    """How two outputs differ; Kullback and Leibler's divergence from the reference.

    Where ``each`` class has a probability of its own: its sum over them, and a single one is on one side of a half.
    """
    own, p = ((np.stack([v, 1 - v]) if each or len(v) == 1 else v) for v in (mine, theirs))
    divergence = float((p * (log(p).astype(np.float64) - log(own))).sum())
    top = (mine >= HALF, theirs >= HALF) if len(mine) == 1 else (mine.argmax(), theirs.argmax())
    return {
        "top1": float(np.all(top[0] == top[1])),
        "kl": float(np.maximum(divergence, 0)),  # NaN stays, unlike Python's max
        "largest": float(np.abs(mine - theirs).max()),
    }


def of_maps(mine: Floats, theirs: Floats) -> dict[str, float]:
    """How two maps of one layer differ; one that has gone dead agrees in nothing with one that has not."""
    if mine.shape != theirs.shape:
        theirs = resize_map(theirs, (mine.shape[0], mine.shape[1]))
    return {
        "cosine": metrics.cosine(mine, theirs),
        "rank": metrics.rank(mine, theirs),
        "iou": metrics.region_iou(mine, theirs),
        "shift": metrics.shift(mine, theirs),
    }


def read_reference(model: Audited, path: Path, found: Sequence[finding.Found]) -> tuple[Reference, Audited | None]:
    """What ``--reference`` names: another model, explained as this one is, or a folder of maps of the same pictures."""
    if path.is_dir():
        return WrittenMaps(path, model, found), None
    if not path.exists():
        raise ModelFileError(f"reference {str(path)!r}: there is no such file or folder")
    other = Audited(path, **model.given, options=model.options, like=model.like, part="reference")
    return OtherFile(model, other), other
