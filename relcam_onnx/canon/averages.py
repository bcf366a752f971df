"""Means of means, and sums of them, are one: over one axis after the other, and over windows of windows.

Where values of both signs cancel, a rule that takes them by sign shares in two steps otherwise than in one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, result_of, scaled, sweep
from relcam_onnx.canon.identity import drop_identities, integers
from relcam_onnx.canon.pools import name_means
from relcam_onnx.model import Model, producer

REDUCTIONS = ("ReduceMean", "ReduceSum", "GlobalAveragePool")
BETWEEN = ("Transpose", "Squeeze", "Unsqueeze")


def join_reductions(model: Model) -> None:
    """Write every chain of means and sums over axes as one, and a sum over its count as the mean that it is."""
    name_means(model)
    for node in reversed(list(model.graph.nodes)):
        if node.outputs and is_op(node, *REDUCTIONS):
            join_reduction(model, node)
    sweep(model)


def join_pools(model: Model) -> None:
    """Write every chain of average pools, and a mean behind it, as one."""
    drop_identities(model)  # such as stand behind pools of blocks
    for node in reversed(list(model.graph.nodes)):
        if node.outputs and is_op(node, "AveragePool", *REDUCTIONS):
            join_pool(model, node)
    sweep(model)


class Joined(NamedTuple):
    """What a chain of reductions makes of its source.

    Attributes
    ----------
    axes
        The source's axes in the order that the result has them, None where it has one of length one instead.
    means, sums
        Axes that a mean and a sum is taken over.
    """

    axes: list[int | None]
    means: set[int]
    sums: set[int]


def join_reduction(model: Model, node: gs.Node) -> None:
    """Let a reduction do what others before it do, whatever turns between them."""
    chain = chain_of(model, node)
    source = chain[0].inputs[0]
    if sum(is_op(step, *REDUCTIONS) for step in chain) < 2 or source.shape is None:
        return
    joined = followed(chain, len(source.shape))
    if joined is None:
        return
    factor = 1
    for axis in joined.sums if joined.means else ():
        if not isinstance(source.shape[axis], int):
            return
        factor *= source.shape[axis]
    result = node.outputs[0]
    for step in chain[:-1]:
        fold(model, step.outputs[0], result)
    for step in chain:
        detach(step)
    rebuilt(model, source, joined, factor, result)


def chain_of(model: Model, node: gs.Node) -> list[gs.Node]:
    """The nodes that lead to a reduction from the first one of a chain, in order, and itself."""
    chain = [node]
    while (
        is_op(before := producer(chain[0].inputs[0]), *REDUCTIONS, *BETWEEN)
        and only_reader(model, chain[0].inputs[0]) is not None
    ):
        chain.insert(0, before)
    while not is_op(chain[0], *REDUCTIONS):
        del chain[0]
    return chain


def followed(chain: list[gs.Node], rank: int) -> Joined | None:
    """What a chain makes of a source of this rank; None where that is not known."""
    axes: list[int | None] = list(range(rank))
    means: set[int] = set()
    sums: set[int] = set()
    for step in chain:
        if is_op(step, "Transpose"):
            axes = [axes[axis] for axis in permutation(step)]
            continue
        over = list(range(2, len(axes))) if is_op(step, "GlobalAveragePool") else integers(step, 1)
        if not over:
            return None
        if is_op(step, "Unsqueeze"):
            length = len(axes) + len(over)
            for axis in sorted(axis % length for axis in over):
                axes.insert(axis, None)
            continue
        over = [axis % len(axes) for axis in over]
        if is_op(step, "Squeeze"):
            if any(axes[axis] is not None for axis in over):
                return None
        else:
            taken = {own for place in over if (own := axes[place]) is not None}
            (sums if is_op(step, "ReduceSum") else means).update(taken)
        if is_op(step, "Squeeze") or not step.attrs.get("keepdims", 1):
            axes = [axis for place, axis in enumerate(axes) if place not in over]
        else:
            axes = [None if place in over else axis for place, axis in enumerate(axes)]
    return Joined(axes, means, sums)


def rebuilt(model: Model, source: gs.Tensor, joined: Joined, factor: int, result: gs.Tensor) -> None:
    """Write what was joined as one reduction, and what turns its result."""
    over = joined.means | joined.sums
    sizes, left = list(source.shape), sorted(axis for axis in joined.axes if axis is not None)
    whole = joined.axes == [None if axis in over else axis for axis in range(len(sizes))]
    tensor = source

    def put(op: str, after: Sequence[int | None], *inputs: np.ndarray, **attrs: object) -> None:
        nonlocal tensor
        like = gs.Variable("", result.dtype, [1 if axis is None else sizes[axis] for axis in after])
        tensor = result_of(model, like, f"{result.name}/joined", op, tensor, *inputs, **attrs)

    after: Sequence[int | None] = joined.axes if whole else left
    put("ReduceMean" if joined.means else "ReduceSum", after, np.array(sorted(over)), keepdims=int(whole))
    if factor != 1:
        put("Mul", after, np.array(factor, np.float32))
    turned = [axis for axis in joined.axes if axis is not None]
    if turned != left:
        put("Transpose", turned, perm=[left.index(axis) for axis in turned])
    if not whole and None in joined.axes:
        put("Unsqueeze", joined.axes, np.array([place for place, axis in enumerate(joined.axes) if axis is None]))
    del model.views[tensor.name]
    tensor.inputs[0].outputs[0] = result


class Span(NamedTuple):
    """How an average pool's windows lie along one axis."""

    kernel: int = 1
    stride: int = 1
    before: int = 0
    behind: int = 0

    def tiles(self, size: int | str | None) -> bool:
        """Whether the windows lie side by side and leave none of so many positions out."""
        return self[1:] == (self.kernel, 0, 0) and isinstance(size, int) and size % self.kernel == 0

    def then(self, other: Span, size: int | str | None) -> Span | None:
        """One that does what this and then another does to so many positions; None where there is none."""
        if STILL in (self, other):
            return other if self == STILL else self
        # What the last windows leave out at the end lies in no window of theirs, unless that reaches into padding.
        if not self.tiles(size if other.before or other.behind else 0):
            return None
        return Span(*(self.kernel * number for number in other))


STILL = Span()
"""Nothing happens along an axis."""


def spans(node: gs.Node) -> list[Span] | None:
    """Those of an AveragePool that says where each window lies; None of any other node."""
    if not is_op(node, "AveragePool") or node.attrs.get("ceil_mode") or set(node.attrs.get("dilations") or [1]) != {1}:
        return None
    if node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.inputs[0].shape is None:
        return None
    kernel, sizes = node.attrs["kernel_shape"], node.inputs[0].shape[2:]
    rank = len(kernel)
    pads = node.attrs.get("pads") or [0] * (2 * rank)
    found = starmap(Span, zip(kernel, node.attrs.get("strides") or [1] * rank, pads[:rank], pads[rank:], strict=True))
    # A single window may be as far from the next as one likes.
    return [
        Span(size, size) if span == Span(size, span.stride) else span for span, size in zip(found, sizes, strict=True)
    ]


def join_pool(model: Model, node: gs.Node) -> None:
    """Let a pool, or a mean over positions, take the windows of pools before it that it alone reads."""
    while (before := producer(node.inputs[0])) is not None and only_reader(model, node.inputs[0]) is not None:
        inner, shape = spans(before), before.inputs[0].shape
        if inner is None or shape is None:
            return
        if (outer := spans(node)) is not None:
            attrs = of_both((inner, before), (outer, node), shape[2:])
            if attrs is None:
                return
            node.attrs = attrs
        elif not all(map(Span.tiles, inner, shape[2:])) or not takes_all(node, inner):
            return
        elif is_op(node, "ReduceSum"):
            scaled(model, node, 1 / math.prod(span.kernel for span in inner))
        fold(model, node.inputs[0], node.outputs[0])
        node.inputs[0] = before.inputs[0]
        detach(before)


def of_both(
    inner: tuple[list[Span], gs.Node], outer: tuple[list[Span], gs.Node], sizes: Sequence[int | str | None]
) -> dict[str, object] | None:
    """The attributes of one pool that does what two do; None where there is no such pool."""
    counts = {
        node.attrs.get("count_include_pad", 0) for own, node in (inner, outer) if any(s[2:] != (0, 0) for s in own)
    }
    joined = [span for span in map(Span.then, inner[0], outer[0], sizes) if span is not None]
    if len(counts) > 1 or len(joined) < len(sizes):
        return None
    kernel, strides, before, behind = zip(*joined, strict=True)
    return {
        "kernel_shape": list(kernel), "strides": list(strides), "pads": [*before, *behind],
        "count_include_pad": max(counts, default=0),
    }  # fmt: skip


def takes_all(node: gs.Node, inner: Sequence[Span]) -> bool:
    """Whether a node takes the mean or sum over all positions along the axes that these windows lie on."""
    if is_op(node, "GlobalAveragePool"):
        return True
    over, rank = integers(node, 1) or [], len(inner) + 2
    lie = {axis for axis, span in enumerate(inner, 2) if span != STILL}
    return is_op(node, *REDUCTIONS) and lie <= {axis % rank for axis in over}
