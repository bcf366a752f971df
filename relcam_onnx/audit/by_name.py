"""Which picture is meant where somebody says something of pictures by their files' names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import TypeAlias

from relcam_onnx.errors import OptionError
from relcam_onnx.pictures.finding import Found

Parts: TypeAlias = tuple[str, ...]


def whole_name(path: PurePath) -> Parts:
    """Folders and the file's name."""
    return path.parts


def without_suffix(path: PurePath) -> Parts:
    """The same of files that differ in their suffixes."""
    return path.with_suffix("").parts


def by_name(
    said: str, found: Sequence[Found], names: Iterable[str], parts: Callable[[PurePath], Parts] = whole_name
) -> dict[Path, str]:
    """Picture -> the name that ends like its path, folders included, as no other name does and no other picture.

    Where folders agree at all, a name that has folders is meant with them: ``bird/1.jpg`` is not ``dog/1.jpg``.

    Parameters
    ----------
    said
        What has the names, for messages.
    found, names
        Neither has every picture a name, nor every name a picture.
    parts
        What of both is compared.

    Raises
    ------
    OptionError
        A name may be of several pictures, or several names of one.
    """
    paths = {picture.path: parts(slashed(os.path.abspath(picture.path))) for picture in found}
    known = {name: tuple(part for part in parts(slashed(name)) if part != "..") for name in names}
    owners = {end: name for name, own in known.items() for end in ends(own)}
    of_paths, of_names = (Counter(end for own in each.values() for end in ends(own)) for each in (paths, known))
    shared = {path: next((end for end in ends(own) if end in owners), ()) for path, own in paths.items()}
    matched = {path: owners[end] for path, end in shared.items() if end and of_paths[end] == of_names[end] == 1}
    folders = any(len(shared[path]) > 1 for path in matched)
    for path, end in shared.items():
        if end and path not in matched and (not folders or end in known.values()):
            which = [name for name, own in known.items() if own[-len(end) :] == end]
            whose = [str(other) for other, own in paths.items() if own[-len(end) :] == end]
            raise OptionError(
                f"{said}: {' and '.join(map(repr, which[:2]))} may be of {' or '.join(whose[:2])}; names must have the "
                f"pictures' folders too, such as {'/'.join(path.absolute().parts[-len(end) - 1 :])}"
            )
    return {path: name for path, name in matched.items() if not (folders and len(shared[path]) == 1 < len(known[name]))}


def slashed(name: str) -> PurePath:
    """A path as any system writes it: lists that were written on Windows have backslashes between folders."""
    return PurePath(name.replace("\\", "/"))


def ends(parts: Parts) -> Iterable[Parts]:
    """What a path ends with, the longest first."""
    return (parts[place:] for place in range(len(parts)))
