"""The rows of the tables: methods that make maps, and baselines that know nothing of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from relcam_onnx.audit.model import Audited, Floats, Maps, Source
from relcam_onnx.audit.rows import FUSED, baselines

DEFAULT = "default"
OURS: dict[str, dict[str, Any]] = {
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


def sources(model: Audited) -> dict[str, Source]:
    """Every source of rows for a model, by name."""
    made = {name: model.source(name, **options) for name, options in {**OURS, **PEERS}.items()}
    return {
        DEFAULT: model.source(DEFAULT),
        **made,
        "gradient × input": gradient_times_input(model),
        "baselines": baselines,
    }


def gradient_times_input(model: Audited) -> Source:
    """Its one map, colours added up, in the place of a fused one."""
    source = model.source("gradient × input", method="gradient-x-input")

    def fused(x: Floats, classes: Sequence[int]) -> dict[str, Maps]:
        return {row: {FUSED: maps["input"]} for row, maps in source(x, classes).items()}

    return fused
