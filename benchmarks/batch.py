"""What `relcam batch` costs beside the compiled model alone, decoding alone, and engine beside engine.

``python -m benchmarks.batch`` prints the tables, ``--write`` also puts them into docs/batch.md. The photographs are
crops of those in examples/ in a temporary folder. Every ratio is of two times, or processor times, taken in turns in one
run. Engine ``ray`` needs the ray extra.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.cost import ROOT
from benchmarks.folder import photographs
from benchmarks.models import LITE0, RESNET, Net, compiled
from benchmarks.page import fill, table
from benchmarks.timing import THREADS, running, session
from relcam_onnx.batch import Request, explain_batch
from relcam_onnx.batch.run import Plan, Step
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer

PAGE = ROOT / "docs" / "batch.md"
BATCHES = (1, 2, 4, 8, 16)
"""What the compiled model alone is tried with; the best one counts."""
LAYERS = ("stages", "fused")


class Rate(NamedTuple):
    """Seconds, and seconds of the processor, for each picture."""

    wall: float
    work: float


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/batch.md")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    parser.add_argument("--pictures", type=int, default=200, help="photographs in the folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = photographs(Path(place) / "small", options.pictures)
        large = photographs(Path(place) / "large", 24, (3000, 2000))
        tables = {
            "throughput": throughput(folder, Path(place), options.repeats),
            "decoding": decoding({"a quarter of a megapixel": folder, "6 megapixels": large}, options.repeats),
        }
    for name, (head, rows) in tables.items():
        shown = Table(*head, title=name)
        for cells in rows:
            shown.add_row(*cells)
        Console().print(shown)
    if options.write:
        fill(PAGE, {name: table(head, rows) for name, (head, rows) in tables.items()})


Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def throughput(folder: Path, place: Path, repeats: int) -> Rows:
    """The local engine against the compiled model alone at its best batch size."""
    rows = []
    for net in (LITE0, RESNET):
        alone = {size: partial(of_session, net, size) for size in BATCHES}
        best = min(alone, key=lambda size: alone[size]().wall)
        base, ours = turns([alone[best], partial(of_engine, net, folder, place)], repeats)
        rows.append((
            net.name, f"{best}", f"{1 / base.wall:.1f}", f"{1 / ours.wall:.1f}", f"{base.wall / ours.wall:.2f}", "≥ 0.9",
            f"{base.work / ours.work:.2f}",
        ))  # fmt: skip
    return (
        (
            "network",
            "best batch",
            "compiled alone, pictures/s",
            "`relcam batch`",
            "ratio",
            "target",
            "of processor time",
        ),
        rows,
    )


def decoding(folders: dict[str, Path], repeats: int) -> Rows:
    """Reading pictures as the engine does against Pillow's draft alone."""
    rows = []
    with Explainer(LITE0.file(), LAYERS) as explainer:
        pictorial = PictureExplainer(explainer)
        for what, folder in folders.items():
            files = sorted(folder.iterdir())
            base, ours = turns([partial(drafted, files), partial(read, files, pictorial)], repeats)
            rows.append(
                (what, f"{1e3 * base.work:.2f} ms", f"{1e3 * ours.work:.2f} ms", f"{ours.work / base.work:.2f}")
            )
    return ("photographs", "draft alone", "as the engine reads", "ratio"), rows
