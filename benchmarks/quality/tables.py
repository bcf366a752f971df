"""The tables of docs/quality/: means, intervals, and differences to the default in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.page import table
from benchmarks.quality.rows import DEFAULT
from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.metrics import bootstrap
from relcam_onnx.audit.store import Store

PAIRED = "… less the default"


class Figure(NamedTuple):
    """A measure of an experiment, and what the table over it says."""

    experiment: str
    measure: str
    said: str
    fused_alone: bool = False


FIGURES = (
    Figure("grid", "share", "GridPG: the share in the one tile of four that shows the class, all four asked"),
    Figure("focus", "share", "Focus: the share in the two tiles of four that show the class, both asked"),
    Figure("grid", "pointing", "Pointing game, one tile of four"),
    Figure("outline", "mass", "Relevance mass accuracy in outlines"),
    Figure("outline", "rank", "Relevance rank accuracy in outlines"),
    Figure("outline", "precision", "Average precision in outlines"),
    Figure("outline", "best", "IoU with outlines at the best threshold"),
    Figure("outline", "region", "IoU of the region with outlines, 80 % of the mass"),
    Figure("outline", "deviation", "IoU of the region with outlines, mean and deviation"),
    Figure("deletion", "logit", "Single-deletion score, the logit of the picture's class"),
    Figure("deletion", "log-probability", "Single-deletion score, its log-probability"),
    Figure("deletion", "second", "Single-deletion score, the logit of the next class"),
    Figure("deletion", "insertion", "Insertion, area (higher is better)", fused_alone=True),
    Figure("deletion", "deletion", "Deletion, area (lower is better)", fused_alone=True),
    Figure("deletion", "road", "ROAD, highest against lowest", fused_alone=True),
    Figure("class", "second", "r of the next class's map with the first's"),
    Figure("class", "sibling", "The same, of those next classes that are siblings"),
    Figure("class", "random", "r of a random class's map with the first's"),
    Figure("weights", "r", "r with the map of the model whose top weights are drawn anew, by how many"),
)


def tables(store: Store) -> str:
    """All figures of one network as Markdown."""
    parts = []
    for figure in FIGURES:
        values = store.values(figure.experiment, figure.measure)
        if not values:
            continue
        layers = [k for k in next(iter(sorted(values.values(), key=len, reverse=True))) if k != FUSED] + [FUSED]
        shown = [FUSED] if figure.fused_alone else layers
        count = max(len(found) for row in values.values() for found in row.values())
        rows = [line for row in values for line in lines(row, values, shown)]
        head = table(["", *(words(layer) for layer in shown)], rows)
        parts.append(f"**{figure.said}** (n = {count})\n\n{head}")
    return "\n\n".join(parts)


def lines(row: str, values: Mapping[str, Mapping[str, Mapping[str, float]]], layers: Sequence[str]) -> list[list[str]]:
    """The means of a row, and what it is in pairs with the default where both have a map."""
    own = values[row]
    found = [[row, *(cell(list(own[k].values())) if k in own else "" for k in layers)]]
    default = values.get(DEFAULT, {})
    if row != DEFAULT and default:
        apart = [
            cell([own[k][item] - default[k][item] for item in own[k] if item in default[k]], signed=True)
            if k in own and k in default
            else ""
            for k in layers
        ]
        found.append([PAIRED, *apart])
    return found


def cell(values: Sequence[float], *, signed: bool = False) -> str:
    """A mean and its interval."""
    mean, low, high, size = bootstrap(values)
    if not size:
        return ""
    form = "{:+.2f}" if signed else "{:.3f}"
    ends = (form.format(end) for end in (low, high))
    return f"{form.format(mean)} ({' … '.join(ends)})"


def words(layer: str) -> str:
    """``stride4`` as ``stride 4``."""
    return layer.replace("stride", "stride ")
