"""How good the maps are: measures, prints, and with ``--page`` writes the tables.

python -m benchmarks.quality [--network NAME or --model FILE] [--pictures DIR --labels FILE] [--page FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from rich.progress import track

from benchmarks.cost import ROOT
from benchmarks.quality.margins import margins
from benchmarks.quality.networks import NETWORKS, Network
from benchmarks.quality.rows import DEFAULT, sources
from benchmarks.quality.subjects import OUTLINES, audited, listed, read
from benchmarks.quality.tables import tables
from benchmarks.shapes import pictures
from relcam_onnx.audit import experiments, sanity
from relcam_onnx.audit.experiments import Curves, Item
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.store import Found, Store
from relcam_onnx.audit.subjects import Subject

EXAMPLES = ROOT / "examples"
SOURCE = "Written by `make quality`; [the protocol](../quality.md) says what rows and measures are."


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description="Measure how good maps are.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--network", choices=NETWORKS, default="lite0", help="which network")
    which.add_argument("--model", type=Path, help="another ONNX file, with its preprocessing inside")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures; default: examples/, or drawn shapes")
    parser.add_argument("--labels", type=Path, help="a CSV with the columns file and index; labels.csv in the folder")
    parser.add_argument("--outlines", type=Path, help="polygons by file name, JSON; default: those drawn by hand")
    parser.add_argument("--page", type=Path, help="the Markdown file to write; default: print alone")
    return parser.parse_args()


GRIDS, PAIRS, OUTLINED, DELETIONS, CLASSES, WEIGHTS = 60, 40, 100, 30, 80, 20
"""How many items of each kind, at most."""


def measure(store: Store, subjects: list[Subject], model: Audited) -> str:
    """Measure what is not measured yet; all tables, and a line about margins."""
    kinds: dict[str, Iterator[Item]] = {
        "grid": experiments.in_mosaics(subjects, GRIDS, opposite=False),
        "focus": experiments.in_mosaics(subjects, PAIRS, opposite=True),
        "outline": experiments.in_outlines(subjects, OUTLINED),
        "class": sanity.by_class(subjects, CLASSES),
        "deletion": experiments.by_deleting(subjects, DELETIONS, model, Curves(masking=False)),
        "weights": sanity.by_weights(subjects, WEIGHTS, model),
    }
    items = {kind: list(found) for kind, found in kinds.items()}
    for (name, source), (kind, of_kind) in product(sources(model).items(), items.items()):
        if not wanted(name, kind):
            continue
        todo = [item for item in of_kind if not store.has(kind, name, item.name)]
        for item in track(todo, f"{name}: {kind}", disable=not sys.stderr.isatty()):
            found = item.measure(source)
            store.add(kind, name, item.name, by_number(found) if kind == "weights" else found)
        if todo:
            print(f"{name}: {kind}, {len(todo)}", file=sys.stderr, flush=True)
    return "\n\n".join([tables(store), spoken(margins(subjects, model))])


def by_number(found: Found) -> Found:
    """``<layer>, <number> of <all>`` as a row for each number."""
    rows: Found = {}
    for layers in found.values():
        for name, values in layers.items():
            layer, _, number = name.partition(", ")
            rows.setdefault(number, {})[layer] = values
    return rows


def wanted(row: str, kind: str) -> bool:
    """Weights are drawn anew for the default alone; baselines are the same for every class."""
    return row == DEFAULT if kind == "weights" else (row, kind) != ("baselines", "class")


def spoken(told: dict[str, float]) -> str:
    """What margins told, in words."""
    return (
        f"The margin tells a class that is there from one that is not with AUROC {told['absent']:.3f}, and a picture "
        f"from white noise with {told['white']:.3f}, from its own pixels shuffled with {told['shuffled']:.3f} "
        f"(n = {told['count']:.0f}). Of absent classes {100 * told['under one']:.0f} % have a margin under one logit."
    )


def main() -> None:
    """Measure, print, and write if asked to."""
    asked = arguments()
    if asked.page and not asked.page.parent.is_dir():
        raise SystemExit(f"there is no folder {asked.page.parent} to write {asked.page.name} into")
    own = asked.pictures is None and asked.network == "shapes" and asked.model is None
    folder = asked.pictures or (pictures(ROOT / "build" / "shapes") if own else EXAMPLES)
    files = listed(folder, asked.labels)
    network = Network(asked.model.stem, lambda: asked.model) if asked.model else NETWORKS[asked.network]
    audit = audited(network.file())
    subjects = read(files, audit, asked.outlines or (folder / "outlines.json" if own else OUTLINES))
    model = hashlib.sha256(network.file().read_bytes()).hexdigest()
    digest = hashlib.sha256("".join([model, *sorted(f"{f.name}{c}" for f, c in files.items())]).encode()).hexdigest()
    kept = ROOT / "build" / "quality" / f"{network.file().stem}-{digest[:12]}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    found = measure(Store(kept), subjects, audit)
    print(found)
    if asked.page:
        title = network.title + (" on the committed examples" if folder == EXAMPLES else "")
        asked.page.write_text(f"# {title}\n\n{SOURCE}\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
