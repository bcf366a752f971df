"""What an explanation in NumPy costs, and starting up: ratios of two times measured in one run on the same cores.

``python -m benchmarks.cost`` prints the table, ``--write`` also puts it into docs/costs.md. PyTorch is needed once, to
export a ResNet-50 with random weights; the file stays in build/.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

import relcam_onnx as rc
from benchmarks.page import fill, table

ROOT = Path(__file__).parents[1]
LITE = ROOT / "models" / "efficientnet-lite0.onnx"
RESNET = ROOT / "build" / "resnet50-random.onnx"
PICTURE = ROOT / "examples" / "cat.jpg"
PAGE = ROOT / "docs" / "costs.md"

PARTS = "import onnx, onnxruntime, onnx_graphsurgeon"
CLASSIFY = f"""
import numpy as np, onnxruntime
from PIL import Image
picture = Image.open({str(PICTURE)!r}).convert("RGB").resize((224, 224))
x = (np.asarray(picture, np.float32) - 127) / 128
scores, = onnxruntime.InferenceSession({str(LITE)!r}).run(None, {{"input": x.transpose(2, 0, 1)[None]}})
print(scores.argmax())
"""


@dataclass(frozen=True)
class Row:
    """One comparison: what was timed, against what, both in seconds, and the most that the ratio may be."""

    what: str
    against: str
    seconds: float
    base: float
    most: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        target = "" if self.most is None else f"≤ {self.most:g}"
        times = (f"{1e3 * seconds:,.0f} ms" for seconds in (self.seconds, self.base))
        return (self.what, self.against, *times, f"{self.seconds / self.base:.2f}", target)


def alternate(repeats: int, *calls: Callable[[], object], settle: int = 0) -> list[float]:
    """The median time of each call; they take turns, so that a busy moment of the machine hits all alike.

    Each turn begins with ``settle`` calls untimed: the threads of the call before spin on for a while.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, found in zip(calls, times, strict=True):
            for _ in range(settle):
                call()
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


def explaining(name: str, model: Path, targets: dict[str, float | None]) -> Iterator[Row]:
    """Eager explanations of one 224×224 picture against onnxruntime's plain forward pass."""
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model))
    feed = {session.get_inputs()[0].name: x}
    for layer, most in targets.items():
        layers = ["stages", "fused"] if layer == "fused" else layer
        with rc.Explainer(model, layers=layers, backend="eager") as explainer:
            took, base = alternate(11, partial(explainer, x), partial(session.run, None, feed), settle=4)
        yield Row(f"{name} to {layer}, eager", "forward pass", took, base, most)


def starting() -> Iterator[Row]:
    """Fresh processes: imports, and the command line on one picture."""
    parts = partial(python, "-c", PARTS)
    for code, most in (("import relcam_onnx", 1.3), ("from relcam_onnx import explain", None)):
        took, base = alternate(7, partial(python, "-c", code), parts)
        yield Row(f"`{code}`", "its three imports", took, base, most)
    for backend, most in (("eager", 6), ("compiled", 4)):
        with tempfile.TemporaryDirectory() as out:
            command = ("-m", "relcam_onnx", "explain", str(LITE), str(PICTURE), "--out", out, "--backend", backend)
            took, base = alternate(7, partial(python, *command), partial(python, "-c", CLASSIFY))
        yield Row(f"`relcam explain`, one picture, {backend}", "script that classifies it", took, base, most)


def python(*arguments: str) -> None:
    """Run this interpreter on the package of this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment, cwd=ROOT)


def resnet() -> Path:
    """A ResNet-50 with random weights; what they are does not matter to the time."""
    if not RESNET.exists():
        import relcam_exporters

        RESNET.parent.mkdir(exist_ok=True)
        relcam_exporters.export_named("resnet50", RESNET, weights=None)
    return RESNET


def main() -> None:
    """Measure, print, and write if asked to."""
    compileall.compile_dir(ROOT / "relcam_onnx", quiet=1)  # as an installation does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/costs.md")
    options = parser.parse_args()
    rows = [
        *explaining(
            "ResNet-50", resnet(), {"layer4": None, "layer3": None, "layer2": 15, "layer1": None, "input": None}
        ),
        *explaining("EfficientNet-Lite0", LITE, dict.fromkeys(["last", "fused", "input"])),
        *starting(),
    ]
    header = ("what", "against", "time", "its time", "ratio", "target")
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row.cells)
    Console().print(shown)
    if options.write:
        fill(PAGE, {"costs": table(header, [row.cells for row in rows])})


if __name__ == "__main__":
    main()
