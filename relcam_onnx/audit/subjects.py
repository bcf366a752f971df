"""The pictures of an audit, what is asked of each of them, where their objects are, and what is laid out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit.finding import find
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import Outlines
from relcam_onnx.audit.spots import Mask, Spot
from relcam_onnx.audit.told import Told, class_of, named
from relcam_onnx.errors import InputError, RelcamError, TargetError
from relcam_onnx.pictures.finding import Failed, Found, place_of
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results.detections import CONFIDENCE


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture of an audit, or one of the things that are found in it.

    Attributes
    ----------
    name
        Its own, of no other.
    file
        Where the picture lies.
    label
        Its class: the one that was told, else the model's.
    told
        Whether it was told.
    scores, probabilities
        The model's at its spot, (classes,).
    group
        What it is counted with: its folder, or its class.
    mask
        Where its object is, (H, W), if known.
    read
        Gives the picture as the model takes it, float32 (C, H, W).
    spot
        Where it is in the model's scores.
    picture
        The picture's name.
    size
        Its height and width as the model takes it.
    """

    name: str
    file: Path
    label: int
    told: bool
    scores: Floats = field(repr=False)
    probabilities: Floats = field(repr=False)
    group: str = ""
    mask: Mask | None = field(repr=False, default=None)
    read: Callable[[Path], Floats] = field(repr=False, default=lambda file: np.zeros((3, 1, 1), np.float32))
    spot: Spot = field(repr=False, default_factory=Spot)
    picture: str = ""
    size: Size = (0, 0)

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
        """Whether the model puts its class first, and detects it."""
        if self.spot.detection is not None:
            return int(self.probabilities.argmax()) == self.label and (not self.told or self.probability > CONFIDENCE)
        return int(self.scores.argmax()) == self.label

    @cached_property
    def second(self) -> int:
        """The likeliest other class: a sibling, as a rule; itself where there is no other."""
        ranked = np.argsort(-self.scores, kind="stable").tolist()
        return next((kind for kind in ranked if kind != self.label), self.label)

    @property
    def pair(self) -> list[Any]:
        """Its class and the second one, as an `Explainer` takes them."""
        return self.targets(self.label, self.second)

    def targets(self, *kinds: int) -> list[Any]:
        """Classes at its spot, as an `Explainer` takes them."""
        return [self.spot.target(kind) for kind in kinds]


def read_subjects(
    model: Audited, found: Sequence[Found], classes: Mapping[Path, Told] | None, outlines: Outlines, most: int = 1
) -> tuple[list[Subject], list[Failed]]:
    """What is asked of every picture that can be read, and what is wrong with the others.

    Parameters
    ----------
    model, found, classes, outlines
        The model, pictures, and what somebody says of them.
    most
        So many detections of a picture, or classes of most pixels; a classifier is asked for one class.
    """
    subjects, failed = [], []
    for picture in found:
        try:
            told = (classes or {}).get(place_of(picture.path))
            subjects += list(of_picture(model, picture, told, outlines, most))
        except (RelcamError, OSError) as error:
            failed.append(Failed(str(picture.path), str(error)))
    return subjects, failed


def of_picture(model: Audited, picture: Found, told: Told | None, outlines: Outlines, most: int) -> Iterator[Subject]:
    """Those of one picture, with what the model says of each."""
    array = model.read(picture.path)
    (said,) = model.say(array[None])
    kind = None if told is None or told.label is None else class_of(model, told.label)
    if kind is not None and kind not in range(count := model.count(said)):
        raise TargetError(f"class {kind} is none of the model's {count}")
    sought = find(model, picture, said, kind, outlines(picture), most)
    for number, (spot, own, mask) in enumerate(sought, 1):
        scores, shares = (values[0] for values in model.told([said], spot))
        name = picture.name if spot is model.whole else f"{picture.name} #{number}"
        group = (told and told.group) or named(model, own)
        yield Subject(
            name, picture.path, own, kind is not None, scores, shares, group, mask, model.read, spot, picture.name,
            (array.shape[1], array.shape[2]),
        )  # fmt: skip


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


def classes_by_size(subjects: Sequence[Subject]) -> dict[Size, int]:
    """How many classes pictures of each size show: tiles lie side by side only where they are of one."""
    return {size: len({s.label for s in subjects if s.size == size}) for size in {s.size for s in subjects}}


def mosaics(subjects: Sequence[Subject], count: int, *, opposite: bool, seed: int = 0) -> list[Mosaic]:
    """Grids of four classes, or of two in opposite tiles each, all of one size, sampled by a seed; none twice.

    Raises
    ------
    InputError
        There are pictures of too few classes.
    """
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, ...], Mosaic] = {}
    tiles = 2 if opposite else 4
    shown = classes_by_size(subjects)
    fitting = [subject for subject in subjects if shown[subject.size] >= tiles]
    for _ in range(50 * count if fitting else 0):
        if len(found) == count:
            break
        chosen: list[Subject] = []
        for place in rng.permutation(len(fitting)):
            own = fitting[place]
            if len(chosen) < tiles and all(own.label != c.label and own.size == c.size for c in chosen):
                chosen.append(own)
        names = tuple(sorted(subject.name for subject in chosen))
        a, b, *rest = chosen
        found.setdefault(names, Mosaic((a, b, b, a) if opposite else (a, b, rest[0], rest[1])))
    if not found:
        most, alike = max(shown.values(), default=0), " of one size" if len(shown) > 1 else ""
        raise InputError(f"a grid shows {tiles} classes, and {len(subjects)} pictures that count show {most}{alike}")
    return list(found.values())
