"""Convolutions that read each channel by itself, or each from another: scales and shifts, channels in another order.

So normalisation and the order of colours stand before the first layer, and a batch norm behind one, once a tool has
written them as layers. One that stands alone, between activations, is a layer like others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import is_op, result_of, sweep
from relcam_onnx.model import Model, consumers, producer, variables
from relcam_onnx.ops import lookup

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SUMS = ("Add", "Concat", "Sub", "Sum")
NORMS = ("GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization")


def name_scales(model: Model) -> None:
    """Rewrite every such convolution as a batch normalisation, behind a Gather where it changes the order."""
    for node in list(model.graph.nodes):
        found = single_inputs(node) if is_op(node, "Conv") else None
        if found is None or not (stands_behind(node) or stands_before(node)):
            continue
        order, scale = found
        layer = lookup(node).layer_of(node)
        shift = layer.offset(node) if layer is not None else None
        if shift is None:
            continue
        x, result = node.inputs[0], node.outputs[0]
        if not np.array_equal(order, np.arange(len(order))):
            x = result_of(model, x, f"{result.name}/reordered", "Gather", x, order, axis=1)
        as_batch_norm(node, x, scale, shift)
    sweep(model)


def as_batch_norm(node: gs.Node, x: gs.Tensor, scale: np.ndarray, shift: np.ndarray) -> None:
    """Make a node the scale and shift of a tensor's channels."""
    zeros, ones = np.zeros_like(scale), np.ones_like(scale)
    values = {"scale": scale, "shift": shift, "mean": zeros, "variance": ones}
    node.op, node.attrs = "BatchNormalization", {"epsilon": 0.0}
    node.inputs = [x, *(gs.Constant(f"{node.outputs[0].name}/{k}", v.astype(np.float32)) for k, v in values.items())]


def stands_behind(node: gs.Node) -> bool:
    """Whether what a convolution reads was made by a layer or a norm, but for scales, shifts, moves and sums."""
    return any(is_op(before, *LAYERS, *NORMS) for before in reached(node, behind=False))


def stands_before(node: gs.Node) -> bool:
    """Whether a layer reads what a convolution makes, but for scales, shifts and moves."""
    return any(is_op(reader, *LAYERS) for reader in reached(node, behind=True))


def reached(node: gs.Node, *, behind: bool) -> Iterator[gs.Node]:
    """The nodes behind a node, or before it, up to the first ones that do more than hand on or add; each once."""
    waiting, seen = [node], {id(node)}
    while waiting:
        current = waiting.pop()
        if behind:
            found = consumers(current.outputs[0])
        else:
            found = [before for _, t in variables(current) if (before := producer(t)) is not None]
        for other in found:
            if id(other) not in seen:
                seen.add(id(other))
                yield other
                if hands_on(other) or (not behind and is_op(other, *SUMS)):
                    waiting.append(other)


def hands_on(node: gs.Node) -> bool:
    """Whether a node moves, pads, scales or shifts the one tensor that it reads."""
    return is_op(node, "Gather", "Pad", "Slice") or moves(node) or read(node) is not None


def single_inputs(node: gs.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Which channel each output of a convolution reads, each another one, and times what; None where it reads more."""
    weight = node.inputs[1]
    if not isinstance(weight, gs.Constant) or len(weight.shape) < 3 or set(weight.shape[2:]) != {1}:
        return None
    outputs, inputs = weight.shape[:2]
    group = int(node.attrs.get("group", 1))
    if outputs != inputs * group or any(node.attrs.get("pads") or ()) or set(node.attrs.get("strides") or [1]) != {1}:
        return None
    table = np.asarray(weight.values, np.float64).reshape(outputs, inputs)
    counts, places = np.count_nonzero(table, axis=1), np.arange(outputs)
    column = np.argmax(table != 0, axis=1)
    order = column + places // inputs * inputs
    read = set(order[counts == 1].tolist())
    if counts.max() != 1 or len(read) < np.count_nonzero(counts):
        return None
    for place in places[counts == 0]:  # what nothing is read of is any other one's nothing, its own where that is left
        block = place // inputs * inputs
        order[place] = next(c for c in (place, *range(block, block + inputs)) if c not in read)
        read.add(int(order[place]))
    return order, table[places, column]
