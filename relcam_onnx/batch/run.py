"""A batch from its request to its last shard, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from relcam_onnx.ahead import ahead
from relcam_onnx.batch.request import Request
from relcam_onnx.batch.shards import pieces, settle, shards_done, write_shard
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.units import Unit, find_units
from relcam_onnx.batch.worker import Worker
from relcam_onnx.pictures.finding import Failed


class Step(NamedTuple):
    """What was done since the step before: pictures, bytes of the source, shards, and pictures that failed."""

    pictures: int
    size: float
    shards: int
    failed: Sequence[Failed]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes
    ----------
    units
        All of them.
    left
        Those that are not complete: number -> shards that are there.
    """

    units: Sequence[Unit]
    left: dict[int, int]

    @property
    def work(self) -> list[tuple[Unit, int]]:
        """These units, each with the number of its shards that are there."""
        return [(self.units[number], done) for number, done in self.left.items()]

    @property
    def size(self) -> int:
        """Bytes of the source that are left to do."""
        return sum(self.units[number].size for number in self.left)


@dataclass
class Summary:
    """What was done.

    Attributes
    ----------
    pictures, shards
        How many, in this run.
    before
        Units that earlier runs had completed.
    failed
        How many pictures have a row with an error, of this run.
    lost
        Units that are not complete all the same: whatever worked on them died, again and again.
    """

    pictures: int = 0
    shards: int = 0
    before: int = 0
    failed: int = 0
    lost: Sequence[Unit] = ()


Shown = Callable[[Iterable[Step], Plan], Iterable[Step]]


def run(request: Request, shown: Shown) -> Summary:
    """See `relcam_onnx.batch.explain_batch`."""
    folder = Folder(request.dest)
    units, listing = find_units(request.sources, request.dest, request.shard, request.column)
    with Worker(request, folder.write) as worker:
        settle(folder, worker.asked(listing))
        plan = Plan(units, shards_done(folder, units))
        if request.engine == "local":
            return _followed(steps(worker, folder, plan.work), plan, folder, shown)
    from relcam_onnx.batch.on_ray import steps_on_ray  # noqa: PLC0415 - an extra

    return _followed(steps_on_ray(request, plan), plan, folder, shown)


def _followed(work: Generator[Step], plan: Plan, folder: Folder, shown: Shown) -> Summary:
    """What came of it."""
    summary = Summary(before=len(plan.units) - len(plan.left))
    with closing(work):
        for step in shown(work, plan) if plan.left else ():
            summary.pictures += step.pictures
            summary.shards += step.shards
            summary.failed += len(step.failed)
    left = [unit for unit, _ in plan.work]
    summary.lost = [plan.units[number] for number in shards_done(folder, left)]
    return summary


def steps(worker: Worker, folder: Folder, left: Iterable[tuple[Unit, int]]) -> Generator[Step]:
    """Explain units in order, from the shard on that is given with each, and write their shards.

    Pictures are decoded and explained in a few threads while shards before theirs are written.
    """
    request, tables = worker.request, []
    jobs = (partial(worker, piece) for unit, done in left for piece in pieces(unit, request.shard, worker.batch, done))
    with closing(ahead(jobs, worker.at_once)) as results:
        for piece, table, failed in results:
            tables.append(table)
            if piece.full:
                write_shard(folder, piece, tables)
                tables = []
            yield Step(len(piece.entries), sum(entry.weight for entry in piece.entries), int(piece.full), failed)
