"""as_strided of a whole batch, as PyTorch writes a pool of a channels-last tensor: positions of each image.

All images are made one row, (N · M), and read at places that are computed of N: image by image the same ones, M apart.
The places are told by what they are for two and for three images.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.cut import CANNOT, computed
from relcam_onnx.canon.edit import fresh, is_op, reshaped, sweep
from relcam_onnx.model import Model, producer, static_shape

DEEPEST = 32
"""So many nodes compute such places at most."""


def name_strided(model: Model) -> None:
    """Read each image at its own places, or as it is where those are all of it in order."""
    for node in list(model.graph.nodes):
        if is_op(node, "Gather") and not node.attrs.get("axis", 0) and not isinstance(node.inputs[1], gs.Constant):
            read_each(model, node)
    sweep(model)


def read_each(model: Model, node: gs.Node) -> None:
    """Rewrite one Gather, where it is such."""
    row = producer(node.inputs[0])
    if not is_op(row, *RESHAPES) or len(node.inputs[0].shape or (0,)) != 1:
        return
    source, shape = row.inputs[0], static_shape(row.inputs[0])
    known = [size for size in (shape or ())[1:] if size is not None]
    if shape is None or len(shape) < 2 or len(known) < len(shape) - 1:
        return
    size = int(np.prod(known))
    places = [told(node.inputs[1], images) for images in (2, 3)]
    if any(p is None or not is_each(p, images, size) for p, images in zip(places, (2, 3), strict=True)):
        return
    own = np.asarray(places[0])[0]
    result = node.outputs[0]
    if result.shape is None:
        result.shape = (source.shape[0], *own.shape)
    if own.size == size and np.array_equal(own.reshape(-1), np.arange(size)):
        node.op, node.attrs, node.inputs = "Reshape", {}, [source, gs.Constant(f"{result.name}/sizes", sizes(own))]
        return
    like = gs.Variable("", source.dtype, (source.shape[0], size))
    flat = reshaped(model, source, like, fresh(model, f"{result.name}/images"))
    model.graph.nodes.append(gs.Node("Reshape", flat.name, {}, [source], [flat]))
    node.attrs = {"axis": 1}
    node.inputs = [flat, gs.Constant(f"{result.name}/places", own.astype(np.int64))]


def sizes(places: np.ndarray) -> np.ndarray:
    """What a Reshape to places of each image lists."""
    return np.array([0, *places.shape], np.int64)


def is_each(places: np.ndarray | None, images: int, size: int) -> bool:
    """Whether the places of each image are those of the first, that many rows on."""
    if places is None or places.ndim < 1 or len(places) != images:
        return False
    first = places[0]
    inside = bool((first >= 0).all() and (first < size).all())
    return inside and all(np.array_equal(row, first + number * size) for number, row in enumerate(places))


def told(tensor: gs.Tensor, images: int) -> np.ndarray | None:
    """A tensor that only sizes decide, for so many images; None where more than those decides it."""
    values: dict[str, np.ndarray] = {}
    order: list[gs.Node] = []
    waiting = [tensor]
    while waiting:
        node = producer(waiting.pop())
        if node is None or len(order) > DEEPEST:
            return None
        order.append(node)
        if not is_op(node, "Shape"):
            waiting += [t for t in node.inputs if isinstance(t, gs.Variable) and not t.is_empty()]
    for node in reversed(order):
        if is_op(node, "Shape"):
            shape = static_shape(node.inputs[0])
            if shape is None or any(size is None for size in shape[1:]):
                return None
            whole = np.array([images if size is None else size for size in shape], np.int64)
            value = whole[node.attrs.get("start", 0) : node.attrs.get("end")]
        else:
            try:
                value = computed(node, values)
            except CANNOT:
                return None
        values[node.outputs[0].name] = value
    return values[tensor.name]
