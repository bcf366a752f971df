"""Models written to disk: one file, or weights in a second one beside it where protobuf's limit is passed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError

from relcam_onnx.files import target_of, whole

PROTOBUF_LIMIT = 2**31 - 1
"""Bytes that one protobuf message holds at most."""


def write_model(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """Write a model whole or not at all.

    Parameters
    ----------
    proto
        The model.
    path
        Of the file; above 2 GiB its weights go into ``<stem>.data`` beside it.

    Returns
    -------
    list of Path
        What was written, the model first.

    Raises
    ------
    OptionError
        What stands there is no file.
    OSError
        The disk is full, or the folder cannot be written.
    """
    data = message(proto)
    if data is not None:
        with whole(path) as file:
            file.write(data)
        return [path]
    path = target_of(path)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        weights = save_external(proto, unfinished)
        # The weights first: a model never stands there without them.
        for file_path in (weights, unfinished):
            os.replace(file_path, path.parent / file_path.name)
    return [path, path.parent / weights.name]


def message(proto: onnx.ModelProto) -> bytes | None:
    """A model as one message; None where that is longer than one may be."""
    try:
        data: bytes = proto.SerializeToString()  # takes no longer than to ask for its length
    except (EncodeError, ValueError):
        return None
    return data if len(data) <= PROTOBUF_LIMIT else None


def save_external(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model with its weights in ``<stem>.data`` beside it, which is returned; the proto stays as it is."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    data = path.with_name(f"{path.stem}.data")
    onnx.save_model(copy, path, save_as_external_data=True, location=data.name)
    return data
