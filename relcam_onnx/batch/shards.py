"""The files of a destination: shards of rows, and what the run was asked for, so that another one can go on."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from relcam_onnx.batch.entries import Entry
from relcam_onnx.batch.rows import SCHEMA
from relcam_onnx.batch.stores import Folder
from relcam_onnx.batch.tables import parquet, values_of
from relcam_onnx.batch.units import Unit
from relcam_onnx.errors import OptionError

MANIFEST = "_relcam.json"
"""What was asked for. Readers of Parquet pass over names that begin so."""
SHEETS = "_sheets"
SHARD = re.compile(r"part-(\d+)-(\d+)\.parquet")
OTHER = {
    "sha256": "the model is another one",
    "listing": "the sources hold other files, or files of other sizes",
    "labels": "the labels are others",
    "layers": "the layers are others",
    "preprocess": "pictures are prepared otherwise",
    "engine": "what is behind the preset or the model's preprocessing is another",
}
"""What is said of what is kept as digests and records, where it differs."""
ROWS = 10_000
"""Whose errors are read at a time."""
LAST = b"relcam.last"
"""The key in a shard's metadata that says that no more of its unit follows."""


@dataclass(frozen=True)
class Piece:
    """Pictures that are explained at once, and the shard that they go to.

    Attributes
    ----------
    unit, shard
        Which unit they are of, and its which shard.
    start
        The first one's number in the shard.
    entries
        The pictures.
    full, last
        Whether the shard is complete with them, and the unit.
    """

    unit: int
    shard: int
    start: int
    entries: Sequence[Entry]
    full: bool
    last: bool

    @property
    def file(self) -> str:
        """What the shard is called."""
        return shard_file(self.unit, self.shard)


def shard_file(unit: int, shard: int) -> str:
    """What a shard of a unit is called: sorted by name, rows are in the order of the source."""
    return f"part-{unit:06}-{shard:04}.parquet"


def pieces(unit: Unit, rows: int, size: int, done: int) -> Iterator[Piece]:
    """The pictures of a unit in pieces of a size, shards of so many rows, from a shard on; of none an empty shard."""
    entries = unit.entries(done * rows)
    following = next(entries, None)
    shard, start = done, 0
    if following is None:
        yield Piece(unit.number, shard, start, [], full=True, last=True)
    while following is not None:
        chosen = [following, *islice(entries, min(size, rows - start) - 1)]
        following = next(entries, None)
        full = following is None or start + len(chosen) == rows
        yield Piece(unit.number, shard, start, chosen, full, following is None)
        shard, start = (shard + 1, 0) if full else (shard, start + len(chosen))


def write_shard(folder: Folder, piece: Piece, tables: Sequence[pa.RecordBatch]) -> None:
    """Write a shard; ``piece`` is its last one."""
    schema = SCHEMA.with_metadata({LAST: b"1" if piece.last else b"0"})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_batches(tables, SCHEMA).cast(schema), buffer, compression="zstd")
    folder.write(piece.file, buffer.getvalue())


def shards_there(folder: Folder) -> set[tuple[int, int]]:
    """Unit and number of each shard that is there."""
    return {(int(m[1]), int(m[2])) for name in folder.names() if (m := SHARD.fullmatch(name))}


def errors_there(folder: Folder) -> int:
    """How many rows of the shards that are there tell an error; nothing else of them is read."""
    total = 0
    for shard in shards_there(folder):
        with folder.opened(shard_file(*shard)) as file, parquet(file) as table:
            total += sum(len(errors) - errors.null_count for errors in values_of(table, "error", ROWS))
    return total


def shards_done(folder: Folder, units: Sequence[Unit]) -> dict[int, int]:
    """Of each unit that is not complete, its number -> how many shards from its first on are there."""
    found = shards_there(folder)
    left = {}
    for unit in units:
        done = next(number for number in count() if (unit.number, number) not in found)
        if done and (not unit.container or _is_last(folder, shard_file(unit.number, done - 1))):
            continue
        left[unit.number] = done
    return left


def _is_last(folder: Folder, name: str) -> bool:
    """Whether no more of a unit follows a shard."""
    with parquet(io.BytesIO(folder.read(name))) as table:
        metadata = table.metadata.metadata
    return bool(metadata and metadata.get(LAST) == b"1")


def settle(folder: Folder, asked: Mapping[str, Any]) -> None:
    """Keep what is asked for, or see that what was kept is the same.

    Raises
    ------
    OptionError
        The folder has results of something else.
    """
    names = folder.names()
    results = any(name.endswith(".parquet") for name in names)
    if not (results and MANIFEST in names):  # a run that was refused, or killed at once, left none
        if results:
            raise OptionError(f"{folder.path}: has Parquet files that are not of a batch; give another folder")
        folder.write(MANIFEST, json.dumps(asked, indent=2).encode("ascii"))
        return
    try:
        kept = json.loads(folder.read(MANIFEST))
    except ValueError as error:
        raise OptionError(f"{folder.path}/{MANIFEST}: cannot be read ({error}); give another folder") from error
    now = json.loads(json.dumps(asked))
    if differing := _differing(kept, now):
        raise OptionError(
            f"{folder.path}: has results of another run, and only the same one can go on there "
            f"({'; '.join(differing[:3])}); give another folder"
        )


def _differing(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, in words."""
    known = kept.get("options")
    flat = {**now, **now["options"]}
    before = {**kept, **(known if isinstance(known, dict) else {})}
    keys = [key for key in flat if key not in ("model", "options") and before.get(key) != flat[key]]
    keys = [key for key in keys if key != "engine"] or keys  # its digest is also of most others
    return [OTHER.get(key) or f"{key} was {_short(before.get(key))}, is {_short(flat[key])}" for key in keys]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."
