"""Every method at every stage by the audit's measures: prints, and with ``--write`` writes docs/quality/methods.md.

python -m benchmarks.methods [--pictures DIR --labels FILE] [--model FILE] [--rows METHOD...] [--write]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import LITE, ROOT
from benchmarks.page import table
from benchmarks.quality.subjects import OUTLINES, audited, listed, read
from benchmarks.timing import median
from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit import experiments, metrics
from relcam_onnx.audit.experiments import Curves, Item
from relcam_onnx.audit.metrics import bootstrap
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.store import Store
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.audit.weights import weights_of
from relcam_onnx.lrp.methods import METHODS, Probe

PAGE = ROOT / "docs" / "quality" / "methods.md"
SAID = """Written by `make methods`, on the committed examples and EfficientNet-Lite0.
[What measures are](../audit.md#measures). A mean, its interval of 95 %, n: few pictures, and fewer for what runs the
model thousands of times; [quality.md](../quality.md) has the protocol with more. `lrp` is preset epsilon-plus at the
input, `clrp` preset paper."""
GRIDS, DELETIONS, WEIGHTS = 10, 5, 3
"""Mosaics of each kind, pictures, pictures under other weights."""
DEAR = {
    "recipro-cam": 1,
    **dict.fromkeys(("score-cam", "ablation-cam"), 2),
    **dict.fromkeys(("rise", "smoothgrad", "integrated-gradients", "expected-gradients"), 5),
}
"""Mosaics for methods that run the model a hundred times or more for one."""
ROWS: dict[str, dict[str, Any]] = {
    **{name: {"method": name} for name in METHODS},
    "lrp": {"method": "lrp", "preset": "epsilon-plus", "layers": "input"},
    "clrp": {"method": "lrp", "preset": "paper", "layers": "input"},
    "guided-backprop": {"preset": "guided-backprop", "layers": "input"},
    "relevance-cam": {"preset": "paper"},
}
FIGURES = {
    ("focus", "share"): "Focus, two of four tiles (chance .5)",
    ("grid", "share"): "GridPG, one of four tiles (chance .25)",
    ("deletion", "logit"): "Single-deletion score, the logit",
    ("deletion", "deletion"): "Deletion, area (lower is better)",
    ("deletion", "insertion"): "Insertion, area (higher is better)",
    ("deletion", "drop"): "Average drop, picture times map, % (lower is better)",
    ("deletion", "drop-half"): "Average drop, the map's first half shown, % (lower is better)",
    ("weights", "magnitude"): "abs(r) with the map where all weights are drawn anew (lower is better)",
    ("time", "ratio"): "Time for a picture, in forward passes",
}


def timed(model: Audited, subjects: Sequence[Subject]) -> Callable[[Source, str], dict[str, float]]:
    """Seconds for one picture over those of a forward pass."""
    x = subjects[0].array[None]

    plain = median(lambda: model.scores(x), 30)

    def ratio(made: Source, row: str) -> dict[str, float]:
        turns = 1 if isinstance(METHODS[ROWS[row].get("method", "lrp")], Probe) else 5
        call = partial(made, x, [subjects[0].label])
        call()  # what is made once is made
        return {"ratio": median(call, turns) / plain}

    return ratio


def measure(store: Store, model: Audited, subjects: list[Subject], rows: Sequence[str]) -> None:
    """Everything of some rows that is not measured yet."""
    ratio = timed(model, subjects)
    for row in rows:
        options = ROWS[row]
        grids = DEAR.get(row, GRIDS)
        made = model.source(row, **options)
        items: dict[str, list[Item]] = {
            "focus": list(experiments.in_mosaics(subjects, grids, opposite=True)),
            "grid": list(experiments.in_mosaics(subjects, grids, opposite=False)),
            "deletion": list(experiments.by_deleting(subjects, DELETIONS, model, Curves(road=False))),
        }
        for kind, found in items.items():
            for item in found:
                if not store.has(kind, row, item.name):
                    store.add(kind, row, item.name, item.measure(made))
        if not store.has("time", row, "picture"):
            store.add("time", row, "picture", {row: {FUSED: ratio(made, row)}})
        weights(store, model, subjects, row, made)
        print(row, file=sys.stderr, flush=True)


def weights(store: Store, model: Audited, subjects: list[Subject], row: str, made: Source) -> None:
    """The maps of one method against those that it makes where all weights are drawn anew."""
    todo = [s for s in experiments.sampled(subjects, WEIGHTS) if not store.has("weights", row, s.name)]
    if not todo:
        return
    learned = weights_of(model.prepared)
    other = model.source(row, model=learned.randomised(len(learned.found)), **ROWS[row])
    for subject in todo:
        x, classes = subject.array[None], [subject.label, subject.second]
        pairs = made(x, classes)[row], other(x, classes)[row]
        found = {k: {"magnitude": abs(metrics.correlation(v[0], pairs[1][k][0]))} for k, v in pairs[0].items()}
        store.add("weights", row, subject.name, {row: found})


def tables(store: Store, wanted: Sequence[str]) -> str:
    """The figures of some rows as Markdown."""
    parts = []
    for (kind, key), said in FIGURES.items():
        values = {row: value for row, value in store.values(kind, key).items() if row in wanted}
        layers = list(dict.fromkeys(layer for row in values.values() for layer in row))
        layers = [layer for layer in layers if layer != FUSED] + [FUSED]
        rows = [[row, *(cell(values[row].get(layer, {}).values()) for layer in layers)] for row in values]
        head = ["", *(layer.replace("stride", "stride ") if layer != FUSED else "fused, or input" for layer in layers)]
        parts.append(f"**{said}**\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def merged(new: str, old: str) -> str:
    """The tables of some rows, with the rows that a page has beside them."""
    parts = []
    for block in new.split("**")[1:]:
        if not block.startswith("\n"):
            title = block
            continue
        _, _, there = old.partition(f"**{title}**\n\n")
        both = [read_table(text) for text in (there.partition("\n\n")[0], block.strip())]
        head = max((list(next(iter(rows.values()), {})) for rows in both), key=len)
        rows = both[0] | both[1]
        cells = [
            [name, *(rows[name].get(column, "") for column in head)] for name in sorted(rows, key=list(ROWS).index)
        ]
        parts.append(f"**{title}**\n\n{table(['', *head], cells)}")
    return "\n\n".join(parts)


def read_table(text: str) -> dict[str, dict[str, str]]:
    """A table in Markdown: row -> column -> cell."""
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()] or [[], []]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def cell(values: Any) -> str:
    """A mean, its interval and n."""
    found = [value for value in values if np.isfinite(value)]
    if not found:
        return ""
    mean, low, high, size = bootstrap(found)
    if size == 1:
        return f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
    return f"{mean:.3g} ({low:.3g} … {high:.3g}; {size})"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="Every method by the audit's measures.")
    parser.add_argument("--model", type=Path, default=LITE, help="an ONNX file, with its preprocessing inside")
    parser.add_argument("--pictures", type=Path, default=ROOT / "examples", help="a folder of pictures")
    parser.add_argument("--labels", type=Path, help="a CSV with the columns file and index; labels.csv in the folder")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="these alone; the page keeps the others")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    files = listed(options.pictures, options.labels)
    model = audited(options.model)
    subjects = read(files, model, OUTLINES)
    told = [options.model.name, *sorted(f"{file.name}{label}" for file, label in files.items())]
    kept = ROOT / "build" / "quality" / f"methods-{hashlib.sha256(''.join(told).encode()).hexdigest()[:12]}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    store = Store(kept)
    model.usual = [subject.file for subject in subjects]
    wanted = options.rows or list(ROWS)
    measure(store, model, subjects, wanted)
    found = tables(store, wanted)
    if options.rows:
        found = merged(found, PAGE.read_text(encoding="utf-8"))
    print(found)
    if options.write:
        PAGE.write_text(f"# Every method at every stage\n\n{SAID}\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
