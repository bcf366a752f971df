"""Means of means, sums of them and maxima of maxima are one: over one axis after the other, over windows of windows.

Where values of both signs cancel, a rule that takes them by sign shares in two steps otherwise than in one; and what
lies between two steps, rows without columns, is no stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import permutation
from relcam_onnx.canon.edit import detach, fold, is_op, only_reader, result_of, scaled, sweep
from relcam_onnx.canon.identity import integers
from relcam_onnx.canon.pools import name_means
from relcam_onnx.canon.spans import STILL, Span, spans
from relcam_onnx.model import Model, producer

REDUCTIONS = {
    "ReduceMean": "ReduceMean", "ReduceSum": "ReduceSum", "ReduceMax": "ReduceMax", "ReduceMin": "ReduceMin",
    "GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax",
    "AveragePool": "ReduceMean", "MaxPool": "ReduceMax",
}  # fmt: skip
"""What each does, over all of some axes; the pools where they have one window there."""
ALIKE = (("ReduceMean", "ReduceSum"), ("ReduceMax",), ("ReduceMin",))
"""What may be one, behind each other."""
BETWEEN = ("Transpose", "Squeeze", "Unsqueeze")


def join_reductions(model: Model) -> None:
    """Write every chain of reductions over axes as one, and a sum over its count as the mean that it is."""
    name_means(model)
    for node in reversed(list(model.graph.nodes)):
        if node.outputs and reduced(node) is not None:
            join_reduction(model, node)
    sweep(model)


def join_pools(model: Model) -> None:
    """Write every chain of pools, and a reduction behind it, as one."""
    for node in reversed(list(model.graph.nodes)):
        if node.outputs and is_op(node, *REDUCTIONS):
            join_pool(model, node)
    sweep(model)


class Joined(NamedTuple):
    """What a chain of reductions makes of its source.

    Attributes
    ----------
    axes
        The source's axes in the order that the result has them, None where it has one of length one instead.
    taken
        Of each op the axes that it is over.
    """

    axes: list[int | None]
    taken: dict[str, set[int]]

    @property
    def op(self) -> str:
        """The one op that all are but for a factor."""
        return "ReduceMean" if self.taken.get("ReduceMean") else next(iter(self.taken))


def reduced(node: gs.Node) -> tuple[str, list[int]] | None:
    """The reduction that a node is, and its axes; a pool is one where a single window has all of them."""
    if not is_op(node, *REDUCTIONS) or node.inputs[0].shape is None:
        return None
    if is_op(node, "GlobalAveragePool", "GlobalMaxPool"):
        axes = list(range(2, len(node.inputs[0].shape)))
    elif is_op(node, "AveragePool", "MaxPool"):
        lie = {axis: span for axis, span in enumerate(spans(node) or (), 2) if span != STILL}
        axes = list(lie)
        if any(span != Span(*[node.inputs[0].shape[axis]] * 2) for axis, span in lie.items()):
            return None
    else:
        axes = integers(node, 1) or []
    return (REDUCTIONS[node.op], axes) if axes else None


def join_reduction(model: Model, node: gs.Node) -> None:
    """Let a reduction do what others before it do, whatever turns between them."""
    chain = chain_of(model, node)
    source = chain[0].inputs[0]
    if sum(not is_op(step, *BETWEEN) for step in chain) < 2 or source.shape is None:
        return
    joined = followed(chain, len(source.shape))
    if joined is None:
        return
    factor = 1
    for axis in joined.taken.get("ReduceSum", ()) if joined.op == "ReduceMean" else ():
        if not isinstance(source.shape[axis], int):
            return
        factor *= source.shape[axis]
    result = node.outputs[0]
    for step in chain[:-1]:
        fold(model, step.outputs[0], result)
    for step in chain:
        detach(step)
    rebuilt(model, source, joined, factor, result)


def alike(*nodes: gs.Node) -> bool:
    """Whether all of some reductions and pools may be one."""
    return any(all(REDUCTIONS[node.op] in ops for node in nodes) for ops in ALIKE)


def chain_of(model: Model, node: gs.Node) -> list[gs.Node]:
    """The nodes that lead to a reduction from the first one of a chain, in order, and itself."""
    chain = [node]
    while (before := producer(chain[0].inputs[0])) is not None and only_reader(model, chain[0].inputs[0]) is not None:
        if not is_op(before, *BETWEEN) and (reduced(before) is None or not alike(before, node)):
            break
        chain.insert(0, before)
    while is_op(chain[0], *BETWEEN):
        del chain[0]
    return chain


def followed(chain: list[gs.Node], rank: int) -> Joined | None:
    """What a chain makes of a source of this rank; None where that is not known."""
    axes: list[int | None] = list(range(rank))
    taken: dict[str, set[int]] = {}
    for step in chain:
        if is_op(step, "Transpose"):
            axes = [axes[axis] for axis in permutation(step)]
            continue
        own = reduced(step)
        over = integers(step, 1) if own is None else own[1]
        if not over:
            return None
        if is_op(step, "Unsqueeze"):
            length = len(axes) + len(over)
            for axis in sorted(axis % length for axis in over):
                axes.insert(axis, None)
            continue
        over = [axis % len(axes) for axis in over]
        if own is not None:
            taken.setdefault(own[0], set()).update(at for place in over if (at := axes[place]) is not None)
        elif any(axes[axis] is not None for axis in over):
            return None
        if own is None or not step.attrs.get("keepdims", 1):
            axes = [axis for place, axis in enumerate(axes) if place not in over]
        else:
            axes = [None if place in over else axis for place, axis in enumerate(axes)]
    return Joined(axes, taken)


def rebuilt(model: Model, source: gs.Tensor, joined: Joined, factor: int, result: gs.Tensor) -> None:
    """Write what was joined as one reduction, and what turns its result."""
    over = set().union(*joined.taken.values())
    sizes, left = list(source.shape), sorted(axis for axis in joined.axes if axis is not None)
    whole = joined.axes == [None if axis in over else axis for axis in range(len(sizes))]
    tensor = source

    def put(op: str, after: Sequence[int | None], *inputs: np.ndarray, **attrs: object) -> None:
        nonlocal tensor
        like = gs.Variable("", result.dtype, [1 if axis is None else sizes[axis] for axis in after])
        tensor = result_of(model, like, f"{result.name}/joined", op, tensor, *inputs, **attrs)

    after: Sequence[int | None] = joined.axes if whole else left
    put(joined.op, after, np.array(sorted(over)), keepdims=int(whole))
    if factor != 1:
        put("Mul", after, np.array(factor, np.float32))
    turned = [axis for axis in joined.axes if axis is not None]
    if turned != left:
        put("Transpose", turned, perm=[left.index(axis) for axis in turned])
    if not whole and None in joined.axes:
        put("Unsqueeze", joined.axes, np.array([place for place, axis in enumerate(joined.axes) if axis is None]))
    del model.views[tensor.name]
    tensor.inputs[0].outputs[0] = result


def join_pool(model: Model, node: gs.Node) -> None:
    """Let a pool, or a reduction over positions, take the windows of pools before it that it alone reads."""
    while (before := producer(node.inputs[0])) is not None and only_reader(model, node.inputs[0]) is not None:
        inner, shape = spans(before), before.inputs[0].shape
        if inner is None or shape is None or not alike(before, node):
            return
        if (outer := spans(node)) is not None:
            attrs = of_both((inner, before), (outer, node), shape[2:])
            if attrs is None:
                return
            node.attrs = attrs
        elif not takes_all(node, before, inner):
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
    attrs: dict[str, object] = {"kernel_shape": list(kernel), "strides": list(strides), "pads": [*before, *behind]}
    return attrs if is_op(outer[1], "MaxPool") else {**attrs, "count_include_pad": max(counts, default=0)}


def takes_all(node: gs.Node, before: gs.Node, inner: Sequence[Span]) -> bool:
    """Whether a node takes all positions together that these windows of one before it lie on, and those have all."""
    _, over = reduced(node) or ("", [])
    lie = {axis for axis, span in enumerate(inner, 2) if span != STILL}
    # A value may be in several windows of a maximum.
    has = Span.covers if is_op(before, "MaxPool") else Span.tiles
    return lie <= {axis % (len(inner) + 2) for axis in over} and all(map(has, inner, before.inputs[0].shape[2:]))
