"""One picture of a source, and where it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from relcam_onnx.errors import InputError
from relcam_onnx.pictures.reading import Stored


@dataclass(frozen=True)
class Entry:
    """A picture that is yet to be read.

    Attributes
    ----------
    file
        Its path or URL, or that of the tar or Parquet file that it lies in.
    weight
        Bytes of the source that are done with when it is.
    load
        Its file's bytes; an error where there are none.
    member
        What it is called in there; None where nothing is told.
    row
        Its number among the pictures, or rows, of that file; None for a file of its own.
    """

    file: str
    weight: float
    load: Callable[[], bytes]
    member: str | None = None
    row: int | None = None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        if self.row is None:
            return self.file
        return f"{self.file}: {self.member}" if self.member else f"{self.file}: row {self.row}"

    def read(self) -> Stored:
        """The picture's file; `InputError` where it cannot be read."""
        return Stored(self.name, self.load())


def failing(file: str, error: str, row: int | None = None, member: str | None = None, weight: float = 0) -> Entry:
    """What stands for a picture that is known to be out of reach."""
    return Entry(file, weight, partial(_refuse, error), member, row)


def _refuse(error: str) -> bytes:
    raise InputError(error)


def printable(text: str) -> str:
    """A name out of an archive as it can be stored and shown: what is no text, or steers a terminal, is escaped."""
    escaped = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)
