"""Where values come from that a file chose among: the table nearest to the picture, over what only chooses or moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import BOX, holds_scores
from relcam_onnx.analysis.kinds import GRID, TABLE
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers
from relcam_onnx.canon.repeated import number_of
from relcam_onnx.canon.unsquashing import keeps
from relcam_onnx.model import is_constant, producer, static_shape, variables

MOVES = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "Slice", "Split", "Expand", "Pad",
})  # fmt: skip
PICKS = frozenset({"Gather", "GatherND", "GatherElements", "Compress"})
"""What chooses where its indices are computed, and moves where they are not."""
RESCALES = ("Clip", "Mul", "Div")
"""What bounds boxes, or has them as shares or pixels."""
SQUASHES = frozenset({"Softmax", "Sigmoid"})
BEST = frozenset({"ReduceMax", "GlobalMaxPool"})
"""What takes the best class of each place; tf2onnx writes the one as the other."""


class Origin(NamedTuple):
    """Where the values of a tensor come from.

    Attributes
    ----------
    table
        A tensor of three axes, or a grid of four.
    squashed
        The op that squashed them on the way, or None.
    chosen
        Whether some of them were chosen on the way.
    times
        Another table, (N, places, 1) or turned, whose sigmoids multiplied those of this one: objectness or centreness.
    root
        Whether the square root was taken of that.
    """

    table: gs.Tensor
    squashed: str | None
    chosen: bool
    times: gs.Tensor | None = None
    root: bool = False

    @property
    def source(self) -> tuple[str, str | None, bool]:
        """What two of them have in common where they are of the same values."""
        return self.table.name, None if self.times is None else self.times.name, self.root


def origin(tensor: gs.Tensor, over: frozenset[str]) -> Origin | None:
    """The table nearest to the picture that the values of a tensor were chosen from; None where there is none.

    ``over`` are the ops that squash and are stepped over, one of them at most. Where no table stands between, values
    were chosen from a grid, all its cells in one row.
    """
    found = [traced(tensor, Way(over, rank, {})) for rank in (TABLE, GRID)]
    return next((each for each in found if each is not None and each.chosen), found[0])


class Way(NamedTuple):
    """How values are followed back: over which ops, to what rank, and what is known by the identity of tensors."""

    over: frozenset[str]
    rank: int
    known: dict[int, Origin | None]


def traced(tensor: gs.Tensor, way: Way) -> Origin | None:
    """The same on one way."""
    if id(tensor) not in way.known:
        way.known[id(tensor)] = None  # a graph has no circles; this only keeps to one visit
        way.known[id(tensor)] = step(tensor, way)
    return way.known[id(tensor)]


def step(tensor: gs.Tensor, way: Way) -> Origin | None:
    """One step back, and on from there."""
    node, shape, over = producer(tensor), tensor.shape, way.over
    if not holds_scores(tensor) or (is_op(node, "Cast") and not holds_scores(node.inputs[0])):
        return None  # classes and images that were counted
    own = Origin(tensor, None, False) if shape is not None and len(shape) == way.rank else None
    values = [] if node is None else values_of(node, tensor, over)
    behind = [found for t in values if (found := traced(t, way)) is not None]
    if node is None or len({found.source for found in behind}) != 1:
        return own or (product(behind) if is_op(node, "Mul") else None)
    squashed = next((found.squashed for found in behind if found.squashed), None)
    if (squashed is not None and node.op in over) or (squashed is None and is_op(node, "Sqrt")):
        return own
    chosen = chooses(node) or any(found.chosen for found in behind)
    root = behind[0].root or is_op(node, "Sqrt")
    return behind[0]._replace(squashed=node.op if node.op in over else squashed, chosen=chosen, root=root)


def product(factors: Sequence[Origin]) -> Origin | None:
    """Sigmoids of classes times those of one number a place, from a table of its own; None for other products."""
    single = [each for each in factors if 1 in (static_shape(each.table) or ())[1:]]
    others = [each for each in factors if each not in single]
    told = len(single) == len(others) == 1 and all(each.squashed == "Sigmoid" for each in factors)
    if not told or any(each.times is not None or each.root for each in factors):
        return None
    return others[0]._replace(times=single[0].table, chosen=any(each.chosen for each in factors))


def values_of(node: gs.Node, tensor: gs.Tensor, over: frozenset[str]) -> list[gs.Tensor]:
    """Those among a node's inputs whose values a tensor has, some of them or all."""
    if is_op(node, "Gather") and not over and is_constant(node.inputs[1]) and node.inputs[1].values.size > 1:
        return []  # sides in another order are other boxes
    if not over and is_op(node, *RESCALES) and any(map(is_constant, node.inputs)):
        return [t for _, t in variables(node)] if rescales(node) else []
    joined = producer(node.inputs[0]) if is_op(node, "Slice") else None
    if joined is not None and is_op(joined, "Concat") and any(map(is_filled, joined.inputs)):
        return parts_cut(node, joined)  # with columns of one number it is no table of scores
    first = node.op == "TopK" and tensor is node.outputs[0]
    if first or node.op in MOVES | PICKS | BEST | over or (over and (is_op(node, "Sqrt") or keeps(node))):
        return [node.inputs[0]]
    if is_op(node, "Concat"):
        return [t for t in node.inputs if not is_constant(t)]
    if is_op(node, "Mul") and not any(map(is_constant, node.inputs)):
        return list(node.inputs)  # of objectness and classes
    if is_op(node, "Where"):
        return [t for t in node.inputs[1:] if not is_constant(t)]
    return [node.inputs[2]] if is_op(node, "ScatterND", "ScatterElements") else []


def is_filled(tensor: gs.Tensor) -> bool:
    """Whether a tensor is told by the file, or filled with one number."""
    return is_constant(tensor) or number_of(tensor) is not None


def parts_cut(node: gs.Node, joined: gs.Node) -> list[gs.Tensor]:
    """Of what was joined along an axis, that which a Slice along it reads; what was joined, where it reads several."""
    starts, ends, axes, steps = (integers(node, i) or [] for i in range(1, 5))
    rank = len(joined.outputs[0].shape or ())
    along = int(joined.attrs["axis"]) % max(rank, 1)
    sizes = [size for t in joined.inputs if (size := (static_shape(t) or (None,) * (along + 1))[along]) is not None]
    if [axis % max(rank, 1) for axis in axes] != [along] or steps not in ([], [1]) or len(sizes) < len(joined.inputs):
        return [joined.outputs[0]]
    read = range(sum(sizes))[starts[0] : ends[0]]
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    parts = zip(joined.inputs, begins, sizes, strict=True)
    within = [t for t, begin, size in parts if begin <= read.start and read.stop <= begin + size]
    return [t for t in within if not is_filled(t)] or [joined.outputs[0]]


def rescales(node: gs.Node) -> bool:
    """Whether a node bounds boxes, or tells them in other units, across and down: they are still those they were."""
    if is_op(node, "Clip"):
        return True
    units = [np.asarray(t.values).reshape(-1) for t in node.inputs[is_op(node, "Div") :] if is_constant(t)]
    return len(units) == 1 and bool((units[0] > 0).all()) and (units[0].size == 1 or is_pair(units[0]))


def is_pair(units: np.ndarray) -> bool:
    """Whether both corners of boxes have these units."""
    return units.size == BOX and bool((units[: BOX // 2] == units[BOX // 2 :]).all())


def chooses(node: gs.Node) -> bool:
    """Whether which values are told hangs on the picture."""
    return node.op in BEST | {"TopK", "Compress"} or (node.op in PICKS and not is_constant(node.inputs[1]))


def are_picked(rows: gs.Tensor) -> bool:
    """Whether rows are those that a run chose, of one image, and no image's each."""
    node = producer(rows)
    while is_op(node, *MOVES, *SQUASHES):
        node = producer(node.inputs[0])
    return is_op(node, *PICKS) and not is_constant(node.inputs[1])
