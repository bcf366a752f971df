"""Normalisations in pieces become one op: layer and instance norm, root mean square, L2.

They are known by what they compute: the piece between a tensor and what is made of it by means and products runs on
random numbers, and each norm over the axes of its means, with any gain and shift, is fitted to the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import is_op, result_of, sweep
from relcam_onnx.canon.fitting import Function, fitted, made, trials
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.moving import turned
from relcam_onnx.canon.taking import trimmed
from relcam_onnx.model import Model, consumers, producer, static_shape, variables

Norm: TypeAlias = Callable[[np.ndarray, tuple[int, ...], float], np.ndarray]
MEANS = frozenset({"ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "ReduceMax", "GlobalAveragePool"})
COUNTS = frozenset({"ReduceSum", "ReduceL2", "ReduceSumSquare"})
"""Those that grow with the number of elements, which a constant beside them may stand for."""
PARTS = ELEMENTWISE | MEANS | {"Expand", "Unsqueeze", "Squeeze", "Reshape"}


def name_norms(model: Model) -> None:
    """Rewrite every node that ends a normalisation in pieces."""
    reduce_behind(model)
    for node in model.graph.nodes:
        if is_op(node, "MeanVarianceNormalization"):
            name_mean_variance(node)
    order = places(model.graph)
    # A layer norm is the root-mean-square norm of what is left without the mean: the whole of it goes first.
    for ends, forms in ((("Add", "Sub", "Mul", "Div"), (is_softmax, is_layer_norm)), (("Mul", "Div"), (is_scaled,))):
        for node in model.graph.nodes:
            if is_op(node, *ends) and len(list(variables(node))) == 2:
                found = [p for p in pieces(node.outputs[0], order, PARTS) if has_means(p)]
                # A softmax of scores less their maximum is one of the scores too.
                any(form(node, p) for form in forms for p in (reversed(found) if form is is_softmax else found))
        sweep(model)


def has_means(piece: Piece) -> bool:
    """Whether a piece takes a mean, a sum or a maximum."""
    return any(inner.op in MEANS for inner in piece.nodes)


def name_mean_variance(node: gs.Node) -> None:
    """Make MeanVarianceNormalization of each image the layer norm that it is."""
    shape = static_shape(node.inputs[0])
    if shape is None:
        return
    axes = sorted(
        {int(axis) % len(shape) for axis in node.attrs.get("axes", [0, 2, 3])} - ({0} if shape[0] == 1 else set())
    )
    if 0 in axes:
        return
    # The op adds 1e-9 to the deviation itself.
    become(node, node.inputs[0], "LayerNormalization", axes, 1e-18, np.ones(1), np.zeros(1))


def reduce_behind(model: Model) -> None:
    """Where a tensor is turned, and so is a mean of it, let the mean be of what was turned, as optimisers split it.

    So where what is left without the mean is turned.
    """
    for node in list(model.graph.nodes):
        before = producer(node.inputs[0]) if is_op(node, "Transpose") else None
        rest = before if before is not None and is_op(before, "Sub") else None
        mean = before if rest is None else producer(rest.inputs[1])
        if not is_op(mean, *MEANS) or not mean.attrs.get("keepdims", 1) or not (axes := over(mean)):
            continue
        perm, source = permutation(node), mean.inputs[0]
        behind = (t.outputs[0] for t in consumers(source) if is_op(t, "Transpose") and permutation(t) == perm)
        whole, name = next(behind, None), node.outputs[0].name
        there = np.array([perm.index(axis) for axis in axes], np.int64)
        op = "ReduceMean" if is_op(mean, "GlobalAveragePool") else mean.op
        if rest is None and whole is not None:
            node.op, node.attrs, node.inputs = op, {"keepdims": 1}, [whole, gs.Constant(f"{name}/axes", there)]
        elif rest is not None and rest.inputs[0] is source:
            whole = whole or turned(model, source, perm, f"{name}/whole")
            like = gs.Variable("", source.dtype, [1 if i in there else n for i, n in enumerate(whole.shape)])
            less = result_of(model, like, f"{name}/mean", op, whole, there, keepdims=1)
            node.op, node.attrs, node.inputs = "Sub", {}, [whole, less]
    sweep(model)


def is_layer_norm(node: gs.Node, piece: Piece) -> bool:
    """Make a node the layer norm that its piece computes, gain and shift included; False where that is none."""
    return is_norm(node, piece, "LayerNormalization", layer_norm)


FAR = 300.0
"""Exponentials of that are numbers still."""


def is_softmax(node: gs.Node, piece: Piece) -> bool:
    """Make a node the softmax that its piece computes, which scores end in; False where that is none."""
    axes = reduced_axes(piece)
    if axes is None or len(axes) != 1 or not any(inner.op == "Exp" for inner in piece.nodes):
        return False

    def softmax(x: np.ndarray) -> np.ndarray:
        powers = np.exp(x)
        return np.asarray(powers / powers.sum(axes, keepdims=True))

    ran = ((made(piece, inputs), inputs) for inputs in trials(piece.source))
    fits = ((fitted(y, inputs, softmax), inputs) for y, inputs in ran if y is not None)
    fit, inputs = next((found for found in fits if found[0] is not None), (None, []))
    if fit is None or not np.allclose(fit.gain, 1) or not np.allclose(fit.shift, 0):
        return False
    # Bounds of scores show where all are far from 0, which changes no share.
    shares = np.stack([softmax(x) for x in inputs])
    moved = [made(piece, [x + offset for x in inputs]) for offset in (-FAR, -FAR / 10, FAR / 10, FAR)]
    if not all(y is not None and np.allclose(y, shares, atol=1e-6) for y in moved):
        return False
    node.op, node.attrs, node.inputs = "Softmax", {"axis": axes[0]}, [piece.source]
    return True


def is_norm(node: gs.Node, piece: Piece, op: str, norm: Norm, *, shifted: bool = True) -> bool:
    """Make a node an op where its piece computes this norm, with some ε that stands in it, but for gain and shift."""
    axes = reduced_axes(piece)
    if axes is None:
        return False

    def with_epsilon(epsilon: float) -> Function:
        return lambda x: norm(x, axes, epsilon)

    # Of fewer elements, a sum over how many the file has is a mean times a number, which would pass for gain.
    counts = any(inner.op in COUNTS for inner in piece.nodes)
    for inputs in trials(piece.source, whole=counts):
        y = made(piece, inputs)
        if y is None:
            continue
        fits = {epsilon: fitted(y, inputs, with_epsilon(epsilon)) for epsilon in epsilons(piece)}
        found = {epsilon: fit for epsilon, fit in fits.items() if fit is not None and (shifted or not fit.shift.any())}
        if found:
            epsilon = min(found, key=lambda value: found[value].error)
            become(
                node, piece.source, op, axes, epsilon, found[epsilon].gain, found[epsilon].shift if shifted else None
            )
            return True
        return False
    return False


def become(
    node: gs.Node,
    source: gs.Tensor,
    op: str,
    axes: Sequence[int],
    epsilon: float,
    gain: np.ndarray,
    shift: np.ndarray | None,
) -> None:
    """Make a node a norm over some axes of a tensor; gain and shift in its rank, or numbers."""
    name = node.outputs[0].name
    constants = {"gain": gain} if shift is None else {"gain": gain, "shift": shift}
    node.op, node.attrs = op, {"axes": list(axes), "epsilon": epsilon}
    node.inputs = [source, *(gs.Constant(f"{name}/{k}", trimmed(v).astype(np.float32)) for k, v in constants.items())]


def is_scaled(node: gs.Node, piece: Piece) -> bool:
    """Make a node a root-mean-square norm, or mark the operand that is a scale made of the other one."""
    if is_norm(node, piece, "RMSNormalization", rms_norm, shifted=False):
        return True
    if is_op(node, "Mul") and (length := scale_index(node, piece)) is not None:
        # It is held fixed, as a denominator is.
        node.attrs = {"scale": length}
        return True
    return False


def reduced_axes(piece: Piece) -> tuple[int, ...] | None:
    """The axes that all means of a piece are over; None where they differ, or a run tells them."""
    rank = len(piece.source.shape or ())
    found: set[tuple[int, ...] | None] = set()
    for node in piece.nodes:
        if node.op in MEANS:
            axes = over(node, rank)
            found.add(None if axes is None else tuple(axes))
    return found.pop() if len(found) == 1 else None


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
