"""What an audit measures, of what, and what that costs, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from relcam_onnx.audit import drift, experiments, sanity
from relcam_onnx.audit.completeness import by_account
from relcam_onnx.audit.departing import by_activations
from relcam_onnx.audit.experiments import Item
from relcam_onnx.audit.kept import Kept
from relcam_onnx.audit.leaving import left_out
from relcam_onnx.audit.looking import where
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.options import Extent
from relcam_onnx.audit.planes import planes
from relcam_onnx.audit.rows import AUDITED, baselines
from relcam_onnx.audit.shattering import by_confidence, by_shattering
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.errors import InputError, LayerError, UnsupportedModelError
from relcam_onnx.pictures import finding

BASELINE = "baselines"
"""The source of baselines."""
NEEDED = ("picture", "drift", "outputs")
"""Experiments without which a picture cannot be used."""
BEYOND = (InputError, LayerError, UnsupportedModelError)
"""What a picture, or a file that has maps of one method alone, may not suffice for."""


@dataclass(frozen=True)
class Work:
    """One thing to measure for one source."""

    experiment: str
    source: str
    item: Item


class Plan:
    """All work of an audit.

    Parameters
    ----------
    model, pictures, subjects, extent, seed
        What is audited, on which pictures and what in them, how much of it, and what random choices go by.
    reference, other
        What it is held against, and that as a model where it is one.
    kept
        Where values and maps are kept.

    Attributes
    ----------
    work
        All that is to be measured.
    notes
        What was left out, and why.
    failed
        Pictures that could not be used, by their names: the model or the reference tells no numbers of them.
    """

    def __init__(
        self,
        model: Audited,
        pictures: list[finding.Found],
        subjects: list[Subject],
        extent: Extent,
        seed: int,
        reference: drift.Reference | None,
        other: Audited | None,
        kept: Kept,
    ) -> None:
        self.model, self.pictures, self.subjects, self._kept = model, pictures, subjects, kept
        self.notes: list[str] = []
        self.failed: dict[str, finding.Failed] = {}
        if not model.prepared.maps.stages:
            last = model.prepared.maps.names[-1]
            self.notes.append(f"no fused map was asked for: what is called so here is the map of {last!r}")
        beside = self._beside(extent)
        self.sources: dict[str, Source] = {AUDITED: model.source(AUDITED), **beside, BASELINE: baselines}
        own, others = [AUDITED], list(beside)
        few = pictures[: extent.activations]
        none: Iterator[Item] = iter(())
        # Experiment, what it is done for, its items. Baselines see neither class nor network.
        kinds: list[tuple[str, list[str], Callable[[], Iterator[Item]]]] = [
            ("picture", own, partial(self._pictures, seed)),
            ("drift", own, lambda: drift.by_reference(subjects, reference, kept) if reference else none),
            ("outputs", own, lambda: drift.by_outputs(pictures, model, other) if other else none),
            ("activations", own, lambda: by_activations(few, model, other) if other else none),
            ("deletion", [*own, *others, BASELINE],
             partial(experiments.by_deleting, subjects, extent.deletions, model, extent.curves, seed)),
            ("grid", [*own, *others, BASELINE], partial(self._mosaics, extent.grids, opposite=False, seed=seed)),
            ("focus", [*own, *others, BASELINE], partial(self._mosaics, extent.pairs, opposite=True, seed=seed)),
            ("region", [*own, *others, BASELINE], partial(experiments.in_regions, subjects, extent.outlines)),
            ("outline", [*own, *others, BASELINE], partial(experiments.in_outlines, subjects, extent.outlines)),
            ("picture", others, partial(sanity.by_class, subjects, extent.classes, seed)),
            ("disturbed", [*own, *others], partial(sanity.by_disturbing, subjects, extent.disturbed, seed)),
            ("weights", own,
             partial(sanity.by_weights, subjects, extent.weights, model, extent.depths, seed, self.notes.append)),
            ("account", own, partial(by_account, subjects, extent.accounts, model, seed)),
            ("shattering", own, partial(by_shattering, subjects, extent.shattering, model, seed)),
            ("confidence", own, partial(by_confidence, subjects, extent.confidence, model, seed)),
        ]  # fmt: skip
        without = list(left_out(model, subjects, against=reference is not None))
        self.notes += [left.said for left in without]
        skipped = {left.experiment for left in without}
        self.work = [
            Work(experiment, source, item)
            for experiment, sources, items in kinds
            if experiment not in skipped
            for listed in [self._listed(experiment, items)]
            for source in sources
            for item in listed
        ]

    def _beside(self, extent: Extent) -> dict[str, Source]:
        """The methods beside the audited one that the file has maps for."""
        found: dict[str, Source] = {}
        for row, options in extent.beside.items():
            try:
                found[row] = self.model.source(row, **options)
            except BEYOND as error:
                self.notes.append(f"not measured beside it: {row}: {error}")
        return found

    @property
    def passes(self) -> int:
        """How many pictures the models answer for all of it, by one forward pass each, what they show included."""
        each = self.model.passes(self.subjects[0].array[None]) if self.subjects else 0
        shared = {(work.experiment, work.item.name): work.item.shared for work in self.work}
        return (
            len(self.pictures)
            + sum(shared.values())
            + sum(
                # Baselines are three maps, and no explanation.
                3 * (work.item.scored if work.experiment == "deletion" else 0)
                if work.source == BASELINE
                else work.item.scored + work.item.explained * (each if work.source == AUDITED else 1)
                for work in self.work
            )
        )

    def run(self) -> Iterator[Work]:
        """Measure what is not there yet, and say what was done."""
        store = self._kept.store
        gone: set[str] = set()
        unmeasured: dict[str, dict[str, str]] = {}
        for work in self.work:
            done = store.has(work.experiment, work.source, work.item.name)
            if not done and work.item.name not in gone:
                try:
                    found = work.item.measure(self.sources[work.source])
                except BEYOND as error:
                    if work.experiment not in NEEDED:
                        unmeasured.setdefault(work.experiment, {})[work.item.name] = str(error)
                    elif isinstance(error, InputError):
                        gone |= self._failed(work.item.name, error)
                    else:
                        raise
                else:
                    store.add(work.experiment, work.source, work.item.name, finite(found))
            yield work
        store.forget(gone)
        for experiment, items in unmeasured.items():
            name, why = next(iter(items.items()))
            self.notes.append(f"not measured of {len(items)}, such as {name}: {measures_of(experiment)}: {why}")

    def _listed(self, kind: str, found: Callable[[], Iterator[Item]]) -> list[Item]:
        """The items of an experiment; none, and a note why, where the pictures or the model do not suffice."""
        try:
            return list(found())
        except BEYOND as error:
            self.notes.append(f"not measured: {measures_of(kind)}: {error}")
            return []

    def _failed(self, item: str, error: InputError) -> set[str]:
        """The names of all that is of an item's picture, which cannot be used."""
        name = next((s.picture for s in self.subjects if s.name == item), item)
        file = next(picture.path for picture in self.pictures if picture.name == name)
        self.failed[name] = finding.Failed(str(file), str(error))
        return {name, *(s.name for s in self.subjects if s.picture == name)}

    def _mosaics(self, count: int, *, opposite: bool, seed: int) -> Iterator[Item]:
        """Whole tiles where the model takes any size, else tiles of half the size."""
        whole = self.model.free
        return experiments.in_mosaics(self.subjects, count, opposite=opposite, whole=whole, seed=seed)

    def _pictures(self, seed: int) -> Iterator[Item]:
        """Each picture once: where its map lies, how it hangs on the class, what arrives; maps are kept."""
        for subject in self.subjects:

            def measure(source: Source, subject: Subject = subject) -> Found:
                explained = self.model.explain(subject.array[None], subject.targets(*sanity.asked(subject, seed)))
                maps = planes(explained)
                self._kept.add(subject.name, {layer: heat[:1] for layer, heat in maps.items()})
                found = {k: {**where(v[0], subject.mask), **sanity.of_classes(subject, v)} for k, v in maps.items()}
                for layer, kept in explained.relevance_kept.items():
                    found.setdefault(layer, {})["kept"] = float(kept[0, 0])
                return {AUDITED: found}

            yield Item(subject.name, measure, 0, 1)


def measures_of(experiment: str) -> str:
    """The names of what an experiment measures."""
    return ", ".join(name for name, of in MEASURES.items() if of.experiment == experiment)


def finite(found: Found) -> Found:
    """Without what is no number: a correlation with a map that is zero all over says nothing."""
    return {
        row: {layer: {k: v for k, v in values.items() if np.isfinite(v)} for layer, values in layers.items()}
        for row, layers in found.items()
    }
