"""How good the maps are: measures, prints, and with ``--write`` puts the tables into docs/quality/.

python -m benchmarks.quality [--network lite0|mobilenet|shapes] [--pictures DIR --labels FILE] [--model FILE] [--write]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
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

PAGES = ROOT / "docs" / "quality"
EXAMPLES = ROOT / "examples"
SOURCE = "Written by `make quality`; [the protocol](../quality.md) says what rows and measures are."


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description="Measure how good maps are.")
    parser.add_argument("--network", choices=NETWORKS, default="lite0", help="which network")
    parser.add_argument("--model", type=Path, help="another ONNX file, with its preprocessing inside")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures; default: examples/, or drawn shapes")
    parser.add_argument("--labels", type=Path, help="a CSV with the columns file and index; labels.csv in the folder")
    parser.add_argument("--outlines", type=Path, help="polygons by file name, JSON; default: those drawn by hand")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/quality/")
    return parser.parse_args()


def measure(store: Store, network: Network, subjects: list[Subject], classifier: Classifier) -> str:
    """Measure what is not measured yet; all tables, and a line about margins."""
    sizes, model = Sizes(), network.file()
    kinds: dict[str, Iterator[tuple[str, Measure]]] = {
        "grid": experiments.in_mosaics(subjects, sizes.grids, opposite=False),
        "focus": experiments.in_mosaics(subjects, sizes.pairs, opposite=True),
        "outline": experiments.in_outlines(subjects, sizes.outlines),
        "class": experiments.by_class(subjects, sizes.classes),
        "deletion": experiments.by_deleting(subjects, sizes.deletions, classifier),
    }
    items = {kind: list(found) for kind, found in kinds.items()}
    for name, source in sources(model).items():
        for kind, listed_ in items.items():
            if kind == "class" and name == "baselines":
                continue  # they are the same for every class
            todo = [(item, of) for item, of in listed_ if not store.has(kind, name, item)]
            for item, of in track(todo, f"{name}: {kind}", disable=not sys.stderr.isatty()):
                store.add(kind, name, item, of(source))
            if todo:
                print(f"{name}: {kind}, {len(todo)}", file=sys.stderr, flush=True)
    default = sources(model)[DEFAULT]
    weights = list(experiments.by_weights(subjects, sizes.weights, model))
    for item, of in [(item, of) for item, of in weights if not store.has("weights", DEFAULT, item)]:
        store.add("weights", DEFAULT, item, of(default))
    told = experiments.margins(subjects, classifier)
    return "\n\n".join([tables(store), spoken(told)])


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
    own = asked.pictures is None and asked.network == "shapes" and asked.model is None
    folder = asked.pictures or (pictures(ROOT / "build" / "shapes") if own else EXAMPLES)
    files = listed(folder, asked.labels)
    network = Network(asked.model.stem, lambda: asked.model) if asked.model else NETWORKS[asked.network]
    classifier = Classifier(network.file())
    subjects = read(files, classifier, asked.outlines or (folder / "outlines.json" if own else OUTLINES))
    model = hashlib.sha256(network.file().read_bytes()).hexdigest()
    digest = hashlib.sha256("".join([model, *sorted(f"{f.name}{c}" for f, c in files.items())]).encode()).hexdigest()
    name = asked.model.stem if asked.model else "examples" if folder == EXAMPLES else asked.network
    found = measure(Store(ROOT / "build" / "quality" / f"{name}-{digest[:12]}.jsonl"), network, subjects, classifier)
    print(found)
    if asked.write:
        title = network.title + (" on the committed examples" if name == "examples" else "")
        (PAGES / f"{name}.md").write_text(f"# {title}\n\n{SOURCE}\n\n{found}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
