"""The rows of the tables: methods that make maps, and baselines that know nothing of the model."""

from __future__ import annotations

from typing import Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.model import Audited, Source
from relcam_onnx.audit.rows import baselines

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
        "gradient × input": model.source("gradient × input", method="gradient-x-input"),
        "baselines": baselines,
    }
