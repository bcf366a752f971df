"""Where in a model's scores a subject is, seen as (N, places, classes): it stays there whatever happens to the picture.

What is asked there is a class, whatever the head: the one place of a classifier, the place of a detection, the pixels
of a segment; of an embedding the classes are what a picture may be like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.heads import Aim, as_scores, as_table, begin, class_count
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.prepare import Prepared
from relcam_onnx.results.detections import Detection
from relcam_onnx.results.probabilities import COSINE, probabilities
from relcam_onnx.runners.found import Told

Mask: TypeAlias = NDArray[np.bool_]


class Said(NamedTuple):
    """What a model says of N pictures.

    Attributes
    ----------
    table
        Scores, (N, places, classes).
    grid
        How places lie: (h, w) of a segmenter.
    told
        What a detector's outputs tell.
    """

    table: Floats
    grid: tuple[int, ...]
    told: Told | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Spot:
    """The one place of a classifier.

    Attributes
    ----------
    at
        How much each place counts, (places,), 1 in sum; None where there is one.
    region
        What the model itself marks in the picture as it sees it, (H, W): the inside of a box, a segment; None where it
        marks nothing.
    quantity
        Whether what is there may be any quantity: one score that nothing squashes, and no yes or no.
    """

    at: Floats | None = None
    region: Mask | None = None
    quantity: bool = False

    @property
    def detection(self) -> Detection | None:
        """What a detector says of it."""
        return None

    @property
    def likely(self) -> bool:
        """Whether what `shares` gives are probabilities."""
        return not self.quantity

    def target(self, kind: int) -> Any:
        """A class there, as an `Explainer` takes it for one image."""
        return kind

    def moved(self, step: int) -> Callable[[int], Any] | None:
        """The same in the picture moved by so many pixels down and to the right; None where nobody knows where."""
        return self.target

    def rows(self, table: Floats) -> Floats:
        """(N, places, classes) to (N, classes): there, or the mean over it."""
        if self.at is None:
            return table[:, 0]
        inside = np.flatnonzero(self.at)
        return np.asarray(self.at[inside] @ table[:, inside], np.float32)

    def shares(self, prepared: Prepared, rows: Floats) -> Floats:
        """How sure the model is of each class, by what `rows` gives."""
        return probabilities(rows, prepared.scores.squashed_by, prepared.choices.classes)

    def start(self, prepared: Prepared, raw: Any, kind: int) -> Any:
        """What relevance of a class starts as, in the shape of the file's scores."""
        f, choices = Eager(), prepared.choices
        table = as_table(f, choices.head, raw)
        count, classes = len(raw), class_count(choices, table)
        hot = np.eye(cast(int, classes), dtype=np.float32)[[kind] * count]
        at = None if self.at is None else np.repeat(self.at[None], count, axis=0)
        rows = self.rows(np.asarray(table.value))
        aim = Aim(*cast(tuple[Any, ...], (hot, np.ones((count, 1), np.float32), at, rows)))
        start = begin(f, choices, table, aim, prepared.seed, gradient=prepared.gradient)
        return np.asarray(as_scores(f, choices.head, start, f.dims(raw)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Place(Spot):
    """A detection's place; ``sides`` is its box in the model's input, if the file tells boxes."""

    found: Detection
    sides: NDArray[Any] | None

    @property
    def detection(self) -> Detection:
        """See `Spot`."""
        return self.found

    def target(self, kind: int) -> Any:
        """See `Spot`."""
        return self.found.place, kind

    def moved(self, step: int) -> Callable[[int], Any] | None:
        """See `Spot`: what was detected is another place's there, the best whose box fits."""
        if self.sides is None:
            return None
        box = (self.sides + step).tolist()
        return lambda kind: {"box": box, "label": kind}


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment(Spot):
    """Pixels of scores, (h, w): those that a class wins."""

    cells: Mask

    def target(self, kind: int) -> Any:
        """See `Spot`."""
        return {"label": kind, "mask": self.cells}

    def moved(self, step: int) -> Callable[[int], Any] | None:
        """See `Spot`."""
        assert self.region is not None
        mask = np.roll(self.region, (step, step), axis=(0, 1))
        return lambda kind: {"label": kind, "mask": mask}


@dataclass(frozen=True, eq=False, kw_only=True)
class Likeness(Spot):
    """Cosines with the embeddings of other pictures: ``pictures`` as the model takes them, ``vectors`` (L, D)."""

    names: tuple[str, ...]
    pictures: tuple[NDArray[Any], ...]
    vectors: NDArray[np.float64]

    @property
    def likely(self) -> bool:
        """See `Spot`: cosines are none."""
        return False

    def target(self, kind: int) -> Any:
        """See `Spot`."""
        return {"like": self.pictures[kind], "name": self.names[kind]}

    def rows(self, table: Floats) -> Floats:
        """See `Spot`."""
        z = table[:, 0].astype(np.float64)
        lengths = np.outer(np.linalg.norm(z, axis=1), np.linalg.norm(self.vectors, axis=1))
        return np.asarray(z @ self.vectors.T / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)

    def shares(self, prepared: Prepared, rows: Floats) -> Floats:
        """See `Spot`: the cosines themselves."""
        return probabilities(rows, COSINE, None)

    def start(self, prepared: Prepared, raw: Any, kind: int) -> Any:
        """See `Spot`: the terms of the cosine."""
        z, vector = np.asarray(raw, np.float64).reshape(len(raw), -1), self.vectors[kind]
        lengths = np.linalg.norm(z, axis=1, keepdims=True) * np.linalg.norm(vector)
        return (z * vector / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32).reshape(np.shape(raw))


def box_at(told: Told, place: int) -> NDArray[Any] | None:
    """The box of a place of one picture, in the model's input; None where the file tells none."""
    box = None if told.boxes is None else told.boxes[0, place]
    return None if box is None or np.isnan(box).any() else box
