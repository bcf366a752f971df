"""y = x · scale + shift by constants along one axis, however it is spelled.

As batch normalisation, Mul, Add, Sub, Div or Neg.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import Vector, moves, pull, push
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import are_whole, over
from relcam_onnx.canon.picking import picks, unblocked
from relcam_onnx.model import variables
from relcam_onnx.ops.linear import scale_and_shift

VectorOf: TypeAlias = Callable[[gs.Constant, gs.Tensor], tuple[int | None, np.ndarray] | None]

AFFINE = "Affine"
"""What such nodes are called while they are folded; `write` leaves none."""


@dataclass(frozen=True)
class Affine:
    """Scale and shift, float64, (C,) along ``axis``, or (1,) where it is the same number everywhere (axis None)."""

    axis: int | None
    scale: np.ndarray
    shift: np.ndarray

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.is_shift and not self.shift.any()

    @property
    def is_shift(self) -> bool:
        """Whether it only adds."""
        return bool(np.all(self.scale == 1))

    @property
    def is_scale(self) -> bool:
        """Whether it only multiplies."""
        return not self.shift.any()

    def then(self, other: Affine) -> Affine | None:
        """Give this one and then another as one; None where they run along different axes."""
        if self.axis is not None and other.axis is not None and self.axis != other.axis:
            return None
        axis = self.axis if other.axis is None else other.axis
        return Affine(axis, self.scale * other.scale, self.shift * other.scale + other.shift)

    def apart(self) -> tuple[Affine, Affine]:
        """The scale, and the shift behind it."""
        return replace(self, shift=np.zeros_like(self.shift)), replace(self, scale=np.ones_like(self.scale))

    def pulled(self, node: gs.Node) -> Affine | None:
        """The same before a node that hands it on as this is behind it; None where it does not."""
        if (channels := pooled(node)) is not None:
            return self._over(node, None if self.axis is None else channels[self.axis])
        if self.axis is None or moves(node):
            return self._across(node, pull)
        if (into := unblocked(node)) is not None:
            return self._at(into(len(self.scale))) if self.axis == 1 else None
        kept, count = self._kept(node), node.inputs[0].shape[self.axis]
        return None if kept is None or not isinstance(count, int) else self._back(kept, count)

    def pushed(self, node: gs.Node) -> Affine | None:
        """The same behind such a node as this is before it."""
        if (channels := pooled(node)) is not None:
            return self._over(node, channels.index(self.axis) if self.axis in channels else None)
        if self.axis is None or moves(node):
            return self._across(node, push)
        if (into := unblocked(node)) is not None:
            count = len(self.scale) // node.attrs["blocksize"] ** 2
            return self._back(into(count), count) if self.axis == 1 else None
        kept = self._kept(node)
        return None if kept is None else self._at(kept)

    def _at(self, kept: np.ndarray) -> Affine:
        """Of these places along the axis."""
        return Affine(self.axis, self.scale[kept], self.shift[kept])

    def _back(self, kept: np.ndarray, count: int) -> Affine | None:
        """One of so many places that is this at ``kept``; None where two that are one differ."""
        whole = Affine(self.axis, np.ones(count), np.zeros(count))
        whole.scale[kept], whole.shift[kept] = self.scale, self.shift
        same = np.array_equal(whole.scale[kept], self.scale) and np.array_equal(whole.shift[kept], self.shift)
        return whole if same else None

    def _over(self, node: gs.Node, axis: int | None) -> Affine | None:
        """The same beyond a pool, along this axis there; None where the pool stops it, or has its axis."""
        return replace(self, axis=axis) if self._passes(node) and (axis is None) == (self.axis is None) else None

    def _passes(self, node: gs.Node) -> bool:
        """Whether a pool hands it on: a maximum what turns nothing over, a mean no shift where zeros count."""
        if node.op in ("MaxPool", "GlobalMaxPool", "ReduceMax"):
            return bool((self.scale > 0).all())
        padded = any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        return self.is_scale or not (node.op == "ReduceSum" or (padded and node.attrs.get("count_include_pad")))

    def _kept(self, node: gs.Node) -> np.ndarray | None:
        """Which channels a node picks; None where it is none that picks, or that is not known."""
        picked = picks(node)
        if picked is None or self.axis is None:
            return None
        size = node.inputs[0].shape[self.axis] if self.axis in picked else len(self.scale)
        if not isinstance(size, int):
            return None
        return picked[self.axis](size) if self.axis in picked else np.arange(size)

    def _across(self, node: gs.Node, how: Callable[[gs.Node, Vector], Vector | None]) -> Affine | None:
        if self.axis is None:
            return self
        # Both at once, so that they go along the same axis.
        vector = how(node, (self.axis, self.scale + 1j * self.shift))
        return None if vector is None else Affine(vector[0], vector[1].real, vector[1].imag)

    def fits(self, axis: int | None, size: int) -> bool:
        """Whether it runs along this axis of so many channels."""
        return self.axis is None or (self.axis == axis and len(self.scale) == size)

    def over(self, size: int) -> Affine:
        """The same with one scale and shift for each of so many channels."""
        return Affine(self.axis, *(np.broadcast_to(v, (size,)) for v in (self.scale, self.shift)))

    def shaped(self, values: np.ndarray, rank: int) -> np.ndarray:
        """Scale or shift as it broadcasts to a tensor of ``rank`` axes."""
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(rank)] if self.axis is not None else [])


def carries(node: gs.Node) -> bool:
    """Whether a scale and a shift may pass a node: it moves or picks values, or pools positions."""
    return moves(node) or picks(node) is not None or unblocked(node) is not None or pooled(node) is not None


def pooled(node: gs.Node) -> list[int | None] | None:
    """Of a mean, sum or maximum of positions, where each axis behind it was before, None for these; else None."""
    rank = len(node.inputs[0].shape or ())
    if is_op(node, "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"):
        return [0, 1, *[None] * (rank - 2)] if len(node.outputs) == 1 else None
    axes = over(node) if is_op(node, "ReduceMax", "ReduceMean", "ReduceSum") else None
    if axes is None:
        return None
    kept = node.attrs.get("keepdims", 1)
    return [None if axis in axes else axis for axis in range(rank) if kept or axis not in axes]


def number(scale: float, shift: float = 0.0) -> Affine:
    """The same scale and shift everywhere."""
    return Affine(None, np.array([scale]), np.array([shift]))


def along(constant: gs.Constant, x: gs.Tensor) -> tuple[int | None, np.ndarray] | None:
    """A constant that meets ``x`` as values along one axis, or (None, one number); None where it varies otherwise."""
    value = np.asarray(constant.values, np.float64)
    if value.size == 1 and (x.shape is None or value.ndim <= len(x.shape)):
        return None, value.reshape(1)
    if x.shape is None or value.ndim > len(x.shape):
        return None
    value = value.reshape((1,) * (len(x.shape) - value.ndim) + value.shape)
    if any(size > 1 and x.shape[axis] == 1 for axis, size in enumerate(value.shape)):
        return None
    varying = [axis for axis in range(value.ndim) if not np.all(value == value.take([0], axis))]
    if not varying:
        return None, value.reshape(-1)[:1]
    if len(varying) > 1 or varying == [0]:
        return None
    return varying[0], value[tuple(slice(None) if axis == varying[0] else 0 for axis in range(value.ndim))]


def read(node: gs.Node, vector_of: VectorOf = along) -> tuple[gs.Tensor, Affine] | None:
    """A node as scale and shift of one input; None where it is no such thing.

    ``vector_of`` says how a constant meets it.
    """
    if is_op(node, "BatchNormalization"):
        if node.attrs.get("training_mode") or not all(isinstance(t, gs.Constant) for t in node.inputs[1:5]):
            return None
        return node.inputs[0], Affine(node.attrs.get("axis", 1), *scale_and_shift(node))
    if is_op(node, "Neg"):
        return node.inputs[0], number(-1.0)
    computed = [tensor for _, tensor in variables(node)]
    if not is_op(node, "Add", "Sum", "Sub", "Mul", "Div") or len(computed) != 1 or len(node.inputs) < 2:
        return None
    if are_whole(computed[0]):
        return None  # a quotient of these is rounded, and what they index would be between two
    (x,), affine = computed, number(1.0)
    for index, operand in enumerate(node.inputs):
        if operand is x:
            if node.op == "Sub" and index == 1:
                affine = Affine(affine.axis, -np.ones_like(affine.scale), affine.shift)
            if node.op == "Div" and index == 1:
                return None
            continue
        vector = vector_of(operand, x)
        if vector is None or (node.op == "Div" and not vector[1].all()):
            return None
        axis, values = vector
        ones, zeros = np.ones_like(values), np.zeros_like(values)
        step = {
            "Mul": Affine(axis, values, zeros),
            "Div": Affine(axis, 1 / values if values.all() else ones, zeros),
            "Sub": Affine(axis, ones, -values if index else values),
        }.get(node.op, Affine(axis, ones, values))
        joined = affine.then(step)
        if joined is None:
            return None
        affine = joined
    return x, affine


def affine_of(node: gs.Node) -> Affine:
    """The scale and shift of an affine node."""
    affine: Affine = node.attrs["affine"]
    return affine


def write(node: gs.Node, affine: Affine) -> None:
    """Spell scale and shift as one node: a Mul, an Add, or a batch normalisation where it does both."""
    x, name = node.inputs[0], node.outputs[0].name
    rank = len(x.shape) if x.shape is not None else 0
    if affine.is_scale or affine.is_shift:
        node.op, node.attrs = ("Mul" if affine.is_scale else "Add"), {}
        values = affine.shaped(affine.scale if affine.is_scale else affine.shift, rank)
        node.inputs = [x, gs.Constant(f"{name}/constant", values.astype(np.float32))]
        return
    node.op, node.attrs = "BatchNormalization", {"epsilon": 0.0}
    if affine.axis not in (None, 1):  # ONNX's own always runs along axis 1
        node.attrs["axis"] = affine.axis
    zeros, ones = np.zeros_like(affine.scale), np.ones_like(affine.scale)
    statistics = {"scale": affine.scale, "shift": affine.shift, "mean": zeros, "variance": ones}
    node.inputs = [x, *(gs.Constant(f"{name}/{k}", v.astype(np.float32)) for k, v in statistics.items())]
