"""What an audit, Score-CAM and RISE cost, in forward passes: prints a table.

python -m benchmarks.audit [--pictures DIR]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.cost import LITE, ROOT
from benchmarks.page import table
from benchmarks.timing import median, once
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.report.files import write
from relcam_onnx.audit.run import Request, audit
from relcam_onnx.pictures.finding import find_pictures

PICTURES = 20
BATCH = 8
"""Rows of one run, as probes have them."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What an audit costs.")
    parser.add_argument("--pictures", type=Path, default=ROOT / "examples", help="a folder of pictures")
    folder = parser.parse_args().pictures
    files = [str(found.path) for found in find_pictures([folder])[0]][:PICTURES]
    model = Audited(LITE)
    arrays = np.stack([model.read(Path(file)) for file in files])
    model.scores(arrays)
    batch = arrays[np.arange(BATCH) % len(arrays)]
    audits, plain = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as out:
            plain.append(median(lambda: [model.scores(x[None]) for x in arrays]))
            start = time.perf_counter()
            done = audit(Request(LITE, files, Path(out)))
            audits.append(time.perf_counter() - start)
            reported = once(partial(write, done, Path(out)))
    measured = float(np.median(audits))
    times = float(np.median(np.array(audits) / np.array(plain)))
    rows = [[
        f"quick audit of {len(files)} pictures at 4 stages, without the report", f"{measured:.1f} s",
        f"{times:.0f} × the forward passes of its pictures", "≤ 60",
    ], ["the report", f"{reported:.1f} s", "", ""]]  # fmt: skip
    for method, options in (("score-cam", {"layers": "last"}), ("rise", {"samples": 1000})):
        explainer = model.explaining(method=method, **options)
        x = arrays[:1]
        model.explained(explainer, x, [0])
        passes, ratios = explainer.passes(x), []
        for _ in range(3):  # in turns, since a machine is not as fast all the time
            forward = median(lambda: model.scores(batch), 25) / BATCH
            taken = once(partial(model.explained, explainer, x, [0]))
            ratios.append(taken / (passes * forward))
        ratio = float(np.median(ratios))
        rows.append([f"{method}, {passes:,} passes", f"{taken:.1f} s", f"{ratio:.2f} × them", "≤ 1.2"])
    print(table(["what", "time", "ratio", "target"], rows))


if __name__ == "__main__":
    main()
