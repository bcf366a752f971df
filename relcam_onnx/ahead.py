"""Work done ahead: a few jobs at a time while the results before theirs are written."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import onnxruntime

from relcam_onnx.runners.options import own_options

T = TypeVar("T")

AT_ONCE = 2
"""So many runs of the model at a time, each on its share of the cores: one fills what the other leaves idle."""


def session_options(threads: int | None, at_once: int, log: int) -> onnxruntime.SessionOptions:
    """Onnxruntime's, its threads shared by so many runs; they sleep between two, where as a rule they spin."""
    if at_once > 1:
        threads = max(1, (threads or os.cpu_count() or 1) // at_once)
    return own_options(threads, log=log, spinning=False)


def ahead(jobs: Iterable[Callable[[], T]], at_once: int = AT_ONCE) -> Generator[T]:
    """What jobs return, in order; each is done in one of a few threads while results before it are written.

    Parameters
    ----------
    jobs
        An error of one is raised where its result would be.
    at_once
        So many run at a time, and as many results may wait to be written.
    """
    pool, source = ThreadPoolExecutor(at_once), iter(jobs)
    try:
        waiting = deque(pool.submit(job) for job in islice(source, 2 * at_once))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(job) for job in islice(source, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
