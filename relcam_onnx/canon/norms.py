"""Normalisations in pieces become one op: layer, instance and group norm, root mean square, L2.

They are known by what they compute: the piece between a tensor and what is made of it by means and products runs on
random numbers, and each norm over the axes of its means is held against the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import fresh, is_op, reshaped, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.model import Model, consumers, producer, static_shape, variables

Norm: TypeAlias = Callable[[np.ndarray, tuple[int, ...], float], np.ndarray]
MEANS = frozenset({"ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "ReduceMax"})
PARTS = ELEMENTWISE | MEANS | {"Expand", "Unsqueeze", "Squeeze", "Reshape"}
TOLERANCE = 1e-5
"""Of float64 results; ε stands in the file as float32, so it is off by 1e-7 of itself at most."""
MOST = 2**16
"""Elements that a piece is tried on."""


def name_norms(model: Model) -> None:
    """Rewrite every node that ends a normalisation in pieces."""
    reduce_behind(model)
    order = places(model.graph)
    for node in model.graph.nodes:
        if not is_op(node, "Div", "Mul") or len(list(variables(node))) != 2:
            continue
        candidates = [p for p in pieces(node.outputs[0], order, PARTS) if any(inner.op in MEANS for inner in p.nodes)]
        if any(is_softmax(node, piece) for piece in reversed(candidates)):  # the whole, with its maximum
            continue
        # A layer norm is the root-mean-square norm of what is left without the mean: the whole of it goes first.
        if not any(is_layer_norm(node, piece) for piece in candidates):
            any(is_scaled(node, piece) for piece in candidates)
    sweep(model)
    for node in list(model.graph.nodes):
        group(model, node)
    sweep(model)


def reduce_behind(model: Model) -> None:
    """Where a tensor is turned, and so is a mean of it, let the mean be of what was turned, as optimisers split it."""
    for node in list(model.graph.nodes):
        mean = producer(node.inputs[0]) if is_op(node, "Transpose") else None
        if not is_op(mean, *MEANS) or not mean.attrs.get("keepdims", 1) or not (axes := integers(mean, 1)):
            continue
        perm, source = permutation(node), mean.inputs[0]
        turned = next((t for t in consumers(source) if is_op(t, "Transpose") and permutation(t) == perm), None)
        if turned is not None:
            over = np.array([perm.index(axis % len(perm)) for axis in axes], np.int64)
            node.op, node.attrs = mean.op, {"keepdims": 1}
            node.inputs = [turned.outputs[0], gs.Constant(f"{node.outputs[0].name}/axes", over)]
    sweep(model)


def is_layer_norm(node: gs.Node, piece: Piece) -> bool:
    """Make a node the layer norm that its piece computes; False where that is none."""
    ones, zeros, name = np.ones(1, np.float32), np.zeros(1, np.float32), piece.result.name
    return becomes(node, piece, "LayerNormalization", layer_norm, {f"{name}/gain": ones, f"{name}/shift": zeros})


def is_softmax(node: gs.Node, piece: Piece) -> bool:
    """Make a node the softmax that its piece computes, which scores end in; False where that is none."""
    axes, x = reduced_axes(piece), trial(piece.source)
    if axes is None or len(axes) != 1 or x is None or not any(inner.op == "Exp" for inner in piece.nodes):
        return False
    y, powers = piece.run(x), np.exp(x)
    if y is None or not np.allclose(y, powers / powers.sum(axes, keepdims=True), rtol=0, atol=TOLERANCE):
        return False
    node.op, node.attrs, node.inputs = "Softmax", {"axis": axes[0]}, [piece.source]
    return True


def becomes(node: gs.Node, piece: Piece, op: str, norm: Norm, constants: dict[str, np.ndarray]) -> bool:
    """Make a node an op where its piece computes this norm, with some ε that stands in it."""
    axes, x = reduced_axes(piece), trial(piece.source)
    y = None if axes is None or x is None else piece.run(x)
    if axes is None or x is None or y is None:
        return False
    for epsilon in epsilons(piece):
        if np.allclose(y, norm(x, axes, epsilon), rtol=0, atol=TOLERANCE):
            node.op, node.attrs = op, {"axes": list(axes), "epsilon": epsilon}
            node.inputs = [piece.source, *(gs.Constant(name, value) for name, value in constants.items())]
            return True
    return False


def is_scaled(node: gs.Node, piece: Piece) -> bool:
    """Make a node a root-mean-square norm, or mark the operand that is a scale made of the other one."""
    gain = {f"{piece.result.name}/gain": np.ones(1, np.float32)}
    if becomes(node, piece, "RMSNormalization", rms_norm, gain):
        return True
    if is_op(node, "Mul") and (length := scale_index(node, piece)) is not None:
        # It is held fixed, as a denominator is.
        node.attrs = {"scale": length}
        return True
    return False


def reduced_axes(piece: Piece) -> tuple[int, ...] | None:
    """The axes that all means of a piece are over; None where they differ, or a run tells them."""
    rank = len(piece.source.shape or ())
    over: set[tuple[int, ...] | None] = set()
    for node in piece.nodes:
        if node.op in MEANS:
            axes = integers(node, 1)
            over.add(None if axes is None or not rank else tuple(sorted(axis % rank for axis in axes or range(rank))))
    return over.pop() if len(over) == 1 else None


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
    inner = producer(node.inputs[0]) if is_op(node, "Reshape") else None
    split = producer(inner.inputs[0]) if is_op(inner, "LayerNormalization", "InstanceNormalization") else None
    if inner is None or split is None or not is_op(split, "Reshape"):
        return
    source, result, rows = split.inputs[0], node.outputs[0], inner.inputs[0].shape
    if source.shape is None or result.shape is None or rows is None or list(source.shape[:2]) != list(result.shape[:2]):
        return
    groups, channels = rows[1], source.shape[1]
    if not isinstance(groups, int) or not isinstance(channels, int) or channels % groups or len(rows) < 3:
        return
    whole = is_op(inner, "InstanceNormalization") or inner.attrs.get("axes") == list(range(2, len(rows)))
    if not whole or not all(
        isinstance(t, gs.Constant) and t.values.size in sizes_of(inner, groups) for t in inner.inputs[1:3]
    ):
        return
    name = result.name
    parameters = [
        gs.Constant(f"{name}/{what}", np.repeat(np.broadcast_to(t.values.reshape(-1), (groups,)), channels // groups))
        for what, t in zip(("gain", "shift"), inner.inputs[1:3], strict=True)
    ]
    attrs = {"num_groups": groups, "epsilon": inner.attrs.get("epsilon", 1e-5)}
    if list(source.shape) == list(result.shape):
        node.op, node.attrs, node.inputs = "GroupNormalization", attrs, [source, *parameters]
        return
    # Positions in another shape: the norm stands before the change.
    normed = reshaped(model, result, source, fresh(model, f"{name}/normed"))
    norm = gs.Node("GroupNormalization", normed.name, attrs, [source, *parameters], [normed])
    model.graph.nodes.append(norm)
    node.inputs = [normed]


def sizes_of(norm: gs.Node, groups: int) -> tuple[int, ...]:
    """How many gains a norm may have to be one for each group."""
    return (groups,) if is_op(norm, "InstanceNormalization") else (1,)
