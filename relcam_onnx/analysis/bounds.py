"""The smallest and largest values that the image can have where the first layers read it, for zᴮ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike

from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.positions import of_image
from relcam_onnx.backends.eager import Eager
from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.scaling import SAME
from relcam_onnx.errors import OptionError
from relcam_onnx.model import static_shape

Bounds: TypeAlias = tuple[np.ndarray, np.ndarray]
"""(low, high), float32, broadcasting to a tensor."""

MOVES = (*RESHAPES, "Transpose", "Slice", "Gather", "Concat", "SpaceToDepth", "DepthToSpace", "Expand", "Tile")
"""Ops by which bounds move as the values do."""
MOST = 2**22
"""Elements that are moved at most."""


def image_bounds(paths: Paths, ends: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> dict[str, Bounds]:
    """Tensor -> bounds, from the pictures up to the first layers, as far as they can be followed.

    Parameters
    ----------
    paths
        Of a model.
    ends
        Picture -> low and high, (C,) each, what the smallest and the largest pixel become in each of its channels; or
        a number for all.

    Raises
    ------
    OptionError
        There are not as many as the picture has channels.
    """
    bounds: dict[str, Bounds] = {}
    for image in paths.pictures:
        layout = of_image(image)
        if image.name in ends and layout is not None and len(layout.channels) == 1:
            shape = [-1 if axis == layout.channels[0] else 1 for axis in range(layout.rank)]
            given, count = max(np.size(end) for end in ends[image.name]), image.shape[layout.channels[0]]
            if isinstance(count, int) and given not in (1, count):
                raise OptionError(
                    f"low and high are {given} numbers, and the picture {image.name!r} has {count} channels; give one "
                    "number, or one for each channel"
                )
            low, high = (np.asarray(end, np.float32).reshape(shape) for end in ends[image.name])
            bounds[image.name] = (low, high)
    for name, node in paths.raw.items():
        if (followed := behind(node, bounds)) is not None:
            bounds[name] = followed
    return bounds


def behind(node: gs.Node, bounds: dict[str, Bounds]) -> Bounds | None:
    """The bounds of what a node makes; None where they cannot be told."""
    arriving = [t for t in node.inputs if isinstance(t, gs.Variable) and not t.is_empty()]
    if not all(t.name in bounds for t in arriving):
        return None
    if is_op(node, *SAME):
        return bounds[arriving[0].name]
    if (spelled := read(node)) is not None:
        x, affine = spelled
        scale, shift = (affine.shaped(v, len(x.shape or ())) for v in (affine.scale, affine.shift))
        ends = [(end * scale + shift).astype(np.float32) for end in bounds[x.name]]
        return np.minimum(*ends), np.maximum(*ends)
    if not is_op(node, *MOVES):
        return None
    ends = [moved(node, {t.name: bounds[t.name][side] for t in arriving}) for side in (0, 1)]
    return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])


def moved(node: gs.Node, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """Run a moving node on one image's bounds; None where sizes are unknown."""
    inputs: list[np.ndarray | None] = []
    for tensor in node.inputs:
        if isinstance(tensor, gs.Constant):
            inputs.append(np.asarray(tensor.values))
            continue
        if tensor.is_empty():
            inputs.append(None)
            continue
        shape = of_one(tensor)
        if shape is None or np.prod(shape) > MOST:
            return None
        inputs.append(np.broadcast_to(values[tensor.name], shape))
    if is_op(node, *RESHAPES):
        after = of_one(node.outputs[0])
        result = inputs[0].reshape(after) if inputs[0] is not None and after is not None else None
    else:
        result = np.asarray(getattr(Eager(), node.op)(*inputs, **node.attrs))
    return None if result is None else narrowed(result)


def of_one(tensor: gs.Tensor) -> tuple[int, ...] | None:
    """A tensor's shape for a batch of one; None where other sizes are unknown."""
    sizes = [size for size in (static_shape(tensor) or (None, None))[1:] if size is not None]
    return (1, *sizes) if tensor.shape is not None and len(sizes) == len(tensor.shape) - 1 else None


def narrowed(value: np.ndarray) -> np.ndarray:
    """A value with one entry along the axes along which it does not change."""
    for axis in range(value.ndim):
        first = value.take([0], axis)
        if np.all(value == first):
            value = first
    return value.astype(np.float32)
