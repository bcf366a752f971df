"""Group normalisation in pieces: Reshape so that groups have an axis, a norm over all that is not one, and back.

Channels are on axis 1, or the last, as networks with positions first have them; gain and shift stand inside or behind.
A norm of rows, each by itself, is a layer norm, however it is written.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import fresh, is_op, reshaped, result_of, sweep
from relcam_onnx.canon.moving import transposed, turned
from relcam_onnx.model import Model, producer, variables


class Inner(NamedTuple):
    """A norm and the constants behind it: which axes it is over, and gain and shift in its rank."""

    node: gs.Node
    axes: list[int]
    gain: np.ndarray
    shift: np.ndarray


def name_groups(model: Model) -> None:
    """Make a GroupNormalization of every Reshape that ends one."""
    for node in list(model.graph.nodes):
        inner = inner_norm(node.inputs[0]) if is_op(node, *RESHAPES) else None
        split = producer(inner.node.inputs[0]) if inner is not None else None
        if inner is not None and is_op(split, *RESHAPES):
            any(form(model, node, split, inner) for form in (write_whole, write_first, write_last))
    for node in model.graph.nodes:
        if is_op(node, "InstanceNormalization", "GroupNormalization"):
            name_layer_norm(node)
    sweep(model)


def name_layer_norm(node: gs.Node) -> None:
    """Rows (N, rows, D) that are normalised each by itself, with no gain or shift of theirs, are layers' norms."""
    rows, constants = list(node.inputs[0].shape or ()), node.inputs[1:3]
    alone = node.op == "InstanceNormalization" or node.attrs.get("num_groups") in rows[1:2]
    if len(rows) != 3 or not isinstance(rows[2], int) or not alone or len(constants) != 2:
        return
    if all(isinstance(t, gs.Constant) and np.all(t.values == same) for t, same in zip(constants, (1, 0), strict=True)):
        gain = gs.Constant(f"{node.outputs[0].name}/gain", np.ones(rows[2], np.float32))
        node.op, node.attrs = "LayerNormalization", {"axis": -1, "epsilon": node.attrs.get("epsilon", 1e-5)}
        node.inputs = [node.inputs[0], gain]


def inner_norm(tensor: gs.Tensor) -> Inner | None:
    """The norm that a tensor comes from over constants alone."""
    scale, shift, node = np.ones(1), np.zeros(1), producer(tensor)
    while is_op(node, "Mul", "Add", "Sub", "Div") and len(list(variables(node))) == 1:
        index = next(i for i, t in enumerate(node.inputs) if isinstance(t, gs.Constant))
        value = np.asarray(node.inputs[index].values, np.float64)
        if node.op in ("Sub", "Div") and index == 0:
            return None
        if node.op in ("Mul", "Div"):
            scale = scale * (value if node.op == "Mul" else 1 / value)
        else:
            shift = shift + scale * (value if node.op == "Add" else -value)
        node = producer(node.inputs[1 - index])
    if not is_op(node, "LayerNormalization", "InstanceNormalization") or node.inputs[0].shape is None:
        return None
    constants, rank = node.inputs[1:3], len(node.inputs[0].shape)
    if not constants or not all(isinstance(t, gs.Constant) for t in constants):
        return None
    values = [np.asarray(t.values, np.float64) for t in constants]
    if is_op(node, "InstanceNormalization"):
        axes, values = list(range(2, rank)), [v.reshape(-1, *[1] * (rank - 2)) for v in values]
    else:
        axes = node.attrs.get("axes") or list(range(node.attrs.get("axis", -1) % rank, rank))
    own = values[1] if len(values) > 1 else np.zeros(1)
    return Inner(node, sorted(axes), in_rank(values[0] * scale, rank), in_rank(own * scale + shift, rank))


def in_rank(value: np.ndarray, rank: int) -> np.ndarray:
    """A constant with as many axes as the tensor that it meets."""
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


def write_whole(model: Model, node: gs.Node, split: gs.Node, inner: Inner) -> bool:
    """All of each picture in a row, (N, C h w), normalised: the layer norm of it as it was, and is again behind."""
    source, result, rows = split.inputs[0], node.outputs[0], list(inner.node.inputs[0].shape)
    shape = list(result.shape or ())
    if len(rows) != 2 or inner.axes != [1] or not list(source.shape or ())[:1] == shape[:1] == rows[:1]:
        return False
    if not all(isinstance(size, int) for size in shape[1:]):
        return False
    if list(source.shape) != shape:  # positions in another shape
        source = result_of(model, result, f"{result.name}/whole", "Reshape", source, np.array([-1, *shape[1:]]))
    node.op = "LayerNormalization"
    node.attrs = {"axes": list(range(1, len(shape))), "epsilon": inner.node.attrs.get("epsilon", 1e-5)}
    tables = [value.reshape(shape[1:] if value.size > 1 else [1]) for value in (inner.gain, inner.shift)]
    constants = zip(("gain", "shift"), map(unvaried, tables), strict=True)
    name = node.outputs[0].name
    node.inputs = [source, *(gs.Constant(f"{name}/{what}", value.astype(np.float32)) for what, value in constants)]
    return True


def unvaried(value: np.ndarray) -> np.ndarray:
    """A constant of length one along the axes that it does not vary on."""
    for axis in range(value.ndim):
        first = value.take([0], axis)
        value = first if np.all(value == first) else value
    return value


def write_first(model: Model, node: gs.Node, split: gs.Node, inner: Inner) -> bool:
    """Channels on axis 1: (N, C, ...) as (N, groups, ...), all but the first two axes normalised."""
    source, result, rows = split.inputs[0], node.outputs[0], inner.node.inputs[0].shape
    if source.shape is None or result.shape is None or list(source.shape[:2]) != list(result.shape[:2]):
        return False
    channels, axes = source.shape[1], list(range(2, len(rows)))
    constants = per_channel(inner, rows, 1, channels)
    if len(rows) < 3 or inner.axes != axes or constants is None:
        return False
    name = result.name
    if list(source.shape) == list(result.shape):
        write(node, source, rows[1], inner, constants)
        return True
    # Positions in another shape: the norm stands before the change.
    normed = reshaped(model, result, source, fresh(model, f"{name}/normed"))
    norm = gs.Node("", normed.name, outputs=[normed])
    write(norm, source, rows[1], inner, constants)
    model.graph.nodes.append(norm)
    node.inputs = [normed]
    return True


def write_last(model: Model, node: gs.Node, split: gs.Node, inner: Inner) -> bool:
    """Channels last: (N, ..., C) as (N, ..., groups, C / groups), all but the first axis and the groups normalised."""
    source, result, rows = split.inputs[0], node.outputs[0], inner.node.inputs[0].shape
    if source.shape is None or list(source.shape) != list(result.shape or ()) or len(rows) < 3:
        return False
    rank, place, channels = len(source.shape), len(rows) - 2, source.shape[-1]
    constants = per_channel(inner, rows, place, channels)
    if inner.axes != [axis for axis in range(1, len(rows)) if axis != place] or rows[-1] == 1 or constants is None:
        return False
    name, there = result.name, [0, rank - 1, *range(1, rank - 1)]
    first = turned(model, source, there, f"{name}/turned")
    normed = transposed(model, result, there, f"{name}/normed")
    norm = gs.Node("", normed.name, outputs=[normed])
    write(norm, first, rows[place], inner, constants)
    model.graph.nodes.append(norm)
    node.op, node.attrs, node.inputs = "Transpose", {"perm": [there.index(axis) for axis in range(rank)]}, [normed]
    return True


def per_channel(inner: Inner, rows: list[int | str], place: int, channels: int | str) -> list[np.ndarray] | None:
    """Gain and shift for each channel, where groups are on this axis of ``rows``; None where they vary otherwise."""
    groups = rows[place] if place < len(rows) else None
    if not isinstance(groups, int) or not isinstance(channels, int) or channels % groups:
        return None
    each, found = channels // groups, []
    for value in (inner.gain, inner.shift):
        one = value[(slice(1),) * place]
        if not np.all(value == one):
            return None
        # Behind the groups stand the channels of each, and their positions where these were not put before them.
        sizes = [size if isinstance(size, int) else own for size, own in zip(rows, value.shape, strict=True)]
        table = np.broadcast_to(one, [1] * place + [groups, *sizes[place + 1 :]]).reshape(groups, -1)
        of_channels = table.reshape(groups, each if table.shape[1] % each == 0 else 1, -1)
        if not np.all(of_channels == of_channels[..., :1]):
            return None
        found.append(np.broadcast_to(of_channels[..., 0], (groups, each)).reshape(-1))
    return found


def write(node: gs.Node, source: gs.Tensor, groups: int, inner: Inner, constants: list[np.ndarray]) -> None:
    """Make a node the group norm of a tensor."""
    name = node.outputs[0].name
    node.op, node.attrs = "GroupNormalization", {"num_groups": groups, "epsilon": inner.node.attrs.get("epsilon", 1e-5)}
    parameters = zip(("gain", "shift"), constants, strict=True)
    node.inputs = [source, *(gs.Constant(f"{name}/{what}", value.astype(np.float32)) for what, value in parameters)]
