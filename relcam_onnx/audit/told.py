"""What somebody says of pictures: their classes, and what they are counted with."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relcam_onnx.audit.model import Audited
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
    return int(told) if told.lstrip("-").isdigit() else one_label(told, model.pictures.labels)


def classes_of(found: Sequence[Found], folder: Path | None, file: Path | None) -> dict[Path, Told] | None:
    """Which class each picture shows, as far as somebody says: a CSV, or the folders that they lie in.

    Parameters
    ----------
    found
        The pictures.
    folder
        The only source, where it is a folder: if all its pictures lie in subfolders, these are their classes, and
        folders in them subgroups.
    file
        A CSV with the columns ``file`` (a path below the CSV's folder, or a name), ``index`` or ``label``, and
        perhaps ``group``.

    Raises
    ------
    OptionError
        The CSV cannot be read, lacks the columns, or names none of the pictures.
    """
    if file is not None:
        return of_csv(found, file)
    if folder is None or not found or any(p.path.parent == folder for p in found):
        return None
    parts = {p.path.resolve(): p.path.relative_to(folder).parts[:-1] for p in found}
    return {path: Told(names[0], "/".join(names)) for path, names in parts.items()}


def of_csv(found: Sequence[Found], file: Path) -> dict[Path, Told]:
    """What a CSV says."""
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
    by_path = {(file.parent / name).resolve(): entry for name, entry in told.items()}
    known = {
        p.path.resolve(): entry
        for p in found
        if (entry := by_path.get(p.path.resolve(), told.get(p.path.name))) is not None
    }
    if not known:
        raise OptionError(
            f"{str(file)!r} names none of the pictures, such as {found[0].path.name}; its first is {next(iter(told))}"
        )
    return known


def as_groups(model: Audited, told: Mapping[Path, Told]) -> dict[Path, Told] | None:
    """Folders as groups alone, where none of them is called like a class; None where one is."""
    for label in {entry.label for entry in told.values()}:
        try:
            class_of(model, str(label))
        except TargetError:
            continue
        return None
    return {path: Told(None, entry.group) for path, entry in told.items()}
