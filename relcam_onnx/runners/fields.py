"""Where the maps of a run lie in the picture that went in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.pictures.geometry import Field
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.arrays import shape_of


def fields_of(prepared: Prepared, inputs: Mapping[str, Any]) -> dict[str, Field]:
    """Map -> where its cells lie in the image input, where both have two axes of positions."""
    paths, maps = prepared.paths, prepared.maps
    layers = {layer.name: layer for layer in maps.layers} | ({FUSED: maps.stages[0]} if maps.stages else {})
    if not paths.images or len(axes := paths.axes(image := paths.images[0])) != 2:
        return {}
    shape = shape_of(inputs[image.name])
    size = (shape[axes[0]], shape[axes[1]]) if len(shape) == 4 else (1, 1)
    fields = {}
    for name, layer in layers.items():
        if len(grids := paths.grids.get(id(layer.tensor), ())) == 2:
            (down, across), (top, left) = zip(*((float(g.stride), float(g.offset)) for g in grids), strict=True)
            fields[name] = Field(size, (down, across), (top, left))
    return fields
