"""What ``relcam batch`` does: every picture it can, a word about each that it cannot, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from relcam_onnx.batch import Request, explain_batch
from relcam_onnx.batch.entries import printable
from relcam_onnx.cli.console import SOME_FAILED, say, tell
from relcam_onnx.errors import RelcamError
from relcam_onnx.pictures.finding import Failed

if TYPE_CHECKING:
    from relcam_onnx.batch.steps import Plan, Step  # the extra may be missing

EVERY = 60.0
"""Seconds between two lines about how far it is, where stderr is no terminal."""


def batch_pictures(request: Request) -> int:
    """Explain many pictures into Parquet files.

    Returns
    -------
    int
        The exit code: 0 all done, 1 some pictures failed, or it ended before the last one.

    Raises
    ------
    RelcamError
        Nothing could be done: the model, an option, a source or the folder is at fault.
    """
    shards = 0

    def shown(steps: Iterable[Step], plan: Plan) -> Iterator[Step]:
        nonlocal shards
        for step in following(steps, plan):
            shards += step.shards
            yield step

    try:
        done = explain_batch(request, shown)
    except (KeyboardInterrupt, RelcamError) as error:
        if isinstance(error, RelcamError) and not shards:
            raise
        say("error", f"{str(error) or 'interrupted'}; the same command goes on where it stopped")
        return SOME_FAILED
    for unit in done.lost:
        say("failed", f"{unit.files[0]}, and what follows it: a worker died of it again and again; leave it out")
    before = f"; what {done.before:,} parts of the source hold was there already" if done.before else ""
    failed = f", {done.failed:,} of them failed" if done.failed else ""
    earlier = f", {done.failed_before:,} pictures with errors in earlier shards" if done.failed_before else ""
    tell(f"{done.pictures:,} pictures in {done.shards:,} shards{failed}{before}{earlier}: {request.dest}")
    return SOME_FAILED if done.failed or done.failed_before or done.lost else 0


def following(steps: Iterable[Step], plan: Plan) -> Iterator[Step]:
    """The same steps; what the plan notes and each failed picture get a line on stderr, and how far it is is shown."""
    pictures, size, start = 0, 0.0, time.monotonic()
    for note in plan.notes:
        say("note", note)
    with bar() if sys.stderr.isatty() else lines() as show:
        for step in steps:
            pictures, size = pictures + step.pictures, size + step.size
            for failed in step.failed:
                tell_failed(failed)
            show(min(1.0, size / (plan.size or 1)), progress(pictures, size, plan.size, time.monotonic() - start))
            yield step


def tell_failed(failed: Failed) -> None:
    """One line about a picture that failed."""
    name, why = printable(failed.file), printable(failed.error)
    say("failed", why if why.startswith(name) else f"{name}: {why}")


def progress(pictures: int, size: float, of: float, seconds: float) -> str:
    """How many, how fast, and how long it will take, by the bytes of the source that are left."""
    rate = pictures / seconds if seconds else 0.0
    left = timedelta(seconds=round(seconds * max(0.0, of / size - 1))) if size else "?"
    return f"{pictures:,} pictures, {rate:,.1f} a second, {left} left"


@contextmanager
def bar() -> Iterator[Callable[[float, str], None]]:
    """A progress bar: what is called with the share that is done and a word about it."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, and seldom needed
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=1.0)
        yield lambda share, text: shown.update(task, completed=share, description=text)


@contextmanager
def lines() -> Iterator[Callable[[float, str], None]]:
    """The same as a line now and then, for a log."""
    last = time.monotonic()

    def show(share: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say("note", f"{share:.0%}: {text}")

    yield show
