"""Split, and Gather of a range, become Slices, TopK's values a Gather, so that every op has one output that matters.

ArgMin becomes an ArgMax.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import detach, fresh, is_op, is_output, reshaped, result_of, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, consumers, static_shape


def slice_splits(model: Model) -> None:
    """Rewrite every Split (opset 18) of known parts, Gather of a range, GatherND that is one, TopK's values, ArgMin."""
    for node in list(model.graph.nodes):
        if is_op(node, "Split"):
            slice_split(model, node)
        elif is_op(node, "GatherND"):
            name_gather(model, node)
        elif is_op(node, "Gather"):
            slice_gather(node)
        elif is_op(node, "TopK"):
            name_largest(model, node)
        elif is_op(node, "ArgMin"):  # of distances: where their negatives are largest
            (source,) = node.inputs
            node.op, node.inputs = "ArgMax", [result_of(model, source, f"{node.outputs[0].name}/near", "Neg", source)]
    sweep(model)


def slice_split(model: Model, node: gs.Node) -> None:
    """One Slice for each output of a Split."""
    ends = part_ends(node)
    if ends is None:
        return
    axis, source, results = int(node.attrs.get("axis", 0)), node.inputs[0], list(node.outputs)
    detach(node)
    for start, end, result in zip([0, *ends], ends, results, strict=False):
        slicing = gs.Node("Slice", f"{result.name}/slice", inputs=[source], outputs=[result])
        set_range(slicing, axis, start, end)
        model.graph.nodes.append(slicing)


def name_largest(model: Model, node: gs.Node) -> None:
    """The values that TopK tells are those that stand at the indices which it tells; the one largest is a maximum."""
    values, indices = node.outputs
    if (
        integers(node, 1) == [1]
        and node.attrs.get("largest", 1)
        and not (consumers(indices) or is_output(model, indices))
    ):
        along = gs.Constant(f"{values.name}/axis", np.array([node.attrs.get("axis", -1)], np.int64))
        node.op, node.attrs, node.inputs, node.outputs = "ReduceMax", {}, [node.inputs[0], along], [values]
        return
    if not indices.is_empty() and consumers(values):
        node.outputs[0] = gs.Variable(fresh(model, f"{values.name}/largest"), values.dtype, values.shape)
        attrs = {"axis": int(node.attrs.get("axis", -1))}
        model.graph.nodes.append(gs.Node("GatherElements", values.name, attrs, [node.inputs[0], indices], [values]))


def name_gather(model: Model, node: gs.Node) -> None:
    """A GatherND by constant indices picks along the first axis, of its first axes made one where it has several."""
    (source, indices), shape = node.inputs, static_shape(node.inputs[0])
    if not isinstance(indices, gs.Constant) or node.attrs.get("batch_dims", 0) or shape is None:
        return
    count = indices.shape[-1]
    sizes = [size for size in shape[:count] if size is not None]
    if len(sizes) < count:
        return
    places = np.moveaxis(np.asarray(indices.values, np.int64), -1, 0)
    picked = np.asarray(np.ravel_multi_index(tuple(places % np.reshape(sizes, [-1] + [1] * (places.ndim - 1))), sizes))
    if count > 1:
        like = gs.Variable("", source.dtype, (int(np.prod(sizes)), *source.shape[count:]))
        flat = reshaped(model, source, like, fresh(model, f"{node.outputs[0].name}/flat"))
        model.graph.nodes.append(gs.Node("Reshape", flat.name, {}, [source], [flat]))
        source = flat
    node.op, node.attrs = "Gather", {"axis": 0}
    node.inputs = [source, gs.Constant(f"{node.outputs[0].name}/indices", picked)]


def slice_gather(node: gs.Node) -> None:
    """A Gather counts from the first; one of indices at equal steps reads a range."""
    indices, shape = integers(node, 1), static_shape(node.inputs[0])
    axis = int(node.attrs.get("axis", 0))
    if not indices or node.inputs[1].shape is None or shape is None:
        return
    size = shape[axis]
    if size is not None and min(indices) < 0:
        node.inputs[1] = gs.Constant(f"{node.outputs[0].name}/indices", np.asarray(node.inputs[1].values % size))
        indices = [index % size for index in indices]
    if len(node.inputs[1].shape) != 1:
        return
    start, step = indices[0], indices[1] - indices[0] if len(indices) > 1 else 1
    end = indices[-1] + 1
    if min(start, step - 1) < 0 or axis == 0 or (size is not None and end > size):
        return
    if indices == list(range(start, end, step)):
        node.op, node.attrs = "Slice", {}
        # The last step may reach beyond: what leaves positions out between others leaves out no end.
        set_range(node, axis, start, end if step == 1 or size is None or end + step <= size else size, step)


def set_range(node: gs.Node, axis: int, start: int, end: int, step: int = 1) -> None:
    """Let a Slice read the indices from ``start`` up to ``end`` of its first input's ``axis``, by ``step``."""
    name = node.outputs[0].name
    bounds = (("start", start), ("end", end), ("axis", axis), *([("step", step)] if step > 1 else []))
    node.inputs = [
        node.inputs[0],
        *(gs.Constant(f"{name}/{what}", np.array([value], np.int64)) for what, value in bounds),
    ]


def part_ends(node: gs.Node) -> list[int] | None:
    """Where each part of a Split ends; None where only a run knows."""
    sizes = integers(node, 1)
    if sizes is None or sizes:
        return None if sizes is None else np.cumsum(sizes).tolist()
    shape = static_shape(node.inputs[0])
    size = shape[int(node.attrs.get("axis", 0))] if shape else None
    if size is None:
        return None
    # Equal parts, the last one smaller where the size does not divide.
    step = -(-size // len(node.outputs))
    return [min(size, step * (number + 1)) for number in range(len(node.outputs))]
