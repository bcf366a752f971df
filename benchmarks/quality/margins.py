"""What margins tell: a class that is there from one that is not, and a picture from noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.audit import metrics
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.seeds import rivals


def margins(subjects: Sequence[Subject], model: Audited, seed: int = 0) -> dict[str, float]:
    """How well the margin tells a class that is there from one that is not, and a picture from noise: AUROC."""
    rng, scores = np.random.default_rng(seed), np.stack([s.scores for s in subjects])
    labels = np.array([s.label for s in subjects])
    others = (labels + rng.integers(1, scores.shape[1], len(labels))) % scores.shape[1]
    pictures = np.stack([s.array for s in subjects])
    shuffled = rng.permuted(pictures.reshape(len(labels), 3, -1), axis=2).reshape(pictures.shape)
    white = rng.standard_normal(pictures.shape, np.float32)
    top = margin(scores, scores.argmax(axis=1))
    noises = {"shuffled": model.scores(shuffled), "white": model.scores(white)}
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
