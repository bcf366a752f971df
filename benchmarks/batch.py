"""What `relcam batch` costs beside the compiled model alone, decoding beside Pillow's draft, engine beside engine.

``python -m benchmarks.batch`` prints the tables, ``--write`` also puts them into docs/batch.md; ``--many 100000`` does
the table of memory alone, which takes long. The photographs are crops of those in examples/, in a temporary folder. All
ratios are of two times, or processor times, that are taken in turns in one run; the median of the turns counts. Engine
``ray`` needs the ray extra, and counts once its workers have begun.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.cost import ROOT
from benchmarks.folder import photographs
from benchmarks.models import LITE0, RESNET, Net, compiled
from benchmarks.page import fill, table
from benchmarks.timing import THREADS, running, session
from relcam_onnx.batch import Request, explain_batch
from relcam_onnx.batch.steps import Plan, Step
from relcam_onnx.batch.stores import read
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.pictures.pixels import read_pixels
from relcam_onnx.pictures.reading import Stored

PAGE = ROOT / "docs" / "batch.md"
LAYERS = ("stages", "fused")
BATCHES = (1, 2, 4, 8, 16)
"""What the compiled model alone is tried with; the fastest counts."""
POLL = 0.02
"""Seconds between two looks at what is written."""
SHARD = 10
"""Rows of a shard: an engine counts from its first one to its last."""

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


class Cost(NamedTuple):
    """Of a picture: seconds, and seconds of the processor time of this process, or of its Ray workers."""

    wall: float
    work: float


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/batch.md")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    parser.add_argument("--pictures", type=int, default=200, help="photographs in the folder")
    parser.add_argument("--only", choices=("throughput", "decoding", "engines"), help="one of the tables")
    parser.add_argument("--many", type=int, help="the table of memory alone, of so many small pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if options.many:
            tables = {"memory": memory(place, options.many)}
        else:
            small = photographs(place / "small", options.pictures)
            few = photographs(place / "few", 40)
            large = photographs(place / "large", 20, (3000, 2000))
            out = (place / f"out{number}" for number in count())
            photographed = {"a quarter of a megapixel": small, "6 megapixels": large}
            made = {
                "throughput": partial(throughput, {LITE0: small, RESNET: few}, out, options.repeats),
                "decoding": partial(decoding, photographed, options.repeats),
                "engines": partial(engines, small, out, options.repeats),
            }
            tables = {name: make() for name, make in made.items() if options.only in (None, name)}
    for name, (head, rows) in tables.items():
        shown = Table(*head, title=name)
        for cells in rows:
            shown.add_row(*cells)
        Console().print(shown)
    if options.write:
        fill(PAGE, {name: table(head, rows) for name, (head, rows) in tables.items()})


def throughput(folders: dict[Net, Path], out: Iterator[Path], repeats: int) -> Rows:
    """The local engine against the compiled model alone."""
    rows = []
    for net, folder in folders.items():
        proto = compiled(net.file(), LAYERS)
        whole, single = session(proto, THREADS), session(proto, 1, spinning=False)
        best = min(BATCHES, key=lambda size: alone(whole, size).wall)
        base, one, ours = turns(
            [
                partial(alone, whole, best),
                partial(alone, single, best),
                lambda net=net, folder=folder: engine(net, folder, next(out)),
            ],
            repeats,
        )
        rows.append((
            net.name, f"{best}", f"{1 / median(base).wall:.1f}", f"{1 / median(ours).wall:.1f}",
            f"{ratio(base, ours, 'wall'):.2f}", "≥ 0.9", f"{ratio(one, ours, 'work'):.2f}",
        ))  # fmt: skip
    head = (
        "network",
        "best batch",
        "compiled alone, pictures/s",
        "`relcam batch`",
        "ratio",
        "target",
        "of processor time",
    )
    return head, rows


def decoding(folders: dict[str, Path], repeats: int) -> Rows:
    """Reading as the engine does against Pillow's draft alone."""
    rows = []
    with Explainer(LITE0.file(), "last") as explainer:
        needed = PictureExplainer(explainer).preprocess.needed
        for what, folder in folders.items():
            files = sorted(folder.iterdir())
            jobs = [partial(each, drafted, files), partial(each, lambda f: read_pixels(stored(f), needed), files)]
            base, ours = turns(jobs, repeats)
            rows.append((
                what, f"{1e3 * median(base).work:.2f} ms", f"{1e3 * median(ours).work:.2f} ms",
                f"{ratio(ours, base, 'work'):.2f}", "≤ 1.2",
            ))  # fmt: skip
    return ("photographs", "Pillow's draft", "as the engine reads", "ratio", "target"), rows


def engines(folder: Path, out: Iterator[Path], repeats: int) -> Rows:
    """Ray against the local engine, and two workers against one."""
    ray = partial(engine, LITE0, folder, engine="ray")
    local, both, one, two = turns(
        [
            lambda: engine(LITE0, folder, next(out), threads=THREADS),
            lambda: ray(next(out), threads=THREADS, concurrency=1),
            lambda: ray(next(out), threads=1, concurrency=1),
            lambda: ray(next(out), threads=1, concurrency=2),
        ],
        repeats,
    )
    named = ("local", "Ray, one worker of two cores", "Ray, one worker of one core", "Ray, two workers of one core")

    def against(costs: Sequence[Cost]) -> str:
        return (
            f"{ratio(local, costs, 'wall'):.2f} of the local rate, {ratio(local, costs, 'work'):.2f} by processor time"
        )

    flat = f"{ratio(two, one, 'work'):.2f} of one worker's processor time"
    compared = ("", against(both), "", f"{against(two)}; {flat}")
    return ("engine", "pictures/s", "processor time a picture", "against", "target"), [
        (what, f"{1 / median(costs).wall:.1f}", f"{1e3 * median(costs).work:.0f} ms", said, target)
        for what, costs, said, target in zip(
            named, (local, both, one, two), compared, ("", "≥ 0.85", "", "≥ 0.85; flat"), strict=True
        )
    ]


def memory(place: Path, many: int) -> Rows:
    """What this process holds while it explains very many small pictures, out of ten tar files and out of a folder."""
    pictures = [noise(seed) for seed in range(20)]
    (place / "folder").mkdir()
    for number in range(many):
        (place / "folder" / f"{number:07}.png").write_bytes(pictures[number % 20])
    for tar in range(10):
        with tarfile.open(place / f"{tar}.tar", "w") as archive:
            for number in range(many // 10):
                told = tarfile.TarInfo(f"{number:07}.png")
                told.size = len(pictures[number % 20])
                archive.addfile(told, io.BytesIO(pictures[number % 20]))
    model = tiny(place / "tiny.onnx")
    marks, rows = [many // 10, many // 2, many], []
    for what, source in (("tar files", "*.tar"), ("folder", "folder")):
        held: dict[int, float] = {}
        request = Request(model, [str(place / source)], str(place / f"out-{len(rows)}"), preprocess="raw")
        explain_batch(request, partial(watching, held, marks))
        rows.append((what, *(f"{held[mark]:.0f} MiB" for mark in marks)))
    return ("source", *(f"after {mark:,}" for mark in marks)), rows


def tiny(file: Path) -> Path:
    """A network that takes next to no time."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32) / 4, name)
        for name, shape in (("w", (8, 3, 3, 3)), ("v", (5, 8)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["scores"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 32, 32])
    y = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", 5])
    graph = helper.make_graph(nodes, "tiny", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    return file


def watching(held: dict[int, float], marks: Sequence[int], steps: Iterable[Step], plan: Plan) -> Iterator[Step]:
    """Note what this process holds after so many pictures."""
    done = 0
    for step in steps:
        done += step.pictures
        for mark in marks:
            if done >= mark and mark not in held:
                held[mark] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
        yield step


def noise(seed: int) -> bytes:
    """A small picture's file."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def engine(net: Net, folder: Path, out: Path, **options: Any) -> Cost:
    """A batch, from the time of its first shard to that of its last."""
    work = of_workers if options.get("engine") == "ray" else time.process_time
    preprocess = "imagenet" if net is RESNET else None
    request = Request(net.file(), [str(folder)], str(out), shard=SHARD, preprocess=preprocess, **options)
    seen: dict[int, tuple[float, float]] = {}
    done = threading.Event()
    watcher = threading.Thread(target=watching_shards, args=(out, seen, work, done))
    watcher.start()
    try:
        explain_batch(request)
    finally:
        done.set()
        watcher.join()
    first, last = min(seen), max(seen)
    spent = (after - before for before, after in zip(seen[first], seen[last], strict=True))
    return Cost(*(each / (SHARD * (last - first)) for each in spent))


def watching_shards(
    out: Path, seen: dict[int, tuple[float, float]], work: Callable[[], float], done: threading.Event
) -> None:
    """Note when there are so many shards, and what had been worked by then."""
    while not done.wait(POLL):
        shards = len(list(out.glob("*.parquet")))
        if shards and shards not in seen:
            seen[shards] = (time.perf_counter(), work())


def of_workers() -> float:
    """The processor time of this process' Ray workers so far."""
    ticks = 0
    for process in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if b"MapWorker" in (process / "cmdline").read_bytes() and descends(int(process.name)):
                ticks += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def descends(process: int) -> bool:
    """Whether this process began another one, or one that began it."""
    while process > 1 and process != os.getpid():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process == os.getpid()


def alone(model: Any, size: int, pictures: int = 16) -> Cost:
    """The compiled model on pictures that are there already, so many at a time."""
    call = running(model, size)
    call()
    return timed(lambda: [call() for _ in range(-(-pictures // size))], size * -(-pictures // size))


def each(work: Callable[[Path], object], files: Sequence[Path]) -> Cost:
    """Some work on every file."""
    return timed(lambda: [work(file) for file in files], len(files))


def drafted(file: Path) -> Image.Image:
    """What Pillow alone does: twice as many pixels as the model takes."""
    with Image.open(file) as picture:
        picture.draft(None, (512, 512))
        return picture.convert("RGB")


def stored(file: Path) -> Stored:
    """A file as the engine gets it."""
    return Stored(str(file), read(str(file)))


def timed(call: Callable[[], object], pictures: int) -> Cost:
    """What a call costs for each of so many pictures."""
    start, busy = time.perf_counter(), time.process_time()
    call()
    return Cost((time.perf_counter() - start) / pictures, (time.process_time() - busy) / pictures)


def turns(calls: Sequence[Callable[[], Cost]], repeats: int) -> list[list[Cost]]:
    """What each costs, turn by turn."""
    return [list(costs) for costs in zip(*([call() for call in calls] for _ in range(repeats)), strict=True)]


def median(costs: Sequence[Cost]) -> Cost:
    """The median turn."""
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def ratio(costs: Sequence[Cost], base: Sequence[Cost], of: str) -> float:
    """The median of the turns' ratios."""
    return statistics.median(getattr(a, of) / getattr(b, of) for a, b in zip(costs, base, strict=True))


if __name__ == "__main__":
    main()
