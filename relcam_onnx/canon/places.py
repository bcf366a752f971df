"""Where the values come from that moving ops make: what a chain of them does, however it is spelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.cut import CANNOT, computed, pieces
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import static_shape

MOVING = frozenset(
    {"Concat", "DepthToSpace", "Expand", "Gather", "Slice", "SpaceToDepth", "Tile", "Transpose", *RESHAPES}
)
"""Ops whose values are all values of their inputs."""
MOST = 2**21
"""Elements that a chain or a piece is run on at most: a picture's first layers have a million."""


class Moved(NamedTuple):
    """A chain of moves: the tensor that it begins at, its sizes, where each value came from, and its nodes."""

    source: gs.Variable
    sizes: list[int]
    came: np.ndarray
    nodes: tuple[gs.Node, ...]


def traced(source: gs.Tensor, nodes: Sequence[gs.Node]) -> np.ndarray | None:
    """What nodes that move values make of a source's elements, numbered in row-major order, in the result's shape.

    A batch that only a run knows counts as one image. None where another size is open, or a node needs more than the
    source and constants.
    """
    sizes = shape_of_one(source)
    if sizes is None or np.prod(sizes) > MOST:
        return None
    values = {source.name: np.arange(np.prod(sizes, dtype=np.int64)).reshape(sizes)}
    try:
        for node in nodes:
            result = node.outputs[0]
            if node.op in RESHAPES:  # the target of one that was joined of two stands on its result alone
                after = shape_of_one(result)
                values[result.name] = values[node.inputs[0].name].reshape(() if after is None else after)
            else:
                values[result.name] = computed(node, values)
    except CANNOT:
        return None
    return values[nodes[-1].outputs[0].name]


def shape_of_one(tensor: gs.Tensor) -> list[int] | None:
    """A tensor's shape, of one image where the batch is open; None where another size is."""
    shape = static_shape(tensor)
    if shape is None or None in shape[1:]:
        return None
    return [1 if size is None else size for size in shape]


def chains_to(result: gs.Tensor, order: Mapping[str, int], rank: int) -> Iterator[Moved]:
    """The chains of several moves from a tensor of so many axes to another, long ones first.

    One move counts that makes patches.
    """
    found = [p for p in pieces(result, order, MOVING) if len(p.nodes) > 1 or is_op(p.nodes[0], "SpaceToDepth")]
    for piece in reversed(found):
        sizes = shape_of_one(piece.source)
        came = traced(piece.source, piece.nodes) if sizes is not None and len(sizes) == rank else None
        if sizes is not None and came is not None and came.dtype == np.int64:  # no stored values stand among them
            yield Moved(piece.source, sizes, came, piece.nodes)
