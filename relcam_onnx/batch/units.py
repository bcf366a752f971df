"""What a source is made of: units that are explained one by one, the same in every run, each giving its own shards."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from relcam_onnx.batch.entries import Entry
from relcam_onnx.batch.stores import Item, is_url, listed, read
from relcam_onnx.batch.tables import TABLES, check_column, rows_of
from relcam_onnx.batch.tars import TARS, members_of
from relcam_onnx.errors import InputError
from relcam_onnx.pictures.finding import SUFFIXES, UNREAD

PICTURES, CONTAINERS = (*SUFFIXES, *UNREAD), (*TARS, *TABLES)


@dataclass(frozen=True)
class Unit:
    """Pictures that are read one after the other.

    Attributes
    ----------
    number
        Its place among all.
    files
        Pictures, no more than a shard takes; or one tar or Parquet file, which may fill several shards.
    size
        Their bytes.
    column
        Of a Parquet file: which one has the pictures.
    """

    number: int
    files: Sequence[str]
    size: int
    column: str | None = None

    @property
    def container(self) -> bool:
        """Whether it is one file with many pictures."""
        return is_container(self.files[0])

    def entries(self, skip: int = 0) -> Iterator[Entry]:
        """Its pictures, in order, from the one of this number on."""
        if not self.container:
            weight = self.size / len(self.files)
            yield from (Entry(path, weight, partial(read, path)) for path in self.files[skip:])
        elif self.files[0].lower().endswith(TABLES):
            yield from rows_of(self.files[0], skip, self.column)
        else:
            yield from members_of(self.files[0], skip)


def is_container(path: str) -> bool:
    """Whether a file holds many pictures, by its name."""
    return path.lower().endswith(CONTAINERS)


def find_units(sources: Sequence[str], dest: str, shard: int, column: str | None) -> tuple[list[Unit], str]:
    """List what sources name, each file once; hidden ones and what a batch wrote to ``dest`` do not count.

    Returns
    -------
    tuple
        The units, and a digest of all files' paths and sizes.

    Raises
    ------
    InputError, OptionError
        A source names nothing, or cannot be listed; the first Parquet file has no such column of pictures.
    """
    items: dict[str, Item] = {}
    for source in chain.from_iterable(map(_each, sources)):
        root, found = listed(source)
        chosen = [item for item in found if item.path == source or _counts(item.path, root, dest)]
        if not chosen:
            kinds = ", ".join((*SUFFIXES, *CONTAINERS))
            raise InputError(f"{source}: holds nothing that can be read, or is not there ({kinds})")
        items |= {item.path: item for item in chosen}
    digest = hashlib.sha256()
    for item in items.values():
        digest.update(f"{item.path}\n{item.size}\n".encode("utf-8", "surrogateescape"))
    if table := next((path for path in items if path.lower().endswith(TABLES)), None):
        check_column(table, column)
    groups = list(_groups(items.values(), shard))
    return [
        Unit(number, [item.path for item in group], sum(item.size for item in group), column)
        for number, group in enumerate(groups)
    ], digest.hexdigest()


def _counts(path: str, root: str, dest: str) -> bool:
    """Whether a file that was come upon is meant."""
    below = PurePosixPath(path.removeprefix(root)) if is_url(path) else Path(path).relative_to(root)
    hidden = any(part.startswith(".") for part in below.parts)
    return path.lower().endswith((*PICTURES, *CONTAINERS)) and not hidden and not _is_ours(path, dest)


def _is_ours(path: str, dest: str) -> bool:
    """Whether a file is what a batch writes to a destination: a source may lie in that, and that in a source."""
    if is_url(path) != is_url(dest):
        return False
    whole, folder = path, dest.rstrip("/")
    if not is_url(dest):
        parent, name = os.path.split(path)
        whole, folder = os.path.join(os.path.realpath(parent), name), os.path.realpath(dest)
    return whole.startswith(folder) and re.match(r"/(part-\d+-\d+\.parquet$|_)", whole[len(folder) :]) is not None


def _each(source: str) -> list[str]:
    """A source, or all that its ``{000..099}`` stand for, as WebDataset writes them."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if not found or Path(source).exists():
        return [source]
    first, last = found.groups()
    numbers = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return [one for number in numbers for one in _each(f"{source[: found.start()]}{number}{source[found.end() :]}")]


def _groups(items: Iterable[Item], shard: int) -> Iterator[list[Item]]:
    """Containers alone, pictures between them by shards."""
    pictures: list[Item] = []
    for item in items:
        if is_container(item.path) or len(pictures) == shard:
            if pictures:
                yield pictures
            pictures = []
        if is_container(item.path):
            yield [item]
        else:
            pictures.append(item)
    if pictures:
        yield pictures
