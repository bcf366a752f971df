"""Where the maps of a run lie in what went in: places of a picture, frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.layout import Layout
from relcam_onnx.model import static_shape
from relcam_onnx.pictures.geometry import Field, Size
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.arrays import shape_of


def fields_of(prepared: Prepared) -> dict[str, Field]:
    """Map -> where its cells lie in its picture, or in the first: where both have two axes and sizes are known."""
    geometry, maps = prepared.layers.geometry, prepared.maps
    sizes = {t.name: size for t in prepared.paths.pictures if (size := size_of(t, geometry.layouts)) is not None}
    layers = {layer.name: layer for layer in maps.layers} | {name: stages[0] for name, stages in maps.fused.items()}
    fields = {}
    for name, layer in layers.items():
        size = sizes.get(layer.picture or "", next(iter(sizes.values()), None))
        grids = geometry.grids.get(layer.tensor.name, ())[-2:]  # time stands in front
        if size is not None and len(grids) == 2:
            (down, across), (top, left) = zip(*((float(g.stride), float(g.offset)) for g in grids), strict=True)
            fields[name] = Field(size, (down, across), (top, left))
    return fields


def frames_of(prepared: Prepared, inputs: Mapping[str, Any]) -> int:
    """How many frames a clip has: rows of the batch, or along the time of the first picture."""
    if prepared.frames > 1 or not prepared.layers.pictures:
        return prepared.frames
    picture = prepared.layers.picture
    axes = picture.layout.axes if picture.layout is not None else ()
    return int(shape_of(inputs[picture.tensor.name])[axes[0]]) if len(axes) == 3 else 1


def size_of(picture: gs.Tensor, layouts: Mapping[str, Layout]) -> Size | None:
    """The height and width of a picture input; None where it has no such two axes, or they are not known."""
    shape = static_shape(picture) or ()
    axes = layouts[picture.name].axes[-2:] if picture.name in layouts else ()
    sizes = [size for size in (shape[axis] for axis in axes) if size is not None]
    return (sizes[0], sizes[1]) if len(sizes) == len(axes) == 2 else None
