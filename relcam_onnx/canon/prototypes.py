"""Scores that compare features with a prototype of each class, by cosines or distances, are a dense layer each.

A cosine is one of features of length one. A squared distance |z - c|² is z · (-2 c) + |z|² + |c|², one of the features
and of their square beside them, which counts the same for all classes. Pieces are known by what they make of numbers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.cut import Piece, pieces, places
from relcam_onnx.canon.edit import fresh, is_op, reshaped, result_of, sweep, view
from relcam_onnx.canon.fitting import DIGITS, TOLERANCE
from relcam_onnx.model import Model, static_shape

LENGTHS = frozenset({"LpNormalization", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"})
"""What no such piece is without."""
PARTS = ELEMENTWISE | LENGTHS | {
    "Einsum", "Expand", "Gemm", "MatMul", "Reshape", "Squeeze", "Sum", "Transpose", "Unsqueeze",
}  # fmt: skip
TRIALS = 6
"""Rows of features that a piece is tried on."""
MOST = 2**24
"""Numbers that the prototypes have at most."""
FLOOR = 1e-12
"""What features are divided by at least."""


class Comparison(NamedTuple):
    """What a piece makes of features z (N, D): y = z · weight + bias, with what else is done.

    Attributes
    ----------
    weight, bias
        Float64, (D, classes) and (classes,).
    unit
        Whether z is brought to length one.
    square
        What |z|² counts beside it.
    root
        1 where y is the root of that, -1 where it is the opposite of its opposite's root, else 0.
    """

    weight: np.ndarray
    bias: np.ndarray
    unit: bool = False
    square: float = 0.0
    root: int = 0


def name_prototypes(model: Model) -> None:
    """Rewrite every node that ends such a piece, the last ones first."""
    order = places(model.graph)
    for node in reversed(list(model.graph.nodes)):
        if not is_op(node, *PARTS) or len(node.outputs) != 1 or len(node.outputs[0].shape or ()) != 2:
            continue
        found = [
            (comparison, piece.source)
            for piece in pieces(node.outputs[0], order, PARTS)
            if any(is_op(inner, *LENGTHS) for inner in piece.nodes) and (comparison := compared(piece)) is not None
        ]
        if found:  # a distance between features of length one is a cosine of what they were before
            become(model, node, *next((each for each in found if each[0].unit), found[0]))
            sweep(model)


def compared(piece: Piece) -> Comparison | None:
    """What a piece compares its features with, and how; None where it does nothing of the kind."""
    before, after = static_shape(piece.source), static_shape(piece.result)
    if before is None or after is None or None in before[1:] or after[1] is None:
        return None
    rows, *sizes = (size or 1 for size in before)
    features, classes = math.prod(sizes), after[1]
    tables = list(candidates(piece, features, classes)) if features in sizes else []
    if not tables:
        return None
    x = np.random.default_rng(0).standard_normal((-(-TRIALS // rows), rows, *sizes))
    made = [[piece.values(sign * each) for each in x] for sign in (1, -1, 0)]
    x = x.reshape(-1, features)
    with np.errstate(all="ignore"):
        if not all(
            y is not None and y.shape == (rows, classes) and np.isfinite(y).all() for runs in made[:2] for y in runs
        ):
            return None
        plus, minus, none = (np.concatenate([np.asarray(y, np.float64) for y in runs]) for runs in made)
        return (
            of_cosines(x, plus, minus, tables)
            or of_distances(x, plus, minus, none, tables)
            or of_roots(x, plus, minus, none, tables)
        )


def candidates(piece: Piece, features: int, classes: int) -> list[np.ndarray]:
    """The constants of a piece that may be prototypes, (D, classes)."""
    found = []
    for tensor in (t for node in piece.nodes for t in node.inputs if isinstance(t, gs.Constant)):
        if np.prod(tensor.shape, dtype=int) == features * classes <= MOST and tensor.values.dtype.kind == "f":
            table = np.asarray(tensor.values, np.float64).squeeze()
            found += [
                table.reshape(sizes).T if turned else table.reshape(sizes)
                for turned, sizes in enumerate(((features, classes), (classes, features)))
                if table.shape == tuple(size for size in sizes if size > 1)
            ]
    return found


def of_cosines(x: np.ndarray, plus: np.ndarray, minus: np.ndarray, tables: list[np.ndarray]) -> Comparison | None:
    """Cosines, each times a number of its class and shifted by one."""
    even, odd = (plus + minus) / 2, (plus - minus) / 2
    if not close(even, even[:1], plus):
        return None
    weight = fitted(x / np.linalg.norm(x, axis=1, keepdims=True), odd, tables)
    return None if weight is None else Comparison(weight, tidy(even[0], plus), unit=True)


def of_distances(
    x: np.ndarray, plus: np.ndarray, minus: np.ndarray, none: np.ndarray, tables: list[np.ndarray]
) -> Comparison | None:
    """A linear map of x, and so many times |x|² for all classes alike."""
    even, odd = (plus + minus) / 2, (plus - minus) / 2
    lengths = np.square(x).sum(axis=1, keepdims=True)
    bias = none[0]
    square = float(np.mean((even - bias) / lengths))
    if not np.isfinite(square) or abs(square) < TOLERANCE or not close(even, bias + square * lengths, plus):
        return None
    weight = fitted(x, odd, tables)
    return None if weight is None else Comparison(weight, tidy(bias, plus), square=square)


def of_roots(
    x: np.ndarray, plus: np.ndarray, minus: np.ndarray, none: np.ndarray, tables: list[np.ndarray]
) -> Comparison | None:
    """The same under a root: what is nearer has the larger score, so a distance's opposite is one of the square's."""
    sign = int(np.sign(plus.sum()))
    found = of_distances(x, sign * plus**2, sign * minus**2, sign * none**2, tables)
    return None if found is None else found._replace(root=sign)


def fitted(x: np.ndarray, y: np.ndarray, tables: list[np.ndarray]) -> np.ndarray | None:
    """One of some tables, each class times a number, that makes y of x; None where none does."""
    for table in tables:
        product = x @ table
        gain = (product * y).sum(axis=0) / np.square(product).sum(axis=0)
        if close(product * gain, y, y):
            return np.asarray(table * tidy(gain, gain))
    return None


def close(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> bool:
    """Whether two arrays are the same but for what constants in float32 leave."""
    return bool((np.abs(a - b) <= TOLERANCE * max(float(np.abs(scale).max()), DIGITS)).all())


def tidy(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Values without the last digits of a fit, one number where they are one."""
    most = float(np.abs(scale).max())
    values = np.where(np.abs(values) < DIGITS * most, 0.0, values)
    return np.full_like(values, values.mean()) if np.ptp(values) < TOLERANCE * most else values


def become(model: Model, node: gs.Node, found: Comparison, source: gs.Tensor) -> None:
    """Write a node as the dense layer of what it compares with, and a root behind it."""
    result, weight = node.outputs[0], found.weight
    name = result.name
    if len(source.shape) != 2:
        table = gs.Variable("", source.dtype, (source.shape[0], len(weight)))
        table = reshaped(model, source, table, fresh(model, f"{name}/table"))
        model.graph.nodes.append(gs.Node("Reshape", table.name, {}, [source], [table]))
        source = table
    if found.root:
        node = rooted(model, node, found.root)
    if found.unit:
        features = of_length_one(model, source, f"{name}/unit")
    else:
        square = gs.Variable("", result.dtype, (source.shape[0], 1))
        square = result_of(model, square, f"{name}/length", "ReduceSumSquare", source, np.array([1]), keepdims=1)
        both = gs.Variable("", result.dtype, (source.shape[0], source.shape[1] + 1))
        features = result_of(model, both, f"{name}/features", "Concat", source, square, axis=1)
        weight = np.concatenate([weight, np.full((1, weight.shape[1]), found.square)])
    constants = {"weight": weight, "bias": found.bias}
    told = (gs.Constant(f"{name}/{what}", value.astype(np.float32)) for what, value in constants.items())
    node.op, node.attrs, node.inputs = "Gemm", {}, [features, *told]


def of_length_one(model: Model, source: gs.Tensor, name: str) -> gs.Tensor:
    """Features over their length, as the root-mean-square norm that this is."""
    thin = gs.Variable("", source.dtype, (source.shape[0], 1))
    length = view(model, thin, fresh(model, f"{name}/length"), "ReduceL2", source, np.array([1]), keepdims=1)
    least = view(model, thin, fresh(model, f"{name}/least"), "Max", length, np.array(FLOOR, np.float32))
    unit = view(model, source, fresh(model, name), "Div", source, least)
    gain = gs.Constant(f"{unit.name}/gain", np.array(source.shape[1] ** -0.5, np.float32))
    attrs = {"axes": [1], "epsilon": FLOOR**2}
    model.graph.nodes.append(gs.Node("RMSNormalization", unit.name, attrs, [source, gain], [unit]))
    return unit


def rooted(model: Model, node: gs.Node, sign: int) -> gs.Node:
    """Let a node make the square of what it made, or its opposite, and others what that was."""
    result, nodes = node.outputs[0], model.graph.nodes
    square = view(model, result, fresh(model, f"{result.name}/square"), "Mul", result, result)
    if sign > 0:
        node.outputs = [square]
        nodes.append(gs.Node("Sqrt", result.name, {}, [square], [result]))
        return node
    node.outputs = [view(model, result, fresh(model, f"{result.name}/near"), "Neg", square)]
    root = view(model, result, fresh(model, f"{result.name}/root"), "Neg", result)
    for op, before, after in (("Neg", node.outputs[0], square), ("Sqrt", square, root), ("Neg", root, result)):
        nodes.append(gs.Node(op, after.name, {}, [before], [after]))
    return node
