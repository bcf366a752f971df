"""What makes one batch of several pictures, or crops of one, and which rows of it sizes name."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, Size
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.size_rules import calculate, quotient
from relcam_onnx.model import producer, variables


def joined_parts(node: gs.Node, batch: Size) -> list[gs.Tensor]:
    """What a node makes one batch of, each part as the batch has it; nothing where it is no such node."""
    if is_op(node, "Concat"):
        alike = all((t.shape or (None,))[0] == batch for t in node.inputs)
        return list(node.inputs) if node.attrs["axis"] == 0 and alike and all_computed(node) else []
    join = producer(node.inputs[0]) if is_op(node, *RESHAPES) else None
    if not is_op(join, "Concat") or join.attrs["axis"] != 1 or not all_computed(join):
        return []
    after, parts = list(node.outputs[0].shape or ()), [behind_axis(t) for t in join.inputs]
    alike = all(list(t.shape or ()) == [batch, *after[1:]] for t in parts)
    own = [list(t.shape or ())[:1] for t in join.inputs] == [[batch]] * len(parts)
    return parts if after[1:] and alike and own else []


def all_computed(node: gs.Node) -> bool:
    """Whether no input of a node stands in the file."""
    return len(list(variables(node))) == len(node.inputs)


def behind_axis(tensor: gs.Tensor) -> gs.Tensor:
    """What a tensor was before it got an axis of length one behind the batch."""
    node, shape = producer(tensor), list(tensor.shape or ())
    given = (
        is_op(node, *RESHAPES) and [*shape[:1], *shape[2:]] == list(node.inputs[0].shape or ()) and shape[1:2] == [1]
    )
    return node.inputs[0] if given and node is not None else tensor


def told(tensor: gs.Tensor) -> list[Size] | None:
    """A list of sizes as far as the file tells; None where it does not."""
    found = sizes_of(tensor)
    return None if found is None else found.reshape(-1).tolist()


def sizes_of(tensor: gs.Tensor) -> np.ndarray | None:
    """The same as an array of numbers, or of numbers and names."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    node = producer(tensor)
    if is_op(node, "Shape"):
        shape = [size if isinstance(size, int | str) else None for size in node.inputs[0].shape or ()]
        return np.array(shape, object)[slice(node.attrs.get("start", 0), node.attrs.get("end"))] if shape else None
    if (rounded := rounded_up(node)) is not None:
        return np.array([rounded], object)
    results = [] if node is None or tensor.is_empty() else calculate(node, [sizes_of(t) for t in node.inputs])
    return results[0] if results else None


def rounded_up(node: gs.Node | None) -> Size:
    """A size over a number, rounded up as ``(size + number - 1) / number``; None where it is no such thing."""
    above = producer(node.inputs[0]) if is_op(node, "Div") else None
    if node is None or not is_op(above, "Add"):
        return None
    size, more, by = (told(t) or [None] for t in (*above.inputs, node.inputs[1]))
    if len(size) != 1 or not isinstance(by[0], int) or more != [by[0] - 1]:
        return None
    return quotient(size, by)
