"""How well maps hit their object: prints the tables of ``docs/quality.md``, and with ``--write`` puts them there.

python -m benchmarks.quality [--write]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import (
    MODEL,
    PHOTOGRAPHS,
    ROOT,
    Classifier,
    Floats,
    Mosaic,
    Subject,
    focus,
    fours,
    insertion_minus_deletion,
    pairs,
    points,
)
from benchmarks.page import fill, table
from relcam_onnx import Explainer, Preset, preset

PAGE = ROOT / "docs" / "quality.md"
SCORES = "logits"
LAYERS = ("stride 4", "stride 8", "stride 16", "stride 32", "fused")

METHODS: dict[str, dict[str, Any]] = {
    "Grad-CAM": {"method": "grad-cam"},
    "Relevance-CAM, as in the paper": {"preset": "paper"},
    "the paper's rules and seed, our maps": {"preset": "paper", "method": "local-relevance-cam"},
    "default": {},
}
"""Row of the tables -> options of `Explainer`."""

PRESETS: dict[str, tuple[Preset, str]] = {
    "default": (preset("default"), "contrast"),
    "default, `bias=False`": (preset("default", bias=False), "contrast"),
    "paper, seed logit": (preset("paper"), "logit"),
}
"""Row of the last table -> preset and seed. The paper's own seed sums to zero: no share of it can be told."""

Table = Mapping[str, NDArray[np.float64]]
"""Row -> (measurements, layers)."""


def in_mosaics(explainer: Explainer, subjects: dict[str, Subject], mosaics: Iterable[Mosaic]) -> Table:
    """Measure maps where the class's own tiles are known.

    Returns
    -------
    Table
        "focus" and "pointing": one line for each mosaic and class in it, one column for each map.
    """
    shares, hits = [], []
    for mosaic in mosaics:
        targets = [subjects[name].target for name in mosaic.classes]
        maps = explainer(mosaic.array(subjects), [targets]).maps.values()
        for k, name in enumerate(mosaic.classes):
            shares.append([focus(heat[0, k], mosaic.tiles(name)) for heat in maps])
            hits.append([points(heat[0, k], mosaic.tiles(name)) for heat in maps])
    return {"focus": np.array(shares), "pointing": np.array(hits, np.float64)}


def in_photographs(explainer: Explainer, subjects: Iterable[Subject], classifier: Classifier) -> NDArray[np.float64]:
    """Insertion minus deletion: one line for each photograph, one column for each map."""
    lines = []
    for x, target in subjects:

        def probability(pictures: Floats, target: int = target) -> Floats:
            return classifier.probabilities(pictures)[:, target]

        maps = explainer(x[None], target).maps.values()
        lines.append([insertion_minus_deletion(probability, x, heat[0, 0]) for heat in maps])
    return np.array(lines)


def sums(rules: Preset, seed: str, subjects: Iterable[Subject]) -> tuple[NDArray[np.float64], float]:
    """Follow the sum of relevance down the network.

    Returns
    -------
    tuple
        ΣR over its start, one line for each photograph and one column for each stage; and by how much the sum of a
        local map differs at most from its layer's, |ΣM - ΣR| / Σ_p|Σ_k R_k(p)|.
    """
    relevance = Explainer(MODEL, (SCORES, "stages"), "lrp", rules, seed)
    local = Explainer(MODEL, "stages", "local-relevance-cam", rules, seed)
    left, errors = [], []
    for x, target in subjects:
        layers = dict(relevance(x[None], target).maps)
        start = layers.pop(SCORES).sum(dtype=np.float64)
        left.append([r.sum(dtype=np.float64) / start for r in layers.values()])
        for name, heat in local(x[None], target).maps.items():
            r = layers[name].sum(axis=2, dtype=np.float64)
            errors.append(abs(heat.sum(dtype=np.float64) - r.sum()) / np.abs(r).sum())
    return np.array(left), max(errors)


def named(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A Markdown table whose rows have names."""
    return table(["", *head], [[name, *cells] for name, cells in rows.items()])


def means(measured: NDArray[np.float64]) -> list[str]:
    """The mean of each column."""
    return [f"{mean:.2f}" for mean in measured.mean(axis=0)]


def tables() -> dict[str, str]:
    """Measure everything; the name of each table and its Markdown."""
    classifier = Classifier()
    subjects = {name: classifier.subject(name) for name in PHOTOGRAPHS}
    two, one, areas = {}, {}, {}
    for name, options in METHODS.items():
        explainer = Explainer(MODEL, **options)
        two[name] = in_mosaics(explainer, subjects, pairs(PHOTOGRAPHS))["focus"]
        one[name] = in_mosaics(explainer, subjects, fours(PHOTOGRAPHS))
        areas[name] = in_photographs(explainer, subjects.values(), classifier)
    kept = {name: sums(rules, seed, subjects.values()) for name, (rules, seed) in PRESETS.items()}
    return {
        "two of four": named(
            LAYERS,
            {
                name: [f"{mean:.2f} ({least:.2f})" for mean, least in zip(m.mean(axis=0), m.min(axis=0), strict=True)]
                for name, m in two.items()
            },
        ),
        "one of four": named(LAYERS, {name: means(measured["focus"]) for name, measured in one.items()}),
        "pointing": named(LAYERS, {name: means(measured["pointing"]) for name, measured in one.items()}),
        "insertion minus deletion": named(LAYERS, {name: means(measured) for name, measured in areas.items()}),
        "sums": named(
            [*LAYERS[:-1], "ΣM differs at most"],
            {
                name: [f"{100 * share:.1f} %" for share in (*left.mean(axis=0), error)]
                for name, (left, error) in kept.items()
            },
        ),
    }


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="Measure how well maps hit their object.")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/quality.md")
    arguments = parser.parse_args()
    found = tables()
    for name, markdown in found.items():
        print(f"{name}\n\n{markdown}\n")
    if arguments.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
