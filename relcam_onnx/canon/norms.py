"""Normalisations in pieces become one op: layer, instance and group norm, root mean square, L2.

They are known by what they compute: the piece between a tensor and what is made of it by means and products runs on random
numbers, and each norm over the axes of its means is held against the result.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, producer, static_shape, variables

MEANS = frozenset({"ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare"})
PARTS = ELEMENTWISE | MEANS | {"Expand", "Unsqueeze", "Squeeze", "Reshape"}
TOLERANCE = 1e-5
"""Of float64 results; ε stands in the file as float32, so it is off by 1e-7 of itself at most."""
MOST = 2**16
"""Elements that a piece is tried on."""


def name_norms(model: Model) -> None:
    """Rewrite every node that ends a normalisation in pieces."""
    order = places(model.graph)
    for node in model.graph.nodes:
        if not is_op(node, "Div", "Mul") or len(list(variables(node))) != 2:
            continue
        for piece in pieces(node.outputs[0], order, PARTS):
            if any(inner.op in MEANS for inner in piece.nodes) and rewrite(node, piece):
                break
    sweep(model)
    for node in model.graph.nodes:
        group(model, node)
    sweep(model)


def rewrite(node: gs.Node, piece: Piece) -> bool:
    """Make a node the norm that its piece computes; False where that is none."""
    axes, x = reduced_axes(piece), trial(piece.source)
    if axes is None or x is None:
        return False
    y = piece.run(x)
    if y is None:
        return False
    name = piece.result.name
    for epsilon in epsilons(piece):
        if np.allclose(y, layer_norm(x, axes, epsilon), rtol=0, atol=TOLERANCE):
            ones, zeros = np.ones(1, np.float32), np.zeros(1, np.float32)
            node.op, node.attrs = "LayerNormalization", {"axes": list(axes), "epsilon": epsilon}
            node.inputs = [piece.source, gs.Constant(f"{name}/gain", ones), gs.Constant(f"{name}/shift", zeros)]
            return True
        if np.allclose(y, rms_norm(x, axes, epsilon), rtol=0, atol=TOLERANCE):
            node.op, node.attrs = "RMSNormalization", {"axes": list(axes), "epsilon": epsilon}
            node.inputs = [piece.source, gs.Constant(f"{name}/gain", np.ones(1, np.float32))]
            return True
    if is_op(node, "Mul") and (length := scale_index(node, piece)) is not None:
        # The other operand is a scale made of this one: it is held fixed, as a denominator is.
        node.attrs = {"scale": length}
        return True
    return False


def reduced_axes(piece: Piece) -> tuple[int, ...] | None:
    """The axes that all means of a piece are over."""
    rank = len(piece.source.shape or ())
    axes = {
        tuple(sorted(axis % rank for axis in integers(node, 1) or range(rank))) if integers(node, 1) is not None else None
        for node in piece.nodes
        if node.op in MEANS
    } if rank else {None}  # fmt: skip
    return axes.pop() if len(axes) == 1 else None


def trial(source: gs.Tensor) -> np.ndarray | None:
    """Random numbers in the shape of a tensor, small sizes in the place of unknown ones; None where it is too large."""
    shape = static_shape(source)
    if shape is None:
        return None
    sizes = [3 + place if size is None else size for place, size in enumerate(shape)]
    if np.prod(sizes) > MOST:
        return None
    return np.random.default_rng(0).standard_normal(sizes) + 0.5


def epsilons(piece: Piece) -> list[float]:
    """The numbers in a piece that may be its ε, and 0."""
    constants = [t.values for node in piece.nodes for t in node.inputs if isinstance(t, gs.Constant)]
    numbers = {float(v.reshape(-1)[0]) for v in map(np.asarray, constants) if v.size == 1 and v.dtype.kind == "f"}
    return [0.0, *sorted(number for number in numbers if 0 < number < 0.1)]


def layer_norm(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """(x - mean) / √(variance + ε)."""
    rest = x - x.mean(axes, keepdims=True)
    return np.asarray(rest / np.sqrt(np.square(rest).mean(axes, keepdims=True) + epsilon))


def rms_norm(x: np.ndarray, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    """X / √(mean of x² + ε)."""
    return np.asarray(x / np.sqrt(np.square(x).mean(axes, keepdims=True) + epsilon))


def scale_index(node: gs.Node, piece: Piece) -> int | None:
    """Which operand of a product is one number for many elements of the piece's source, which is the other operand."""
    for index in (0, 1):
        if node.inputs[1 - index] is piece.source and list(node.inputs[index].shape or ()) != list(
            piece.source.shape or ()
        ):
            return index
    return None


def group(model: Model, node: gs.Node) -> None:
    """Reshape to (N, groups, -1), a norm over the last axis, and Reshape back are group normalisation."""
    before = producer(node.inputs[0]) if is_op(node, "Reshape") else None
    first = (
        producer(before.inputs[0])
        if before is not None and is_op(before, "LayerNormalization", "InstanceNormalization")
        else None
    )
    if before is None or first is None or not is_op(first, "Reshape"):
        return
    outer, inner = first.inputs[0].shape, before.inputs[0].shape
    if outer is None or inner is None or list(outer) != list(node.outputs[0].shape or ()):
        return
    groups, channels = inner[1], outer[1]
    whole = is_op(before, "InstanceNormalization") or before.attrs.get("axes") == list(range(2, len(inner)))
    if not whole or not isinstance(groups, int) or not isinstance(channels, int) or channels % groups or len(inner) < 3:
        return
    if not all(isinstance(t, gs.Constant) and t.values.size in (1, groups) for t in before.inputs[1:3]):
        return
    if is_op(before, "LayerNormalization") and any(t.values.size != 1 for t in before.inputs[1:3]):
        return
    gain, shift = (
        np.repeat(np.broadcast_to(t.values.reshape(-1), (groups,)), channels // groups).astype(np.float32)
        for t in before.inputs[1:3]
    )
    name = node.outputs[0].name
    node.op, node.attrs = "GroupNormalization", {"num_groups": groups, "epsilon": before.attrs.get("epsilon", 1e-5)}
    node.inputs = [first.inputs[0], gs.Constant(f"{name}/gain", gain), gs.Constant(f"{name}/shift", shift)]
