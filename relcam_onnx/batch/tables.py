"""Pictures in Parquet files: a column of their bytes, of their paths, or of both, as Hugging Face's data sets have."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from relcam_onnx.batch.entries import Entry, failing, printable
from relcam_onnx.batch.stores import check_size, is_url, opened, read
from relcam_onnx.errors import InputError, OptionError, nearest

TABLES = (".parquet",)
PATHS = ("path", "file", "file_name", "filename", "image", "image_path", "img", "picture", "url")
"""What a column of paths is called, where none of bytes is there."""
AT_ONCE = 16
"""Rows that are decoded at a time."""


def rows_of(path: str, skip: int, column: str | None) -> Iterator[Entry]:
    """The pictures of a Parquet file, a row each, from the one of this number on."""
    row = skip
    try:
        with opened(path) as stream, parquet(stream) as table:
            name = column_of(path, table.schema_arrow, column)
            weight = file_size(stream) / max(1, table.metadata.num_rows)
            for value in _values(table, name, skip):
                yield _entry(path, row, value, weight)
                row += 1
    except OptionError as error:
        yield failing(path, str(error).removeprefix(f"{path}: "), row)
    except (OSError, pa.ArrowException) as error:
        yield failing(path, f"is damaged or out of reach behind {row} rows ({error}); write it anew", row)


def parquet(stream: IO[bytes]) -> pq.ParquetFile:
    """A Parquet file, read in this thread alone.

    A thread of pyarrow's that lets go of a Python file while the process ends takes the process down with it.
    """
    return pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)


def values_of(table: pq.ParquetFile, column: str, rows: int, groups: Sequence[int] | None = None) -> Iterator[pa.Array]:
    """A column, so many rows at a time, of all row groups or of some; in this thread, as `parquet` says."""
    for batch in table.iter_batches(rows, row_groups=groups, columns=[column], use_threads=False):
        yield batch.column(0)


def file_size(stream: Any) -> int:
    """Bytes of an open file."""
    place = stream.tell()
    size = int(stream.seek(0, 2))
    stream.seek(place)
    return size


def _values(table: pq.ParquetFile, column: str, skip: int) -> Iterator[Any]:
    """The values of a column, row groups before the first one left out."""
    start, groups = 0, list[int]()
    for number in range(table.metadata.num_row_groups):
        rows = table.metadata.row_group(number).num_rows
        if start + rows > skip or groups:
            groups.append(number)
        else:
            start += rows
    for values in values_of(table, column, AT_ONCE, groups) if groups else ():
        yield from (values[place].as_py() for place in range(max(0, skip - start), len(values)))
        start += len(values)


def _entry(path: str, row: int, value: Any, weight: float) -> Entry:
    """One row: bytes, a path, or both; the bytes win."""
    data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(data, str):
        data, name = None, data
    member = printable(name) if name else None
    if data is not None:
        try:
            check_size(f"row {row}", len(data))
        except InputError as error:
            return failing(path, str(error), row, member, weight)
        return Entry(path, weight, partial(bytes, data), member, row)
    if not name:
        return failing(path, "the row has neither bytes nor a path", row, None, weight)
    return Entry(path, weight, lambda: read(beside(path, name)), member, row)


def beside(table: str, path: str) -> str:
    """Where a picture lies that a Parquet file names by its path: from its own folder on, or a whole path or URL.

    Raises
    ------
    InputError
        The file came from elsewhere, and what it names did not.
    """
    if not is_url(table):
        return path if is_url(path) else posixpath.join(posixpath.dirname(table), path)
    protocol, mark, rest = table.partition("://")
    if is_url(path):
        if not path.startswith(f"{protocol}{mark}"):
            raise InputError(f"{printable(path)}: is not where the Parquet file is ({protocol}); nothing else is read")
        return path
    bucket, _, inner = rest.partition("/")
    return f"{protocol}{mark}{bucket}{posixpath.normpath(posixpath.join('/', posixpath.dirname(inner), path))}"


def check_column(path: str, asked: str | None) -> None:
    """Raise what `column_of` does; a file that cannot be read is told in its turn."""
    with suppress(OSError, pa.ArrowException), opened(path) as stream, parquet(stream) as table:
        column_of(path, table.schema_arrow, asked)


def column_of(path: str, schema: pa.Schema, asked: str | None) -> str:
    """The column that has the pictures.

    Raises
    ------
    OptionError
        There is none, or no such column, or several look so.
    """
    if asked is not None:
        if asked not in schema.names:
            names = ", ".join(schema.names)
            raise OptionError(f"{path}: no column is called {asked!r}{nearest(asked, schema.names)}; there are {names}")
        if not _is_text(schema.field(asked).type) and not _is_bytes(schema.field(asked).type):
            raise OptionError(f"{path}: column {asked!r} is {schema.field(asked).type}: no bytes, and no paths")
        return asked
    found = [field.name for field in schema if _is_bytes(field.type)]
    found = found or [field.name for field in schema if field.name in PATHS and _is_text(field.type)]
    if len(found) != 1:
        why = f"{', '.join(found)} could all be pictures" if found else "no column looks like pictures or their paths"
        raise OptionError(f"{path}: {why}; say which with --column (there are {', '.join(schema.names)})")
    return str(found[0])


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    """Bytes, or a struct that has such beside a path."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
