"""What ``relcam audit`` does."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from relcam_onnx.audit.plan import Plan
from relcam_onnx.audit.report.files import NAMES, write
from relcam_onnx.audit.report.verdict import findings, heading
from relcam_onnx.audit.run import Request, audit
from relcam_onnx.audit.words import words_of
from relcam_onnx.cli.console import NOTHING_DONE, SOME_FAILED, say, tell
from relcam_onnx.files import cannot_write

T = TypeVar("T")


def audit_model(request: Request) -> int:
    """Audit a model into a folder.

    Returns
    -------
    int
        The exit code: 0 all passed, 1 a threshold or a picture failed, 2 the report could not be written.

    Raises
    ------
    RelcamError
        Nothing could be done: a model, an option, the pictures or the folder is at fault.
    """
    try:
        done = audit(request, told=tell_cost, shown=progress)
        write(done, request.out)
    except KeyboardInterrupt:
        say("error", "interrupted; the same command goes on where it stopped")
        return SOME_FAILED
    except OSError as error:
        say("error", cannot_write(request.out, error))
        return NOTHING_DONE
    found = findings(done)
    for failed in done.failed:
        say("failed", failed.said)
    tell(heading(found))
    for finding in found:
        tell(f"- {'failed: ' if finding.level == 'failed' else ''}{finding.said}")
    tell(f"{request.out / Path(NAMES[0])}, and {', '.join(NAMES[1:])} beside it")
    return SOME_FAILED if done.failed or not done.passed else 0


def tell_cost(plan: Plan) -> None:
    """Say beforehand what it costs, and what is left out."""
    subjects = words_of(plan.model).subjects
    found = "" if subjects == "pictures" else f" with {len(plan.subjects)} {subjects}"
    say(
        "note",
        f"{len(plan.pictures)} pictures{found}, about {plan.passes:,} forward passes and what explaining adds to them",
    )
    for note in plan.notes:
        say("note", note)


def progress(work: Iterable[T], total: int) -> Iterator[T]:
    """The same, with a progress bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from work
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and seldom needed
    from rich.progress import track  # noqa: PLC0415

    yield from track(work, "auditing", total=total, console=Console(stderr=True), transient=True)
