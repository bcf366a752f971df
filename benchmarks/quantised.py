"""What an explanation of an int8 file (QDQ) costs beside that of the float file it was made of.

``python -m benchmarks.quantised`` prints the table, ``--write`` also puts it into docs/speed.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from benchmarks.compiled import ALL, PAGE
from benchmarks.models import SIZE, compiled, exported
from benchmarks.page import fill, table
from benchmarks.timing import running, session, work

ROUNDS = 9
NETWORKS = {"ResNet-18": "resnet18", "MobileNetV2": "mobilenet_v2"}
FORMS: dict[str, dict[str, Any]] = {
    "uint8, one scale a tensor": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8},
    "int8, one scale a channel": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    },
}
"""What onnxruntime's own quantiser is asked for."""


class Pictures(CalibrationDataReader):
    """A few random pictures to calibrate with."""

    def __init__(self, name: str) -> None:
        self.feeds = iter(self._made(name))

    @staticmethod
    def _made(name: str) -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(0)
        for _ in range(4):
            yield {name: rng.standard_normal((1, 3, SIZE, SIZE), np.float32)}

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next picture; None behind the last."""
        return next(self.feeds, None)


def costs(file: Path) -> tuple[float, float]:
    """Seconds of one thread for one picture: the plain model, and the maps of all four stages and their fusion."""
    plain, explained = session(file, 1), session(compiled(file, ALL), 1)
    calls = running(plain), running(explained)
    turns = [tuple(work(call) for call in calls) for _ in range(ROUNDS)]
    forward, whole = np.median(turns, axis=0).tolist()
    return forward, whole


def measured() -> str:
    """The table: each network in float32 and in each form."""
    rows = []
    for title, name in NETWORKS.items():
        source = exported(name)
        float_forward, float_whole = costs(source)
        rows.append(row(title, "float32", float_forward, float_whole, float_whole))
        for form, options in FORMS.items():
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "quantised.onnx"
                quantize_static(source, file, Pictures(onnx.load(source).graph.input[0].name), **options)
                rows.append(row(title, form, *costs(file), float_whole))
    return table(["network", "file", "forward", "explained", "forward passes", "over the float file's"], rows)


def row(title: str, form: str, forward: float, whole: float, float_whole: float) -> list[str]:
    """One line of the table."""
    ratios = f"{whole / forward:.1f}", f"{whole / float_whole:.2f}"
    return [title, form, f"{forward * 1e3:.1f} ms", f"{whole * 1e3:.1f} ms", *ratios]


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the table of docs/speed.md")
    options = parser.parse_args()
    found = {"quantised": measured()}
    print(found["quantised"])
    if options.write:
        fill(PAGE, found)


if __name__ == "__main__":
    main()
