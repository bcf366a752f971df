"""What the commands say on stderr, and the exit codes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from relcam_onnx.errors import RelcamError
from relcam_onnx.extras import with_runtime
from relcam_onnx.files import reason

SOME_FAILED, NOTHING_DONE = 1, 2
USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]


def say(kind: str, text: object) -> None:
    """One line on stderr, whatever breaks the text has."""
    line = "; ".join(part.strip() for part in str(text).splitlines() if part.strip())
    with suppress(OSError):  # where stderr is full nobody can be told, and the work goes on
        print(f"relcam: {kind}: {line.replace(':; ', ': ')}", file=sys.stderr, flush=True)


class UnheardError(RelcamError):
    """Whoever reads stdout has gone, or it goes where there is no room."""


@contextmanager
def heard() -> Iterator[None]:
    """For what is written to stdout: `UnheardError` where it takes nothing, as folders have errors of their own."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        raise UnheardError(f"stdout cannot be written ({reason(error)})") from error


def tell(text: str) -> None:
    """One line on stdout; `UnheardError` where it takes none."""
    with heard():
        print(text)


@contextmanager
def speaking() -> Iterator[None]:
    """For the whole command line: stdout and stderr take any name, and none at all is no error.

    What stdout does not take of help is one line on stderr too, and exit code 1.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever called us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the console lacks letters for
    code: Any = 0
    try:
        with heard():
            try:
                yield
            except SystemExit as ended:
                code = ended.code
    except UnheardError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left as it ends
        if not code:  # else it was said
            say("error", error)
            code = SOME_FAILED
    sys.exit(code)


@contextmanager
def reporting(*, debug: bool = False) -> Iterator[None]:
    """Turn an error into one line and exit code 2 (`UnheardError`: 1), and each warning into one line.

    Parameters
    ----------
    debug
        Show the traceback too.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            quieten(debug=debug)
            with with_runtime():
                yield
        except (typer.Exit, USAGE_ERROR):
            raise
        except KeyboardInterrupt:
            say("error", "interrupted")
            raise typer.Exit(NOTHING_DONE) from None
        except Exception as error:  # whatever it is, users get a line, not a traceback
            if debug:
                traceback.print_exc()
                for node in getattr(error, "nodes", ()):
                    say("error", node)
            say("error", error if isinstance(error, RelcamError) else unexpected(error))
            raise typer.Exit(SOME_FAILED if isinstance(error, UnheardError) else NOTHING_DONE) from error


def quieten(*, debug: bool) -> None:
    """Keep onnxruntime's own lines, coloured and one a node, from ours; ``debug`` shows them."""
    with suppress(ImportError):  # `relcam export` does without
        import onnxruntime  # noqa: PLC0415 - as everything heavy

        onnxruntime.set_default_logger_severity(2 if debug else 4)


def unexpected(error: BaseException) -> str:
    """What to say of an error that is none of ours."""
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say a warning as `warnings.showwarning` is asked to."""
    say("warning", message)


class _Plain:
    """Help that names what an option takes only where we have a word for it: no types of Python's."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters; whatever has no word gets an empty one, and arguments are their own."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # a mixin of Typer's classes
        for param in params:
            if param.param_type_name == "argument":
                param.display_type_rich = _nothing
            else:
                param.metavar = param.metavar or ""
        return params

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS] MODEL ...``."""
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]  # as above
        arguments = [param.metavar for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return [*pieces[:1], *arguments] if arguments else pieces


def _nothing(ctx: Any) -> str:
    return ""


class Command(_Plain, TyperCommand):
    """One command."""


class Commands(_Plain, TyperGroup):
    """A group of commands whose usage errors are one line as well."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run a command and end the process with its exit code."""
        try:
            code = super().main(args, *more, **{**extra, "standalone_mode": False})
        except USAGE_ERROR as error:
            told: Any = error
            if message := told.format_message():  # none where the help was shown instead
                command = told.ctx.command_path if told.ctx else "relcam"
                say("error", f"{message.rstrip('.')}; see '{command} --help'")
            code = NOTHING_DONE
        except typer.Abort:
            code = NOTHING_DONE
        sys.exit(code if isinstance(code, int) else 0)
