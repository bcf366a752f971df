"""Files on this machine, and wherever fsspec finds them: ``s3://bucket/folder``, ``gs://``, ``hf://``, ..."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fsspec

from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.files import cannot_write, make_folder, reason, whole

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf"}
"""What of relcam-onnx brings a protocol."""
LARGEST = 1 << 30
"""Bytes of a file that may be a picture: more would fill the memory before anything looks at it."""
BLOCK = 8 << 20
"""Bytes that are fetched at a time where a file is read from its beginning to its end."""


class Item(NamedTuple):
    """A file: its path or URL, and how large it is."""

    path: str
    size: int


def is_url(path: str) -> bool:
    """Whether a path names a protocol, which fsspec knows how to read."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)", path) is not None


def file_system(url: str) -> tuple[Any, str]:
    """What reads a URL, and what it calls the same.

    Raises
    ------
    OptionError
        There is no such protocol, or what reads it is not installed.
    """
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except ImportError as error:
        extra = EXTRAS.get(url.partition("://")[0].lower())
        remedy = f"pip install 'relcam-onnx[{extra}]'" if extra else str(error)
        raise OptionError(f"{url}: what reads such addresses is not installed: {remedy}") from error
    except ValueError as error:
        raise OptionError(f"{url}: {error}; such as s3://bucket/folder, or a path") from error


def listed(source: str) -> tuple[str, list[Item]]:
    """All files that a path, folder, glob or URL of such names, sorted, and the folder that they lie under.

    Raises
    ------
    InputError
        It cannot be listed.
    """
    try:
        root, items = _remote(source) if is_url(source) else _local(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be listed ({reason(error)})") from error
    return root, sorted(items, key=lambda item: item.path.split("/"))


def _local(source: str) -> tuple[str, list[Item]]:
    path = Path(source)
    if path.is_dir():
        return source, [Item(str(p), p.stat().st_size) for p in _files(path)]
    if path.exists() or not glob.has_magic(source):
        return str(path.parent), [Item(source, path.stat().st_size)] if path.exists() else []
    root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches = map(Path, glob.glob(source, recursive=True))
    return str(root), [Item(str(p), p.stat().st_size) for p in matches if p.is_file()]


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in names if (path := Path(parent, name)).is_file())


def _remote(source: str) -> tuple[str, list[Item]]:
    fs, path = file_system(source)
    magic = glob.has_magic(path)
    if magic:
        found = fs.glob(path, detail=True)
    elif fs.isdir(path):
        found = fs.find(path, detail=True)
    else:
        found = {path: fs.info(path)} if fs.exists(path) else {}
    root = "/".join(takewhile(lambda part: not glob.has_magic(part), path.split("/")))
    root = root if magic or path not in found else root.rpartition("/")[0]
    files = [(name, told) for name, told in found.items() if told.get("type") != "directory"]
    return fs.unstrip_protocol(root), [Item(fs.unstrip_protocol(name), told.get("size") or 0) for name, told in files]


def read(path: str) -> bytes:
    """The bytes of a file that may be a picture.

    Raises
    ------
    InputError
        There is none, it cannot be read, or it is larger than `LARGEST`.
    """
    try:
        if is_url(path):
            fs, name = file_system(path)
            check_size(path, fs.size(name) or 0)
            return cast(bytes, fs.cat_file(name))
        check_size(path, os.stat(path).st_size)
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({reason(error)})") from error


def check_size(name: str, size: int) -> None:
    """Refuse what would fill the memory."""
    if size > LARGEST:
        raise InputError(f"{name}: has {size:,} bytes; no more than {LARGEST:,} are read of a picture's file")


def opened(path: str) -> IO[bytes]:
    """A file to be read from its beginning to its end, and skipped forwards in; `OSError` where it cannot."""
    if not is_url(path):
        return open(path, "rb")
    fs, name = file_system(path)
    return cast(IO[bytes], fs.open(name, "rb", block_size=BLOCK, cache_type="readahead"))


class Folder:
    """Where results go: files that stand there whole or not at all.

    On this machine a file gets its name when all is in it; to an object store it goes as one object.

    Raises
    ------
    OptionError
        It cannot be made or written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fs, self._root = file_system(path) if is_url(path) else (None, path)
        if self._fs is None:
            make_folder(Path(path))

    def names(self) -> list[str]:
        """The files in it, not those in folders below."""
        if self._fs is None:
            return [entry.name for entry in os.scandir(self.path) if entry.is_file()]
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._root, detail=True)
        except FileNotFoundError:
            return []  # an object store has no empty folders
        except OSError as error:
            raise OptionError(f"{self.path}: cannot be listed ({reason(error)})") from error
        return [told["name"].rpartition("/")[2] for told in found if told["type"] == "file"]

    def has(self, name: str) -> bool:
        """Whether a file stands in it."""
        if self._fs is None:
            return Path(self.path, name).exists()
        self._fs.invalidate_cache()
        return bool(self._fs.exists(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        """The bytes of a file in it; `OSError` where there is none."""
        if self._fs is None:
            return Path(self.path, name).read_bytes()
        return cast(bytes, self._fs.cat_file(f"{self._root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, perhaps in a folder below; `OptionError` where that fails."""
        try:
            if self._fs is not None:
                self._fs.pipe_file(f"{self._root}/{name}", data)
                return
            file = Path(self.path, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole(file) as out:
                out.write(data)
        except OSError as error:
            raise OptionError(cannot_write(Path(self.path), error)) from error
