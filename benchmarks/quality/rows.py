"""The rows of the tables: methods that make maps, and baselines that know nothing of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relcam_onnx import Explainer

Floats = NDArray[np.float32]
Maps: TypeAlias = dict[str, Floats]
"""Layer -> (K, h, w), of one picture."""
Source: TypeAlias = Callable[[Floats, Sequence[int]], dict[str, Maps]]
"""A picture, (1, 3, H, W), and K classes -> row -> maps."""

FUSED = "fused"
DEFAULT = "default"
OURS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "seed contrast": {"seed": "contrast"},
    "seed logit": {"seed": "logit"},
    "the paper": {"preset": "paper"},
}
PEERS: dict[str, dict[str, Any]] = {
    "Grad-CAM": {"method": "grad-cam"},
    "HiRes-CAM": {"method": "hires-cam"},
    "Layer-CAM": {"method": "layer-cam"},
    "RefineCAM": {"method": "refine-cam", "layers": FUSED},  # its stages are HiRes-CAM's
    "Finer-CAM": {"method": "finer-cam"},
}


def sources(model: Path) -> dict[str, Source]:
    """Every source of rows for a model, by name."""
    made = {name: maps_of(name, Explainer(model, **options)) for name, options in {**OURS, **PEERS}.items()}
    return {**made, "gradient × input": gradient_times_input(model), "baselines": baselines}


def maps_of(name: str, explainer: Explainer) -> Source:
    """A row of one explainer."""
    return lambda x, classes: {name: {k: v[0] for k, v in explainer(x, [list(classes)]).maps.items()}}


def gradient_times_input(model: Path) -> Source:
    """Its one map, colours added up, in the place of a fused one."""
    explainer = Explainer(model, method="gradient-x-input")
    return lambda x, classes: {"gradient × input": {FUSED: explainer(x, [list(classes)]).maps["input"][0].sum(axis=1)}}


def baselines(x: Floats, classes: Sequence[int]) -> dict[str, Maps]:
    """Maps that know nothing of the model: its middle, the picture's edges, chance."""
    grey = x[0].mean(axis=0)
    height, width = (size // 4 for size in grey.shape)
    down, across = ((np.arange(size) + 0.5) / size * 2 - 1 for size in (height, width))
    centre = np.exp(-2 * (down[:, None] ** 2 + across**2))
    edges = np.hypot(*np.gradient(grey))[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3))
    chance = np.random.default_rng(0).random((height, width))
    found = {"centre": centre, "edges": edges, "random": chance}
    return {k: {FUSED: np.stack([v.astype(np.float32)] * len(classes))} for k, v in found.items()}
