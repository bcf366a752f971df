"""What the tests of batches share: pictures in every kind of source, and rows as Python has them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from nets import plain
from PIL import Image

LABELS = ["cat", "dog", "crane", "ship", "owl"]


def encoded(seed: int, form: str = "PNG", height: int = 40, width: int = 60) -> bytes:
    """A picture of noise, as its file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def pictures(folder: Path, count: int) -> Path:
    """A folder of pictures, each its own."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04}.png").write_bytes(encoded(number))
    return folder


def stored(path: Path, model: onnx.ModelProto | None = None, labels: Sequence[str] = LABELS) -> Path:
    """A model's file that says how pictures are prepared and what its classes are called."""
    model = model or plain()
    told = {"relcam.labels": json.dumps(labels), "relcam.preprocess": '{"size": [32, 32], "resize": "squash"}'}
    onnx.helper.set_model_props(model, told)
    path.write_bytes(model.SerializeToString())
    return path


def tarred(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    """A tar file of these."""
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            told = tarfile.TarInfo(name)
            told.size = len(data)
            archive.addfile(told, io.BytesIO(data))
    return path


def rows(dest: Path | str, **options: Any) -> list[dict[str, Any]]:
    """The rows of a destination, in its order."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    found: list[dict[str, Any]] = pq.read_table(str(dest), **options).to_pylist()
    return found


def said(row: dict[str, Any]) -> dict[str, Any]:
    """A row without where it came from."""
    return {key: value for key, value in row.items() if key not in ("file", "member", "row", "sheet")}


def map_of(target: dict[str, Any]) -> np.ndarray:
    """The map of a target as docs/batch.md says to read it."""
    told = target["map"]
    return np.frombuffer(told["values"], np.int8).reshape(told["height"], told["width"]) * np.float32(told["scale"])


def mask_of(mask: dict[str, Any]) -> np.ndarray:
    """A mask, decoded character by character as COCO's description of the form has it."""
    runs: list[int] = []
    place = 0
    while place < len(mask["counts"]):
        value = shift = 0
        more = True
        while more:
            digit = ord(mask["counts"][place]) - 48
            value |= (digit & 0x1F) << shift
            more, place, shift = bool(digit & 0x20), place + 1, shift + 5
            if not more and digit & 0x10:
                value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    height, width = mask["size"]
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    return flat.reshape(width, height).T.astype(bool)
