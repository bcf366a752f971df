"""Which pictures files, folders and globs name, and what each picture's output files are called."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, takewhile
from pathlib import Path

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""What a file in a folder must be called to count as a picture."""

UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC, as telephones write it"),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "a camera's raw file"),
    **{".jxl": "JPEG XL", ".exr": "OpenEXR", ".svg": "a drawing, not pixels"},
}
"""What else is a picture by its suffix, though Pillow reads none without a plug-in, and what it is."""


@dataclass(frozen=True)
class Found:
    """One picture to read: its path, and the stem that no other picture's output files have.

    Of a clip all frames in order; its path and name are those of the first.
    """

    path: Path
    name: str
    frames: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Failed:
    """One thing that could not be read or found, and why."""

    file: str
    error: str

    @property
    def said(self) -> str:
        """Both in one line; errors of reading begin with the file."""
        return self.error if self.error.startswith(self.file) else f"{self.file}: {self.error}"


def find_pictures(sources: Sequence[str | Path], out: Path | None = None) -> tuple[list[Found], list[Failed]]:
    """List the pictures that files, folders (searched through) and globs (``**`` too) name, each path once.

    Links count as what they lead to, folders too; a picture that has two paths is two.

    Parameters
    ----------
    sources
        A file is taken whatever its suffix; in folders and globs only files with one of `SUFFIXES` count, or of
        `UNREAD`, so that nothing is passed over in silence, and hidden ones do not.
    out
        The folder that results go to: what lies below it does not count for a folder or glob around it. Neither do
        sheets and overlays that an earlier run wrote among the pictures, by the ``results.json`` beside them.

    Returns
    -------
    tuple
        The pictures, in the order of the sources and sorted within each, and the sources that name none.
        A picture's ``name`` is its path below the folder or the glob's fixed part, without the suffix, joined
        by ``-``; where two meet (letter case aside) the later one gets ``-2``, ``-3``, ...
    """
    pictures: dict[Path, Found] = {}
    failed: list[Failed] = []
    taken: set[str] = set()
    for source in map(str, sources):
        root, paths = _expand(source)
        paths = _outside(paths, root, out)
        if not paths:
            failed.append(Failed(source, _why_nothing(source)))
        for path in paths:
            if place_of(path) not in pictures:
                stem = "-".join(path.relative_to(root).with_suffix("").parts)
                pictures[place_of(path)] = Found(path, _unique(stem, taken))
    return list(pictures.values()), failed


def as_clips(pictures: Sequence[Found], frames: int | None) -> tuple[list[Found], list[Failed]]:
    """Put the pictures of each folder, in the natural order of their names, into clips of so many ``frames``.

    None: each folder is one. The second list has what is left over.
    """
    folders: dict[Path, list[Found]] = {}
    for picture in pictures:
        folders.setdefault(picture.path.parent, []).append(picture)
    clips, failed = [], []
    for inside in folders.values():
        inside.sort(key=lambda picture: natural(picture.path.name))
        length = frames or len(inside)
        for start in range(0, len(inside), length):
            clip = inside[start : start + length]
            if len(clip) == length:
                clips.append(Found(clip[0].path, clip[0].name, tuple(picture.path for picture in clip)))
            else:
                first = str(clip[0].path)
                failed.append(Failed(first, f"{first}: {len(clip)} frames are left over, and a clip has {length}"))
    return clips, failed


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``frame2`` before ``frame10``."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def place_of(path: Path) -> Path:
    """Where a path leads by its words, however spelled: what tells pictures apart; a link is one of its own."""
    return Path(os.path.abspath(path))


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and those below it; links to folders are followed, but not round in a circle."""
    above: dict[str, set[str]] = {str(folder): set()}
    for parent, folders, names in os.walk(folder, followlinks=True):
        chain = above.pop(parent) | {os.path.realpath(parent)}
        folders[:] = [name for name in sorted(folders) if os.path.realpath(os.path.join(parent, name)) not in chain]
        above |= {os.path.join(parent, name): chain for name in folders}
        yield from (path for name in names if is_listed(path := Path(parent, name)))


def is_listed(path: Path) -> bool:
    """Whether a path is a file, or a link that leads nowhere: that fails by its name, where it is read."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def files_like(pattern: str) -> tuple[Path, list[Path]]:
    """The fixed part of a glob, and the files that match, without those that links lead to in a circle."""
    root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    matches = [path for path in map(Path, glob.glob(pattern, recursive=True)) if is_listed(path)]
    straight = {folder: _straight(folder, root) for folder in {path.parent for path in matches}}
    return root, [path for path in matches if straight[path.parent]]


def _straight(folder: Path, root: Path) -> bool:
    """Whether the way from a root down to a folder leads into no folder twice."""
    way = [os.path.realpath(each) for each in (folder, *folder.parents) if each.is_relative_to(root)]
    return len(set(way)) == len(way)


def _expand(source: str) -> tuple[Path, list[Path]]:
    """Give the folder that names start below, and the files; a file's own name may hold ``*`` or ``[``."""
    path = Path(source)
    if path.is_dir():
        return path, _not_drawn(sorted(p for p in files_below(path) if _is_picture(p, path)))
    if path.exists():
        return path.parent, [path]
    root, matches = files_like(source) if glob.has_magic(source) else (path, [])
    return root, _not_drawn(sorted(p for p in matches if _is_picture(p, root)))


def _is_picture(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in (*SUFFIXES, *UNREAD) and not hidden


def _outside(paths: list[Path], root: Path, out: Path | None) -> list[Path]:
    """Those that are not in the folder of results, where that is within the folder that was searched."""
    whole = root.resolve()
    folder = whole if out is None else out.resolve()
    if folder == whole or not folder.is_relative_to(whole):
        return paths
    return [path for path in paths if not path.parent.resolve().is_relative_to(folder)]


def _not_drawn(paths: list[Path]) -> list[Path]:
    """Those that no ``results.json`` in their folder names as what was drawn."""
    drawn = {folder: set(_drawn_in(folder)) for folder in {path.parent for path in paths}}
    return [path for path in paths if path.name not in drawn[path.parent]]


def _drawn_in(folder: Path) -> Iterator[str | None]:
    """The files that an earlier run drew in a folder; none where its ``results.json`` is another's, or damaged."""
    try:
        images = json.loads((folder / "results.json").read_text(encoding="utf-8"))["images"]
        for image in images:
            yield from ((image["sheet"] or {}).get("file"), *image.get("anim", ()), *image.get("anim.gif", ()))
            for entry in chain.from_iterable(image["layers"].values()):
                yield from (entry["png"], (entry["mask"] or {}).get("png"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def _why_nothing(source: str) -> str:
    if Path(source).is_dir():
        return f"{source}: the folder holds no picture ({', '.join(SUFFIXES)})"
    if glob.has_magic(source):
        return f"{source}: no picture matches; quote the pattern and check it with ls"
    return f"{source}: there is no such file or folder"


def _unique(stem: str, taken: set[str]) -> str:
    name, count = stem, 1
    while name.lower() in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name.lower())
    return name
