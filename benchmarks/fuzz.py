"""Damaged files are explained or refused: no crash, no hang, no error but `RelcamError`.

python -m benchmarks.fuzz                      # 10,000 files, what became of them, and which broke
python -m benchmarks.fuzz --only 1234          # one again, with its traceback
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.mutants import mutant

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
MEMORY = 6 * 2**30
"""Bytes of addresses for a process: what asks for more is to be refused, not to take the machine with it."""
MOST = 2**22
"""No input has more elements than this: what a file asks for is not the fault of who refuses to give it."""


def seeds() -> list[bytes]:
    """Small files of all kinds."""
    import choosing_nets  # noqa: PLC0415 - of the tests, found by the path above
    import nets  # noqa: PLC0415
    import siamese  # noqa: PLC0415

    small = [
        nets.plain(size=16),
        nets.plain(size=16, opset=11, final="Softmax"),
        nets.plain(size="H", final="Sigmoid"),
        nets.residual(size=16),
        nets.inverted(size=16),
        siamese.towers(),
        choosing_nets.choosing(next(iter(choosing_nets.FORMS))),
        tokens(),
    ]
    return [proto.SerializeToString() for proto in small]


def tokens() -> onnx.ModelProto:
    """Attention over the places of a convolution."""
    import nets  # noqa: PLC0415

    net = nets.Net("N", 3, 16, 16)
    rows = net("Reshape", net.conv(net.x, 3, 8, 4, 4), np.array([0, 8, -1]))
    x = net("Transpose", rows, perm=[0, 2, 1])
    query, key, worth = (net("MatMul", x, net.normal(8, 8)) for _ in range(3))
    scores = net("Softmax", net("MatMul", query, net("Transpose", key, perm=[0, 2, 1])), axis=-1)
    x = net("LayerNormalization", net("Add", x, net("MatMul", scores, worth)), np.ones(8), np.zeros(8), axis=-1)
    mean = net("ReduceMean", x, np.array([1]), keepdims=0)
    proto: onnx.ModelProto = net.model(net.dense(mean, 8, 4, name="scores"))
    return proto


def outcome(data: bytes) -> str:
    """Load, make ready, explain; "explained", "refused" by which error, or "broke" by which.

    What onnxruntime computes of a damaged network may be NaN, which is nobody's fault; only errors count.
    """
    from relcam_onnx import Explainer  # noqa: PLC0415 - in the process that may die of it
    from relcam_onnx.errors import RelcamError, UnsupportedModelError  # noqa: PLC0415

    try:
        with Explainer(data, threads=1, layers=("stages", "fused", "input")) as explainer:
            feeds = {tensor.name: filled(tensor) for tensor in explainer.inputs}
            if any(value is None for value in feeds.values()):
                return "explained: ready, too large to feed"
            explainer(feeds)
    except RelcamError as error:
        foreseen = "" if not isinstance(error, UnsupportedModelError) or error.__cause__ is None else ", as it came"
        return f"refused: {type(error).__name__}{foreseen}"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(last) if "relcam_onnx" in frame.filename), last[-1])
        return (
            f"broke: {type(error).__name__} in {Path(own.filename).name}:{own.lineno} {own.name}: {str(error)[:90]!r}"
        )
    return "explained"


def filled(tensor: Any) -> np.ndarray | None:
    """Seeded values for an input; None where it takes too many."""
    shape = [
        size if isinstance(size, int) and size > 0 else 16 if axis else 1
        for axis, size in enumerate(tensor.shape or ())
    ]
    if np.prod(shape, dtype=float) > MOST:
        return None
    return np.random.default_rng(0).random(shape).astype(tensor.dtype or np.float32)


def serve(pipe: Connection) -> None:
    """What a process does: files in, outcomes out, until there are no more or it dies."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    with suppress(EOFError):
        while True:
            pipe.send(outcome(pipe.recv_bytes()))


@dataclass
class Worker:
    """A process, and the file that it has."""

    process: SpawnProcess
    pipe: Connection
    number: int = -1
    since: float = 0.0

    @classmethod
    def started(cls) -> Worker:
        """A fresh one."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, number: int, data: bytes) -> None:
        """A file to try."""
        self.number, self.since = number, time.monotonic()
        self.pipe.send_bytes(data)


def outcomes(
    files: dict[int, bytes] | Iterator[tuple[int, bytes]], processes: int, limit: float
) -> Iterator[tuple[int, str]]:
    """Each file's number and what became of it, in the order in which they are done."""
    todo = iter(files.items() if isinstance(files, dict) else files)
    workers: list[Worker] = []
    for number, data in todo:
        workers.append(Worker.started())
        workers[-1].give(number, data)
        if len(workers) == processes:
            break
    while workers:
        ready = wait([worker.pipe for worker in workers], timeout=1)
        for place, worker in enumerate(list(workers)):
            told, dead = "", False
            if worker.pipe in ready:
                try:
                    told = worker.pipe.recv()
                except EOFError:
                    worker.process.join()
                    told, dead = f"crash: exit code {worker.process.exitcode}", True
            elif time.monotonic() - worker.since > limit:
                worker.process.kill()
                told, dead = f"hang: more than {limit:.0f} s", True
            if told:
                yield worker.number, told
                following = next(todo, None)
                if following is None:
                    worker.number = -1
                    worker.pipe.close()
                    continue
                if dead:
                    workers[place] = Worker.started()
                workers[place].give(*following)
        workers = [worker for worker in workers if worker.number >= 0]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=60, help="seconds for one file")
    parser.add_argument("--only", type=int, help="one file, here, with its traceback")
    options = parser.parse_args(arguments)
    kinds = seeds()
    if options.only is not None:
        from relcam_onnx import Explainer  # noqa: PLC0415

        data = mutant(kinds[options.only % len(kinds)], options.only)
        print(outcome(data))
        with Explainer(data, threads=1, layers=("stages", "fused", "input")) as explainer:
            explainer({tensor.name: filled(tensor) for tensor in explainer.inputs})
        return 0
    numbers = range(options.first, options.first + options.count)
    files = ((number, mutant(kinds[number % len(kinds)], number)) for number in numbers)
    counts: Counter[str] = Counter()
    start = time.monotonic()
    for number, told in outcomes(files, options.processes, options.limit):
        counts[told] += 1
        if not told.startswith(("explained", "refused")):
            print(f"{number}: {told}", flush=True)
        if counts.total() % 500 == 0:
            print(f"-- {counts.total()} in {time.monotonic() - start:.0f} s", flush=True)
    for told, count in counts.most_common():
        print(f"{count:6} {told}")
    return int(any(not told.startswith(("explained", "refused")) for told in counts))


if __name__ == "__main__":
    sys.exit(main())
