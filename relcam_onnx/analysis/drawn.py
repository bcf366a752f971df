"""Shares that are known by what is made of numbers that are drawn: what sums to 1, and means by computed weights.

Classes whatever squashed over their sum, experts that a softmax weighs: bounds of each step alone (`shares`) cannot
tell, since what is divided and what it is divided by, or a weight and the others, move together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import EACH_ITS_SHARE, SHARES
from relcam_onnx.analysis.shares import EVERY, Known, spans
from relcam_onnx.analysis.shifted import FEW, OPS
from relcam_onnx.canon.activations import CHOOSING
from relcam_onnx.canon.cut import carried
from relcam_onnx.canon.cut import places as order_of
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.places import MOST
from relcam_onnx.model import Model, fixed_batch, is_constant, producer, static_shape, variables

OPENED = OPS | CHOOSING | {
    "Atan", "Celu", "CumSum", "Einsum", "Elu", "GatherElements", "LeakyRelu", "PRelu", "ReduceL2", "ReduceMin",
    "ReduceProd", "ReduceSumSquare", "Selu", "Softsign", "ThresholdedRelu", "TopK",
}  # fmt: skip
"""What shares may be made by, of anything."""
ATOMS = ("Sigmoid", "HardSigmoid")
"""What makes a share of one number, whatever that is."""
LARGE = 2**16
"""Elements of a constant from which on it is a layer's weights: what that makes may be any number."""
LONGEST = 256
"""So many nodes are opened at most."""
TIMES = (1.0, 1.0, 8.0, 8.0, 64.0)
"""How far from 0 numbers are drawn."""
CLOSE = 1e-3
"""Of float32, of 8 bits, and of what keeps a sum from being 0."""

Draw = Callable[[gs.Tensor, tuple[int, ...]], np.ndarray]


def told_as_they_are(model: Model, tensor: gs.Tensor, axis: int) -> str | None:
    """`SHARES` where a tensor's values lie between 0 and 1 and compete along its axis of classes.

    `EACH_ITS_SHARE` where they do not compete, or one class is alone; None where they are no shares.
    """
    known, shape = spans(model), static_shape(tensor)
    low, high, along = known.get(tensor.name, EVERY)
    bounded = low >= -CLOSE and high <= 1 + CLOSE
    several = shape is None or len(shape) <= axis or shape[axis] != 1
    if several and ((bounded and along == axis) or add_up(model, tensor, axis, known)):
        return SHARES
    return EACH_ITS_SHARE if bounded or average(model, tensor, axis) else None


def add_up(model: Model, tensor: gs.Tensor, axis: int, known: Known) -> bool:
    """Whether a tensor's values lie between 0 and 1 and sum to 1 along an axis, whatever they are made of.

    ``known`` are bounds of tensors, within which numbers are drawn.
    """
    rng = np.random.default_rng(0)
    for far in TIMES:

        def numbers(source: gs.Tensor, shape: tuple[int, ...], far: float = far) -> np.ndarray:
            low, high, _ = known.get(source.name, EVERY)
            return np.clip(rng.uniform(-far, far, shape), low, high)

        made = drawn(model, tensor, numbers)
        if made is None or not within(made) or not np.allclose(made.sum(axis=axis), 1, atol=CLOSE):
            return False
    return True


def average(model: Model, tensor: gs.Tensor, axis: int) -> bool:
    """Whether a tensor's values are means of sigmoids of classes along an axis, by weights that a run computes."""
    rng, shape = np.random.default_rng(0), static_shape(tensor)
    classes = (shape[axis] if shape is not None and axis < len(shape) else None) or 1

    def where(shares: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray | None:
        def numbers(source: gs.Tensor, sizes: tuple[int, ...]) -> np.ndarray:
            return shares(sizes) if is_op(producer(source), *ATOMS) else rng.uniform(-FEW, FEW, sizes)

        return drawn(model, tensor, numbers, atoms=classes)

    for share in (CLOSE**2, 0.5, 1.0):  # of shares that are all alike the mean is that
        made = where(lambda sizes, share=share: np.full(sizes, share))  # type: ignore[misc]
        if made is None or not np.allclose(made, share, atol=CLOSE):
            return False
    # What is linear in each share is largest and smallest where all are at an end.
    ends = [where(lambda sizes: rng.choice([CLOSE**2, 1.0], sizes)) for _ in TIMES]
    return all(made is not None and within(made) for made in ends)


def within(values: np.ndarray) -> bool:
    """Whether all lie between 0 and 1."""
    return bool((values >= -CLOSE).all() and (values <= 1 + CLOSE).all())


def drawn(model: Model, tensor: gs.Tensor, draw: Draw, atoms: int = 0) -> np.ndarray | None:
    """What a tensor is where what it is made of by `OPENED` is drawn, in float64.

    So are `ATOMS` of so many classes; what has another number weighs them. None where nothing, or too much, makes it.
    """
    nodes, sources = opened(tensor, atoms)
    rows, values = fixed_batch(model.graph.inputs) or 2, dict[str, np.ndarray]()
    for source in sources.values():
        shape = static_shape(source)
        sizes = None if shape is None else tuple(size or (FEW if at else rows) for at, size in enumerate(shape))
        if sizes is None or np.prod(sizes) > MOST:
            return None
        values[source.name] = draw(source, sizes)
    order = order_of(model.graph)
    ordered = sorted(nodes, key=lambda node: order[node.outputs[0].name])
    with np.errstate(all="ignore"):
        made = carried(ordered, values, tensor) if nodes else None
    return made if made is not None and made.dtype.kind == "f" and np.isfinite(made).all() else None


def opened(tensor: gs.Tensor, atoms: int) -> tuple[list[gs.Node], dict[str, gs.Tensor]]:
    """The nodes that make a tensor, up to layers, and what they begin with; no nodes where they are too many."""
    nodes, sources, waiting = dict[int, gs.Node](), dict[str, gs.Tensor](), [tensor]
    while waiting:
        current = waiting.pop()
        node = producer(current)
        if node is None or not opens(node) or (atoms and is_op(node, *ATOMS) and has_classes(current, atoms)):
            sources[current.name] = current
        elif id(node) not in nodes:
            nodes[id(node)] = node
            waiting += [computed for _, computed in variables(node)]
        if len(nodes) > LONGEST:
            return [], {}
    return list(nodes.values()), sources


def has_classes(tensor: gs.Tensor, count: int) -> bool:
    """Whether a tensor may have so many classes, in an axis or in a row with others."""
    return math.prod(size or 1 for size in (static_shape(tensor) or ())[1:]) % count == 0


def opens(node: gs.Node) -> bool:
    """Whether a node may be run on numbers: no layer of the network."""
    layer = any(is_constant(t) and math.prod(t.shape) > LARGE for t in node.inputs)
    return is_op(node, *OPENED) and (len(node.outputs) == 1 or is_op(node, "TopK")) and not layer
