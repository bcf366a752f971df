"""What the compiled backend costs, as ratios to the plain forward pass of the same file in onnxruntime.

``python -m benchmarks.compiled`` prints every table; ``--write`` also puts them into docs/speed.md; ``--quick`` is for
trying: ResNet-50 and EfficientNet-Lite0 alone, few rounds. Networks that are not there yet are exported once, with
random weights, which needs PyTorch.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import onnx

import relcam_onnx as rc
from benchmarks.cost import ROOT
from benchmarks.ideal import ideal
from benchmarks.models import LITE0, OTHERS, RESNET, SIZE, Net, compiled, prepared
from benchmarks.page import fill, table
from benchmarks.timing import Timing, compare, compare_work, once, running, session

PAGE = ROOT / "docs" / "speed.md"
BATCHES = (1, 8)
ALL = ("stages", "fused")
SIZES = (224, 320, 448, 640, 896)
TARGETS = (1, 2, 5, 10, 20)

LIMITS: dict[str, tuple[tuple[float, float], ...]] = {
    "ResNet-50": ((1.03, 1.02), (1.52, 1.47), (2.35, 2.30), (2.95, 3.00), (3.10, 3.05), (3.70, 3.80)),
    "EfficientNet-Lite0": ((1.05, 1.02), (2.00, 1.80), (3.30, 2.80), (4.00, 3.30), (4.20, 3.50)),
}
"""What the ratios should not exceed at both batches: the stages from the scores down, all and fused, input."""

FORWARD = """
import sys
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(sys.argv[1], options)
x = numpy.random.default_rng(0).standard_normal((1, 3, 224, 224), numpy.float32)
feeds = {value.name: x for value in session.get_inputs()[:1]}
feeds |= {value.name: numpy.zeros((1, 1), numpy.int64) for value in session.get_inputs()[1:]}
for _ in range(3):
    session.run(None, feeds)
"""
EXPLAINER = """
import sys
import numpy, relcam_onnx
x = numpy.random.default_rng(0).standard_normal((1, 3, 224, 224), numpy.float32)
with relcam_onnx.Explainer(sys.argv[1], sys.argv[2], threads=2) as explainer:
    for _ in range(3):
        explainer(x, 0)
"""
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


def explained(file: Path, model: onnx.ModelProto, rounds: int, batch: int = 1, size: int = SIZE) -> Timing:
    """An explanation of one target for each picture against the plain forward pass."""
    return compare(running(session(model), batch, size), running(session(file), batch, size), rounds)


def worked(file: Path, model: onnx.ModelProto, rounds: int, size: int = SIZE) -> float:
    """The same as `explained` in processor time, one thread and one picture."""
    return compare_work(running(session(model, 1), 1, size), running(session(file, 1), 1, size), rounds)


def depths(net: Net, rounds: int, batches: Sequence[int]) -> str:
    """The table of one network: how the cost grows with depth."""
    file, limits = net.file(), LIMITS.get(net.name, ())
    rows = []
    for layers, most in zip_longest((*net.stages, ALL, "input"), limits):
        model = compiled(file, layers)
        row = [depth(layers), f"{ideal(prepared(file, layers)):.2f}"]
        for batch, limit in zip(batches, most or ("", ""), strict=False):
            row += [f"{explained(file, model, rounds, batch).ratio:.2f}", f"{limit:.2f}" if limit else ""]
        if limits:
            model = rc.compile_model(file, layers, size=(SIZE, SIZE))
            row += [f"{explained(file, model, rounds, batch).ratio:.2f}" for batch in batches]
        row.append(f"{worked(file, compiled(file, layers), rounds):.2f}")
        report(net.name, row)
        rows.append(row)
        gc.collect()  # graphs are cycles that hold every weight: too few objects for Python to collect by itself
    head = ["to", "ideal", *(text for batch in batches for text in (f"batch {batch}", "target"))]
    head += [f"file, batch {batch}" for batch in batches] if limits else []
    return table([*head, "one thread"], rows)


def depth(layers: str | Sequence[str]) -> str:
    """What tables call the layers asked for."""
    return layers if isinstance(layers, str) else "all four, fused"


def picture_sizes(rounds: int, sizes: Sequence[int]) -> str:
    """Ratio and time against the size of a square picture, one picture."""
    rows = []
    for size in sizes:
        row = [f"{size}×{size}"]
        for net, layers in ((RESNET, "layer2"), (LITE0, ALL)):
            found = explained(net.file(), compiled(net.file(), layers, size), rounds, size=size)
            row += [f"{found.ratio:.2f}", *(f"{1e3 * seconds:.0f} ms" for seconds in found[:2])]
        report("size", row)
        rows.append(row)
    head = [
        f"{net}, {what}" for net in ("ResNet-50 to layer2", "Lite0, all four") for what in ("ratio", "it", "forward")
    ]
    return table(["picture", *head], rows)


def target_counts(rounds: int, counts: Sequence[int]) -> str:
    """K targets of one picture in one run, against the forward pass and against K runs of one target."""
    rows = []
    for net, layers in ((RESNET, "layer2"), (LITE0, ALL)):
        file = net.file()
        one = running(session(compiled(file, layers)))
        many = session(compiled(file, layers, several=True))
        plain = running(session(file))
        for count in counts:
            run = one if count == 1 else running(many, targets=count)
            ratio, apart = compare(run, plain, rounds).ratio, compare(run, one, rounds).ratio / count
            limit = "≤ 0.55" if count == 5 else ""
            rows.append([net.name, str(count), f"{ratio:.2f}", f"{apart:.2f}" if count > 1 else "", limit])
            report("targets", rows[-1])
    return table(["", "K", "forward passes", "of K runs", "target"], rows)


def totals(rounds: int) -> str:
    """Memory, file size and the time to compile, ResNet-50."""
    file = RESNET.file()
    rows = [*memory(file), file_size(file), creation(file, rounds)]
    for row in rows:
        report("totals", row)
    return table(["ResNet-50", "", "against", "ratio", "target"], rows)


def memory(file: Path) -> Iterator[list[str]]:
    """Peak memory of fresh processes."""
    plain = peak(FORWARD, str(file))
    against = f"{plain:.0f} MiB, plain forward"
    for layer, limit in (("layer2", "≤ 2.3"), ("input", "≤ 2.9")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "compiled.onnx"
            onnx.save(compiled(file, layer), path)
            found = peak(FORWARD, str(path))
        yield [f"peak memory to {layer}", f"{found:.0f} MiB", against, f"{found / plain:.2f}", limit]
        found = peak(EXPLAINER, str(file), layer)
        name = f"peak memory to {layer}, `Explainer` that compiles too"
        yield [name, f"{found:.0f} MiB", against, f"{found / plain:.2f}", ""]


def peak(code: str, *arguments: str) -> float:
    """The most memory that a fresh process held while it ran some code, in MiB: VmHWM, which no child inherits."""
    command = [sys.executable, "-c", code + PEAK, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout) / 1024


def file_size(file: Path) -> list[str]:
    """The compiled file to layer1 against the model."""
    found, base = rc.compile_model(file, "layer1").ByteSize() / 2**20, file.stat().st_size / 2**20
    return ["file to layer1", f"{found:.1f} MiB", f"{base:.1f} MiB, the model", f"{found / base:.3f}", "≤ 1.15"]


def creation(file: Path, rounds: int) -> list[str]:
    """Compiling against the creation of a plain session from the file."""
    calls = partial(rc.compile_model, file, ALL), partial(session, file)
    took, base = (statistics.median(once(call) for _ in range(rounds)) for call in calls)
    against = f"{1e3 * base:.0f} ms, plain session"
    return ["compiling, all four, fused", f"{1e3 * took:.0f} ms", against, f"{took / base:.2f}", "≤ 4"]


def report(what: str, row: Sequence[str]) -> None:
    """Say a row as soon as it is measured."""
    print(what, *row, sep=" | ", flush=True)


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the tables of docs/speed.md")
    parser.add_argument("--quick", action="store_true", help="few rounds, two networks, batch 1: to try it")
    options = parser.parse_args()
    rounds, few = (3, 2) if options.quick else (5, None)
    nets = (RESNET, LITE0) if options.quick else (RESNET, LITE0, *OTHERS)
    found = {net.name: depths(net, rounds, BATCHES[: 1 if options.quick else None]) for net in nets}
    found["picture size"] = picture_sizes(rounds, SIZES[:few])
    found["targets"] = target_counts(rounds, TARGETS[:few])
    found["memory, file, compiling"] = totals(rounds)
    for name, markdown in found.items():
        print(f"\n{name}\n\n{markdown}")
    if options.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
