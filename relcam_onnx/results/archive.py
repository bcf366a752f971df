"""What a report keeps of one image: its name, its maps as one file, its pictures while they are drawn on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation


def archived(maps: Mapping[str, np.ndarray]) -> bytes:
    """All maps as NPZ. `numpy.savez` takes keys as arguments, and a layer may be called like one of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for layer, values in maps.items():
            with archive.open(f"{layer}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, values, allow_pickle=False)
    return file.getvalue()


class Pictures:
    """The pictures of one image at their own size, each read when it is first drawn on."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation, self._lock = explanation, Lock()
        self._kept: dict[int, Image.Image] = {}

    def of(self, layer: str, frame: int) -> Image.Image:
        """The one that a map lies on."""
        picture = self._explanation.picture_of(layer, frame)
        assert picture is not None
        with self._lock:
            if id(picture) not in self._kept:
                self._kept[id(picture)] = picture.full()
            return self._kept[id(picture)]


def stem(explanation: Explanation) -> str:
    """What an image's files start with: its picture's file name."""
    file = explanation.pictures[0].file if explanation.pictures else None
    return Path(file).stem if file else "image"
