"""Maps that `relcam explain` wrote into a folder, as what a model is held against."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from relcam_onnx.audit.by_name import by_name
from relcam_onnx.audit.matching import pairs
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.planes import Maps, as_compared
from relcam_onnx.audit.same_task import check_labels
from relcam_onnx.audit.sound import sound_maps
from relcam_onnx.audit.spots import Likeness, Place
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.errors import OptionError
from relcam_onnx.files import sha256
from relcam_onnx.pictures.finding import Found
from relcam_onnx.results.detections import Detection


class WrittenMaps:
    """A folder that `relcam explain` wrote: maps for the classes that it was asked for.

    Parameters
    ----------
    folder, model, found
        The folder, the audited model, and the pictures of the audit.

    Raises
    ------
    OptionError
        The folder has no ``results.json``, no raw maps, none of these pictures, or maps that were made in another way.
    InputError
        It calls classes otherwise.
    """

    def __init__(self, folder: Path, model: Audited, found: Sequence[Found]) -> None:
        self._folder, self._model, self._where = folder, model, f"reference {str(folder)!r}"
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            images = {str(image["file"]): image for image in results["images"] if image["file"] is not None}
            files = {name: npz_of(image) for name, image in images.items()}
            labels = {target["index"]: target["label"] for image in images.values() for target in image["targets"]}
            self._options = dict(results["options"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OptionError(f"{self._where} is no folder that 'relcam explain' wrote: {error}") from error
        if not any(files.values()):
            raise OptionError(f"{self._where} holds no raw maps: explain with --format npz")
        self._check_settings()
        if model.kind != "embedding":
            check_labels(model, labels)
        about = by_name(self._where, found, images)
        self._images = {path: images[name] for path, name in about.items() if files[name]}
        self._files = {path: folder / str(files[about[path]]) for path in self._images}
        if not self._images:
            raise OptionError(
                f"{self._where} has maps of none of the pictures, such as {found[0].path}; its first is "
                f"{next(iter(images))}"
            )
        if missing := next((file for file in self._files.values() if not file.is_file()), None):
            raise OptionError(f"{self._where} lacks its file {missing.name}: explain anew")

    def _check_settings(self) -> None:
        """Maps that were made in another way say nothing of drift."""
        model, told = self._model, self._options
        own: dict[str, Any] = {
            "head": model.kind, "method": model.explainer.method, "preset": model.explainer.preset.name,
        }  # fmt: skip
        if model.kind != "embedding":  # whose relevance starts as the terms of a cosine
            own |= {"seed": model.explainer.seed, "classes": model.prepared.choices.classes}
        for name, wanted in own.items():
            if None not in (wanted, told.get(name)) and told[name] != wanted:
                raise OptionError(
                    f"{self._where} was explained with {name} {told[name]!r}, and the audit has {wanted!r}: let both "
                    "have the same"
                )
        its, mine = [layer["name"] for layer in told.get("layers", ())], model.prepared.maps.names
        if not set(its) & set(mine):
            raise OptionError(
                f"{self._where} has maps of {', '.join(its)}, and the audit of {', '.join(mine)}: let both have the "
                "same --layer"
            )

    @property
    def digests(self) -> list[str]:
        """See `Reference`: what is in it, as far as it is compared."""
        return [sha256(file) for file in (self._folder / "results.json", *sorted(self._files.values()))]

    def notes(self, subjects: Sequence[Subject]) -> list[str]:
        """See `Reference`: of how much the folder has maps, and whether pictures were prepared in another way."""
        known = {s.picture for s in subjects if self._place(s) is not None}
        pictures = {s.picture for s in subjects}
        if not known:
            asked = subjects[0].label
            raise OptionError(
                f"{self._where} has no maps of what is asked, such as of class "
                f"{self._model.label(asked) or asked} of {subjects[0].file}"
            )
        found = [f"the reference has maps of what is asked in {len(known)} of {len(pictures)} pictures"]
        own = json.loads(json.dumps(asdict(self._model.pictures.preprocess)))
        if self._options.get("preprocess") != own:
            found.append("the reference's pictures were prepared in another way: what differs may be due to that alone")
        if (its := self._options.get("output")) not in (None, mine := self._model.prepared.scores.output):
            found.append(f"the reference's maps are of output {its!r}, the audit's of {mine!r}")
        return found if len(known) < len(pictures) else found[1:]

    def look(self, subject: Subject) -> tuple[dict[str, float], Maps]:
        """See `Reference`: a folder of maps tells no outputs."""
        place = self._place(subject)
        if place is None:
            return {}, {}
        found: Maps = {}
        with np.load(self._files[subject.file], allow_pickle=False) as stored:
            for layer in stored.files:
                value = np.asarray(stored[layer][place], np.float32)
                plane = value.sum(axis=0) if value.ndim == 3 else value
                if plane.ndim == 2:
                    found[layer] = plane[None]
        sound_maps(self._where, found)
        return {}, as_compared(found, self._model.prepared.maps.names)

    def _place(self, subject: Subject) -> int | None:
        """Which of a picture's targets a subject is."""
        image = self._images.get(subject.file)
        return None if image is None else place_of(subject, image["targets"])


def npz_of(image: Mapping[str, Any]) -> str | None:
    """The file of a picture's maps, below the folder; None where none was written."""
    files = (entry["file"] for entries in image["layers"].values() for entry in entries)
    return next((Path(file).name for file in files if file), None)


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
