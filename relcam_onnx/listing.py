"""`layers`: what can be named in a model."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import onnx

from relcam_onnx.analysis.layers import LayerInfo, Layers
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.canon import canonicalise
from relcam_onnx.lrp.preset_file import resolve
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.onnx_file.load import load


def layer_table(
    model: str | PathLike[str] | bytes | onnx.ModelProto,
    preset: str | Path | Preset | None = None,
    output: str | None = None,
    head: str | None = None,
) -> list[LayerInfo]:
    """Every layer that can be named under a preset (folding removes some), as `LayerInfo`; options as `Explainer`'s."""
    loaded = load(model)
    canonicalise(loaded, batch_norm=resolve(preset, None).fold_batch_norm, output=output)
    return Layers(loaded, Paths(loaded, find_scores(loaded, output, head).tensor)).table()
