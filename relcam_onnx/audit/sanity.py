"""What maps hang on: the class that is asked, the weights, a little noise, a few pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from relcam_onnx.audit import metrics
from relcam_onnx.audit.experiments import Item, each, sampled
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.planes import Maps
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.audit.weights import weights_of
from relcam_onnx.errors import InputError
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.render import resize_map

NEAR = 20
"""Places in ImageNet's order, which is WordNet's: as far apart as that, two classes are siblings as a rule."""
DEPTHS = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Of the weights, from the top, that are drawn anew; 0 is the classifier alone."""
DRAWS = 5
"""How often weights are drawn anew, at least, over all pictures."""
NAMED = 3
"""Weights that are named in a note."""
NOISE = 0.02
"""The deviation of a small noise, of the picture's range."""


def asked(subject: Subject, seed: int) -> list[int]:
    """The picture's class, the next one, and one drawn at random of the others; each at the subject's spot."""
    others = [c for c in range(len(subject.scores)) if c not in (subject.label, subject.second)]
    drawn = np.random.default_rng([seed, *os.fsencode(subject.name)])
    return [subject.label, subject.second, int(drawn.choice(others)) if others else subject.second]


def of_classes(subject: Subject, maps: Floats) -> dict[str, float]:
    """How the maps of the second and third class of `asked` hang together with the first's, where there are others."""
    if subject.second == subject.label:
        return {}
    second, other = (metrics.correlation(maps[0], m) for m in maps[1:])
    near = {"sibling": second} if abs(subject.second - subject.label) <= NEAR else {}
    return {"second": second, "random": other, **near}


def by_class(subjects: Sequence[Subject], count: int, seed: int = 0) -> Iterator[Item]:
    """How the map of the picture's class hangs together with that of the next one, and of one drawn at random."""
    for subject in sampled(subjects, count, seed):

        def measure(source: Source, subject: Subject = subject) -> Found:
            return each(
                source(subject.array[None], subject.targets(*asked(subject, seed))), partial(of_classes, subject)
            )

        yield Item(subject.name, measure, 0, 1)


def by_weights(
    subjects: Sequence[Subject],
    count: int,
    model: Audited,
    depths: Sequence[float] = DEPTHS,
    seed: int = 0,
    note: Callable[[str], None] = lambda said: None,
) -> Iterator[Item]:
    """Maps against those of the model with the top weights drawn anew: the classifier, then all below (Adebayo 2018).

    ``r``, and its magnitude, for each layer and number of weights, as a layer ``<layer>, <number> of <all>``. One draw
    may be anything: each picture has draws of its own, so that an interval over pictures is one over draws, too. Of few
    pictures each has several, whose mean counts. What cannot be drawn is told to ``note``.

    Raises
    ------
    InputError
        No weight can be drawn.
    """
    right = sampled(subjects, count, seed)
    if not right or not depths:
        return
    weights = weights_of(model.prepared)
    total = len(weights)
    if not weights.found:
        why = f": {'; '.join(weights.left[:NAMED])}" if weights.left else ""
        raise InputError(f"no convolution and no dense layer has a weight that could be drawn anew{why}")
    if weights.left:
        told = "; ".join(weights.left[:NAMED])
        note(f"sanity.weights: {len(weights.left)} of {total} weights are never drawn anew, such as {told}")
    numbers = sorted({max(1, round(len(weights.found) * share)) for share in depths})
    draws = -(-DRAWS // len(right))

    def drawn(depth: int, subject: Subject, draw: int) -> Maps:
        anew = weights.randomised(depth, [seed, draw, *os.fsencode(subject.name)])
        with warnings.catch_warnings():  # what maps of a model lack that nobody has says nothing of the model
            warnings.simplefilter("ignore")
            return model.source(AUDITED, model=anew)(subject.array[None], subject.pair)[AUDITED]

    for subject in right:

        def measure(source: Source, subject: Subject = subject) -> Found:
            found: Found = {}
            own = source(subject.array[None], subject.pair)
            for depth in numbers:
                others = [drawn(depth, subject, draw) for draw in range(draws)]
                for row, layers in own.items():
                    of_row = found.setdefault(row, {})
                    for layer, heat in layers.items():
                        r = [metrics.correlation(heat[0], other[layer][0]) for other in others if layer in other]
                        if r:
                            of_layer = {"r": float(np.mean(r)), "magnitude": float(np.mean(np.abs(r)))}
                            of_row[f"{layer}, {depth} of {total}"] = of_layer
            return found

        yield Item(subject.name, measure, 0, 1 + draws * len(numbers))


def by_disturbing(subjects: Sequence[Subject], count: int, seed: int = 0) -> Iterator[Item]:
    """Maps against those of the picture under a little noise, and of the picture moved by a few pixels."""
    for subject in sampled(subjects, count, seed):

        def measure(source: Source, subject: Subject = subject) -> Found:
            x, size = subject.array, subject.array.shape[1:]
            noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32) * np.float32(NOISE * np.ptp(x))
            step = max(1, size[0] // 32)
            own, noisy = (source(picture[None], subject.pair) for picture in (x, x + noise))
            there = subject.spot.moved(step)
            rolled = np.roll(x, (step, step), axis=(1, 2))[None]
            moved = None if there is None else source(rolled, [there(subject.label), there(subject.second)])
            found: Found = {}
            for row, layers in own.items():
                for layer, heat in layers.items():
                    of_layer = {"noise": metrics.correlation(heat[0], noisy[row][layer][0])}
                    if moved is not None:
                        before, after = (resize_map(maps[row][layer][0], (size[0], size[1])) for maps in (own, moved))
                        # What was rolled in at the edges is no part of either.
                        inside = before[: -2 * step, : -2 * step], after[step:-step, step:-step]
                        of_layer["moved"] = metrics.correlation(*inside)
                    found.setdefault(row, {})[layer] = of_layer
            return found

        yield Item(subject.name, measure, 0, 3)
