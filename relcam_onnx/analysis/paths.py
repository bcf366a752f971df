"""Which tensors relevance can pass between the image and the scores.

Paths are those that relevance can take: no shape arithmetic, no gate inputs (`Op.receivers`). Everything here reads the
canonical graph alone; no run is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from functools import cached_property

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import frames_first, rows_for
from relcam_onnx.model import Model, captured, producer, static_shape, variables
from relcam_onnx.ops import TABLE, key, lookup
from relcam_onnx.ops.product import attends


def receiving(node: gs.Node, *, gradient: bool) -> list[tuple[int, gs.Variable]]:
    """The inputs of a node that relevance, or a ``gradient``, goes to, with their positions; constants are left out.

    All of them for an op that nobody knows, and with position -1 what its subgraphs read.
    """
    computed = dict(variables(node))
    if key(node) not in TABLE:
        return [*computed.items(), *((-1, t) for t in captured(node))]
    return [(i, computed[i]) for i in lookup(node).receiving(node, gradient=gradient) if i in computed]


def receivers(node: gs.Node) -> tuple[gs.Variable, ...]:
    """The inputs of a node that relevance can take."""
    return tuple(t for _, t in receiving(node, gradient=False))


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
        reached = {t.name for node in self.nodes for t in receivers(node)}
        return tuple(t for t in self.model.graph.inputs if t.name in reached and static_shape(t) != ())

    @cached_property
    def pictures(self) -> tuple[gs.Variable, ...]:
        """The images that have positions; all of them where none has any."""
        return tuple(t for t in self.images if len(t.shape or ()) >= 3) or self.images

    @cached_property
    def frames(self) -> int:
        """How many frames of a clip are rows of the batch, in the input or within, for each row of the scores."""
        (picture, *_) = self.pictures or (self.scores,)
        if (folded := rows_for(picture, self.scores)) > 1:
            return folded
        count = (static_shape(picture) or ())[1:2] if frames_first(picture) else ()
        within = any(rows_for(tensor, self.scores) == count[0] for tensor in self.tensors) if count else False
        return (count[0] or 1) if within else 1

    @cached_property
    def computed(self) -> frozenset[str]:
        """The tensors that depend on an input."""
        seen = {t.name for t in self.model.graph.inputs}
        for node in self.model.graph.nodes:
            if any(t.name in seen for t in (*(t for _, t in variables(node)), *captured(node))):
                seen.update(t.name for t in node.outputs)
        return frozenset(seen)

    @cached_property
    def nodes(self) -> tuple[gs.Node, ...]:
        """The nodes on a path, in the order of the forward pass."""
        return self.reached(gradient=False)

    def reached(self, *, gradient: bool) -> tuple[gs.Node, ...]:
        """The nodes that relevance reaches from the scores, in order; ``gradient``: that one reaches."""
        wanted, reached = {self.scores.name}, []
        for node in reversed(self.model.graph.nodes):
            if any(t.name in wanted for t in node.outputs):
                reached.append(node)
                wanted.update(t.name for _, t in receiving(node, gradient=gradient) if t.name in self.computed)
        return tuple(reversed(reached))

    @cached_property
    def attends(self) -> bool:
        """Whether there is attention on them."""
        return any(map(attends, self.nodes))

    @cached_property
    def tensors(self) -> tuple[gs.Variable, ...]:
        """The first outputs of those nodes, in the same order."""
        return tuple(node.outputs[0] for node in self.nodes)

    @cached_property
    def origins(self) -> dict[str, frozenset[str]]:
        """Tensor -> the pictures that it is made of, by name."""
        origins: dict[str, frozenset[str]] = defaultdict(frozenset)
        origins |= {t.name: frozenset({t.name}) for t in self.pictures}
        for node in self.nodes:
            origins[node.outputs[0].name] = frozenset().union(*(origins[t.name] for t in receivers(node)))
        return origins

    @cached_property
    def shares(self) -> dict[str, Fraction]:
        """Tensor -> the share of the paths from its pictures to the scores that pass it; 1 at a cut of those."""
        leaving: dict[str, int] = defaultdict(int, {self.scores.name: 1})
        for node in reversed(self.nodes):
            for t in receivers(node):
                leaving[t.name] += leaving[node.outputs[0].name]
        arriving: dict[str, int] = defaultdict(int, {t.name: 1 for t in self.pictures})
        for node in self.nodes:
            arriving[node.outputs[0].name] += sum(arriving[t.name] for t in receivers(node))
        totals = {own: sum(leaving[name] for name in own) or 1 for own in {*self.origins.values()}}
        return {
            t.name: Fraction(arriving[t.name] * leaving[t.name], totals[self.origins[t.name]]) for t in self.tensors
        }

    @cached_property
    def raw(self) -> dict[str, gs.Node]:
        """The tensors that pictures become before any layer -> the nodes that make them."""
        raw: dict[str, gs.Node] = {}
        pictures, behind = {t.name for t in self.pictures}, set[str]()
        for node in self.nodes:
            read = {t.name for t in receivers(node)}
            if (key(node) in TABLE and has_weights(node)) or read & behind:
                behind.add(node.outputs[0].name)
            elif read & (pictures | raw.keys()):
                raw[node.outputs[0].name] = node
        return raw

    @cached_property
    def first(self) -> frozenset[str]:
        """The outputs of the layers that a picture reaches without passing another."""
        begun = {t.name for t in self.pictures} | set(self.raw)
        return frozenset(
            node.outputs[0].name
            for node in self.nodes
            if has_weights(node) and any(t.name in begun for t in receivers(node))
        )

    @cached_property
    def output(self) -> frozenset[str]:
        """The outputs of the last layers before the scores, on every path."""
        return frozenset(node.outputs[0].name for node in self._until(has_weights))

    def _until(self, stop: Callable[[gs.Node], bool]) -> list[gs.Node]:
        """The first nodes that satisfy ``stop`` on each path back from the scores."""
        open_, stopped = {self.scores.name}, []
        for node in reversed(self.nodes):
            if node.outputs[0].name not in open_:
                continue
            if stop(node):
                stopped.append(node)
            else:
                open_.update(t.name for t in receivers(node))
        return stopped


def has_weights(node: gs.Node) -> bool:
    """Whether a node is a layer: its linear part mixes its inputs with weights of the model."""
    return key(node) in TABLE and lookup(node).role_of(node) == "conv"


def origin(tensor: gs.Tensor) -> str:
    """The op that makes a tensor; "Input" for an input."""
    node = producer(tensor)
    return node.op if node is not None else "Input"
