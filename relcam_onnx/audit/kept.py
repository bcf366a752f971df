"""What an audit keeps until its report stands: values in a store, maps in a file for each picture."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from relcam_onnx.audit.planes import Maps
from relcam_onnx.audit.store import Store
from relcam_onnx.files import whole
from relcam_onnx.pictures.geometry import Floats

WORK = ".work"
"""The folder, in the report's."""
REFERENCE = "-reference"
"""Of the names of files that hold the reference's maps."""


class Kept:
    """What an interrupted run leaves to the next one of the same request.

    Parameters
    ----------
    out
        The report's folder.
    what
        All that shapes what is measured: a run that differs in it starts anew.
    """

    def __init__(self, out: Path, what: Mapping[str, Any]) -> None:
        fingerprint = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()
        self._folder = out / WORK / fingerprint[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(self._folder / "values.jsonl")

    def add(self, name: str, maps: Mapping[str, Floats], of: str = "") -> None:
        """Keep a picture's maps; ``of`` the model, or `REFERENCE`."""
        with whole(self._file(name, of)) as file:
            np.savez(file, np.array(list(maps)), *maps.values())

    def maps(self, name: str, of: str = "") -> Maps:
        """A picture's maps."""
        with np.load(self._file(name, of), allow_pickle=False) as stored:
            return {str(layer): stored[f"arr_{i}"] for i, layer in enumerate(stored["arr_0"], 1)}

    def _file(self, name: str, of: str) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{of}.npz"


def clear(out: Path) -> None:
    """Remove what was kept."""
    shutil.rmtree(out / WORK, ignore_errors=True)
