"""The photographs, what is laid out of them, and the figures that are read off a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.results.render import resize_map

Floats = NDArray[np.float32]

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "efficientnet-lite0.onnx"
PHOTOGRAPHS = ("cat", "coffee", "rocket", "palace", "flower")
TILE = 224  # pixels
STEPS = 8
BLUR = 10  # pixels, the standard deviation


class Subject(NamedTuple):
    """A photograph as the model takes it, float32 (3, 224, 224), and the model's top class of it."""

    array: Floats
    target: int


class Mosaic(NamedTuple):
    """Four tiles in reading order, by the photographs' names."""

    names: tuple[str, str, str, str]

    def array(self, subjects: dict[str, Subject]) -> Floats:
        """What the model takes, (1, 3, 448, 448)."""
        a, b, c, d = (subjects[name].array for name in self.names)
        return np.concatenate([np.concatenate([a, b], axis=2), np.concatenate([c, d], axis=2)], axis=1)[None]

    @property
    def classes(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys(self.names))

    def tiles(self, name: str) -> NDArray[np.bool_]:
        """Which tiles show a photograph, (2, 2)."""
        return np.array([shown == name for shown in self.names]).reshape(2, 2)


class Classifier:
    """The model alone: scores by onnxruntime."""

    def __init__(self, model: Path = MODEL) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        metadata = self._session.get_modelmeta().custom_metadata_map
        preprocess = Preprocess.from_json(metadata["relcam.preprocess"])
        # The shorter side fills the tile: as much of the photograph as fits.
        self._preprocess = replace(preprocess, size=(TILE, TILE), resize_size=None)

    def probabilities(self, x: Floats) -> Floats:
        """Softmax of the scores: (N, 3, H, W) to (N, classes)."""
        (scores,) = self._session.run(["logits"], {"input": x})
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)

    def subject(self, name: str) -> Subject:
        """One of the example photographs."""
        with Image.open(ROOT / "examples" / f"{name}.jpg") as picture:
            array, _ = self._preprocess.apply(picture)
        return Subject(array, int(self.probabilities(array[None]).argmax()))


def pairs(names: Sequence[str]) -> list[Mosaic]:
    """Every two photographs, each in two opposite tiles."""
    return [Mosaic((a, b, b, a)) for a, b in combinations(names, 2)]


def fours(names: Sequence[str]) -> list[Mosaic]:
    """Every four photographs, one tile each."""
    return [Mosaic((a, b, c, d)) for a, b, c, d in combinations(names, 4)]


def focus(heat: Floats, tiles: NDArray[np.bool_]) -> float:
    """The share of a map's positive part that lies in some of a mosaic's tiles; 0 where nothing is positive."""
    height, width = heat.shape
    positive = np.maximum(heat, 0).astype(np.float64)
    sums = positive.reshape(2, height // 2, 2, width // 2).sum(axis=(1, 3))
    return float(sums[tiles].sum() / max(sums.sum(), np.finfo(np.float64).tiny))


def points(heat: Floats, tiles: NDArray[np.bool_]) -> bool:
    """Whether the maximum of a map lies in one of a mosaic's tiles."""
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    height, width = heat.shape
    return bool(tiles[2 * row // height, 2 * column // width])


def insertion_minus_deletion(probability: Callable[[Floats], Floats], x: Floats, heat: Floats) -> float:
    """What the pixels that a map puts first do for a class.

    Insertion: the picture appears in its own blur, the map's highest pixels first. Deletion: it vanishes there in the
    same order. Both give the class's probability after each eighth of the pixels; what is returned is the difference of
    the areas under the two (trapezia, 0..1 across).

    Parameters
    ----------
    probability
        (N, 3, H, W) to (N,).
    x
        (3, H, W).
    heat
        (h, w).
    """
    size = x.shape[1], x.shape[2]
    order = np.argsort(-resize_map(heat, size), axis=None, kind="stable")
    rank = np.empty(order.size, np.intp)
    rank[order] = np.arange(order.size)
    counts = np.arange(STEPS + 1) * order.size / STEPS
    first = (rank < counts[:, None]).reshape(-1, 1, *size)
    veil = blurred(x)
    inserted, deleted = np.split(probability(np.concatenate([np.where(first, x, veil), np.where(first, veil, x)])), 2)
    gain = inserted - deleted
    return float((gain[1:] + gain[:-1]).mean() / 2)


def blurred(x: Floats) -> Floats:
    """A Gaussian blur of `BLUR` pixels, (..., H, W); at the edges the window is cut off."""
    down, across = (_gaussian(size) for size in x.shape[-2:])
    return (down @ x @ across.T).astype(np.float32)


def _gaussian(size: int) -> NDArray[np.float64]:
    """(size, size): each row is the window around one pixel."""
    distance = np.subtract.outer(np.arange(size), np.arange(size)) / BLUR
    window = np.exp(-(distance**2) / 2)
    return np.asarray(window / window.sum(axis=1, keepdims=True), np.float64)
