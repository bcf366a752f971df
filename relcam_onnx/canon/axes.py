"""Where an axis goes through ops that move values: Transpose, and all that keeps the order of the elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
Size = int | str | None
Vector = tuple[int, np.ndarray]
"""One value for each index of an axis: the axis, and the values."""


def moves(node: gs.Node | None) -> bool:
    """Whether a node only moves all the values of its first input."""
    return is_op(node, "Transpose", *RESHAPES)


def permutation(node: gs.Node) -> list[int]:
    """The axes of a Transpose, which reverses them where it says nothing."""
    perm = node.attrs.get("perm")
    return list(perm) if perm else list(range(len(node.inputs[0].shape or ())))[::-1]


def pull(node: gs.Node, vector: Vector) -> Vector | None:
    """A vector along an axis of what a moving node makes, as one along an axis of what it reads; None: it is none."""
    axis, values = vector
    if node.op == "Transpose":
        return permutation(node)[axis], values
    return across(node.outputs[0].shape, node.inputs[0].shape, axis, values)


def push(node: gs.Node, vector: Vector) -> Vector | None:
    """A vector along an axis of what a moving node reads, as one along an axis of what it makes; None: it is none."""
    axis, values = vector
    if node.op == "Transpose":
        return permutation(node).index(axis), values
    return across(node.inputs[0].shape, node.outputs[0].shape, axis, values)


def across(before: Sequence[Size] | None, after: Sequence[Size] | None, axis: int, values: np.ndarray) -> Vector | None:
    """A vector along one axis of a shape, seen from another shape of the same elements in the same order."""
    if before is None or after is None:
        return None
    for old, new in groups(before, after):
        if axis not in old:
            continue
        if len(old) == len(new) == 1:
            return new[0], values
        sizes = [size for size in (before[i] for i in old) if isinstance(size, int)]
        moved = [size for size in (after[i] for i in new) if isinstance(size, int)]
        if not new or len(sizes) < len(old) or len(moved) < len(new):
            return None
        along = values.reshape([-1 if i == axis else 1 for i in old])
        spread = np.broadcast_to(along, sizes).reshape(moved)
        varying = [place for place in range(len(new)) if not np.all(spread == spread.take([0], place))]
        if len(varying) > 1:
            return None
        place = varying[0] if varying else max(range(len(new)), key=lambda i: spread.shape[i])
        others = tuple(0 if i != place else slice(None) for i in range(len(new)))
        return new[place], spread[others].copy()
    return None


def groups(before: Sequence[Size], after: Sequence[Size]) -> list[tuple[list[int], list[int]]]:
    """The axes of two shapes of the same elements, put together where their sizes make the same number.

    Axes of unknown size match axes of the same name, from either end; what lies between is one group.
    """
    pairs: list[tuple[list[int], list[int]]] = []
    start = 0
    while start < min(len(before), len(after)) and same(before[start], after[start]):
        pairs.append(([start], [start]))
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and same(before[-1 - end], after[-1 - end]):
        end += 1
    tail = [([len(before) - i], [len(after) - i]) for i in range(end, 0, -1)]
    old, new = list(range(start, len(before) - end)), list(range(start, len(after) - end))
    while old or new:
        left, right = [old.pop(0)] if old else [], [new.pop(0)] if new else []
        while (a := count(before, left)) != (b := count(after, right)) or a is None:
            if a is None or b is None or not (old if a < b else new):
                left, right, old, new = left + old, right + new, [], []
                break
            (left if a < b else right).append((old if a < b else new).pop(0))
        pairs.append((left, right))
    return [*pairs, *tail]


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are known to be one."""
    return a is not None and a == b


def count(shape: Sequence[Size], axes: Sequence[int]) -> int | None:
    """How many elements some axes make; None where only a run knows."""
    sizes = [shape[axis] for axis in axes]
    return math.prod(s for s in sizes if isinstance(s, int)) if all(isinstance(s, int) for s in sizes) else None
