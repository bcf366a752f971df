"""How sure a model is of each class, by the scores before its softmax or sigmoid."""

from __future__ import annotations

import numpy as np

from relcam_onnx.analysis.heads import EACH_ITS_SHARE, ONE_VS_REST, SHARES
from relcam_onnx.pictures.geometry import Floats

COSINE = "Cosine"
"""What stands for a squashing where scores are cosines: shares as they are."""


def probabilities(scores: Floats, squashed_by: str | None, classes: int | None) -> Floats:
    """Sigmoid of the scores where the model ends in one or has one score alone, else their softmax.

    Where a negative and a positive class share one score: the sigmoid's complement, and the sigmoid. What is a share
    already is told as it is.

    Parameters
    ----------
    scores
        (N, scores).
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid", `ONE_VS_REST` or None: what follows them in the model; or
        `SHARES`, `EACH_ITS_SHARE` or `COSINE`.
    classes
        How many the model tells apart; None where only a run knows.

    Returns
    -------
    NDArray
        (N, classes), float32.
    """
    if squashed_by == COSINE:
        return scores
    if squashed_by in (SHARES, EACH_ITS_SHARE):
        return np.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 and classes == 2 else scores
    z = scores.astype(np.float64)
    if z.shape[1] == 1 and classes == 2:
        z = np.concatenate([-z, z], axis=1)
    if squashed_by in ("Sigmoid", ONE_VS_REST) or scores.shape[1] == 1:
        logs = -np.logaddexp(0, -z)
        logs = logs if squashed_by != ONE_VS_REST else logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    else:
        logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    return np.asarray(np.exp(logs), np.float32)


def logits(scores: Floats, squashed_by: str | None) -> Floats:
    """Scores (..., scores); of shares what a softmax, or a sigmoid of each, makes them of."""
    if squashed_by not in (SHARES, EACH_ITS_SHARE):
        return scores
    small = np.finfo(np.float32).tiny
    rest = np.log(np.maximum(1 - scores, small)) if squashed_by == EACH_ITS_SHARE else 0.0
    return np.asarray(np.log(np.maximum(scores, small)) - rest, np.float32)
