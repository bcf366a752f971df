"""Where the maps of a run lie in the picture that went in."""

from __future__ import annotations

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.model import static_shape
from relcam_onnx.pictures.geometry import Field
from relcam_onnx.prepare import Prepared


def fields_of(prepared: Prepared) -> dict[str, Field]:
    """Map -> where its cells lie in the picture input, where both have two axes of positions and sizes are known."""
    geometry, maps = prepared.layers.geometry, prepared.maps
    image = next((t for t in prepared.paths.pictures if t.name in geometry.layouts), None)
    if image is None:
        return {}
    shape = static_shape(image) or ()
    sizes = [size for size in (shape[axis] for axis in geometry.layouts[image.name].axes) if size is not None]
    if len(sizes) != 2:
        return {}
    layers = {layer.name: layer for layer in maps.layers} | ({FUSED: maps.stages[0]} if maps.stages else {})
    fields = {}
    for name, layer in layers.items():
        if len(grids := geometry.grids.get(layer.tensor.name, ())) == 2:
            (down, across), (top, left) = zip(*((float(g.stride), float(g.offset)) for g in grids), strict=True)
            fields[name] = Field((sizes[0], sizes[1]), (down, across), (top, left))
    return fields
