"""A record of predictions: one line of JSON for each, in a file that several processes may append to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relcam_onnx import __version__
from relcam_onnx.errors import OptionError
from relcam_onnx.files import cannot_write, sha256
from relcam_onnx.results.settings import Settings

try:
    import fcntl
except ImportError:  # Windows: there a write in append mode is one step anyway
    fcntl = None  # type: ignore[assignment]


class Record:
    """Appends to a file; what stands in it stays.

    Parameters
    ----------
    file
        Made where it is not there; its folder must be.

    Raises
    ------
    OptionError
        The file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            os.close(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644))
        except OSError as error:
            raise OptionError(f"record: {cannot_write(file, error)}") from error

    def add(self, image: Mapping[str, Any], folder: Path, settings: Settings) -> None:
        """Append one picture's line.

        Parameters
        ----------
        image
            Its entry in ``results.json``.
        folder
            Where its files are.
        settings
            What it was explained with.

        Raises
        ------
        OSError
            The disk is full, or the file cannot be written any more.
        """
        options = settings.told()
        inputs = {name: told(each["file"]) for name, each in image.get("inputs", {}).items()}
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "version": __version__,
            "model": {"file": options.pop("model"), "sha256": options.pop("sha256")},
            "options": options,
            "picture": told(image["file"]),
            **({"inputs": inputs} if inputs else {}),
            "targets": image["targets"],
            "layers": image["layers"],
            "folder": str(folder.resolve()),
            "sheet": image["sheet"],
        }
        append(self.file, json.dumps(line, allow_nan=False))


def told(file: str | None) -> dict[str, str | None]:
    """A picture's file and what identifies it."""
    digest = None
    with suppress(OSError):  # the picture may have gone meanwhile
        digest = sha256(Path(file)) if file else None
    return {"file": file, "sha256": digest}


def append(file: Path, line: str) -> None:
    """Append a whole line, whoever else writes; one that somebody left half written gets its end first."""
    handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        end = os.lseek(handle, 0, os.SEEK_END)
        if end:
            os.lseek(handle, end - 1, os.SEEK_SET)
            line = line if os.read(handle, 1) == b"\n" else f"\n{line}"
        data = f"{line}\n".encode("ascii")
        try:
            while data:
                data = data[os.write(handle, data) :]
        except OSError:
            os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)
