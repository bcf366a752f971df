"""The pictures that maps are measured on, their classes, and what is laid out of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from benchmarks.timing import session
from relcam_onnx.pictures.preprocess import Preprocess

Floats = NDArray[np.float32]
OUTLINES = Path(__file__).parents[1] / "outlines.json"
BATCH = 16


@dataclass(frozen=True)
class Subject:
    """A picture as the model takes it, float32 (3, H, W), its class, the scores, and where its object is, if known."""

    name: str
    array: Floats = field(repr=False)
    label: int
    scores: Floats = field(repr=False)
    mask: NDArray[np.bool_] | None = field(repr=False, default=None)

    @property
    def probability(self) -> float:
        """Of its class."""
        shares = np.exp(self.scores - self.scores.max())
        return float(shares[self.label] / shares.sum())

    @property
    def right(self) -> bool:
        """Whether the model puts its class first."""
        return int(self.scores.argmax()) == self.label

    @property
    def second(self) -> int:
        """The likeliest other class: a sibling, as a rule."""
        return int(np.argsort(-self.scores, kind="stable")[int(self.right)])


class Mosaic(NamedTuple):
    """Four tiles in reading order."""

    tiles: tuple[Subject, Subject, Subject, Subject]

    @property
    def array(self) -> Floats:
        """What the model takes, (1, 3, 2H, 2W)."""
        a, b, c, d = (tile.array for tile in self.tiles)
        return np.concatenate([np.concatenate([a, b], axis=2), np.concatenate([c, d], axis=2)], axis=1)[None]

    @property
    def classes(self) -> list[int]:
        """Each class once."""
        return list(dict.fromkeys(tile.label for tile in self.tiles))

    def where(self, label: int) -> NDArray[np.bool_]:
        """Which tiles show a class, (2, 2)."""
        return np.array([tile.label == label for tile in self.tiles]).reshape(2, 2)


class Classifier:
    """The model alone: scores by onnxruntime, pictures as its file says, the shorter side filling what it sees."""

    def __init__(self, model: Path) -> None:
        self._session = session(model, threads=None, spinning=False)  # the maps' sessions take turns with it
        read = Preprocess.from_json(self._session.get_modelmeta().custom_metadata_map["relcam.preprocess"])
        self._preprocess = replace(read, resize_size=None)
        self._input = self._session.get_inputs()[0].name

    def scores(self, x: Floats) -> Floats:
        """(N, 3, H, W) to (N, classes)."""
        pieces = (x[start : start + BATCH] for start in range(0, len(x), BATCH))
        return np.concatenate([self._session.run(None, {self._input: piece})[0] for piece in pieces])

    def prepared(self, picture: Image.Image) -> Floats:
        """(3, H, W)."""
        array, _ = self._preprocess.apply(picture)
        return np.asarray(array, np.float32)

    def covered(self, picture: Image.Image, polygons: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.bool_]:
        """Polygons, in shares of a picture's width and height, as the model sees the picture: (H, W)."""
        drawn = Image.new("RGB", picture.size)
        for polygon in polygons:
            corners = [(x * picture.width, y * picture.height) for x, y in polygon]
            ImageDraw.Draw(drawn).polygon(corners, fill="white")
        dark, light = (self.prepared(Image.new("RGB", picture.size, colour))[0] for colour in ("black", "white"))
        return np.asarray(self.prepared(drawn)[0] > (dark + light) / 2)


def read_labels(file: Path) -> dict[str, int]:
    """File name -> class, of a CSV with the columns ``file`` and ``index``."""
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            return {row["file"]: int(row["index"]) for row in csv.DictReader(lines)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SystemExit(f"{file} is no CSV with the columns file and index: {error}") from error


def read_outlines(file: Path) -> dict[str, list[list[list[float]]]]:
    """File name -> polygons."""
    try:
        found: dict[str, list[list[list[float]]]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file} holds no outlines: {error}") from error
    return found


def listed(folder: Path, labels: Path | None) -> dict[Path, int]:
    """The pictures of a folder with their classes; says at once what does not fit."""
    labels = labels or folder / "labels.csv"
    if not labels.exists():
        raise SystemExit(f"{folder} has no labels: name a CSV with the columns file and index (LABELS=...)")
    found = {folder / name: index for name, index in read_labels(labels).items()}
    if missing := [file.name for file in found if not file.exists()]:
        raise SystemExit(f"{labels} names {len(missing)} files that are not in {folder}, such as {missing[0]}")
    if len(set(found.values())) < 4:
        raise SystemExit(f"{labels} has {len(set(found.values()))} classes; a grid needs pictures of four")
    return found


def read(files: dict[Path, int], classifier: Classifier, outlines: Path) -> list[Subject]:
    """All pictures, with the model's scores."""
    drawn, subjects = read_outlines(outlines), []
    for file, label in files.items():
        with Image.open(file) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        array = classifier.prepared(picture)
        scores = classifier.scores(array[None])[0]
        if not 0 <= label < len(scores):
            raise SystemExit(f"{file.name} has class {label}, and the model tells {len(scores)} apart: other labels?")
        mask = classifier.covered(picture, drawn[file.name]) if file.name in drawn else None
        subjects.append(Subject(file.name, array, label, scores, mask))
    return subjects


def mosaics(subjects: Sequence[Subject], count: int, *, opposite: bool, seed: int = 0) -> list[Mosaic]:
    """Grids of four classes, or of two in opposite tiles each, sampled by a seed; none twice."""
    rng, found = np.random.default_rng(seed), {}
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
        raise SystemExit(f"{len(subjects)} pictures that the model is sure of are too few for a grid of {size} classes")
    return list(found.values())
