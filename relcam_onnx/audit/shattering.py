"""Why relevance and not the gradient: the two plots of Lee et al. 2021 (Relevance-CAM), on this model.

Shattered gradients: how a layer's channel weights hold under a little noise, and how smooth gradient and relevance are
from position to position. False confidence: whether a channel's weight tells how far the score falls without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from relcam_onnx.audit import metrics
from relcam_onnx.audit.experiments import Item, sampled
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.sanity import NOISE
from relcam_onnx.audit.store import Found
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.explainer import Explainer
from relcam_onnx.pictures.geometry import Floats

GRADIENT, RELEVANCE = "gradient", "relevance"
OPTIONS: dict[str, dict[str, Any]] = {
    GRADIENT: {"method": "lrp", "preset": "gradient"},
    RELEVANCE: {"method": "lrp", "preset": "paper"},
}
"""The two rows: Grad-CAM's weights and the paper's, which are means of what arrives."""
POINTS = 200
"""Channels of a layer that a plot shows."""


def by_shattering(subjects: Sequence[Subject], count: int, model: Audited, seed: int = 0) -> Iterator[Item]:
    """``weights``: r of channel weights with those under noise; ``smooth``: r of neighbours at a layer.

    Balduzzi et al. 2017, arXiv:1702.08591, whose measure of shattering the autocorrelation is.
    """

    @cache
    def explainer(row: str) -> Explainer:
        return model.explaining(layers="stages", **OPTIONS[row])

    for subject in sampled(subjects, count, seed):

        def measure(source: Source, subject: Subject = subject) -> Found:
            x, target = subject.array, subject.targets(subject.label)
            found: Found = {}
            noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32) * np.float32(NOISE * np.ptp(x))
            for row in OPTIONS:
                own, noisy = (model.explained(explainer(row), p[None], target) for p in (x, x + noise))
                found[row] = {
                    layer: {
                        "weights": metrics.correlation(weights[0, 0], noisy.weights[layer][0, 0]),
                        "smooth": neighbours(own.maps[layer][0, 0]),
                    }
                    for layer, weights in own.weights.items()
                }
            return found

        yield Item(subject.name, measure, 4, 0)


def neighbours(values: Floats) -> float:
    """R of each position with the ones beside and below it, (C, h, w), the mean over channels that vary."""
    found = []
    for channel in values.astype(np.float64):
        centred = channel - channel.mean()
        variance = np.square(centred).mean()
        if variance > 0 and min(channel.shape) > 1:
            beside = (centred[:, 1:] * centred[:, :-1]).mean()
            below = (centred[1:] * centred[:-1]).mean()
            found.append((beside + below) / 2 / variance)
    return float(np.mean(found)) if found else float("nan")


def by_confidence(subjects: Sequence[Subject], count: int, model: Audited, seed: int = 0) -> Iterator[Item]:
    """``confidence``: Spearman of a channel's weight and the score's fall without it.

    Some channels' numbers are kept as well, for a plot: as layers ``<layer> told`` and ``<layer> fall``.
    """
    stages = [layer for layer in model.prepared.layers.stages if layer.tensor.name not in model.prepared.model.views]

    @cache
    def explainer(row: str) -> Explainer:
        options = {"method": "ablation-cam"} if row == "fall" else {**OPTIONS[row], "seed": "one-hot"}
        return model.explaining(layers=[layer.name for layer in stages], **options)

    for subject in sampled(subjects, count, seed) if stages else ():

        def measure(source: Source, subject: Subject = subject) -> Found:
            x, target = subject.array[None], subject.targets(subject.label)
            found: Found = {}
            falls = model.explained(explainer("fall"), x, target)
            for row in OPTIONS:
                of_row: dict[str, dict[str, float]] = {}
                weights = model.explained(explainer(row), x, target).weights
                for layer in (stage.name for stage in stages):
                    told = weights[layer][0, 0]
                    fall = falls.weights[layer][0, 0]
                    of_row[layer] = {"confidence": metrics.spearman(told, fall)}
                    some = np.argsort(-np.abs(told), kind="stable")[:POINTS]
                    scale = max(float(np.abs(told).max()), float(np.finfo(np.float32).tiny))
                    of_row[f"{layer} told"] = {str(k): float(told[k]) / scale for k in some}
                    of_row[f"{layer} fall"] = {str(k): float(fall[k]) for k in some}
                found[row] = of_row
            return found

        yield Item(subject.name, measure, 3 + model_channels(model), 0)


def model_channels(model: Audited) -> int:
    """Runs of the model from its stages on."""
    shapes: list[Any] = [layer.tensor.shape or () for layer in model.prepared.layers.stages]
    return sum(shape[1] for shape in shapes if len(shape) > 1 and isinstance(shape[1], int))
