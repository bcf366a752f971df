"""What the page of `relcam web` weighs, and what a second picture takes in it, beside Python on one thread.

``python -m benchmarks.web`` prints the tables, ``--write`` also puts them into docs/web.md, ``--shot FILE`` keeps a
picture of the page. It needs Chromium and Playwright (``make test-page`` installs the latter). The page's time is from
the picture that comes in to the overlay that is drawn; Python reads the same file, explains it with a ready `Explainer`
of one thread and draws the overlay. They take turns.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

import relcam_onnx as rc
from benchmarks.browser import Site, chromium, give
from benchmarks.cost import LITE, ROOT
from benchmarks.page import fill, table

PAGE = ROOT / "docs" / "web.md"
MOST_RATIO, MOST_SIZE = 3.0, 45.0
PICTURES = sorted((ROOT / "examples").glob("*.jpg"))
SIDE = 150_000
"""Bytes of the picture of the page, at most."""


def weights(folder: Path) -> Iterator[tuple[str, str, str]]:
    """What a site is made of, in megabytes."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    parts = {
        "the compiled model": [file for file in files if file.suffix == ".onnx"],
        "onnxruntime-web": [file for file in files if file.parent.name == "runtime"],
    }
    rest = [file for file in files if not any(file in part for part in parts.values())]
    for name, part in {**parts, "the page itself": rest, "all": files}.items():
        size = sum(file.stat().st_size for file in part) / 1e6
        yield name, f"{size:.2f} MB", f"≤ {MOST_SIZE:g} MB" if name == "all" else ""


def times(site: Site, repeats: int) -> Iterator[tuple[str, ...]]:
    """A line of the table for each way in which browsers run it."""
    with rc.Explainer(LITE, threads=1) as explainer:
        in_python(explainer, PICTURES[0])
        for name, options in (("the browser's threads", {}), ("one thread", {"service_workers": "block"})):
            page = site.open(**options)
            give(page, PICTURES[0])
            turns = [
                [(give(page, picture)["milliseconds"] / 1e3, in_python(explainer, picture)) for picture in PICTURES]
                for _ in range(repeats)
            ]
            threads = page.inner_text("#made").rsplit(". ", 1)[1].split(" of ")[0].lower()
            page.context.close()
            # The least of each photograph: what else a busy machine does only adds to a time.
            least = [tuple(map(min, zip(*of_one, strict=True))) for of_one in zip(*turns, strict=True)]
            own, base = (statistics.median(column) for column in zip(*least, strict=True))
            yield (
                f"{name} ({threads})",
                f"{1e3 * own:.0f} ms",
                f"{1e3 * base:.0f} ms",
                f"{statistics.median(page / python for page, python in least):.2f}",
                f"{statistics.median(page / python for turn in turns for page, python in turn):.2f}",
                f"≤ {MOST_RATIO:g}",
            )


def in_python(explainer: rc.Explainer, picture: Path) -> float:
    """Seconds for a picture and its overlay."""
    start = time.perf_counter()
    rc.explain(explainer, picture).overlay()
    return time.perf_counter() - start


def shoot(site: Site, file: Path) -> None:
    """Keep a picture of the page, as a JPEG that is small enough for a README."""
    page: Any = site.open(viewport={"width": 1200, "height": 900})
    for _ in range(2):  # the first picture waits for WebAssembly to be compiled
        give(page, ROOT / "examples" / "mosaic-coffee-cat.jpg")
    page.wait_for_timeout(500)
    with Image.open(io.BytesIO(page.screenshot(full_page=True))) as image:
        for quality in range(90, 30, -5):
            image.convert("RGB").save(file, quality=quality, optimize=True)
            if file.stat().st_size <= SIDE:
                break
    page.context.close()


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/web.md")
    parser.add_argument(
        "--repeats", type=int, default=12, help="turns, of which the least time of each photograph counts"
    )
    parser.add_argument("--shot", type=Path, metavar="FILE", help="keep a picture of the page, and measure nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        rc.make_site(LITE, place, title="EfficientNet-Lite0")
        site = Site(Path(place), browser)
        if options.shot:
            shoot(site, options.shot)
            return
        tables = {
            "size": (("what", "size", "target"), list(weights(Path(place)))),
            "time": (
                ("page", "a second picture", "Python", "ratio", "median of all turns", "target"),
                list(times(site, options.repeats)),
            ),
        }
        site.close()
    for header, rows in tables.values():
        shown = Table(*header)
        for cells in rows:
            shown.add_row(*cells)
        Console().print(shown)
    if options.write:
        fill(PAGE, {name: table(*content) for name, content in tables.items()})


if __name__ == "__main__":
    main()
