"""Does one file still say and see what another does: outputs and maps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit import metrics
from relcam_onnx.audit.asking import winners
from relcam_onnx.audit.experiments import Item, log
from relcam_onnx.audit.kept import REFERENCE, Kept
from relcam_onnx.audit.matching import compared, pairs
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.planes import Maps, planes
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.spots import Likeness, Place, Segment
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.errors import InputError, ModelFileError, OptionError
from relcam_onnx.model import static_shape
from relcam_onnx.pictures import finding
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.detections import Detection
from relcam_onnx.results.render import resize_map

OUTPUTS = "outputs"
"""What stands for a layer where outputs are compared."""


class Reference(Protocol):
    """What a model is held against."""

    def look(self, subject: Subject) -> tuple[dict[str, float], Maps]:
        """How the subject's outputs differ, as far as they can be told; and layer -> (1, h, w) for its class."""


class OtherFile:
    """Another model, asked as the audited one is.

    Raises
    ------
    InputError
        It tells other classes apart, or takes other pictures.
    """

    def __init__(self, model: Audited, reference: Audited) -> None:
        if model.kind != reference.kind:
            raise InputError(
                f"the reference is a {reference.kind}, the model a {model.kind}: they do not do the same task; give "
                "the file that this one was made of"
            )
        mine, its = model.prepared.choices.classes, reference.prepared.choices.classes
        if mine is not None and its is not None and mine != its:
            raise InputError(
                f"the reference tells {its} classes apart, the model {mine}: they do not do the same task; give the "
                "file that this one was made of"
            )
        sizes = [static_shape(each.prepared.layers.picture.tensor) for each in (model, reference)]
        if any(a and b and a != b for a, b in zip(*((s or ())[1:] for s in sizes), strict=False)):
            raise InputError(
                f"the reference takes pictures {sizes[1]}, the model {sizes[0]}: they do not do the same task; give "
                "the file that this one was made of"
            )
        self._model, self._reference = model, reference

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
        return of_outputs(subject.probabilities, explained.probabilities[0]), planes(explained)

    def _counterpart(self, subject: Subject, spot: Place) -> Detection | None:
        """What the reference has of a detection."""
        mine, theirs = self._model.detections(subject.file), self._reference.detections(subject.file)
        if spot.found not in mine:  # told by its class, and too weak to be detected
            mine = (spot.found,)
        own = mine.index(spot.found)
        return next((theirs[pair.theirs] for pair in pairs(mine, theirs) if pair.mine == own), None)


class WrittenMaps:
    """A folder that `relcam explain` wrote: maps for the classes that it was asked for.

    Raises
    ------
    OptionError
        The folder has no ``results.json``, or no raw maps.
    """

    def __init__(self, folder: Path) -> None:
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            self._images: dict[str, Any] = {Path(image["file"]).name: image for image in results["images"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(f"reference {str(folder)!r} is no folder that 'relcam explain' wrote: {error}") from error
        self._folder = folder

    def look(self, subject: Subject) -> tuple[dict[str, float], Maps]:
        """See `Reference`: a folder of maps tells no outputs."""
        return {}, self._maps(subject)

    def _maps(self, subject: Subject) -> Maps:
        image = self._images.get(subject.file.name)
        if image is None:
            return {}
        place = place_of(subject, image["targets"])
        files = {entry["file"] for entries in image["layers"].values() for entry in entries if entry.get("file")}
        if place is None or not files:
            return {}
        found: Maps = {}
        with np.load(self._folder / Path(files.pop()).name, allow_pickle=False) as stored:
            for layer in stored.files:
                value = np.asarray(stored[layer][place], np.float32)
                plane = value.sum(axis=0) if value.ndim == 3 else value
                if plane.ndim == 2:
                    found[layer] = plane[None]
        return found


def place_of(subject: Subject, targets: Sequence[Mapping[str, Any]]) -> int | None:
    """Which of the targets in ``results.json`` a subject is."""
    spot = subject.spot
    if isinstance(spot, Likeness):
        return next((i for i, t in enumerate(targets) if t["label"] == f"like {spot.names[subject.label]}"), None)
    if not isinstance(spot, Place):
        return next((i for i, t in enumerate(targets) if t["index"] == subject.label), None)
    theirs = [Detection(t["box"] and tuple(t["box"]), t["label"], t["probability"] or 0, t["place"], t["index"])
              for t in targets]  # fmt: skip
    return next((pair.theirs for pair in pairs([spot.found], theirs)), None)


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
            won = [winners(said.table, paired=model.prepared.choices.paired)[0] for said in seen]
            return {AUDITED: {OUTPUTS: of_pixels(*won) if seen[0].grid == seen[1].grid else {}}}

        yield Item(picture.name, measure, 2, 0)


def of_pixels(mine: NDArray[np.intp], theirs: NDArray[np.intp]) -> dict[str, float]:
    """The share of pixels of one class, and the mean over classes of the IoU of where they are seen."""
    kinds = np.union1d(mine, theirs)
    return {
        "pixels": float((mine == theirs).mean()),
        "miou": float(np.mean([metrics.iou(mine == kind, theirs == kind) for kind in kinds])),
    }


def of_cosines(subject: Subject, theirs: Floats) -> dict[str, float]:
    """How two files' cosines of a picture differ; of several, whether it is most like the same."""
    found = {"likeness": float(abs(subject.scores[subject.label] - theirs[subject.label]))}
    return found if len(theirs) == 1 else {**found, "top1": float(subject.scores.argmax() == theirs.argmax())}


def of_outputs(mine: Floats, theirs: Floats) -> dict[str, float]:
    """How two outputs differ; Kullback and Leibler's divergence from the reference."""
    p = theirs.astype(np.float64)
    divergence = float((p * (log(theirs).astype(np.float64) - log(mine))).sum())
    return {
        "top1": float(mine.argmax() == theirs.argmax()),
        "kl": max(0.0, divergence),
        "largest": float(np.abs(mine - theirs).max()),
    }


def of_maps(mine: Floats, theirs: Floats) -> dict[str, float]:
    """How two maps of one layer differ."""
    if mine.shape != theirs.shape:
        theirs = resize_map(theirs, (mine.shape[0], mine.shape[1]))
    return {
        "cosine": metrics.cosine(mine, theirs),
        "rank": metrics.spearman(mine, theirs),
        "iou": metrics.region_iou(mine, theirs),
        "shift": metrics.shift(mine, theirs),
    }


def read_reference(model: Audited, path: Path) -> tuple[Reference, Audited | None]:
    """What ``--reference`` names: another model, explained as this one is, or a folder of maps."""
    if path.is_dir():
        return WrittenMaps(path), None
    if not path.exists():
        raise ModelFileError(f"reference {str(path)!r}: there is no such file or folder")
    other = Audited(path, **model.given, options=model.options, like=model.like)
    return OtherFile(model, other), other
