"""Which tensors relevance can pass between the image and the scores, and how coarse each is.

Paths are those that relevance can take: no shape arithmetic, no gate inputs (`Op.carries`). Everything here reads the
canonical graph alone; no run is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property

import onnx_graphsurgeon as gs

from relcam_onnx.model import Model, captured, producer, static_shape, variables
from relcam_onnx.ops import TABLE, Grid, key, lookup


def takers(node: gs.Node, *, gates: bool) -> list[tuple[int, gs.Variable]]:
    """The inputs of a node that relevance takes, with their positions, constants left out; ``gates``: a gradient.

    All of them for an op that nobody knows, and with position -1 what its subgraphs read.
    """
    computed = dict(variables(node))
    if key(node) not in TABLE:
        return [*computed.items(), *((-1, t) for t in captured(node))]
    return [(i, computed[i]) for i in lookup(node).takers(node, gates=gates) if i in computed]


def receivers(node: gs.Node) -> tuple[gs.Variable, ...]:
    """The inputs of a node that relevance can take."""
    return tuple(t for _, t in takers(node, gates=False))


class Paths:
    """The part of a model's graph that lies between its image inputs and its scores.

    Parameters
    ----------
    model
        A canonical model.
    scores
        The tensor that relevance starts at.
    """

    def __init__(self, model: Model, scores: gs.Tensor) -> None:
        self.model, self.scores = model, scores

    @cached_property
    def images(self) -> tuple[gs.Variable, ...]:
        """The inputs with a path to the scores but for single numbers; integers, too, where a Cast follows."""
        reached = {id(t) for node in self.nodes for t in receivers(node)}
        return tuple(t for t in self.model.graph.inputs if id(t) in reached and static_shape(t) != ())

    @cached_property
    def computed(self) -> frozenset[int]:
        """Ids of the tensors that depend on an input."""
        seen = {id(t) for t in self.model.graph.inputs}
        for node in self.model.graph.nodes:
            if any(id(t) in seen for t in (*(t for _, t in variables(node)), *captured(node))):
                seen.update(id(t) for t in node.outputs)
        return frozenset(seen)

    @cached_property
    def nodes(self) -> tuple[gs.Node, ...]:
        """The nodes on a path, in the order of the forward pass."""
        return self.reached(gates=False)

    def reached(self, *, gates: bool) -> tuple[gs.Node, ...]:
        """The nodes that relevance reaches from the scores, in the order of the forward pass; ``gates``: a gradient."""
        wanted, found = {id(self.scores)}, set()
        for node in reversed(self.model.graph.nodes):
            if any(id(t) in wanted for t in node.outputs):
                found.add(id(node))
                wanted.update(id(t) for _, t in takers(node, gates=gates) if id(t) in self.computed)
        return tuple(node for node in self.model.graph.nodes if id(node) in found)

    @cached_property
    def tensors(self) -> tuple[gs.Variable, ...]:
        """The first outputs of those nodes, in the same order."""
        return tuple(node.outputs[0] for node in self.nodes)

    @cached_property
    def grids(self) -> dict[int, tuple[Grid, ...]]:
        """Id of a tensor with positions -> where they lie in the image, for each of its axes of positions.

        Where paths meet the coarsest grid counts; centres that differ (a crop beside padding) take the mean.
        """
        found = {id(t): (Grid(),) * len(self.axes(t)) for t in self.images}
        for node in self.nodes:
            arriving = [t for t in receivers(node) if id(t) in found]
            if not arriving or not is_spatial(node.outputs[0]) or is_global(node):
                continue
            entry, axes = TABLE.get(key(node)), self.axes(arriving[0])
            own = entry.grids(node, axes) if entry and entry.grids else (Grid(),) * len(axes)
            merged = map(meeting, zip(*(found[id(t)] for t in arriving), strict=False))
            found[id(node.outputs[0])] = tuple(grid.on(base) for grid, base in zip(own, merged, strict=False))
        return found

    @cached_property
    def strides(self) -> dict[int, Fraction]:
        """Id of a tensor with positions -> its stride: input pixels per position, the largest of its axes."""
        return {name: max(abs(grid.stride) for grid in grids) for name, grids in self.grids.items()}

    def axes(self, tensor: gs.Tensor) -> tuple[int, ...]:
        """The axes of a tensor that hold positions, one at least; two where even the rank is unknown."""
        rank = max(3, len(tensor.shape)) if tensor.shape is not None else 4
        return tuple(range(1, rank - 1) if id(tensor) in self.channels_last else range(2, rank))

    @cached_property
    def channels_last(self) -> frozenset[int]:
        """Ids of the tensors in (N, positions..., C) order, as far as the input's shape and Transposes tell."""
        found = {id(t) for t in self.images if looks_channels_last(t)}
        for node in self.nodes:
            rank = len(node.outputs[0].shape or ())
            perm = list(node.attrs.get("perm") or ()) if node.op == "Transpose" else []
            arriving = any(id(t) in found for t in receivers(node))
            if perm == [0, *range(2, rank), 1] or (arriving and perm != [0, rank - 1, *range(1, rank - 1)]):
                found.add(id(node.outputs[0]))
        return frozenset(found)

    @cached_property
    def cuts(self) -> tuple[gs.Variable, ...]:
        """The tensors that every path from the image to the scores passes, in the order of the forward pass."""
        arriving: dict[int, int] = defaultdict(int, {id(t): 1 for t in self.images})
        for node in self.nodes:
            arriving[id(node.outputs[0])] += sum(arriving[id(t)] for t in receivers(node))
        leaving: dict[int, int] = defaultdict(int, {id(self.scores): 1})
        for node in reversed(self.nodes):
            for t in receivers(node):
                leaving[id(t)] += leaving[id(node.outputs[0])]
        total = arriving[id(self.scores)]
        return tuple(t for t in self.tensors if arriving[id(t)] * leaving[id(t)] == total)

    @cached_property
    def first(self) -> frozenset[int]:
        """Ids of the nodes with weights that the image reaches without passing another."""
        raw, found = {id(t) for t in self.images}, set()
        for node in self.nodes:
            if not any(id(t) in raw for t in receivers(node)):
                continue
            if key(node) in TABLE and has_weights(node):
                found.add(id(node))
            else:
                raw.add(id(node.outputs[0]))
        return frozenset(found)

    @cached_property
    def first_reads_image(self) -> bool:
        """Whether the first layers read the image's own values: nothing scales or shifts it before them."""
        untouched = {"Transpose", "Pad", "Cast", "Identity"}
        raw = {id(t) for t in self.images}
        for node in self.nodes:
            if node.op in untouched and any(id(t) in raw for t in receivers(node)):
                raw.add(id(node.outputs[0]))
        return all(id(t) in raw for node in self.nodes if id(node) in self.first for t in receivers(node))

    @cached_property
    def input_shifts(self) -> frozenset[int]:
        """Ids of the nodes that add a constant to the image before any layer."""
        raw, found = {id(t) for t in self.images}, set()
        for node in self.nodes:
            if id(node) not in self.first and any(id(t) in raw for t in receivers(node)):
                raw.add(id(node.outputs[0]))
                if key(node) in TABLE and lookup(node).role == "sum" and len(receivers(node)) == 1:
                    found.add(id(node))
        return frozenset(found)

    @cached_property
    def output(self) -> frozenset[int]:
        """Ids of the last nodes with weights before the scores, on every path."""
        return frozenset(id(n) for n in self._until(has_weights))

    def _until(self, stop: Callable[[gs.Node], bool]) -> list[gs.Node]:
        """The first nodes that satisfy ``stop`` on each path back from the scores."""
        open_, found = {id(self.scores)}, []
        for node in reversed(self.nodes):
            if id(node.outputs[0]) not in open_:
                continue
            if stop(node):
                found.append(node)
            else:
                open_.update(id(t) for t in receivers(node))
        return found

    @cached_property
    def stages(self) -> tuple[gs.Variable, ...]:
        """At each of the four largest strides the last cut after the first layer, finest first."""
        at: dict[Fraction, gs.Variable] = {}
        layers = [i for i, node in enumerate(self.nodes) if id(node) in self.first]
        begun = {id(node.outputs[0]) for node in self.nodes[: min(layers, default=0)]}
        for tensor in self.cuts:
            if id(tensor) in self.strides and id(tensor) not in begun | self.channels_last:
                at[self.strides[id(tensor)]] = tensor
        return tuple(at[stride] for stride in sorted(at)[-4:])


def meeting(grids: Sequence[Grid]) -> Grid:
    """Where positions lie that come by several paths."""
    stride = max((grid.stride for grid in grids), key=abs)
    offsets = [grid.offset for grid in grids if grid.stride == stride]
    return Grid(stride, sum(offsets, Fraction(0)) / len(offsets))


def has_weights(node: gs.Node) -> bool:
    """Whether a node is a layer: its linear part has weights of the model."""
    return lookup(node).role in ("conv", "batch-norm") if key(node) in TABLE else False


def is_spatial(tensor: gs.Tensor) -> bool:
    """Whether a tensor has positions: (N, C, positions...) with more than one of them, or of unknown number."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) >= 3 and not all(d == 1 for d in shape[2:])


def is_global(node: gs.Node) -> bool:
    """Whether a node pools over all positions at once."""
    if node.op in ("GlobalAveragePool", "GlobalMaxPool"):
        return True
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or len(before) < 3:
        return False
    if node.op in ("ReduceMean", "ReduceSum", "ReduceMax", "AveragePool"):
        return after is None or len(after) < 3 or all(d == 1 for d in after[2:])
    return False


def looks_channels_last(tensor: gs.Tensor) -> bool:
    """Whether an image input ends in its 1, 3 or 4 channels."""
    shape = static_shape(tensor)
    few = (1, 3, 4)
    return shape is not None and len(shape) == 4 and shape[3] in few and shape[1] not in few


def single_position(tensor: gs.Tensor) -> bool:
    """Whether a tensor is (N, C, 1, ...)."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) >= 3 and all(d == 1 for d in shape[2:])


def origin(tensor: gs.Tensor) -> str:
    """The op that makes a tensor; "Input" for an input."""
    node = producer(tensor)
    return node.op if node is not None else "Input"
