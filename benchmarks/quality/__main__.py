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
from benchmarks.quality import experiments
from benchmarks.quality.experiments import Measure, Sizes
from benchmarks.quality.networks import NETWORKS, Network
from benchmarks.quality.rows import DEFAULT, sources
from benchmarks.quality.store import Store
from benchmarks.quality.subjects import OUTLINES, Classifier, Subject, listed, read
from benchmarks.quality.tables import tables
from benchmarks.shapes import pictures

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


def measure(store: Store, network: Network, subjects: list[Subject], classifier: Classifier) -> str:
    """Measure what is not measured yet; all tables, and a line about margins."""
    sizes, model = Sizes(), network.file()
    rows = sources(model)
    kinds: dict[str, Iterator[tuple[str, Measure]]] = {
        "grid": experiments.in_mosaics(subjects, sizes.grids, opposite=False),
        "focus": experiments.in_mosaics(subjects, sizes.pairs, opposite=True),
        "outline": experiments.in_outlines(subjects, sizes.outlines),
        "class": experiments.by_class(subjects, sizes.classes),
        "deletion": experiments.by_deleting(subjects, sizes.deletions, classifier),
        "weights": experiments.by_weights(subjects, sizes.weights, model),
    }
    items = {kind: list(found) for kind, found in kinds.items()}
    for (name, source), (kind, of_kind) in product(rows.items(), items.items()):
        if not wanted(name, kind):
            continue
        todo = [(item, of) for item, of in of_kind if not store.has(kind, name, item)]
        for item, of in track(todo, f"{name}: {kind}", disable=not sys.stderr.isatty()):
            store.add(kind, name, item, of(source))
        if todo:
            print(f"{name}: {kind}, {len(todo)}", file=sys.stderr, flush=True)
    told = experiments.margins(subjects, classifier)
    return "\n\n".join([tables(store), spoken(told)])


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
    classifier = Classifier(network.file())
    subjects = read(files, classifier, asked.outlines or (folder / "outlines.json" if own else OUTLINES))
    model = hashlib.sha256(network.file().read_bytes()).hexdigest()
    digest = hashlib.sha256("".join([model, *sorted(f"{f.name}{c}" for f, c in files.items())]).encode()).hexdigest()
    store = Store(ROOT / "build" / "quality" / f"{network.file().stem}-{digest[:12]}.jsonl")
    found = measure(store, network, subjects, classifier)
    print(found)
    if asked.page:
        title = network.title + (" on the committed examples" if folder == EXAMPLES else "")
        asked.page.write_text(f"# {title}\n\n{SOURCE}\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
