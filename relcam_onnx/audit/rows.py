"""What maps come from: the audited method, others beside it, and baselines that know nothing of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.planes import Maps
from relcam_onnx.pictures.geometry import Floats

AUDITED = "audited"
"""The row of the method that is audited."""
BASELINES = ("centre", "edges", "random")
SIDE = 4
"""Pixels of a picture that are one of a baseline, along a side."""


def baselines(x: Floats, targets: Sequence[Any]) -> dict[str, Maps]:
    """The picture's middle, its edges, chance; each as a fused map, at a quarter of the picture's size."""
    grey = x[0].mean(axis=0)
    # A picture of a few pixels is repeated at its ends, so that it has a quarter, and slopes.
    grey = np.pad(grey, [(0, max(0, SIDE - size)) for size in grey.shape], mode="edge")
    height, width = (size // SIDE for size in grey.shape)
    down, across = ((np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width))
    centre = np.exp(-2 * (down[:, None] ** 2 + across**2))
    steps = np.hypot(*np.gradient(grey))
    edges = steps[: SIDE * height, : SIDE * width].reshape(height, SIDE, width, SIDE).mean(axis=(1, 3))
    chance = np.random.default_rng(0).random((height, width))
    found = dict(zip(BASELINES, (centre, edges, chance), strict=True))
    return {k: {FUSED: np.stack([v.astype(np.float32)] * len(targets))} for k, v in found.items()}
