"""A batch from its request to its last shard, whatever runs it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from relcam_onnx.batch.on_ray import steps_on_ray
from relcam_onnx.batch.request import Request
from relcam_onnx.batch.shards import errors_there, settle, shards_done
from relcam_onnx.batch.steps import Plan, Step, steps
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.units import Unit, find_units
from relcam_onnx.batch.worker import Worker


@dataclass
class Summary:
    """What was done.

    Attributes
    ----------
    pictures, shards
        How many, in this run.
    before
        Units that earlier runs had completed.
    failed, failed_before
        How many pictures have a row with an error: of this run, and in the shards of earlier ones.
    lost
        Units that are not complete all the same: whatever worked on them died, again and again.
    """

    pictures: int = 0
    shards: int = 0
    before: int = 0
    failed: int = 0
    failed_before: int = 0
    lost: Sequence[Unit] = ()


Shown = Callable[[Iterable[Step], Plan], Iterable[Step]]


def run(request: Request, shown: Shown) -> Summary:
    """See `relcam_onnx.batch.explain_batch`."""
    folder = Folder(request.dest)
    units, listing = find_units(request.sources, request.dest, request.shard, request.column)
    with Worker(request, folder.write) as worker:
        settle(folder, worker.asked(listing))
        plan, before = Plan(units, shards_done(folder, units), worker.notes), errors_there(folder)
        if request.engine == "local":
            return _followed(steps(worker, folder, plan.work), plan, folder, shown, before)
    return _followed(steps_on_ray(request, plan), plan, folder, shown, before)


def _followed(work: Generator[Step], plan: Plan, folder: Folder, shown: Shown, failed: int) -> Summary:
    """What came of it; so many pictures had ``failed`` before."""
    summary = Summary(before=len(plan.units) - len(plan.left), failed_before=failed)
    with closing(work):
        for step in shown(work, plan) if plan.left else ():
            summary.pictures += step.pictures
            summary.shards += step.shards
            summary.failed += len(step.failed)
    left = [unit for unit, _ in plan.work]
    summary.lost = [plan.units[number] for number in shards_done(folder, left)]
    return summary
