"""Files that are written whole or not at all, and names that every file system takes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from relcam_onnx.errors import OptionError

LONGEST = 200
"""Bytes of a name, before any suffix: most file systems stop at 255."""


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; it stands under its name only once everything is in it.

    Until then it is a hidden file in the same folder, which is removed if anything goes wrong. A link stays: what it
    leads to is written.

    Raises
    ------
    OptionError
        As of `target_of`.
    OSError
        The disk is full, or the folder cannot be written.
    """
    path = target_of(path)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def target_of(path: Path) -> Path:
    """Where a file's bytes go: what a link leads to, else itself.

    Raises
    ------
    OptionError
        What stands there is no file: a device or a pipe would be lost, and a file stand in its place.
    """
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) and not (target.is_file() or target.is_dir()):  # the system refuses folders itself
        raise OptionError(f"{str(path)!r} is a device, a pipe or the like, which no file is put in place of: give "
                          "another name")  # fmt: skip
    return target


def make_folder(folder: Path) -> None:
    """Make a folder, and the ones above it, and see that it takes files.

    Raises
    ------
    OptionError
        It is a file, or cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OptionError(cannot_write(folder, error)) from error


def cannot_write(folder: Path, error: OSError) -> str:
    """What to tell the user when the output cannot be written."""
    return f"cannot write to {str(folder)!r} ({reason(error)}): make room, or give another folder"


def reason(error: OSError) -> str:
    """The system's words for an error, without its number."""
    return error.strerror or str(error)


def sha256(path: Path) -> str:
    """The hex digest of a file; `OSError` where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(text: str) -> str:
    """A text made fit for a file name: letters, digits, ``. _ -``; one ``_`` for each run of anything else."""
    return re.sub(r"[^\w.-]+", "_", text)


def shortened(name: str) -> str:
    """A name of at most `LONGEST` bytes; a longer one is cut and gets a digest of the whole."""
    data = os.fsencode(name)
    if len(data) <= LONGEST:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return f"{data[: LONGEST - 9].decode('utf-8', 'ignore')}-{digest}"


class Names:
    """Hands out file names of which no two meet, letter case aside."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str, suffix: str = "") -> str:
        """``name`` and ``suffix``, with ``-2``, ``-3``, ... between them where that was given out before."""
        stem = name = shortened(name)
        count = 1
        while f"{stem}{suffix}".lower() in self._taken:
            count += 1
            stem = f"{name}-{count}"
        self._taken.add(f"{stem}{suffix}".lower())
        return f"{stem}{suffix}"
