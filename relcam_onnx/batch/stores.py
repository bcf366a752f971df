"""Files on this machine, and wherever fsspec finds them: ``s3://bucket/folder``, ``gs://``, ``hf://``, ..."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import fsspec

from relcam_onnx.errors import InputError, OptionError, RelcamError
from relcam_onnx.files import make_folder, whole
from relcam_onnx.pictures.finding import files_below, files_like

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


@contextmanager
def reaching(path: str, what: str, kind: type[RelcamError] = InputError) -> Iterator[None]:
    """Say in one line what went wrong with a file or folder; what reads addresses raises almost anything."""
    try:
        yield
    except RelcamError:
        raise
    except FileNotFoundError as error:
        raise kind(f"{path}: there is no such file or folder") from error
    except Exception as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise kind(f"{path}: cannot be {what} ({why})") from error


def listed(source: str) -> tuple[str, list[Item]]:
    """All files that a path, folder, glob or URL of such names, sorted, and the folder that they lie under.

    Raises
    ------
    InputError
        It cannot be listed.
    """
    with reaching(source, "listed"):
        root, items = _remote(source) if is_url(source) else _local(source)
    return root, sorted(items, key=lambda item: item.path.split("/"))


def _local(source: str) -> tuple[str, list[Item]]:
    path = Path(source)
    if path.is_dir():
        return source, list(map(_item, files_below(path)))
    if path.exists() or not glob.has_magic(source):
        return str(path.parent), [Item(source, path.stat().st_size)] if path.exists() else []
    root, matches = files_like(source)
    return str(root), list(map(_item, matches))


def _item(path: Path) -> Item:
    """A file; a link that leads nowhere fails where it is read."""
    return Item(str(path), path.stat().st_size if path.exists() else 0)


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
    with reaching(path, "read"):
        if is_url(path):
            fs, name = file_system(path)
            data = cast(bytes, fs.cat_file(name, start=0, end=LARGEST + 1))
            check_size(path, len(data))
            return data
        check_size(path, os.stat(path).st_size)
        with open(path, "rb") as file:
            return file.read()


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
        self._fs: Any = None
        self._root = path
        if is_url(path):
            self._fs, self._root = file_system(path)
        else:
            make_folder(Path(path))

    def names(self) -> list[str]:
        """The files in it, not those in folders below; `OptionError` where it cannot be listed."""
        with reaching(self.path, "listed", OptionError):
            if self._fs is None:
                return [entry.name for entry in os.scandir(self.path) if entry.is_file()]
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []  # an object store has no empty folders
            return [told["name"].rpartition("/")[2] for told in found if told["type"] == "file"]

    def has(self, name: str) -> bool:
        """Whether a file stands in it."""
        with reaching(self.path, "read", OptionError):
            if self._fs is None:
                return Path(self.path, name).exists()
            self._fs.invalidate_cache()
            return bool(self._fs.exists(f"{self._root}/{name}"))

    def read(self, name: str) -> bytes:
        """The bytes of a file in it; `OptionError` where there is none."""
        with reaching(f"{self.path}/{name}", "read", OptionError):
            if self._fs is None:
                return Path(self.path, name).read_bytes()
            return cast(bytes, self._fs.cat_file(f"{self._root}/{name}"))

    @contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A file in it, of which only parts are read; `OptionError` where that fails."""
        with reaching(f"{self.path}/{name}", "read", OptionError):
            path = Path(self.path, name) if self._fs is None else f"{self._root}/{name}"
            with path.open("rb") if isinstance(path, Path) else self._fs.open(path, "rb") as file:
                yield file

    def write(self, name: str, data: bytes) -> None:
        """Write a file, perhaps in a folder below; `OptionError` where that fails."""
        with reaching(f"{self.path}/{name}", "written", OptionError):
            if self._fs is not None:
                self._fs.pipe_file(f"{self._root}/{name}", data)
                return
            file = Path(self.path, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with whole(file) as out:
                out.write(data)
