"""What was measured as figures: means with intervals, and differences in pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.metrics import Estimate, bootstrap
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.store import Store


@dataclass(frozen=True)
class Figure:
    """One number of the report.

    Attributes
    ----------
    name
        Of `MEASURES`.
    row
        What the maps come from: the audited method, another, or a baseline.
    layer
        The layer, or what stands in its place.
    estimate
        Its mean, interval and n.
    less
        In pairs, what the audited method has less of it: an interval without 0 is a lead; None for itself.
    chance
        What says nothing gets, if that is known.
    """

    name: str
    row: str
    layer: str
    estimate: Estimate
    less: Estimate | None = None
    chance: float | None = None

    def as_json(self) -> dict[str, Any]:
        """For ``report.json`` and the table; what is not a number is None."""
        of = MEASURES[self.name]
        record = {"name": self.name, "row": self.row, "layer": self.layer, **named(self.estimate)}
        record |= {"better": of.better, "chance": self.chance}
        pairs = named(self.less) if self.less else dict.fromkeys(Estimate._fields)
        return {**record, **{f"paired_{key}": value for key, value in pairs.items()}}


def named(estimate: Estimate) -> dict[str, Any]:
    """An estimate's fields, None for NaN."""
    return {key: None if np.isnan(value) else value for key, value in estimate._asdict().items()}


def figures(store: Store, seed: int) -> list[Figure]:
    """All figures, in the order of `MEASURES`."""
    return [figure for name in MEASURES for figure in of_measure(store, name, seed)]


def of_measure(store: Store, name: str, seed: int) -> Iterator[Figure]:
    """Those of one measure."""
    of = MEASURES[name]
    values = store.values(of.experiment, of.key)
    audited = values.get(AUDITED, {})
    by_chance = store.values(of.experiment, of.chance) if isinstance(of.chance, str) else {}
    for row, layers in sorted(values.items(), key=lambda item: item[0] != AUDITED):
        for layer, items in layers.items():
            less = None
            if row != AUDITED and layer in audited:
                less = bootstrap(differences(audited[layer], items), seed)
            chance = of.fixed_chance
            if by_chance:
                chance = float(np.mean([by_chance[row][layer][item] for item in items]))
            yield Figure(name, row, layer, bootstrap(list(items.values()), seed), less, chance)


def differences(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """In pairs, where both have a value."""
    return [value - second[item] for item, value in first.items() if item in second]
