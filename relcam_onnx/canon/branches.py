"""Terms of a sum as layers of one tensor: windows, weights, and what stands between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import starmap
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import Vector, moves, pull, push
from relcam_onnx.canon.edit import is_op, only_reader
from relcam_onnx.model import Model, producer
from relcam_onnx.ops import TABLE, key, lookup
from relcam_onnx.ops.layer import Layer

Weight: TypeAlias = Callable[[], np.ndarray]
Step: TypeAlias = tuple[Callable[[gs.Node, Vector], Vector | None], gs.Node]
"""A move, and whether a vector is taken over it forwards or backwards: `push` or `pull`."""
EXPLICIT = ("NOTSET", "VALID")
"""Values of ``auto_pad`` that say how much is padded."""


class Window(NamedTuple):
    """Where a layer reads along one axis: taps, how far apart, how far before a position the first, its stride."""

    taps: int = 1
    step: int = 1
    before: int = 0
    stride: int = 1

    @property
    def span(self) -> int:
        """From the first tap to the last."""
        return self.step * (self.taps - 1)

    def within(self, wide: Window) -> list[int] | None:
        """Which taps of a wider window these are; None where they are not all among its."""
        far = [wide.before - self.before + self.step * tap for tap in range(self.taps)]
        if self.stride != wide.stride or far[0] < 0 or far[-1] > wide.span or any(place % wide.step for place in far):
            return None
        return [place // wide.step for place in far]


class Branch(NamedTuple):
    """A term of a sum that is a layer of a tensor, y = W x + b.

    Attributes
    ----------
    term, made
        The term, and what stands between it and the tensor and is read by nothing else, the term included.
    weight
        What gives it, float64, (outputs, inputs / group, taps...): most terms are asked for their windows alone.
    bias
        float64, (outputs,).
    group
        As a Conv has it: the number of channels where each is only scaled.
    windows, rest
        One window for each axis of positions, and how much longer the input is there than what it needs at least.
    order
        The axes of the tensor, in the order in which the term has them.
    """

    term: gs.Tensor
    made: tuple[gs.Tensor, ...]
    weight: Weight
    bias: np.ndarray
    group: int
    windows: tuple[Window, ...]
    rest: tuple[int, ...]
    order: tuple[int, ...]


def layer_of(node: gs.Node | None) -> Layer | None:
    """The weights of a convolution or a dense layer that can be summed with others; None where it has none such."""
    if not is_op(node, "Conv", "Gemm", "MatMul") or key(node) not in TABLE or lookup(node).refuses(node) is not None:
        return None
    layer = lookup(node).layer_of(node)
    if layer is None or layer.offset(node) is None or node.attrs.get("auto_pad", "NOTSET") not in EXPLICIT:
        return None
    return layer if node.op == "Conv" or math.prod(layer.sizes(node)[:-2]) == 1 else None


def moves_to(tensor: gs.Tensor) -> Iterator[gs.Node]:
    """The moves that a tensor was made by, the last first."""
    node = producer(tensor)
    while node is not None and moves(node):
        yield node
        node = producer(node.inputs[0])


def begun(tensor: gs.Tensor) -> gs.Tensor:
    """What a tensor was before any move."""
    return [tensor, *(move.inputs[0] for move in moves_to(tensor))][-1]


def branch_of(model: Model, total: gs.Node, term: gs.Tensor, x: gs.Tensor, axis: int) -> Branch | None:
    """A term as a layer of a tensor along an axis of channels; None where it is none."""
    channels, positions = x.shape[axis], len(x.shape) - 2
    if not isinstance(channels, int) or term.shape is None:
        return None
    if term is x:
        return alone((term, ()), lambda: np.ones((channels, 1)), np.zeros(channels), channels, positions)
    node = producer(term)
    if node is None or only_reader(model, term) is not total:
        return None
    if is_op(node, "Conv") and node.inputs[0] is x:
        return convolution(term, node) if axis == 1 and layer_of(node) is not None else None
    spelled = read(node)
    if spelled is None:
        return dense(model, term, x, axis)
    source, affine = spelled
    if source is not x or not affine.fits(axis, channels):
        return None
    wide = affine.over(channels)
    return alone((term, (term,)), lambda: wide.scale[:, None], wide.shift, channels, positions)


def alone(
    of: tuple[gs.Tensor, tuple[gs.Tensor, ...]], table: Weight, bias: np.ndarray, group: int, positions: int
) -> Branch:
    """A term, with what was made for it, that reads each position by itself; ``table`` gives (outputs, inputs)."""

    def weight() -> np.ndarray:
        values = table()
        return values.reshape(*values.shape, *[1] * positions)

    return Branch(*of, weight, bias, group, (Window(),) * positions, (0,) * positions, tuple(range(positions + 2)))


def convolution(term: gs.Tensor, node: gs.Node) -> Branch:
    """A convolution as it stands."""
    layer = lookup(node).layer_of(node)
    assert layer is not None
    (_, _, *kernel), offset = layer.sizes(node), layer.offset(node)
    assert offset is not None
    count = len(kernel)
    pads = list(node.attrs.get("pads") or [0] * (2 * count))
    steps, strides = (list(node.attrs.get(name) or [1] * count) for name in ("dilations", "strides"))
    windows = tuple(starmap(Window, zip(kernel, steps, pads[:count], strides, strict=True)))
    rest = tuple(before + after - w.span for before, after, w in zip(pads[:count], pads[count:], windows, strict=True))
    group, order = int(node.attrs.get("group", 1)), tuple(range(count + 2))
    return Branch(term, (term,), lambda: layer.values(node), offset, group, windows, rest, order)


def dense(model: Model, term: gs.Tensor, x: gs.Tensor, axis: int) -> Branch | None:
    """A dense layer over channels with moves around it, where it makes each position of the one in ``x``.

    Its positions may stand in another order than those of ``x``.
    """
    after: list[Step] = []
    made = [term]
    for move in moves_to(term):
        source = move.inputs[0]
        if only_reader(model, source) is not move:
            break
        after.insert(0, (push, move))
        made.append(source)
    node, layer = producer(made[-1]), layer_of(producer(made[-1]))
    if not is_op(node, "Gemm", "MatMul") or layer is None or len(term.shape) != len(x.shape):
        return None
    read = node.inputs[1 - layer.weight(node)]
    before = way(x, read)
    ends = layer.reads(node, len(read.shape or ())), layer.channels(node, len(node.outputs[0].shape or ()))
    inputs, outputs = (np.arange(count) for count in layer.counts(node))
    if before is None or ends[1] is None or follow(before, axis, inputs) != ends[0]:
        return None
    goes = {axis: follow(after, ends[1], outputs)}
    for place, size in enumerate(x.shape):
        if place != axis and size != 1:
            values = np.arange(size if isinstance(size, int) else 1)
            goes[place] = follow((*before, *after), place, values)
    order, offset = order_of(goes, len(x.shape)), layer.offset(node)
    if order is None or any(term.shape[to] != x.shape[place] for to, place in enumerate(order) if place != axis):
        return None
    assert offset is not None

    def table() -> np.ndarray:
        weight: np.ndarray = (layer.values(node) * node.attrs.get("alpha", 1.0)).reshape(layer.sizes(node)[-2:])
        outputs_first = layer.per_output(node, np.ones(2)).shape == (2, 1)
        return weight if outputs_first else weight.T

    return alone((term, tuple(made)), table, offset, 1, len(x.shape) - 2)._replace(order=order)


def order_of(goes: Mapping[int, int | None], rank: int) -> tuple[int, ...] | None:
    """The axes that were, in their new order; None where one went nowhere, or two to one place.

    Those that are left out are of one position, have nothing to be mixed up, and go where there is room.
    """
    taken = {to: place for place, to in goes.items() if to is not None}
    if len(taken) != len(goes):
        return None
    displaced = iter([place for place in range(rank) if place not in goes and place in taken])
    return tuple(taken[to] if to in taken else to if to not in goes else next(displaced) for to in range(rank))


def way(x: gs.Tensor, other: gs.Tensor) -> list[Step] | None:
    """The moves from one tensor to another: up to what both were made of, and down; None where there are none."""
    up, down = ([tensor, *(move.inputs[0] for move in moves_to(tensor))] for tensor in (x, other))
    met = next((place for place, tensor in enumerate(up) if any(tensor is own for own in down)), None)
    if met is None:
        return None
    depth = next(place for place, tensor in enumerate(down) if tensor is up[met])
    there = [(pull, producer(tensor)) for tensor in up[:met]]
    return [*there, *((push, producer(tensor)) for tensor in down[:depth][::-1])]


def follow(steps: Sequence[Step], axis: int, values: np.ndarray) -> int | None:
    """Where moves take an axis that they keep whole and in order; None where they do not."""
    vector = (axis, values)
    for how, node in steps:
        found = how(node, vector)
        if found is None:
            return None
        vector = found
    return vector[0] if np.array_equal(vector[1], values) else None


def taps_in(branch: Branch, widest: Branch) -> list[list[int]] | None:
    """Which taps of a wider layer are those of a branch, along each axis of positions; None where some are none."""
    places = [own.within(wide) for own, wide in zip(branch.windows, widest.windows, strict=True)]
    return None if None in places else [place for place in places if place is not None]


def is_diagonal(branch: Branch) -> bool:
    """Whether a branch scales each channel, or less: sums of such alone are left to `fold_affine`."""
    return all(window == Window() for window in branch.windows) and len(branch.bias) == branch.group
