"""Engine ``ray``: units go to workers of a Ray cluster through Ray Data; each has one session and writes shards.

Rows never pass through Ray: a worker reads its unit and writes its shards by itself, so that the cluster moves
addresses and counts alone, and a shard is whole whichever worker wrote it, and how often.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from typing import Any

from relcam_onnx.ahead import AT_ONCE
from relcam_onnx.batch.request import Request
from relcam_onnx.batch.shards import shard_file
from relcam_onnx.batch.steps import Plan, Step, steps
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.units import Unit
from relcam_onnx.batch.worker import Worker
from relcam_onnx.errors import OptionError, RelcamError
from relcam_onnx.extras import require
from relcam_onnx.files import reason
from relcam_onnx.pictures.finding import Failed

STORE = 100 << 20
"""Bytes of the object store of a cluster of our own: nothing large goes through it."""
TRIES = 4
"""So often a unit is begun: Ray gives it to another worker when one dies, without end, and some pictures kill each."""
SECONDS = 10
"""That the head of a cluster may take to answer."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # as for onnxruntime: nobody is asked, so nothing is sent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without GPUs sees none, as Ray will have it, without a word
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


class Tries:
    """Counts how often each unit was begun, for all workers."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def begin(self, unit: int) -> int:
        """One more, and how many that makes."""
        self._counts[unit] += 1
        return self._counts[unit]


class Explaining:
    """What runs in each worker."""

    def __init__(self, request: Request, tries: Any) -> None:
        self._tries = tries
        self._folder = Folder(request.dest)
        self._worker = Worker(request, self._folder.write)

    def __call__(self, given: dict[str, Any]) -> dict[str, list[str]]:
        """Explain one unit; what was done, as JSON. What goes wrong is told, so that only deaths are tried again."""
        import ray  # noqa: PLC0415 - an extra

        told, step = json.loads(given["unit"][0]), Step(0, 0.0, 0, [])
        unit = Unit(**told["unit"])
        if ray.get(self._tries.begin.remote(unit.number)) > TRIES:
            return {"step": [json.dumps(step._asdict())]}
        # Another worker may have died of it, behind some shards.
        done = next(k for k in count(told["done"]) if not self._folder.has(shard_file(unit.number, k)))
        try:
            for each in steps(self._worker, self._folder, [(unit, done)]):
                step = Step(
                    step.pictures + each.pictures,
                    step.size + each.size,
                    step.shards + each.shards,
                    [*step.failed, *each.failed],
                )
        except Exception as error:
            why = str(error) if isinstance(error, RelcamError) else f"{type(error).__name__}: {error}"
            return {"step": [json.dumps({"error": why})]}
        return {"step": [json.dumps({**step._asdict(), "failed": [asdict(failed) for failed in step.failed]})]}


def steps_on_ray(request: Request, plan: Plan) -> Generator[Step]:
    """Explain what is left on a cluster; a step for each unit that is done, in no order.

    Raises
    ------
    OptionError
        Ray is not installed, there is no such cluster, or a worker cannot do its work.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in SETTINGS.items()})
    require("engine 'ray' needs", "ray", "ray", "pandas")
    import ray  # noqa: PLC0415 - an extra, and slow to import
    import ray.data  # noqa: PLC0415

    threads = request.threads or (1 if request.num_gpus else min(AT_ONCE, os.cpu_count() or 1))
    items = [
        {"unit": json.dumps({"unit": asdict(plan.units[number]), "done": done})} for number, done in plan.left.items()
    ]
    try:
        with warnings.catch_warnings(), cluster(request, threads):
            warnings.simplefilter("ignore")  # Ray's words about its own options
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            tries = ray.remote(num_cpus=0)(Tries).remote()
            work = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                Explaining,
                fn_constructor_args=(replace(request, threads=threads), tries),
                batch_size=1,
                num_cpus=threads,
                num_gpus=request.num_gpus or None,
                compute=ray.data.ActorPoolStrategy(size=workers(request, threads)),
            )
            for row in work.iter_rows():
                yield as_step(row["step"])
    except ray.exceptions.RayError as error:
        raise OptionError(f"Ray: {str(error).strip().splitlines()[-1]}") from error


@contextmanager
def cluster(request: Request, threads: int) -> Iterator[None]:
    """The cluster that is asked for, or this process is of already; one of our own ends with the batch."""
    import ray  # noqa: PLC0415 - as above

    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = request.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        cores = max(os.cpu_count() or 1, threads * (request.concurrency or 1))
        quiet |= {"num_cpus": cores, "object_store_memory": STORE, "include_dashboard": False}
    else:
        _reach(address)
    try:
        with _no_stderr():
            ray.init(address or "local", **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(f"Ray: no cluster at {address!r} ({error})") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise `OptionError` where nothing answers at an address: Ray would try for minutes."""
    host, mark, port = address.rpartition("://")[2].rpartition(":")
    try:
        if mark and port.isdecimal():
            socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except OSError as error:
        raise OptionError(f"Ray: no cluster at {address!r} ({reason(error)})") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what C++ writes to stderr, whatever its log level, from ours; errors come as exceptions."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def workers(request: Request, threads: int) -> int:
    """As many as are asked for, or as the cluster has room for."""
    import ray  # noqa: PLC0415 - as above

    there = ray.cluster_resources()
    room = there.get("GPU", 0) / request.num_gpus if request.num_gpus else there.get("CPU", 0) / threads
    return request.concurrency or max(1, int(room))


def as_step(text: str) -> Step:
    """What a worker tells of a unit; `OptionError` where it could not do its work."""
    told = json.loads(text)
    if "error" in told:
        raise OptionError(told["error"])
    return Step(**{**told, "failed": [Failed(**failed) for failed in told["failed"]]})
