"""External data: tensors whose bytes lie in files beside the model.

A model file is untrusted and names those files itself, so a name may lead only into the model's own folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.protos import tensors


def load_external(proto: onnx.ModelProto, folder: Path | None) -> bytes:
    """Read all external data into ``proto``, in place, and give its digest; nothing where there is none.

    Parameters
    ----------
    proto
        The model; afterwards every tensor holds its own bytes.
    folder
        The folder of the model's file; None where the model came without one.

    Raises
    ------
    ModelFileError
        A file is missing, lies outside the folder, or is shorter than the model says; or there is no folder.
    """
    digest, read = hashlib.sha256(), False
    for name, tensor in tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        subject = f"the data of tensor {name!r} lies in the file {location!r}"
        if folder is None:
            raise ModelFileError(
                f"{subject}, and bytes and protos have no folder to find it in; give the model's path, or "
                "read the data first with onnx.load(path)"
            )
        data = _read_range(_resolve(folder, location, subject), entries, subject)
        digest.update(data)
        tensor.raw_data, read = data, True
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
    return digest.digest() if read else b""


def _resolve(folder: Path, location: str, subject: str) -> Path:
    """Find the file at ``location``, which must be inside ``folder`` once links are followed."""
    flavours = (PurePosixPath(location), PureWindowsPath(location))
    plain = "\0" not in location and not any(path.anchor or ".." in path.parts for path in flavours)
    file = (folder / location).resolve() if plain else None
    if file is None or not file.is_relative_to(folder.resolve()):
        raise ModelFileError(
            f"{subject}, which is outside the model's folder, where nothing is read; put the file beside the "
            "model and save the model with its relative path"
        )
    if not file.is_file():
        raise ModelFileError(f"{subject}, which is missing in {str(folder)!r}; put it back beside the model")
    return file


def _read_range(file: Path, entries: dict[str, str], subject: str) -> bytes:
    """Read ``length`` bytes from ``offset`` on, to the end where no length stands."""
    size = file.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError as error:
        raise ModelFileError(f"{subject} at an offset or length that is no number ({error})") from error
    if offset < 0 or length < 0 or offset + length > size:
        raise ModelFileError(
            f"{subject}, {length} bytes from {offset} on, but the file has {size}; it is truncated or "
            "belongs to another model: copy it again"
        )
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        raise ModelFileError(f"{subject}, which cannot be read ({error}); check its permissions") from error
