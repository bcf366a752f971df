"""The pictures of an audit: their classes, where their objects are, and what is laid out of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit.model import Audited, Floats
from relcam_onnx.errors import InputError, OptionError, RelcamError, TargetError
from relcam_onnx.pictures.finding import Failed, Found

Masks = Callable[[Found], NDArray[np.bool_] | None]
"""Where a picture's object is, as the model sees the picture: (H, W); None where nobody knows."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture of an audit.

    Attributes
    ----------
    name
        Its own, of no other picture.
    file
        Where it lies.
    label
        Its class: the one that was told, else the model's top class.
    told
        Whether it was told.
    scores, probabilities
        The model's, (classes,).
    group
        What it is counted with: its folder, or its class.
    mask
        Where its object is, (H, W), if known.
    read
        Gives it as the model takes it, float32 (C, H, W).
    """

    name: str
    file: Path
    label: int
    told: bool
    scores: Floats = field(repr=False)
    probabilities: Floats = field(repr=False)
    group: str = ""
    mask: NDArray[np.bool_] | None = field(repr=False, default=None)
    read: Callable[[Path], Floats] = field(repr=False, default=lambda file: np.zeros((3, 1, 1), np.float32))

    @property
    def array(self) -> Floats:
        """The picture, (C, H, W)."""
        return self.read(self.file)

    @property
    def probability(self) -> float:
        """Of its class."""
        return float(self.probabilities[self.label])

    @property
    def right(self) -> bool:
        """Whether the model puts its class first."""
        return int(self.scores.argmax()) == self.label

    @cached_property
    def second(self) -> int:
        """The likeliest other class: a sibling, as a rule."""
        return int(np.argsort(-self.scores, kind="stable")[int(self.right)]) if len(self.scores) > 1 else self.label


class Told(NamedTuple):
    """What somebody says of a picture: its class by number or label, if they do, and what it is counted with."""

    label: str | None
    group: str


def read_subjects(
    model: Audited, found: Sequence[Found], classes: Mapping[Path, Told] | None, masks: Masks
) -> tuple[list[Subject], list[Failed]]:
    """Every picture that can be read, and what is wrong with the others."""
    subjects, failed = [], []
    for picture in found:
        try:
            subjects.append(read_subject(model, picture, (classes or {}).get(picture.path.resolve()), masks))
        except (RelcamError, OSError) as error:
            failed.append(Failed(str(picture.path), str(error)))
    return subjects, failed


def read_subject(model: Audited, picture: Found, told: Told | None, masks: Masks) -> Subject:
    """One picture, with what the model says of it."""
    array = model.read(picture.path)
    scores, shares = (values[0] for values in model.answers(array[None]))
    label = int(scores.argmax()) if told is None or told.label is None else class_of(model, told.label)
    if not 0 <= label < len(scores):
        raise TargetError(f"class {label} is none of the model's {len(scores)}")
    group = named(model, label) if told is None else told.group
    known = told is not None and told.label is not None
    return Subject(picture.name, picture.path, label, known, scores, shares, group, masks(picture), model.read)


def named(model: Audited, target: int) -> str:
    """A class by its label, else its number."""
    labels = model.pictures.labels
    return labels[target] if labels is not None and target < len(labels) else str(target)


def class_of(model: Audited, told: str) -> int:
    """A class by number or label."""
    return int(told) if told.lstrip("-").isdigit() else int(model.pictures.indices(told))


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


class Mosaic(NamedTuple):
    """Four tiles in reading order."""

    tiles: tuple[Subject, Subject, Subject, Subject]

    def array(self, *, whole: bool) -> Floats:
        """What the model takes: (1, C, 2H, 2W), or tiles of half the size where that is not ``whole``."""
        a, b, c, d = (tile.array if whole else halved(tile.array) for tile in self.tiles)
        return np.concatenate([np.concatenate([a, b], axis=2), np.concatenate([c, d], axis=2)], axis=1)[None]

    @property
    def classes(self) -> list[int]:
        """Each class once."""
        return list(dict.fromkeys(tile.label for tile in self.tiles))

    def where(self, label: int) -> NDArray[np.bool_]:
        """Which tiles show a class, (2, 2)."""
        return np.array([tile.label == label for tile in self.tiles]).reshape(2, 2)


def halved(x: Floats) -> Floats:
    """(C, H, W) at half the size, means of 2 × 2; an odd row or column more stays at the end."""
    height, width = (2 * (size // 2) for size in x.shape[1:])
    small = x[:, :height, :width].reshape(len(x), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return np.asarray(small, np.float32)


def mosaics(subjects: Sequence[Subject], count: int, *, opposite: bool, seed: int = 0) -> list[Mosaic]:
    """Grids of four classes, or of two in opposite tiles each, sampled by a seed; none twice.

    Raises
    ------
    InputError
        There are pictures of too few classes.
    """
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, ...], Mosaic] = {}
    size = 2 if opposite else 4
    for _ in range(50 * count):
        order = rng.permutation(len(subjects))
        chosen: list[Subject] = []
        for place in order:
            if len(chosen) < size and all(subjects[place].label != other.label for other in chosen):
                chosen.append(subjects[place])
        if len(chosen) < size or len(found) == count:
            break
        names = tuple(sorted(subject.name for subject in chosen))
        a, b, *rest = chosen
        found.setdefault(names, Mosaic((a, b, b, a) if opposite else (a, b, rest[0], rest[1])))
    if not found:
        raise InputError(f"{len(subjects)} pictures that the model is sure of are too few for a grid of {size} classes")
    return list(found.values())
