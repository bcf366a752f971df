"""Laws of what an op's entry says: its sign, its strides."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain, combinations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.laws.arithmetic import noise
from relcam_onnx.laws.case import Array, Case
from relcam_onnx.ops import Grid, lookup

COPIES = frozenset({"Tile", "Expand"})
"""Ops that repeat a whole tensor: more positions, as coarse as before."""


def a_sign_that_is_told_is_true(case: Case, seed: int) -> None:
    """For every choice of inputs that are ≥ 0: where the entry says that the output is, no run finds a negative one."""
    names = list(case.values)
    for chosen in chain.from_iterable(combinations(names, count) for count in range(len(names) + 1)):

        def nonnegative(tensor: gs.Tensor, chosen: tuple[str, ...] = chosen) -> bool:
            if isinstance(tensor, gs.Constant):
                return bool((np.asarray(tensor.values) >= 0).all())
            return tensor.name in chosen

        if not lookup(case.node).nonnegative(case.node, nonnegative):
            continue
        for turn in (1, -1):  # each value, and its negative where nothing is assumed of it
            values = {name: np.abs(x) if name in chosen else (x * turn).astype(x.dtype) for name, x in signed(case)}
            y = case.forward(values)
            assert not (y < 0).any(), f"with {chosen or 'nothing'} ≥ 0 the entry says y ≥ 0, and {y.min()} was seen"


def signed(case: Case) -> list[tuple[str, Array]]:
    """The values; whole numbers stay as they are."""
    return list(case.values.items())


def strides_are_what_sizes_do(case: Case, seed: int) -> None:
    """A picture that is longer by s positions along an axis makes one position more, s the entry's stride there."""
    node, y = case.node, case.forward()
    if len(case.values) != 1 or node.op in COPIES or y.ndim < 3:
        return
    ((name, x),) = case.values.items()
    entry = lookup(node).grids
    if x.ndim != y.ndim:
        return
    axes = range(2, x.ndim)
    for axis, grid in zip(axes, entry(node, axes) if entry else [Grid()] * len(axes), strict=True):
        stride = abs(grid.stride)
        longer = list(x.shape)
        longer[axis] += 2 * stride.numerator
        try:
            grown = case.forward({name: noise(seed, *longer).astype(x.dtype)}).shape[axis] - y.shape[axis]
        except Exception:  # the node fixes this size
            continue
        if node.op == "Slice" and y.shape[axis] != -(-x.shape[axis] // stride):
            continue  # what it leaves out is counted from one end or the other
        fixed = grown == 0  # a reduction, or an output of one size
        if fixed and entry and y.shape[axis] > 1 and node.op == "Resize":
            assert Fraction(x.shape[axis], y.shape[axis]) == stride, (axis, stride, x.shape, y.shape)
        assert fixed or grown == 2 * stride.denominator, (axis, stride, longer, grown)
