"""Pictures in tar files, as WebDataset has them: read in passing, nothing is unpacked onto a disk."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any, cast

from relcam_onnx.batch.entries import Entry, failing, printable
from relcam_onnx.batch.stores import check_size, opened
from relcam_onnx.errors import InputError
from relcam_onnx.pictures.finding import SUFFIXES, UNREAD

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""What a tar file is called."""
BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error)


def members_of(path: str, skip: int) -> Iterator[Entry]:
    """The pictures of a tar file, in its order, from the one of this number on.

    Members count as pictures by their suffix; hidden ones do not. Where the file breaks off an entry says so.
    """
    count, empty = 0, True
    try:
        with opened(path) as stream, tarfile.open(fileobj=stream) as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # tarfile would keep them all
                empty = False
                if not is_picture(member):
                    continue
                if count >= skip:
                    yield _entry(archive, member, path, count)
                count += 1
            data: Any = archive.fileobj
            data.seek(archive.offset)
            if data.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError(f"at byte {archive.offset:,} no file begins, nor does the archive end")
    except BROKEN as error:
        yield failing(path, f"is damaged or out of reach behind {count} pictures ({error}); write it anew", count)
        return
    if not count and not empty:
        yield failing(path, f"holds no picture ({', '.join(SUFFIXES)})", 0)


def is_picture(member: tarfile.TarInfo) -> bool:
    """Whether a member of an archive counts as a picture."""
    path = PurePosixPath(member.name)
    hidden = any(part.startswith(".") and part not in (".", "..") for part in path.parts)
    return member.isreg() and path.suffix.lower() in (*SUFFIXES, *UNREAD) and not hidden


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, row: int) -> Entry:
    """One picture, its bytes read now: an archive is read in its order."""
    name, weight = printable(member.name), float(tarfile.BLOCKSIZE + member.size)
    try:
        check_size(name, member.size)
    except InputError as error:
        return failing(path, str(error), row, name, weight)
    file = archive.extractfile(member)
    assert file is not None
    return Entry(path, weight, partial(bytes, file.read()), name, row)
