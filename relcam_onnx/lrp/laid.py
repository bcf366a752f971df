"""A layer's values as channels and positions, wherever the positions of its tensor sit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from relcam_onnx.analysis.layers import Layer
from relcam_onnx.ops import Backend, Size, Value
from relcam_onnx.ops.records import product


def channels_first(f: Backend, layer: Layer, value: Value, values: Mapping[str, Value]) -> Value:
    """A layer's activation or relevance as (N, C, positions...), wherever its positions sit; as it is without any."""
    layout = layer.layout
    if layout is None or layout.plain:
        return value
    if layout.tokens:
        row = layout.axes[0]
        value = f.Slice(value, [layout.before], [-layout.after or np.iinfo(np.int32).max], [row])
    dims = f.dims(values[layer.tensor.name])
    if layout.axes != tuple(range(layout.rank - len(layout.axes), layout.rank)):
        value = f.Transpose(value, perm=[0, *layout.channels, *layout.axes])
    if len(layout.channels) == 1 and not layout.grid:
        return value
    channels = product([dims[axis] for axis in layout.channels])
    return f.Reshape(value, [-1, channels, *positions(f, layer, values)])


def activations(f: Backend, layer: Layer, values: Mapping[str, Value]) -> Value:
    """A layer's activations so, whose sizes are known."""
    own, layout = values[layer.tensor.name], layer.layout
    found, dims = channels_first(f, layer, own, values), f.dims(own)
    if layout is None or layout.plain:
        return found
    channels = product([dims[axis] for axis in layout.channels])
    return f.sized(found, [dims[0], channels, *positions(f, layer, values)])


def positions(f: Backend, layer: Layer, values: Mapping[str, Value]) -> tuple[Size, ...]:
    """The sizes of a layer's map."""
    dims, layout = f.dims(values[layer.tensor.name]), layer.layout
    if layout is None:
        return tuple(dims[2:])
    if not layout.grid:
        return tuple(dims[axis] for axis in layout.axes)
    fixed = [size for size in layout.grid if isinstance(size, int)]
    if len(fixed) == len(layout.grid):
        return tuple(fixed)
    # The tensor that the row was made of: its positions are its last axes, or those before its channels.
    sizes = f.dims(values[layout.origin])
    known = zip(layout.grid, layout.origin_axes, strict=True)
    return tuple(size if isinstance(size, int) else sizes[axis] for size, axis in known)
