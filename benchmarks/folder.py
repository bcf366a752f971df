"""What `relcam explain` takes for a folder of photographs, against a script that only classifies them.

``python -m benchmarks.folder`` prints the table, ``--write`` also puts it into docs/costs.md. The photographs are crops
of those in examples/, and a few of them enlarged to what a telephone takes; they lie in a temporary folder.
"""

from __future__ import annotations

import argparse
import compileall
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.cost import LITE, PAGE, ROOT, python
from benchmarks.page import fill, table

MOST = 2.2
"""What the ratio of the default output may be."""

FORMATS = ("", "json", "png")
"""What is written, the default first."""


class Photographs(NamedTuple):
    """How many, the size of each (None: that of the examples), what is said of it, and what is written of them."""

    count: int
    size: tuple[int, int] | None
    of: str
    formats: Sequence[str]


FOLDERS = (
    Photographs(100, None, "a quarter of a megapixel", FORMATS),
    Photographs(100, (1600, 1200), "2 megapixels", FORMATS[:2]),
    Photographs(12, (4000, 3000), "12 megapixels", FORMATS[:2]),
)

CLASSIFY = f"""
import sys
from pathlib import Path
from typing import NamedTuple
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession({str(LITE)!r})
for file in sorted(Path(sys.argv[1]).iterdir()):
    picture = Image.open(file).convert("RGB")
    width, height = (256 * side // min(picture.size) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    x = (np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float32) - 127) / 128
    scores, = session.run(None, {{"input": x.transpose(2, 0, 1)[None]}})
    print(file, scores.argmax())
"""


def photographs(folder: Path, count: int, size: tuple[int, int] | None = None) -> Path:
    """A folder of crops of the examples, each its own; all enlarged to one size where that is given."""
    folder.mkdir()
    files, rng = sorted((ROOT / "examples").glob("*.jpg")), random.Random(0)
    for number in range(count):
        with Image.open(files[number % len(files)]) as picture:
            left, top, right, bottom = (rng.randrange(side // 8) for side in picture.size * 2)
            crop = picture.crop((left, top, picture.width - right, picture.height - bottom))
            (crop.resize(size, Image.Resampling.BICUBIC) if size else crop).save(
                folder / f"{number:03}.jpg", quality=90
            )
    return folder


def rows(repeats: int) -> Iterator[tuple[str, ...]]:
    """Fresh processes, in turns; a line of the table for each thing that is written."""
    with tempfile.TemporaryDirectory() as place:
        for number, (count, size, of, formats) in enumerate(FOLDERS):
            folder = photographs(Path(place) / str(number), count, size)
            calls = [partial(python, "-c", CLASSIFY, str(folder))]
            calls += [explaining(folder, Path(place) / "out", name) for name in formats]
            turns = [[spent(call) for call in calls] for _ in range(repeats)]
            (wall, work), *others = (
                [*map(statistics.median, zip(*call, strict=True))] for call in zip(*turns, strict=True)
            )
            for name, (seconds, busy) in zip(formats, others, strict=True):
                yield (
                    f"{count} of {of}, {name or 'default output'}",
                    f"{seconds:.2f} s",
                    f"{wall:.2f} s",
                    f"{seconds / wall:.2f}",
                    f"{busy / work:.2f}",
                    "" if name else f"≤ {MOST:g}",
                )


def spent(call: Callable[[], object]) -> tuple[float, float]:
    """The time of a call and the processor time of the processes that it starts, in seconds."""
    before, start = os.times(), time.perf_counter()
    call()
    seconds, after = time.perf_counter() - start, os.times()
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, busy


def explaining(folder: Path, out: Path, name: str) -> partial[None]:
    """The command line over a folder."""
    chosen = ("--format", name) if name else ()
    return partial(python, "-m", "relcam_onnx", "explain", str(LITE), str(folder), "--out", str(out), *chosen)


def main() -> None:
    """Measure, print, and write if asked to."""
    compileall.compile_dir(ROOT / "relcam_onnx", quiet=1)  # as an installation does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/costs.md")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    options = parser.parse_args()
    measured = list(rows(options.repeats))
    header = ("photographs", "time", "the script's", "ratio", "of processor time", "target")
    shown = Table(*header)
    for cells in measured:
        shown.add_row(*cells)
    Console().print(shown)
    if options.write:
        fill(PAGE, {"folder": table(header, measured)})


if __name__ == "__main__":
    main()
