"""The experiments: each goes through its items for one source of rows, and says what it found of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.quality.rows import DEFAULT, FUSED, Maps, Source
from benchmarks.quality.subjects import Classifier, Mosaic, Subject, mosaics
from relcam_onnx import Explainer, segment
from relcam_onnx.audit import metrics
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.seeds import rivals
from relcam_onnx.results.render import resize_map

Found: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""Row -> layer -> measure -> value."""
Measure: TypeAlias = Callable[[Source], Found]
"""What an item gives for a source."""

SURE = 0.99
"""The probability of the right class from which a picture may be a tile."""
NEAR = 20
"""Places in ImageNet's order, which is WordNet's: as far apart as that, two classes are siblings as a rule."""


@dataclass(frozen=True)
class Sizes:
    """How many items of each kind, at most."""

    grids: int = 60
    pairs: int = 40
    outlines: int = 100
    deletions: int = 30
    classes: int = 80
    weights: int = 20


def each(maps: Mapping[str, Maps], measure: Callable[[NDArray[np.float32]], dict[str, float]]) -> Found:
    """A measure of every row and layer, of maps (K, h, w)."""
    return {row: {k: measure(v) for k, v in layers.items()} for row, layers in maps.items()}


def tiles(subjects: Sequence[Subject]) -> list[Subject]:
    """The pictures that the model is sure and right of; all of them where those have fewer than four classes."""
    sure = [s for s in subjects if s.right and s.probability >= SURE]
    return sure if len({s.label for s in sure}) >= 4 else list(subjects)


def sampled(subjects: Sequence[Subject], count: int, seed: int = 0) -> list[Subject]:
    """Pictures that the model is right about, drawn at random."""
    right = [s for s in subjects if s.right]
    return [right[place] for place in np.random.default_rng(seed).permutation(len(right))[:count]]


def in_mosaics(subjects: Sequence[Subject], count: int, *, opposite: bool) -> Iterator[tuple[str, Measure]]:
    """Focus (two of four tiles) or GridPG (one of four), all classes of a mosaic asked at once; and pointing."""
    for mosaic in mosaics(tiles(subjects), count, opposite=opposite):

        def measure(source: Source, mosaic: Mosaic = mosaic) -> Found:
            where = [mosaic.where(label) for label in mosaic.classes]

            def of(maps: NDArray[np.float32]) -> dict[str, float]:
                pairs = list(zip(maps, where, strict=True))
                return {
                    "share": float(np.mean([metrics.in_tiles(m, w) for m, w in pairs])),
                    "pointing": float(np.mean([metrics.points_at_tile(m, w) for m, w in pairs])),
                }

            return each(source(mosaic.array, mosaic.classes), of)

        yield "+".join(tile.name for tile in mosaic.tiles), measure


def in_outlines(subjects: Sequence[Subject], count: int) -> Iterator[tuple[str, Measure]]:
    """Maps and regions of the picture's class against its outline, at the size that the model sees."""
    for subject in [s for s in subjects if s.mask is not None and s.mask.any()][:count]:

        def measure(source: Source, subject: Subject = subject) -> Found:
            mask = subject.mask
            assert mask is not None
            size = (mask.shape[0], mask.shape[1])

            def of(maps: NDArray[np.float32]) -> dict[str, float]:
                heat = resize_map(maps[0], size)
                return {
                    "mass": metrics.mass_accuracy(heat, mask),
                    "rank": metrics.rank_accuracy(heat, mask),
                    "precision": metrics.average_precision(heat, mask),
                    "best": metrics.best_iou(heat, mask),
                    "pointing": float(metrics.points(heat, mask)),
                    "region": metrics.iou(segment(heat), mask),
                    "deviation": metrics.iou(segment(heat, "deviation"), mask),
                }

            return each(source(subject.array[None], [subject.label]), of)

        yield subject.name, measure


def by_deleting(subjects: Sequence[Subject], count: int, classifier: Classifier) -> Iterator[tuple[str, Measure]]:
    """The single-deletion score of the picture's class and of the next one; insertion, deletion, ROAD of fused maps."""
    for subject in sampled(subjects, count):

        def measure(source: Source, subject: Subject = subject) -> Found:
            x, classes = subject.array, [subject.label, subject.second]
            without = classifier.scores(metrics.without_patches(x))
            logits = subject.scores[classes] - without[:, classes]
            logs = log_softmax(subject.scores)[classes] - log_softmax(without)[:, classes]

            def of(maps: NDArray[np.float32]) -> dict[str, float]:
                names = ("logit", "log-probability")
                top = {n: metrics.single_deletion(d[:, 0], maps[0]) for n, d in zip(names, (logits, logs), strict=True)}
                return {**top, "second": metrics.single_deletion(logits[:, 1], maps[1])}

            maps = source(x[None], classes)
            found = each(maps, of)

            def probability(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
                return np.asarray(np.exp(log_softmax(classifier.scores(pictures)))[:, subject.label], np.float32)

            for row, layers in maps.items():
                heat = layers[FUSED][0]
                found[row][FUSED] |= {
                    "insertion": metrics.insertion(probability, x, heat),
                    "deletion": metrics.deletion(probability, x, heat),
                    "road": metrics.road(probability, x, heat),
                }
            return found

        yield subject.name, measure


def log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the last axis."""
    rest = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return np.asarray(rest - np.log(np.exp(rest).sum(axis=-1, keepdims=True)))


def by_class(subjects: Sequence[Subject], count: int) -> Iterator[tuple[str, Measure]]:
    """How the map of the picture's class hangs together with that of the next one, and of one drawn at random."""
    rng = np.random.default_rng(0)
    for subject in sampled(subjects, count):
        others = [c for c in range(len(subject.scores)) if c not in (subject.label, subject.second)]
        chance = int(rng.choice(others)) if others else subject.second

        def measure(source: Source, subject: Subject = subject, chance: int = chance) -> Found:
            def of(maps: NDArray[np.float32]) -> dict[str, float]:
                second, other = (metrics.correlation(maps[0], m) for m in maps[1:])
                near = {"sibling": second} if abs(subject.second - subject.label) <= NEAR else {}
                return {"second": second, "random": other, **near}

            return each(source(subject.array[None], [subject.label, subject.second, chance]), of)

        yield subject.name, measure


def by_weights(subjects: Sequence[Subject], count: int, model: Path) -> Iterator[tuple[str, Measure]]:
    """The default's maps against those of the model with the top weights drawn anew: the classifier, then all below."""
    proto = onnx.load(model)
    total = len(metrics.weights_from_the_top(proto))
    depths = sorted({1, *(round(total * share) for share in (0.1, 0.25, 0.5, 1))})

    @cache
    def randomised(depth: int) -> Explainer:
        return Explainer(metrics.randomised(proto, depth))

    for subject in sampled(subjects, count):

        def measure(source: Source, subject: Subject = subject) -> Found:
            own = source(subject.array[None], [subject.label])
            found: Found = {}
            for depth in depths:
                drawn = randomised(depth)(subject.array[None], [[subject.label]]).maps
                found[f"{depth} of {total}"] = {
                    k: {"r": metrics.correlation(v[0], drawn[k][0, 0])} for k, v in own[DEFAULT].items()
                }
            return found

        yield subject.name, measure


def margins(subjects: Sequence[Subject], classifier: Classifier, seed: int = 0) -> dict[str, float]:
    """How well the margin tells a class that is there from one that is not, and a picture from noise: AUROC."""
    rng, scores = np.random.default_rng(seed), np.stack([s.scores for s in subjects])
    labels = np.array([s.label for s in subjects])
    others = (labels + rng.integers(1, scores.shape[1], len(labels))) % scores.shape[1]
    pictures = np.stack([s.array for s in subjects])
    shuffled = rng.permuted(pictures.reshape(len(labels), 3, -1), axis=2).reshape(pictures.shape)
    white = rng.standard_normal(pictures.shape, np.float32)
    top = margin(scores, scores.argmax(axis=1))
    noises = {"shuffled": classifier.scores(shuffled), "white": classifier.scores(white)}
    absent = margin(scores, others)
    return {
        "absent": metrics.auroc(margin(scores, labels), absent),
        **{name: metrics.auroc(top, margin(z, z.argmax(axis=1))) for name, z in noises.items()},
        "under one": float(np.mean(absent < 1)),
        "count": float(len(labels)),
    }


def margin(scores: NDArray[np.float32], targets: NDArray[np.integer]) -> NDArray[np.float32]:
    """(N, classes) and (N,) to (N,): the sum of seed ``rivals``, as `Explanation.margin`."""
    z: Any = scores
    hot: Any = np.eye(scores.shape[1], dtype=np.float32)[targets]
    return np.asarray(rivals(Eager(), z, hot), np.float32).sum(axis=1)
