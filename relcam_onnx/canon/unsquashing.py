"""What stands before the sigmoids of a part of a tensor: shape ops between the two change places with them.

YOLO's outputs hold boxes and scores of all levels in one tensor; the sigmoids stand behind each level, or only some
channels. Here the same part of what is before them is put together in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import is_op, result_of
from relcam_onnx.canon.identity import integers
from relcam_onnx.canon.masks import masked
from relcam_onnx.model import Model, is_constant, producer, variables

MADE = "relcam/head/"
"""How the names of tensors begin that a head needs and the file does not have."""


def unsquashed(model: Model, tensor: gs.Tensor, axis: int, start: int, end: int) -> gs.Tensor | None:
    """What stands before the sigmoids that the part of ``tensor`` from ``start`` up to ``end`` of an axis is made of.

    Nodes are added to the graph for what the file does not have. None: no sigmoids make that part.
    """
    node = producer(tensor)
    if node is None or tensor.shape is None or not node.inputs or node.inputs[0].shape is None:
        return None
    source, rank = node.inputs[0], len(tensor.shape)
    if is_op(node, "Sigmoid"):
        return part(model, source, axis, start, end)
    if keeps(node):
        return unsquashed(model, source, axis, start, end)
    changed = masked(node) or untouched(node, axis - rank, start, end)
    if changed is not None:
        return unsquashed(model, changed, axis, start, end)
    if both := factors(node):
        spans = [(start, end) if t.shape[axis] != 1 else (0, 1) for t in both]
        before = [unsquashed(model, t, axis, *span) for t, span in zip(both, spans, strict=True)]
        known = [part for part in before if part is not None]
        return added(model, known) if len(known) == len(before) else None
    if is_op(node, "Concat"):
        along = int(node.attrs["axis"]) % rank
        return operand(model, node, axis, start, end) if along == axis else joined(model, node, along, axis, start, end)
    if is_op(node, "Slice"):
        starts, _, axes, steps = (integers(node, i) for i in range(1, 5))
        if starts is None or axes is None or [a % rank for a in axes] != [axis] or (steps or [1]) != [1]:
            return None
        return unsquashed(model, source, axis, start + starts[0], end + starts[0]) if starts[0] >= 0 else None
    if is_op(node, "Transpose"):
        perm = permutation(node)
        found = unsquashed(model, source, perm[axis], start, end)
        return None if found is None else made(model, "Transpose", [found], [found.shape[a] for a in perm], perm=perm)
    if is_op(node, *RESHAPES):
        return reshaped(model, node, axis, start, end)
    return None


def in_sigmoids(tensor: gs.Tensor, *, products: bool = True) -> bool:
    """Whether sigmoids make up all of a tensor, but for moves and masks behind them, and their products."""
    node = producer(tensor)
    if node is None or tensor.shape is None:
        return False
    if (whole := masked(node)) is not None:
        return in_sigmoids(whole, products=products)
    parts = moved_parts(node) or (factors(node) if products else [])
    return is_op(node, "Sigmoid") or (bool(parts) and all(in_sigmoids(part, products=products) for part in parts))


def all_unsquashed(model: Model, tensor: gs.Tensor, *, products: bool = True) -> gs.Tensor | None:
    """The tensor whose sigmoid is all of ``tensor``, moved as those are; None where no sigmoids make it up."""
    return before_sigmoids(model, tensor) if in_sigmoids(tensor, products=products) else None


def before_sigmoids(model: Model, tensor: gs.Tensor) -> gs.Tensor:
    """What stands before the sigmoids that make up a tensor, moved as those are."""
    node = producer(tensor)
    assert node is not None
    if (whole := masked(node)) is not None:
        return before_sigmoids(model, whole)
    parts = moved_parts(node)
    if both := factors(node):
        return added(model, [before_sigmoids(model, part) for part in both])
    if not parts:
        return node.inputs[0]
    found = [before_sigmoids(model, part) for part in parts]
    if node.op in KEEPS:
        return found[0]
    rest = [t.values for t in node.inputs[len(parts) :]]
    return made(model, node.op, [*found, *rest], tensor.shape, **node.attrs)


KEEPS = frozenset({"Identity", "Cast", "Dropout", "Clip"})
"""What leaves shares as they are, a Clip as far as its bounds let it."""
NEAR = 1e-2
"""Bounds no further from 0 and 1 only keep shares from those."""


def moved_parts(node: gs.Node) -> list[gs.Tensor]:
    """The inputs whose values a node leaves as they are, in other places at most; none where it does more to shares."""
    if is_op(node, "Concat"):
        return list(node.inputs)
    moves = is_op(node, "Transpose", "Gather", "Slice", *RESHAPES) and all(map(is_constant, node.inputs[1:]))
    return node.inputs[:1] if keeps(node) or moves else []


def factors(node: gs.Node) -> list[gs.Tensor]:
    """The tensors whose product a node makes, or the root of whose product; none where it makes something else."""
    if is_op(node, "Sqrt"):
        inner = producer(node.inputs[0])
        return [] if inner is None else factors(inner)
    both = list(node.inputs) if is_op(node, "Mul") else []
    ranks = {None if t.shape is None else len(t.shape) for t in both}
    return both if len(list(variables(node))) == len(both) and len(ranks) == 1 and None not in ranks else []


def added(model: Model, parts: Sequence[gs.Tensor]) -> gs.Tensor:
    """Their sum; where one has an axis of length one it counts for all of another's."""
    sizes = zip(*(part.shape for part in parts), strict=True)
    return made(model, "Add", parts, [next((size for size in side if size != 1), 1) for side in sizes])


def keeps(node: gs.Node) -> bool:
    """Whether a node leaves shares as they are, or a Clip keeps them from 0 and 1 by `NEAR` at most."""
    bounds = [t.values for t in node.inputs[1:3] if is_constant(t)]
    wide = len(bounds) == 2 and bool((bounds[0] <= NEAR).all() and (bounds[1] >= 1 - NEAR).all())
    return is_op(node, *KEEPS) and (wide or not is_op(node, "Clip"))


def untouched(node: gs.Node, axis: int, start: int, end: int) -> gs.Tensor | None:
    """What a node scales or shifts by constants that leave a part alone: those of boxes; ``axis`` from the end."""
    nothing = {"Mul": 1, "Div": 1, "Add": 0, "Sub": 0}.get(node.op)
    computed = list(variables(node))
    if len(computed) != 1 or computed[0][1].shape is None:
        return None
    (index, tensor), rank = computed[0], len(node.outputs[0].shape or ())
    if is_op(node, "BatchNormalization") and (spelled := read(node)) is not None:
        parts = [
            (spelled[1].shaped(values, rank), value) for values, value in ((spelled[1].scale, 1), (spelled[1].shift, 0))
        ]
    elif nothing is not None and len(node.inputs) == 2:
        parts = [(np.asarray(node.inputs[1 - index].values), nothing)]
    else:
        return None
    for values, neutral in parts:
        own = values.take(range(start, end), axis=axis) if values.ndim >= -axis and values.shape[axis] > 1 else values
        if (own != neutral).any():
            return None
    alike = list(tensor.shape) == list(node.outputs[0].shape)
    return tensor if alike and index <= (node.op in ("Mul", "Add")) else None


def operand(model: Model, node: gs.Node, axis: int, start: int, end: int) -> gs.Tensor | None:
    """Of what stands in some operands of a Concat along the axis."""
    sizes = [t.shape[axis] if t.shape is not None else None for t in node.inputs]
    if not all(isinstance(size, int) for size in sizes):
        return None
    ends = list(accumulate(int(size or 0) for size in sizes))
    found = [
        unsquashed(model, tensor, axis, max(start - before, 0), min(end, behind) - before)
        for tensor, before, behind in zip(node.inputs, [0, *ends], ends, strict=False)
        if start < behind and before < end
    ]
    return concatenated(model, found, node, axis, axis, end - start)


def joined(model: Model, node: gs.Node, along: int, axis: int, start: int, end: int) -> gs.Tensor | None:
    """Of each operand of a Concat along another axis."""
    found = [unsquashed(model, tensor, axis, start, end) for tensor in node.inputs]
    return concatenated(model, found, node, along, axis, end - start)


def concatenated(
    model: Model, found: Sequence[gs.Tensor | None], node: gs.Node, along: int, axis: int, count: int
) -> gs.Tensor | None:
    """What was found of a Concat's operands as one, so many indices of an axis; None where something was not."""
    parts = [tensor for tensor in found if tensor is not None]
    if not parts or len(parts) < len(found):
        return None
    shape = list(node.outputs[0].shape)
    shape[axis] = count
    return made(model, "Concat", parts, shape, axis=along) if len(parts) > 1 else parts[0]


def reshaped(model: Model, node: gs.Node, axis: int, start: int, end: int) -> gs.Tensor | None:
    """Of a change of shape that leaves the axis alone: it stays the last one, or all up to it stay."""
    before, after = list(node.inputs[0].shape), list(node.outputs[0].shape)
    if axis == len(after) - 1 and before[-1] == after[-1]:
        own = len(before) - 1
    elif before[: axis + 1] == after[: axis + 1]:
        own = axis
    else:
        return None
    found = unsquashed(model, node.inputs[0], own, start, end)
    after[axis] = end - start
    sizes = [size if isinstance(size, int) else -1 for size in after]
    sizes[0] = 0 if before[0] == after[0] else sizes[0]
    if found is None or sizes.count(-1) > 1:
        return None
    return made(model, "Reshape", [found, np.array(sizes, np.int64)], after)


def part(model: Model, tensor: gs.Tensor, axis: int, start: int, end: int) -> gs.Tensor:
    """Some indices of an axis."""
    shape = list(tensor.shape)
    if (start, end) == (0, shape[axis]):
        return tensor
    shape[axis] = end - start
    bounds = [np.array([value], np.int64) for value in (start, end, axis)]
    return made(model, "Slice", [tensor, *bounds], shape)


def made(
    model: Model, op: str, inputs: Sequence[gs.Tensor | np.ndarray], shape: Sequence[object], **attrs: object
) -> gs.Variable:
    """A tensor that the file does not have: a node of the graph, and how its values come."""
    like = gs.Variable("", np.float32, tuple(shape))
    return result_of(model, like, f"{MADE}{op.lower()}", op, *inputs, **attrs)
