"""What a row of the output holds: docs/batch.md shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from relcam_onnx.batch.entries import Entry
from relcam_onnx.results import entries
from relcam_onnx.results.explanation import Explanation
from relcam_onnx.results.regions import Region
from relcam_onnx.results.run_lengths import compressed

LEVELS = 127
"""Steps of a map on either side of 0."""

STAGE = pa.struct({
    "layer": pa.string(), "minimum": pa.float32(), "maximum": pa.float32(), "sum": pa.float64(),
    "relevance_kept": pa.float32(), "tokens_kept": pa.list_(pa.float32()),
})  # fmt: skip
MAP = pa.struct({
    "layer": pa.string(), "height": pa.int32(), "width": pa.int32(), "scale": pa.float32(), "values": pa.binary(),
})  # fmt: skip
MASK = pa.struct({
    "size": pa.list_(pa.int32()), "counts": pa.string(), "box": pa.list_(pa.int32()), "area": pa.int64(),
})  # fmt: skip
TARGET = pa.struct({
    "index": pa.int64(), "label": pa.string(), "probability": pa.float32(), "score": pa.float32(),
    "margin": pa.float32(), "doubt": pa.string(), "place": pa.int64(), "box": pa.list_(pa.float32()),
    "layers": pa.list_(STAGE), "map": MAP, "mask": MASK,
})  # fmt: skip
SCHEMA = pa.schema({
    "file": pa.string(), "member": pa.string(), "row": pa.int64(), "width": pa.int32(), "height": pa.int32(),
    "error": pa.string(), "explained": pa.bool_(), "targets": pa.list_(TARGET), "sheet": pa.string(),
})  # fmt: skip


def row(entry: Entry, explanation: Explanation, rule: str, sheet: str | None) -> dict[str, Any]:
    """The row of a picture that was explained, or of one that only the forward pass saw.

    Parameters
    ----------
    entry
        Where the picture came from.
    explanation
        Of it alone; without maps where nothing was explained.
    rule
        What masks mark.
    sheet
        The file of its sheet.

    Raises
    ------
    InputError
        A map is not finite.
    """
    picture, beside = explanation.pictures[0], explanation.beside.items()
    own = next((name for name, pictures in beside if pictures[0] is picture), None)  # where a model reads several
    layers, (height, width) = entries.layers(explanation, None), picture.size
    targets: list[dict[str, Any]] = entries.targets(explanation)
    for place, target in enumerate(targets):
        target["score"] = entries.number(entries.score(explanation, place))
        target["layers"] = [{"layer": name, **each[place]} for name, each in layers.items()]
        if drawable := explanation.maps.drawable:
            layer = explanation.map_name(None, own)
            layer = layer if layer in drawable else drawable[-1]
            target["map"] = {"layer": layer, **compact(explanation.plane(layer, 0, place))}
            region = Region.of(explanation, layer, place, rule)
            target["mask"] = {**compressed(region), "box": region.box, "area": region.area}
    return {
        **origin(entry),
        "width": width,
        "height": height,
        "explained": bool(explanation.maps),
        "targets": targets,
        "sheet": sheet,
    }


def broken(entry: Entry, error: str) -> dict[str, Any]:
    """The row of a picture that could not be read or explained."""
    return {**origin(entry), "error": error, "explained": False}


def origin(entry: Entry) -> dict[str, Any]:
    """Where a picture came from."""
    return {"file": as_text(entry.file), "member": entry.member, "row": entry.row}


def as_text(name: str) -> str:
    """A file name as text: bytes that are none are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def compact(values: np.ndarray) -> dict[str, Any]:
    """A map (h, w) as bytes: int8, row by row, each times ``scale`` the value to half a step."""
    most = float(np.abs(values).max())
    scale = most / LEVELS or 1.0
    whole = np.rint(values / np.float32(scale)).clip(-LEVELS, LEVELS).astype(np.int8)
    return {"height": values.shape[0], "width": values.shape[1], "scale": scale, "values": whole.tobytes()}


def table(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows as Arrow has them."""
    return pa.RecordBatch.from_pylist(rows, SCHEMA)
