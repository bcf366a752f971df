"""How sure a model is of each class, by the scores before its softmax or sigmoid."""

from __future__ import annotations

import numpy as np

from relcam_onnx.analysis.heads import ONE_VS_REST
from relcam_onnx.pictures.geometry import Floats

COSINE = "Cosine"
"""What stands for a squashing where scores are cosines: shares as they are."""


def probabilities(scores: Floats, squashed_by: str | None, classes: int | None) -> Floats:
    """Sigmoid of the scores where the model ends in one or has one score alone, else their softmax.

    Where a negative and a positive class share one score: the sigmoid's complement, and the sigmoid.

    Parameters
    ----------
    scores
        (N, scores).
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid", `ONE_VS_REST` or None: what follows them in the model; or `COSINE`.
    classes
        How many the model tells apart; None where only a run knows.

    Returns
    -------
    NDArray
        (N, classes), float32.
    """
    if squashed_by == COSINE:
        return scores
    z = scores.astype(np.float64)
    if z.shape[1] == 1 and classes == 2:
        z = np.concatenate([-z, z], axis=1)
    if squashed_by in ("Sigmoid", ONE_VS_REST) or scores.shape[1] == 1:
        logs = -np.logaddexp(0, -z)
        logs = logs if squashed_by != ONE_VS_REST else logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    else:
        logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    return np.asarray(np.exp(logs), np.float32)
