"""How the benchmarks of the compiled backend take times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime

from relcam_onnx.compiling.beginning import TARGETS
from relcam_onnx.runners.session import SessionSettings, open_session

THREADS = 2
PAUSE = 0.1
"""Seconds between two series: onnxruntime's threads spin on after a run, and would take cores from the next one."""

SERIES = 0.3
"""Seconds that a series lasts, in at most 5 calls."""

Call = Callable[[], object]


class Timing(NamedTuple):
    """Two times in seconds, and their ratio: the median over the rounds, not of the medians."""

    seconds: float
    base: float
    ratio: float


def compare(call: Call, base: Call, rounds: int) -> Timing:
    """Time a call against another; they take turns, so that a busy moment of the machine hits both.

    Each turn: a pause until the other's threads sleep, one call that wakes the own ones, and a series whose median
    counts.
    """
    times, bases = zip(*((series(call), series(base)) for _ in range(rounds)), strict=True)
    ratio = statistics.median(a / b for a, b in zip(times, bases, strict=True))
    return Timing(statistics.median(times), statistics.median(bases), ratio)


def compare_work(call: Call, base: Call, rounds: int) -> float:
    """The ratio of two calls' processor times, for sessions of one thread.

    It leaves out how well the work spreads over threads, and hardly depends on what else the machine does.
    """
    times, bases = zip(*((work(call), work(base)) for _ in range(rounds)), strict=True)
    return float(statistics.median(times) / statistics.median(bases))


def work(call: Call) -> float:
    """The processor time of a call in seconds, caches warmed by one before."""
    call()
    return processor_time(call)


def processor_time(call: Call) -> float:
    """The processor time of one call in seconds."""
    start = time.process_time()
    call()
    return time.process_time() - start


def series(call: Call) -> float:
    """One turn of `compare`: the median of a series, in seconds. A call as long as a series is one."""
    time.sleep(PAUSE)
    woken = once(call)
    return woken if woken > SERIES else statistics.median(once(call) for _ in range(min(5, round(SERIES / woken))))


def median(call: Call, turns: int = 3) -> float:
    """The median of a few turns, in seconds."""
    return statistics.median(once(call) for _ in range(turns))


def once(call: Call) -> float:
    """The time of one call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def session(
    model: Path | onnx.ModelProto, threads: int | None = THREADS, *, spinning: bool = True
) -> onnxruntime.InferenceSession:
    """A session as `Explainer` opens it."""
    if isinstance(model, Path):
        model = onnx.load(model)
    return open_session(model, SessionSettings(providers="cpu", threads=threads), spinning=spinning)


def running(model: onnxruntime.InferenceSession, batch: int = 1, size: int = 224, targets: int = 1) -> Call:
    """A call that runs a session, plain or compiled, on a batch of random pictures and gives every output."""
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {model.get_inputs()[0].name: rng.standard_normal((batch, 3, size, size), np.float32)}
    if any(value.name == TARGETS for value in model.get_inputs()):
        feeds[TARGETS] = np.tile(np.arange(targets), (batch, 1))
    return lambda: model.run(None, feeds)
