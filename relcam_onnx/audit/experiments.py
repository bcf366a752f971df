"""The experiments: each goes through its items for one source of maps, and says what it found of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit import metrics
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.planes import Maps
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Mosaic, Subject, classes_by_size, mosaics
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.render import resize_map
from relcam_onnx.results.segment import segment

Measure: TypeAlias = Callable[[Source], Found]
"""What an item gives for a source."""

SURE = 0.99
"""The probability of the right class from which a picture may be a tile."""


class Item(NamedTuple):
    """One thing to measure."""

    name: str
    measure: Measure
    scored: int
    explained: int
    """How many pictures the model answers and how many are explained for it, a mosaic of four as four."""
    shared: int = 0
    """How many it answers once for all sources."""


def each(maps: Mapping[str, Maps], measure: Callable[[Floats], dict[str, float]]) -> Found:
    """A measure of every row and layer, of maps (K, h, w)."""
    return {row: {k: measure(v) for k, v in layers.items()} for row, layers in maps.items()}


def tiles(subjects: Sequence[Subject]) -> list[Subject]:
    """The pictures that the model is sure and right of; all of them where those have fewer than four classes."""
    sure = [s for s in subjects if s.right and s.probability >= SURE]
    return sure if max(classes_by_size(sure).values(), default=0) >= 4 else list(subjects)


def sampled(subjects: Sequence[Subject], count: int, seed: int = 0) -> list[Subject]:
    """Pictures that the model is right about, drawn at random."""
    right = [s for s in subjects if s.right]
    return [right[place] for place in np.random.default_rng(seed).permutation(len(right))[:count]]


def in_mosaics(
    subjects: Sequence[Subject], count: int, *, opposite: bool, whole: bool = True, seed: int = 0
) -> Iterator[Item]:
    """Focus (two of four tiles) or GridPG (one of four), all classes of a mosaic asked at once; and pointing."""
    for mosaic in mosaics(tiles(subjects), count, opposite=opposite, seed=seed):

        def measure(source: Source, mosaic: Mosaic = mosaic) -> Found:
            where = [mosaic.where(label) for label in mosaic.classes]

            def of(maps: Floats) -> dict[str, float]:
                pairs = list(zip(maps, where, strict=True))
                return {
                    "share": float(np.mean([metrics.in_tiles(m, w) for m, w in pairs])),
                    "pointing": float(np.mean([metrics.points_at_tile(m, w) for m, w in pairs])),
                }

            return each(source(mosaic.array(whole=whole), mosaic.classes), of)

        yield Item("+".join(tile.name for tile in mosaic.tiles), measure, 0, 4 if whole else 1)


def in_outlines(subjects: Sequence[Subject], count: int) -> Iterator[Item]:
    """Maps and regions of the picture's class against its outline, at the size that the model sees."""
    for subject in [s for s in subjects if s.mask is not None and s.mask.any()][:count]:

        def measure(source: Source, subject: Subject = subject) -> Found:
            mask = subject.mask
            assert mask is not None
            size = (mask.shape[0], mask.shape[1])

            def of(maps: Floats) -> dict[str, float]:
                heat = resize_map(maps[0], size)
                best, threshold = metrics.best_iou(heat, mask)
                return {
                    "mass": metrics.mass_accuracy(heat, mask),
                    "rank": metrics.rank_accuracy(heat, mask),
                    "precision": metrics.average_precision(heat, mask),
                    "best": best,
                    "threshold": threshold,
                    "pointing": float(metrics.points(heat, mask)),
                    "region": metrics.iou(segment(heat), mask),
                    "deviation": metrics.iou(segment(heat, "deviation"), mask),
                }

            return each(source(subject.array[None], subject.targets(subject.label)), of)

        yield Item(subject.name, measure, 0, 1)


def in_regions(subjects: Sequence[Subject], count: int) -> Iterator[Item]:
    """Maps against what the model itself marks: the detection's box, the class's segment; ``share`` is its area."""
    for subject in [s for s in subjects if s.spot.region is not None and s.spot.region.any()][:count]:

        def measure(source: Source, subject: Subject = subject) -> Found:
            region = subject.spot.region
            assert region is not None

            def of(maps: Floats) -> dict[str, float]:
                if not maps[0].any():
                    return {}  # a stage that nothing of this detection passes
                heat = resize_map(maps[0], (region.shape[0], region.shape[1]))
                return {
                    "mass": metrics.mass_accuracy(heat, region),
                    "pointing": float(metrics.points(heat, region)),
                    "share": float(region.mean()),
                }

            return each(source(subject.array[None], subject.targets(subject.label)), of)

        yield Item(subject.name, measure, 0, 1)


class Curves(NamedTuple):
    """Which of the dearer measures `by_deleting` takes."""

    insertion: bool = True
    masking: bool = True
    road: bool = True

    @property
    def passes(self) -> int:
        """Pictures for one map."""
        return 2 * (metrics.STEPS - 1) * self.insertion + 2 * self.masking + 2 * len(metrics.SHARES) * self.road


ALL = Curves()
"""Every measure."""


def by_deleting(
    subjects: Sequence[Subject], count: int, model: Audited, curves: Curves = ALL, seed: int = 0
) -> Iterator[Item]:
    """The single-deletion score of the picture's class and of the next one; of fused maps what curves tell."""

    @lru_cache(count)
    def falls(subject: Subject) -> tuple[Floats, Floats]:
        """By how much logits and log-probabilities of both classes fall without each patch, (16, 2)."""
        classes, without = [subject.label, subject.second], metrics.without_patches(subject.array, model.nothing)
        scores, shares = model.answers(without, subject.spot)
        logits = subject.scores[classes] - scores[:, classes]
        logs = log(subject.probabilities)[classes] - log(shares)[:, classes]
        return logits, logs

    @lru_cache(count)
    def faded(subject: Subject) -> float:
        """The probability of the picture's class in its blur."""
        return float(model.probabilities(metrics.blurred(subject.array)[None], subject.spot)[0, subject.label])

    for subject in sampled(subjects, count, seed):

        def measure(source: Source, subject: Subject = subject) -> Found:
            (logits, logs), x = falls(subject), subject.array

            def of(maps: Floats) -> dict[str, float]:
                drops = {"logit": logits, "log-probability": logs} if subject.spot.likely else {"logit": logits}
                top = {name: metrics.single_deletion(each[:, 0], maps[0]) for name, each in drops.items()}
                return {**top, "second": metrics.single_deletion(logits[:, 1], maps[1])}

            def probability(pictures: Floats) -> Floats:
                return model.probabilities(pictures, subject.spot)[:, subject.label]

            maps = source(x[None], subject.pair)
            found = each(maps, of)
            for row, layers in maps.items():
                if FUSED in layers and not subject.spot.quantity:
                    ends = faded(subject), subject.probability
                    found[row][FUSED] |= of_curves(probability, ends, x, layers[FUSED][0], curves, model.nothing)
            return found

        told = not subject.spot.quantity
        yield Item(subject.name, measure, curves.passes * told, 1, metrics.PATCHES**2 + told)


def of_curves(
    probability: metrics.Score, ends: tuple[float, float], x: Floats, heat: Floats, curves: Curves, nothing: Floats
) -> dict[str, float]:
    """What deleting and keeping pixels in one map's order does to a probability; ``ends``: of the blur, the picture."""
    found = {}
    if curves.insertion:
        found["insertion"] = metrics.insertion(probability, x, heat, ends)
        found["deletion"] = metrics.deletion(probability, x, heat, ends)
    if curves.masking and ends[1] >= 0:  # of a negative cosine no share can be left
        usual = metrics.left(probability, ends[1], metrics.times_map(x, heat, nothing))
        half = metrics.left(probability, ends[1], metrics.first_half(x, heat, nothing))
        found |= {"drop": usual.drop, "increase": usual.increase}
        found |= {"drop-half": half.drop, "increase-half": half.increase}
    if curves.road:
        found["road"] = metrics.road(probability, x, heat)
    return found


def log(shares: Floats) -> Floats:
    """Of probabilities; what float32 rounds to 0 counts as its smallest number."""
    return np.asarray(np.log(np.maximum(shares, np.finfo(np.float32).tiny)), np.float32)
