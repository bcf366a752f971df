"""The audit of one model: measures all that was asked for, and says what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx import __version__
from relcam_onnx.audit.clusters import Cluster, clusters
from relcam_onnx.audit.drift import read_reference
from relcam_onnx.audit.figures import Figure, figures
from relcam_onnx.audit.kept import REFERENCE, Kept
from relcam_onnx.audit.looking import looked_through
from relcam_onnx.audit.matching import Unmatched, unmatched
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.options import EXTENTS
from relcam_onnx.audit.outlines import Outlines, no_masks, read_boxes, read_masks
from relcam_onnx.audit.plan import Plan, Work
from relcam_onnx.audit.provenance import told_time
from relcam_onnx.audit.store import Store
from relcam_onnx.audit.subjects import Subject, read_subjects
from relcam_onnx.audit.thresholds import Outcome, Threshold, check
from relcam_onnx.audit.told import named, of_csv, of_folders
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.extras import require
from relcam_onnx.files import make_folder, sha256
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.pictures.finding import Failed, Found, find_pictures
from relcam_onnx.pictures.geometry import Floats

NEEDED = ("jinja2", "matplotlib", "scipy", "sklearn")
"""What the extra ``audit`` brings."""
USUAL = 32
"""Pictures that stand for the usual, for methods that need baselines."""
TOLD = 5
"""Pictures whose failure is told where no report is written."""


@dataclass(frozen=True)
class Request:
    """What an audit is asked for; the fields are the command line's."""

    model: Path
    pictures: Sequence[str]
    out: Path
    reference: Path | None = None
    classes: Path | None = None
    boxes: Path | None = None
    masks: Path | None = None
    like: Sequence[Path] = ()
    extent: str = "quick"
    preprocess: str | None = None
    labels: str | None = None
    random_state: int = 0
    thresholds: Sequence[Threshold] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def explaining(self) -> dict[str, Any]:
        """Options of `Explainer`; what the method draws goes by this request's random state."""
        draws = isinstance(METHODS.get(self.options.get("method", "")), Probe)
        return {**self.options, **({"random_state": self.random_state} if draws else {})}

    def told(self) -> dict[str, Any]:
        """As the report tells it: files by their names, not by where they lie."""
        names = {key: value.name if isinstance(value, Path) else value for key, value in vars(self).items()}
        names["like"] = [file.name for file in self.like]
        names["thresholds"] = [threshold.said for threshold in self.thresholds]
        del names["pictures"], names["out"]
        return {**names, "options": dict(self.options)}


@dataclass(frozen=True)
class Audit:
    """What came of one.

    Attributes
    ----------
    request, model, reference
        What was asked for, and the models.
    pictures, subjects, failed
        The pictures that were read, what is asked of them, and those that could not be read.
    figures, outcomes, clusters
        Measures, thresholds, and clusters of maps, the most suspicious first.
    maps, others
        Picture -> layer -> (1, h, w): the model's, and the reference's where there is one.
    unmatched
        Detections that only one of two files has.
    notes
        What was left out, and why.
    passes
        How many pictures the models saw.
    store
        Every single value.
    """

    request: Request
    model: Audited
    reference: Audited | None
    pictures: Sequence[Found]
    subjects: Sequence[Subject]
    failed: Sequence[Failed]
    figures: Sequence[Figure]
    outcomes: Sequence[Outcome]
    clusters: Sequence[Cluster]
    maps: Mapping[str, Mapping[str, Floats]]
    others: Mapping[str, Mapping[str, Floats]]
    unmatched: Sequence[Unmatched]
    notes: Sequence[str]
    passes: int
    store: Store

    @property
    def passed(self) -> bool:
        """Whether every threshold passes."""
        return all(outcome.passed for outcome in self.outcomes)


def audit(
    request: Request,
    *,
    told: Callable[[Plan], None] = lambda plan: None,
    shown: Callable[[Iterable[Work], int], Iterable[Work]] = lambda work, total: work,
) -> Audit:
    """Measure all that was asked for; goes on where an interrupted run of the same request stopped.

    Parameters
    ----------
    request
        What is asked for.
    told
        Is told what will be measured, before it is.
    shown
        Hands on the work as it is done, with its number in all: a progress bar.

    Raises
    ------
    RelcamError
        Nothing could be measured: a model, an option, the pictures or the folder is at fault.
    """
    require("an audit needs", "audit", *NEEDED)
    told_time()  # what is none is said before anything is done
    if request.reference is None and (alone := [t for t in request.thresholds if t.name.startswith("drift.")]):
        raise OptionError(f"{alone[0].said} is about how far a model is from another: name that with --reference")
    found, missing = find_pictures(request.pictures)
    if not found:
        raise InputError(why(missing) if missing else "no picture was named")
    model = Audited(request.model, request.preprocess, request.labels, request.explaining, request.like)
    classes, notes = of_folders(found, request.pictures, model)
    if request.classes is not None:
        classes, notes = of_csv(found, request.classes, model)
    reference, other = None, None
    if request.reference is not None:
        reference, other = read_reference(model, request.reference, found)
    if request.boxes is not None and request.masks is not None:
        raise OptionError("boxes and masks both say where objects are; give one of them")
    outlines: Outlines = no_masks
    if request.boxes is not None:
        outlines, strange = read_boxes(request.boxes, found, model)
        notes += strange
    elif request.masks is not None:
        outlines = read_masks(request.masks, found, model)
    make_folder(request.out)
    extent = EXTENTS[request.extent]
    subjects, failed = read_subjects(model, found, classes, outlines, extent.each)
    unread = {each.file for each in failed}
    pictures = [picture for picture in found if str(picture.path) not in unread]
    if not pictures:
        raise InputError(f"none of {len(found)} pictures could be used; {why([*missing, *failed])}")
    if not subjects and other is None:
        raise InputError(f"the model finds nothing in {len(pictures)} pictures that could be explained")
    if reference is not None:
        notes += reference.notes(subjects)
    notes += told_of(model, pictures, subjects, outlined=outlines is not no_masks)
    model.usual = [picture.path for picture in pictures[:USUAL]]
    kept = Kept(request.out, {
        "version": __version__, "request": request.told(), "preprocess": asdict(model.pictures.preprocess),
        "pictures": sorted((picture.name, sha256(picture.path)) for picture in pictures),
        "subjects": sorted((s.name, s.label, digest(s.mask)) for s in subjects),
        "like": [sha256(file) for file in request.like], "preset": repr(model.explainer.preset),
        "models": [model.prepared.model.sha256, *(reference.digests if reference else ())],
    })  # fmt: skip
    plan = Plan(model, pictures, subjects, extent, request.random_state, reference, other, kept)
    plan.notes[:0] = notes
    told(plan)
    for _ in shown(plan.run(), len(plan.work)):
        pass
    failed += plan.failed.values()
    pictures = [picture for picture in pictures if picture.name not in plan.failed]
    subjects = [subject for subject in subjects if subject.picture not in plan.failed]
    if not pictures:
        raise InputError(f"none of {len(found)} pictures could be used; {why([*missing, *failed])}")
    told_figures = figures(kept.store, request.random_state)
    maps = {subject.name: kept.maps(subject.name) for subject in subjects}
    others = {subject.name: kept.maps(subject.name, REFERENCE) for subject in subjects} if reference else {}
    looked, kinds = looked_through(subjects, maps, partial(named, model))
    return Audit(
        request, model, other, pictures, subjects, [*missing, *failed], told_figures,
        check(request.thresholds, told_figures), clusters(looked, request.random_state, kinds), maps, others,
        unmatched(pictures, model, other), plan.notes, plan.passes, kept.store,
    )  # fmt: skip


def why(failed: Sequence[Failed]) -> str:
    """What is said of pictures where no report is written that could name each of them."""
    rest = f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else ""
    return "; ".join(each.said for each in failed[:TOLD]) + rest


def told_of(model: Audited, pictures: Sequence[Found], subjects: Sequence[Subject], *, outlined: bool) -> list[str]:
    """In how many pictures nothing is found, and for how many subjects something is ``outlined``, if that was told."""
    seen, notes = {subject.file for subject in subjects}, []
    if empty := [picture.name for picture in pictures if picture.path not in seen]:
        notes.append(f"nothing is found in {len(empty)} of {len(pictures)} pictures, such as {empty[0]}")
    on = [subject for subject in subjects if subject.mask is not None]
    if model.kind == "detector" and on:
        found = f"{len(on)} of {len(subjects)} detections lie on an outlined object of their label"
        notes.append(f"{found} (IoU of the boxes at least 0.5)")
    elif outlined and len(on) < len(subjects):
        what = "segments" if model.kind == "segmenter" else "pictures"
        notes.append(f"{len(on)} of {len(subjects)} {what} have an outlined object of their class")
    if nothing := [subject.name for subject in on if subject.mask is not None and not subject.mask.any()]:
        notes.append(f"what is outlined of {len(nothing)} pictures marks nothing there, such as of {nothing[0]}")
    return notes


def digest(mask: NDArray[np.bool_] | None) -> str | None:
    """What tells what is outlined from anything else."""
    return None if mask is None else hashlib.sha256(mask.tobytes()).hexdigest()
