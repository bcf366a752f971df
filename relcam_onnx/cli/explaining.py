"""What ``relcam explain`` does: every picture it can, and a word about each that it cannot."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from relcam_onnx.ahead import AT_ONCE, ahead, session_options
from relcam_onnx.canon.constants import SILENT, WARNINGS
from relcam_onnx.cli.console import NOTHING_DONE, SOME_FAILED, UnheardError, say, tell, unexpected
from relcam_onnx.cli.options import by_name
from relcam_onnx.errors import OptionError, RelcamError
from relcam_onnx.explainer import Explainer
from relcam_onnx.explaining import PictureExplainer, Result
from relcam_onnx.files import cannot_write, make_folder
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.pictures.finding import Failed, Found, as_clips, find_pictures
from relcam_onnx.pictures.labels import notes_on
from relcam_onnx.pictures.reading import allowing
from relcam_onnx.results import words
from relcam_onnx.results.animation import check_moving
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.results.report import DEFAULT, Report
from relcam_onnx.results.segment import MASS
from relcam_onnx.runners.session import RunError


def explain_pictures(
    model: Path,
    sources: Sequence[str],
    out: Path,
    *,
    inputs: Sequence[str],
    targets: Sequence[Any],
    labels: str | None,
    preprocess: str | None,
    formats: Sequence[str] | None,
    mask: bool,
    mask_rule: str | None,
    refine: bool,
    record: Path | None,
    exact: bool,
    batch: int | None,
    max_pixels: int | None,
    debug: bool,
    threads: int | None,
    baselines: Sequence[Path],
    options: dict[str, Any],
) -> int:
    """Explain pictures into a folder.

    Parameters
    ----------
    model, sources, out, inputs, targets, labels, preprocess, formats, mask, mask_rule, exact, batch, max_pixels, debug
        As on the command line.
    threads, baselines, record, refine
        As on the command line.
    options
        Of `Explainer`.

    Returns
    -------
    int
        The exit code: 0 all done, 1 some or all pictures failed, 2 the folder took no result at all.

    Raises
    ------
    RelcamError
        Nothing could be done: the model, an option or the folder is at fault.
    """
    named = by_name(inputs)
    if not sources and not named:
        raise OptionError("there is nothing to explain: name pictures, or each input with --input NAME=FILE")
    pictures, missing = find_pictures(sources, out)
    # The eager walk's products have threads of their own, which would wait for each other.
    at_once = 1 if options.get("backend") == "eager" else min(AT_ONCE, -(-len(pictures) // (batch or 1))) or 1
    session = session_options(threads, at_once, log=WARNINGS if debug else SILENT)
    explainer = Explainer(model, preprocess=preprocess, labels=labels, session_options=session, **options)
    with allowing(max_pixels), explainer:
        pictorial = PictureExplainer(
            explainer, preprocess, labels, exact=exact, baselines=baselines, inputs=named, alone=not sources
        )
        if pictorial.leading is not None:
            pictures, missing = find_pictures([pictorial.leading], out)
        check_moving(formats or DEFAULT, pictorial.frames)
        if pictorial.frames != 1:
            pictures, left_over = as_clips(pictures, pictorial.frames)
            missing = [*missing, *left_over]
        classes = pictorial.indices(list(targets)) or None
        for note in notes_on(targets, pictorial.labels):
            say("note", note)
        # A picture's file and, where that is a link, what it leads to.
        files = [file for p in pictures for file in (p.path.parent.resolve() / p.path.name, p.path.resolve())]
        kept = [file.name for file in files if file.parent == out.resolve()]
        report = Report(
            out,
            pictorial.settings,
            formats or DEFAULT,
            mask=mask,
            mask_rule=mask_rule or MASS,
            refine=refine,
            record=record,
            kept=kept,
        )
        tell_cost(pictorial, pictures)
        make_folder(out)
        for source in missing:
            say("failed", source.error)
            report.fail(source.file, source.error)
        most = batch or pictorial.batch
        pieces = [pictures[start : start + most] for start in range(0, len(pictures), most)]
        with closing(ahead((partial(pictorial.each, piece, classes) for piece in pieces), at_once)) as results:
            left = {picture.name: str(picture.path) for picture in pictures}
            failures: list[Exception] = []
            stopped = _keep(chain.from_iterable(results), report, left, failures, len(pictures), debug=debug)
    if stopped:
        say("error", f"{stopped}; {len(report.images)} of {len(pictures)} pictures are done")
        for file in left.values():
            report.fail(file, f"not explained: {stopped}")
    try:
        report.write()
    except OSError as error:
        say("error", f"results.json or index.html is missing: {cannot_write(out, error)}")
        return SOME_FAILED if report.images else NOTHING_DONE
    if not report.images and (stopped or (failures and all(isinstance(error, RunError) for error in failures))):
        if not stopped:
            say("error", f"the model runs on none of the {len(pictures)} pictures; {failures[0]}")
        return NOTHING_DONE
    return SOME_FAILED if report.failed or stopped else 0


def tell_cost(pictorial: PictureExplainer, pictures: Sequence[Found]) -> None:
    """Say beforehand how often the model will run, where that is more than once for each picture."""
    for picture in pictures if isinstance(METHODS[pictorial.explainer.method], Probe) else ():
        with suppress(RelcamError, OSError):  # a picture that cannot be read is told in its turn
            passes = pictorial.passes(picture.path)
            say("note", f"method {pictorial.explainer.method!r} runs the model {passes:,} times for each picture")
            return


def _keep(
    results: Iterable[Result],
    report: Report,
    left: dict[str, str],
    failures: list[Exception],
    total: int,
    *,
    debug: bool,
) -> str | None:
    """Write results as they come, and strike them from ``left``; why it ended before the last one, or None."""
    try:
        for picture, result in _shown(results, total):
            outcome = _add(report, picture.name, result)
            del left[picture.name]
            if isinstance(outcome, Explanation):
                tell(f"{picture.path}: {words.targets(outcome, 0)}")
            else:
                _fail(report, str(picture.path), outcome, debug=debug)
                failures.append(outcome)
    except KeyboardInterrupt:
        return "interrupted"
    except UnheardError as error:
        return str(error)
    except OSError as error:
        return cannot_write(report.folder, error)
    return None


def _add(report: Report, name: str, result: Explanation | Exception) -> Explanation | Exception:
    """A result that was written, or what went wrong with the picture."""
    if isinstance(result, Explanation):
        try:
            report.add(result, name)
        except RelcamError as error:
            return error
    return result


def _fail(report: Report, file: str, error: Exception, *, debug: bool) -> None:
    """Name one picture that failed, and why."""
    if debug:
        traceback.print_exception(error)
    why = str(error) if isinstance(error, RelcamError) else unexpected(error)
    report.fail(file, why)
    say("failed", Failed(file, why).said)


def _shown(results: Iterable[Result], total: int) -> Iterator[Result]:
    """The same results, with a progress bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield from results
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and seldom needed
    from rich.progress import track  # noqa: PLC0415

    yield from track(results, "explaining", total=total, console=Console(stderr=True), transient=True)
