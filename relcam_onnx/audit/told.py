"""What somebody says of pictures: their classes, and what they are counted with."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from relcam_onnx.audit.by_name import by_name
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import alike
from relcam_onnx.audit.spots import Likeness
from relcam_onnx.errors import OptionError, TargetError
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.labels import one_label


class Told(NamedTuple):
    """What somebody says of a picture: its class by number or label, if they do, and what it is counted with."""

    label: str | None
    group: str


def named(model: Audited, target: int) -> str:
    """A class by its label, else its number."""
    return model.label(target) or str(target)


def class_of(model: Audited, told: str) -> int:
    """A class by number or label; what to be like by its file's name, with its suffix or without."""
    if isinstance(model.whole, Likeness):
        names = [name for name in model.whole.names if told in (name, Path(name).stem)]
        if len(names) != 1:
            raise TargetError(f"{told!r} is none of what pictures are to be like: {', '.join(model.whole.names)}")
        return model.whole.names.index(names[0])
    return one_label(told, model.pictures.labels)


def is_class(model: Audited, told: str) -> bool:
    """Whether a class is called so: by a number that there is, or a whole name; a part of one may be any word."""
    try:
        kind = class_of(model, told)
    except TargetError:
        return False
    if isinstance(model.whole, Likeness):
        return True
    label, count = model.label(kind) or "", model.prepared.choices.classes
    whole = told.strip().isdecimal() or alike(told) in map(alike, (label, *label.split(",")))
    return whole and (count is None or kind in range(count))


def of_folders(
    found: Sequence[Found], sources: Sequence[str], model: Audited
) -> tuple[dict[Path, Told] | None, list[str]]:
    """What the folders that pictures lie in say: subfolders of those that were named, else these themselves.

    Parameters
    ----------
    found, sources
        The pictures, and what named them. Only folders count, and one alone is no class.

    Returns
    -------
    tuple
        The pictures' classes, or groups where no folder is called like a class; None where there are no folders to go
        by. And a note on either, and on pictures that lie in none.
    """
    folders = sorted(
        (Path(source) for source in sources if Path(source).is_dir()), key=lambda folder: len(folder.parts)
    )
    own: dict[Path, tuple[str, ...]] = {}
    for picture in found:
        folder = next((each for each in folders if picture.path.is_relative_to(each)), None)
        if folder is not None:
            own[picture.path.resolve()] = (folder.resolve().name, *picture.path.relative_to(folder).parts[:-1])
    inside = {path: Told(names[1], "/".join(names[1:])) for path, names in own.items() if len(names) > 1}
    among = {path: Told(names[0], "/".join(names)) for path, names in own.items()} if len(folders) > 1 else {}
    for told in (inside, among):
        if any(is_class(model, label) for label in {str(entry.label) for entry in told.values()}):
            rest = {path: Told(None, names[0]) for path, names in own.items() if path not in told}
            left = [picture.name for picture in found if picture.path.resolve() not in told]
            said = f"{len(left)} pictures lie in no folder of a class, such as {', '.join(left[:1])}"
            return {**rest, **told}, [f"{said}: their top classes are explained"] if left else []
    if not (inside or among):
        return None, []
    groups = {path: Told(None, "/".join(names[not among :]) or names[0]) for path, names in own.items()}
    return groups, ["no folder is called like a class: they are groups, and top classes are explained"]


def of_csv(found: Sequence[Found], file: Path) -> dict[Path, Told]:
    """Which class each picture shows by a CSV with the columns ``file``, ``index`` or ``label``, perhaps ``group``.

    Pictures go by their paths below its folder, else by their names.

    Raises
    ------
    OptionError
        It cannot be read, lacks the columns, names none of the pictures, or does not tell which.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"classes cannot be read from {str(file)!r}: {error}") from error
    column = next((name for name in ("index", "label") if rows and rows[0].get(name) is not None), None)
    if column is None or rows[0].get("file") is None:
        raise OptionError(f"{str(file)!r} needs the columns file and index (or label), one row a picture")
    told = {
        row["file"]: Told((row[column] or "").strip(), row.get("group") or (row[column] or "").strip()) for row in rows
    }
    places = {p.path.resolve(): os.path.abspath(p.path) for p in found}
    names = {places.get((file.parent / name).resolve(), name): entry for name, entry in told.items()}
    known = {path.resolve(): names[name] for path, name in by_name(str(file), found, names).items()}
    if not known:
        raise OptionError(
            f"{str(file)!r} names none of the pictures, such as {found[0].path.name}; its first is {next(iter(told))}"
        )
    return known
