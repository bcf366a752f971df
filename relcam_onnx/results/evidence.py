"""How much there is to explain: a target's margin over its rivals, and how much of it a layer still holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import APART
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.lrp.presets import GRADIENTS
from relcam_onnx.lrp.seeds import GIVEN, starting
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.detections import CONFIDENCE
from relcam_onnx.results.probabilities import COSINE, logits

if TYPE_CHECKING:
    from relcam_onnx.results.answer import Answer

LITTLE = 1.0
"""Logits: a margin below it is no evidence for a class over its rivals."""
CANCELLED = 0.1
"""Of the magnitudes that a seed is made of: where its sum is less, no share of it can be told."""


def margins(explanation: Answer) -> Floats:
    """The sum of seed ``rivals`` for each target, whatever the seed of the maps; without rivals z_t itself."""
    rows = logits(explanation.rows, explanation.squashed_by)
    start = started(explanation, "rivals" if has_rivals(explanation) else "logit", rows)
    return np.asarray(start.sum(axis=2), np.float32)


def has_rivals(explanation: Answer) -> bool:
    """Whether classes compete: with a sigmoid each they do not, nor does one score alone."""
    return explanation.squashed_by not in (*APART, COSINE) and explanation.scores.shape[-1] > 1


def is_like(explanation: Answer) -> bool:
    """Whether targets are what a picture may be like."""
    return explanation.squashed_by == COSINE


def doubt(explanation: Answer, index: int, place: int) -> str | None:
    """What is to be said of a target that the model has no evidence for; None where it has."""
    if explanation.detected is not None:
        weak = place < explanation.count(index) and explanation.probability[index, place] <= CONFIDENCE
        return "the model does not detect this" if weak else None
    margin = explanation.margin[index, place]
    if has_rivals(explanation):
        return "no evidence for this class over its rivals" if margin < LITTLE else None
    # One score that nothing squashes and that has no two names may be any quantity, not a yes or no.
    decides = explanation.squashed_by in APART or (explanation.settings.classes == 2 and not is_like(explanation))
    return "the model says no to this class" if decides and margin < 0 else None


def kept(explanation: Answer) -> dict[str, Floats]:
    """Layer -> float32 (N, K): the sum of relevance there over what it started as; NaN where that tells nothing."""
    total = started_as(explanation)
    if total is None:
        return {}
    fused = {source.name for source in explanation.settings.layers if source.tensor is None}
    sums = {layer: arrived(explanation, layer) for layer in explanation.maps if layer not in fused}
    return {layer: (held / total).astype(np.float32) for layer, held in sums.items()}


def held_by_tokens(explanation: Answer) -> dict[str, Floats]:
    """Layer -> float32 (N, K, T): what tokens beside the positions hold over what relevance started as."""
    total = started_as(explanation)
    if total is None:
        return {}
    tokens = {layer: of_clips(held, len(total)) for layer, held in explanation.tokens.items()}
    return {layer: (held / total[:, :, None]).astype(np.float32) for layer, held in tokens.items()}


def started_as(explanation: Answer) -> NDArray[np.float64] | None:
    """The sum that relevance starts as, (N, K), NaN where it cancels; None where what arrives is no share of it."""
    settings = explanation.settings
    if settings.preset in GRADIENTS or METHODS[settings.method].needs_gradient or settings.seed == GIVEN:
        return None
    start = started(explanation, settings.seed, explanation.rows)
    total = start.sum(axis=2, dtype=np.float64)
    return np.where(np.abs(total) > CANCELLED * np.abs(start).sum(axis=2), total, np.nan)


def arrived(explanation: Answer, layer: str) -> NDArray[np.float64]:
    """The sum of a layer's relevance, (N, K): of the map where that is relevance, else of the channels' means."""
    values = explanation.maps[layer]
    if layer in explanation.maps.with_channels:
        held = np.asarray(values.sum(axis=tuple(range(2, values.ndim)), dtype=np.float64))
    else:
        held = np.asarray(explanation.weights[layer].sum(axis=2, dtype=np.float64) * math.prod(values.shape[2:]))
    return of_clips(held, len(explanation.targets))


def of_clips(held: NDArray[Any], clips: int) -> NDArray[Any]:
    """What frames hold, (N·T, K, ...), summed over those of each clip."""
    return np.asarray(held.reshape(clips, -1, *held.shape[1:]).sum(axis=1))


def started(explanation: Answer, seed: str, rows: Any) -> Floats:
    """What relevance starts as with a seed at scores (N, K, scores), float32."""
    f, paired = Eager(), explanation.settings.classes == 2 and rows.shape[2] == 1
    count = 2 if paired else rows.shape[2]
    made = []
    for place, column in enumerate(explanation.classes.T):
        hot: Any = np.eye(count, dtype=np.float32)[column]
        made.append(np.asarray(starting(f, seed, rows[:, place], hot, paired=paired, gradient=False)))
    return np.stack(made, axis=1)
