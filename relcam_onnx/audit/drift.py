"""Does one file still say and see what another does: outputs, maps, and the first layer where the two depart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.audit import metrics
from relcam_onnx.audit.experiments import Item, log
from relcam_onnx.audit.kept import REFERENCE, Kept
from relcam_onnx.audit.model import Audited, Floats, Maps, Source, planes
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.errors import InputError, ModelFileError, OptionError
from relcam_onnx.lrp.plan import reading_plan
from relcam_onnx.model import static_shape
from relcam_onnx.results.render import resize_map
from relcam_onnx.runners.reading import Reading

OUTPUTS = "outputs"
"""What stands for a layer where outputs are compared."""


class Reference(Protocol):
    """What a model is held against."""

    def look(self, subject: Subject) -> tuple[Floats | None, Maps]:
        """Probabilities, (classes,), None where only maps were kept; and layer -> (1, h, w) for the subject's class."""


class OtherFile:
    """Another model, asked as the audited one is.

    Raises
    ------
    InputError
        It tells other classes apart, or takes other pictures.
    """

    def __init__(self, model: Audited, reference: Audited) -> None:
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
        self._reference = reference

    def look(self, subject: Subject) -> tuple[Floats | None, Maps]:
        """See `Reference`."""
        explained = self._reference.explain(self._reference.read(subject.file)[None], [subject.label])
        return explained.probabilities[0], planes(explained)


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

    def look(self, subject: Subject) -> tuple[Floats | None, Maps]:
        """See `Reference`."""
        return None, self._maps(subject)

    def _maps(self, subject: Subject) -> Maps:
        image = self._images.get(subject.file.name)
        if image is None:
            return {}
        place = next((i for i, t in enumerate(image["targets"]) if t["index"] == subject.label), None)
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


def by_reference(subjects: Sequence[Subject], reference: Reference, kept: Kept) -> Iterator[Item]:
    """Outputs and maps of the same pictures; the model's maps are kept already, the reference's are from now on."""
    for subject in subjects:

        def measure(source: Source, subject: Subject = subject) -> Found:
            probabilities, theirs = reference.look(subject)
            kept.add(subject.name, theirs, REFERENCE)
            mine = kept.maps(subject.name)
            found = {layer: of_maps(mine[layer][0], theirs[layer][0]) for layer in mine if layer in theirs}
            if probabilities is not None:
                found = {OUTPUTS: of_outputs(subject.probabilities, probabilities), **found}
            return {AUDITED: found}

        yield Item(subject.name, measure, 0, 1)


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


def by_activations(subjects: Sequence[Subject], model: Audited, reference: Audited) -> Iterator[Item]:
    """Every layer that both files have, in the order that the model runs them: how far activations are apart.

    ``difference``: the root of the mean square of what differs, over that of the reference's activation.
    """
    common = common_layers(model, reference)
    if not common:
        return
    readings = []
    for side, audited in enumerate((model, reference)):
        plan = reading_plan(audited.prepared.paths, [pair[side] for pair in common.values()])
        readings.append(Reading.of(audited.prepared.model, plan, audited.settings, spinning=False))
    for subject in subjects:

        def measure(source: Source, subject: Subject = subject) -> Found:
            values = [
                reading.run(audited.feeds(audited.read(subject.file)[None]))[1]
                for reading, audited in zip(readings, (model, reference), strict=True)
            ]
            return {AUDITED: {
                name: {"difference": apart(values[0][pair[0].tensor.name], values[1][pair[1].tensor.name])}
                for name, pair in common.items()
            }}  # fmt: skip

        yield Item(subject.name, measure, 2, 0)


def apart(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Of two activations; NaN where their sizes differ."""
    if mine.shape != theirs.shape:
        return float("nan")
    a, b = mine.astype(np.float64), theirs.astype(np.float64)
    norm = float(np.sqrt(np.square(b).mean()))
    return float(np.sqrt(np.square(a - b).mean())) / norm if norm else float("nan")


def common_layers(model: Audited, reference: Audited) -> dict[str, tuple[Layer, Layer]]:
    """The layers that both have under one name, in the model's order; a stage by its stride, each tensor once."""
    mine, its = (named_layers(audited) for audited in (model, reference))
    found: dict[str, tuple[Layer, Layer]] = {}
    taken: set[str] = set()
    for name, layer in mine.items():
        if name in its and layer.tensor.name not in taken:
            taken.add(layer.tensor.name)
            found[name] = (layer, its[name])
    return found


def named_layers(audited: Audited) -> Mapping[str, Layer]:
    """Every layer by each name, from the image on."""
    layers = audited.prepared.layers
    found: dict[str, Layer] = {}
    for row in layers.table():
        for name in (row.stage or row.name, row.name):
            found.setdefault(name, layers.resolve(row.stage or row.name)[0])
    return found


def read_reference(model: Audited, path: Path) -> tuple[Reference, Audited | None]:
    """What ``--reference`` names: another model, explained as this one is, or a folder of maps."""
    if path.is_dir():
        return WrittenMaps(path), None
    if not path.exists():
        raise ModelFileError(f"reference {str(path)!r}: there is no such file or folder")
    other = Audited(path, **model.given, options=model.options)
    return OtherFile(model, other), other
