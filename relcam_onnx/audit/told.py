"""What somebody says of pictures: their classes, and what they are counted with."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from relcam_onnx.audit.by_name import by_name
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.spots import Likeness
from relcam_onnx.errors import OptionError, TargetError
from relcam_onnx.pictures.finding import Found, place_of
from relcam_onnx.pictures.labels import called, one_label, only


class Told(NamedTuple):
    """What somebody says of a picture: its class by number or by name, if they do, and what it is counted with.

    Where no ``group`` is given it is counted with its class.
    """

    label: int | str | None
    group: str = ""


def named(model: Audited, target: int) -> str:
    """A class by its label, else its number."""
    return model.label(target) or str(target)


def class_of(model: Audited, told: int | str) -> int:
    """A class by number or name; what to be like by its file's name, with its suffix or without.

    A name is a label first, and a number only where no class is called by one.
    """
    if isinstance(told, int):
        return told
    if exact := called_so(model, told):
        return only(told, exact)
    if isinstance(model.whole, Likeness):
        raise TargetError(f"{told!r} is none of what pictures are to be like: {', '.join(model.whole.names)}")
    if is_number(told) and any(map(is_number, model.labels or ())):
        raise TargetError(f"{told!r} is no label of this model, whose classes are called by numbers: where it is an "
                          "index, put it into the column index of --classes")  # fmt: skip
    return one_label(told, model.pictures.labels)


def called_so(model: Audited, told: str) -> list[int]:
    """The classes that are called exactly so."""
    if isinstance(model.whole, Likeness):
        return [kind for kind, name in enumerate(model.whole.names) if told in (name, Path(name).stem)]
    return called(told, model.pictures.labels or ())


def is_number(text: str) -> bool:
    """Whether it is a whole number, however written."""
    return text.strip().isdecimal()


def is_class(model: Audited, told: str) -> bool:
    """Whether a class is called so: by a number that there is, or a whole name; a part of one may be any word."""
    try:
        kind = class_of(model, told)
    except TargetError:
        return False
    count = model.prepared.choices.classes
    return bool(called_so(model, told)) or (is_number(told) and (count is None or kind in range(count)))


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
            own[place_of(picture.path)] = (place_of(folder).name, *picture.path.relative_to(folder).parts[:-1])
    inside = {path: Told(names[1], "/".join(names[1:])) for path, names in own.items() if len(names) > 1}
    among = {path: Told(names[0], "/".join(names)) for path, names in own.items()} if len(folders) > 1 else {}
    for told in (inside, among):
        if any(is_class(model, label) for label in {str(entry.label) for entry in told.values()}):
            rest = {path: Told(None, names[0]) for path, names in own.items() if path not in told}
            left = [picture.name for picture in found if place_of(picture.path) not in told]
            said = f"{len(left)} pictures lie in no folder of a class, such as {', '.join(left[:1])}"
            return {**rest, **told}, [f"{said}: their top classes are explained"] if left else []
    if not (inside or among):
        return None, []
    groups = {path: Told(None, "/".join(names[not among :]) or names[0]) for path, names in own.items()}
    return groups, ["no folder is called like a class: they are groups, and top classes are explained"]


def of_csv(found: Sequence[Found], file: Path, model: Audited) -> tuple[dict[Path, Told], list[str]]:
    """Which class each picture shows by a CSV with the columns ``file``, ``index`` or ``label``, perhaps ``group``.

    Pictures go by their paths below its folder, else by their names. ``index`` is a number, ``label`` a name; a cell
    that is empty tells nothing.

    Returns
    -------
    tuple
        The pictures' classes, and a note on pictures of which it tells none.

    Raises
    ------
    OptionError
        It cannot be read, lacks the columns, names none of the pictures, or does not tell which; or it says two
        things of a picture.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"classes cannot be read from {str(file)!r}: {error}") from error
    if not (rows and "file" in rows[0] and rows[0].keys() & {"index", "label"}):
        raise OptionError(f"{str(file)!r} needs the columns file and index (or label), one row a picture")
    places = {place_of(p.path) for p in found}
    names: dict[str, Told] = {}
    for row in rows:
        name = row["file"] or ""
        told = of_row(row, f"{str(file)!r}, {name!r}", model)
        if names.setdefault(str(whole) if (whole := place_of(file.parent / name)) in places else name, told) != told:
            raise OptionError(f"{str(file)!r} has {name!r} in two rows that say different things: leave one of them")
    known = {place_of(path): names[name] for path, name in by_name(str(file), found, names).items()}
    if not known:
        first = rows[0]["file"]
        raise OptionError(
            f"{str(file)!r} names none of the pictures, such as {found[0].path.name}; its first is {first}"
        )
    left = [picture.name for picture in found if known.get(place_of(picture.path), Told(None)).label is None]
    said = f"{file.name} tells no class of {len(left)} pictures, such as {', '.join(left[:1])}"
    return known, [f"{said}: their top classes are explained"] if left else []


def of_row(row: Mapping[str, str | None], where: str, model: Audited) -> Told:
    """What one row says: by number, by a name, or nothing; `OptionError` where that makes no sense."""
    index, label, group = ((row.get(column) or "").strip() for column in ("index", "label", "group"))
    exact = called_so(model, label) if label else []
    if not index:
        return Told(exact[0] if len(exact) == 1 else label or None, group)
    try:
        number = float(index)  # as pandas writes whole numbers of a column with empty cells
        kind = int(number)
    except (ValueError, OverflowError):
        number, kind = math.nan, 0
    if number != kind:
        raise OptionError(f"{where}: index {index!r} is no whole number; names of classes go into the column label")
    if exact and kind not in exact:
        raise OptionError(f"{where}: index {kind} and label {label!r} are two classes; {label!r} is {exact[0]}")
    return Told(kind, group)
