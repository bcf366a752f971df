"""Mixed sizes through one `Explainer` from eight threads, hour after hour: ``python -m benchmarks.soak [--seconds S]``.

What the process holds is printed ten times; it must not grow after the first tenth, in which every size was met.
"""

from __future__ import annotations

import argparse
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import relcam_onnx as rc
from benchmarks.cost import ROOT

THREADS, TENTHS = 8, 10
SIZES = ((64, 64), (96, 160), (224, 224), (300, 200), (641, 479))
ALLOWED = 0.05
"""Of what it held after the first tenth: an allocator's slack."""


def held() -> float:
    """What the process holds in memory, MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def busy(explainer: rc.Explainer, until: float, number: int) -> int:
    """Explain pictures of any size, one to three at a time, till then; returns how many."""
    draw, rng, count = random.Random(number), np.random.default_rng(number), 0
    while time.monotonic() < until:
        batch = [rng.integers(0, 256, (*draw.choice(SIZES), 3), np.uint8) for _ in range(draw.randint(1, 3))]
        found = rc.explain(explainer, batch, draw.choice([-1, -2, 3]))
        assert all(np.isfinite(values).all() for values in found.maps.values())
        count += len(batch)
    return count


def main() -> None:
    """Run, print, and end with 1 where memory grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    marks, pictures = [], 0
    model = ROOT / "models" / "efficientnet-lite0.onnx"
    with rc.Explainer(model, threads=1) as explainer, ThreadPoolExecutor(THREADS) as pool:
        for tenth in range(TENTHS):
            until = time.monotonic() + options.seconds / TENTHS
            tasks = [pool.submit(busy, explainer, until, tenth * THREADS + number) for number in range(THREADS)]
            pictures += sum(task.result() for task in tasks)
            marks.append(held())
            print(f"{tenth + 1}/{TENTHS}: {pictures} pictures, {marks[-1]:.0f} MB", flush=True)
    grown = max(marks[1:]) / marks[0] - 1
    print(f"grown by {grown:.1%} at most since the first tenth")
    raise SystemExit(int(grown > ALLOWED))


if __name__ == "__main__":
    main()
