"""Pools whose windows stand on axes of their own: Reshape, perhaps turned, and a maximum or mean over them (einops)."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.branches import moves_to
from relcam_onnx.canon.edit import detach, fresh, is_op, only_reader, reshaped, sweep
from relcam_onnx.canon.identity import over
from relcam_onnx.canon.moving import transposed
from relcam_onnx.canon.places import shape_of_one, traced
from relcam_onnx.model import Model, producer

POOLS = {"ReduceMax": "MaxPool", "ReduceMean": "AveragePool"}


def name_blocks(model: Model) -> None:
    """Write every such pool as one, whose result is moved to where the file has it."""
    for node in reversed(list(model.graph.nodes)):  # the last of a chain of reductions takes those before it
        if is_op(node, *POOLS) and node.outputs:
            name_block(model, node)
    sweep(model)


def name_block(model: Model, node: gs.Node) -> None:
    """Write one, where it is one."""
    result = node.outputs[0]
    chain: list[gs.Node] = []
    for reduction in reduces(model, node):
        chain.insert(0, reduction)
    for move in moves_to(chain[0].inputs[0]):
        chain.insert(0, move)
        source = move.inputs[0]
        sizes = shape_of_one(source)
        if sizes is None or len(sizes) < 4 or (order := windows(source, sizes, chain)) is None:
            continue
        kernel, perm = order
        small = [*source.shape[:2], *(size // k for size, k in zip(sizes[2:], kernel, strict=True))]
        name = fresh(model, f"{result.name}/pooled")
        like = gs.Variable("", result.dtype, [small[axis] for axis in perm])
        turned = reshaped(model, result, like, f"{name}/turned")
        pooled = transposed(model, turned, np.argsort(perm).tolist(), name)
        attrs = {"kernel_shape": kernel, "strides": kernel}
        op = POOLS[node.op]
        detach(node)
        model.graph.nodes += [
            gs.Node(op, name, attrs, [source], [pooled]),
            gs.Node("Transpose", turned.name, {"perm": list(perm)}, [pooled], [turned]),
            gs.Node("Reshape", result.name, {}, [turned], [result]),
        ]
        return


def reduces(model: Model, node: gs.Node) -> list[gs.Node]:
    """A reduction and those of its kind before it that nothing else reads, the last first."""
    found = [node]
    while is_op(before := producer(found[-1].inputs[0]), node.op) and only_reader(model, found[-1].inputs[0]):
        found.append(before)
    return found


def windows(source: gs.Tensor, sizes: list[int], chain: list[gs.Node]) -> tuple[list[int], tuple[int, ...]] | None:
    """Of a chain that ends in reductions: the blocks of the source's positions that it takes together, and its order.

    The order is the axes of the pooled tensor as the result has them, which may have some of them in one. None where
    the chain takes anything else together.
    """
    places = taken_together(source, chain)
    if places is None or places.shape[1] == 1:
        return None
    at = np.stack(np.unravel_index(np.sort(places, axis=1), sizes))  # axes, results, values
    first, last = at.min(axis=2), at.max(axis=2)
    extent = (last - first + 1)[:, 0]
    kernel = extent[2:].tolist()
    whole = np.all(last - first + 1 == extent[:, None]) and np.prod(extent) == places.shape[1]
    if not whole or np.any(extent[:2] != 1) or np.any(first % extent[:, None]) or np.any(np.array(sizes) % extent):
        return None
    small = np.array(sizes) // extent
    if np.prod(small[2:]) == 1 or len(first[0]) != np.prod(small):
        return None
    found = np.ravel_multi_index(tuple(first // extent[:, None]), tuple(small))
    pooled = np.arange(np.prod(small)).reshape(small)
    for rest in permutations(range(1, len(small))):
        if np.array_equal(pooled.transpose(0, *rest).reshape(-1), found):
            return kernel, (0, *rest)
    return None


def taken_together(source: gs.Tensor, chain: list[gs.Node]) -> np.ndarray | None:
    """Which of a source's elements each of the results is made of, (results, elements); None where that is unknown."""
    came = traced(source, [node for node in chain if node.op not in POOLS])
    if came is None:
        return None
    came = came[..., None]  # the last axis holds what was taken together
    for node in chain:
        if node.op in POOLS:
            rank = came.ndim - 1
            axes = over(node, rank)
            if axes is None:
                return None
            kept = [axis for axis in range(rank) if axis not in axes]
            came = came.transpose(*kept, *axes, rank).reshape(*(came.shape[axis] for axis in kept), -1)
            if node.attrs.get("keepdims", 1):
                came = np.expand_dims(came, axes)
    return came.reshape(-1, came.shape[-1])
