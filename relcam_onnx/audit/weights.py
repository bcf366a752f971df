"""The weights of a model's layers from its scores down, and the model with the first of them drawn anew."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from relcam_onnx.analysis.paths import has_weights
from relcam_onnx.audit import metrics
from relcam_onnx.audit.factors import DEQUANTISING, FACTORS, KEEPING, SHAPING, axes_of
from relcam_onnx.errors import RelcamError
from relcam_onnx.model import Model, producer
from relcam_onnx.onnx_file.float_products import WEIGHTS as INTEGERS
from relcam_onnx.onnx_file.load import with_sizes
from relcam_onnx.onnx_file.protos import graphs, reads, stored, subgraphs
from relcam_onnx.onnx_file.weights import forget_unread
from relcam_onnx.prepare import Prepared
from relcam_onnx.runners.session import SessionSettings, open_session, run_session


class Weight(NamedTuple):
    """A weight, as a file stores it or makes it of constants.

    Attributes
    ----------
    name, value
        The tensor and what it holds.
    axes
        The order of its axes in which outputs come before inputs: a weight is drawn alike however the file turns it.
    """

    name: str
    value: NDArray[Any]
    axes: tuple[int, ...]


class Weights:
    """What the layers between a model's inputs and its scores have learned, biases and norms apart.

    Parameters
    ----------
    model
        The model.
    scores
        The tensors that the layers lead to; the outputs unless told.

    Attributes
    ----------
    found
        Each weight once, the one nearest to the scores first, by the number of layers between.
    left
        What cannot be drawn anew, and why.
    """

    def __init__(self, model: Model, scores: Collection[str] = ()) -> None:
        self.model, proto = model, model.proto
        self._held = stored(proto.graph)
        self._makers = {name: node for node in proto.graph.node for name in node.output if name}
        self._constant = set(self._held)
        for node in proto.graph.node:
            if all(name in self._constant for name in reads(node)):
                self._constant.update(node.output)
        found: dict[str, Weight] = {}
        left: dict[str, str] = {}
        for node, place in self._read(scores or [value.name for value in proto.graph.output]):
            if place is None:
                left[node.output[0]] = "it lies in a branch or a loop"
                continue
            name, turns = self._origin(node.input[place])
            if name not in self._constant or name in found or name in left:
                continue
            try:
                value = self._value(name)
            except RelcamError as error:
                left[name] = f"it cannot be computed: {error}"
                continue
            if value.size < 2 or (value == value.reshape(-1)[0]).all():
                left[name] = "all of its numbers are the same"
                continue
            found[name] = Weight(name, value, axes_of(node, place, turns, value.ndim))
        self.found = tuple(found.values())
        self.left = tuple(f"{name!r}: {why}" for name, why in left.items())

    def __len__(self) -> int:
        return len(self.found) + len(self.left)

    def randomised(self, count: int, seed: int | Sequence[int] = 0) -> Model:
        """The model with the first ``count`` drawn anew, normal with each one's mean and deviation: `metrics.drawn`.

        One: the classifier alone. More and more of them: cascading randomisation, the model parameter randomisation
        test of Adebayo et al. 2018 (arXiv:1810.03292). What fewer draw with one seed is drawn alike by more. All else
        is shared with the model.

        Raises
        ------
        ValueError
            There are fewer.
        """
        if not 0 <= count <= len(self.found):
            raise ValueError(f"the model has {len(self.found)} weights that can be drawn anew, not {count}")
        rng, anew = np.random.default_rng(seed), dict[str, NDArray[Any]]()
        for name, value, axes in self.found[:count]:
            drawn = metrics.drawn(value.transpose(axes), rng).transpose(np.argsort(axes))
            anew[name] = np.ascontiguousarray(drawn)
        proto, apart = onnx.ModelProto(), {name for name in anew if name in self.model.weights}
        proto.CopyFrom(self.model.proto)
        graph = proto.graph
        held = [tensor for tensor in graph.initializer if tensor.name not in anew or tensor.name in apart]
        held += [numpy_helper.from_array(value, name) for name, value in anew.items() if name not in apart]
        del graph.initializer[:]
        graph.initializer.extend(held)
        leave_read(graph, anew.keys())
        weights = self.model.weights | {name: anew[name] for name in apart}
        digest = hashlib.sha256(f"{self.model.sha256} {count} {seed}".encode()).hexdigest()
        return with_sizes(replace(self.model, proto=proto, weights=forget_unread(proto, weights), sha256=digest), {})

    def _read(self, scores: Collection[str]) -> Iterator[tuple[onnx.NodeProto, int | None]]:
        """The layers that lead to the scores and where their factors stand, the nearest first; of inner graphs None."""
        above = dict.fromkeys(scores, 0)
        """Tensor -> the most layers that lie between it and the scores."""
        layers: list[tuple[int, onnx.NodeProto, int | None]] = []
        for node in reversed(self.model.proto.graph.node):
            depth = max((above[name] for name in node.output if name in above), default=None)
            if depth is None or self._constant.issuperset(node.output):
                continue
            places = [place for place in FACTORS.get(node.op_type, ()) if place < len(node.input)]
            layers += [(depth, node, place) for place in places]
            inner = chain.from_iterable(graph.node for own in subgraphs(node) for graph in graphs(own))
            layers += [(depth, each, None) for each in inner if each.op_type in FACTORS]
            for name in reads(node):
                above[name] = max(above.get(name, 0), depth + bool(places))
        for _, node, place in sorted(layers, key=lambda layer: layer[0]):
            yield node, place

    def _origin(self, name: str) -> tuple[str, list[onnx.NodeProto]]:
        """Where a factor comes from: a tensor of constants, if it is any, and the nodes between, the layer's first."""
        between = []
        while (node := self._makers.get(name)) is not None:
            if node.op_type not in KEEPING and (name in self._constant or node.op_type not in SHAPING):
                break
            between.append(node)
            name = node.input[0]
        whole, more = name, list[onnx.NodeProto]()
        while (node := self._makers.get(whole)) is not None and node.op_type in DEQUANTISING:
            more.append(node)
            whole = node.input[0]
        if name in self._constant and whole in self._held and self._held[whole].data_type in INTEGERS:
            return whole, between + more
        return name, between

    def _value(self, name: str) -> NDArray[Any]:
        """What a tensor of constants holds, computed where it is not stored."""
        if name in self._held:
            apart = self.model.weights.get(name)
            return numpy_helper.to_array(self._held[name]) if apart is None else apart
        part = onnx.ModelProto(ir_version=self.model.proto.ir_version, opset_import=self.model.proto.opset_import)
        part.graph.CopyFrom(helper.make_graph(self.model.proto.graph.node, "constants", [], []))
        part.graph.initializer.extend(self.model.proto.graph.initializer)
        part.graph.output.add(name=name)
        leave_read(part.graph)
        weights = forget_unread(part, self.model.weights)
        (value,) = run_session(open_session(part, SessionSettings(threads=1), weights), [name], {})
        return value


def leave_read(graph: onnx.GraphProto, held: Collection[str] = ()) -> None:
    """Drop the nodes whose results nothing reads, those that made what is ``held`` now included."""
    wanted, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if any(name in wanted and name not in held for name in node.output):
            kept.append(node)
            wanted.update(reads(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))


def weights_of(prepared: Prepared) -> Weights:
    """The weights that a model's explained scores hang on."""
    model = prepared.model
    return Weights(model, set(in_file(model, prepared.scores.tensor)))


def in_file(model: Model, tensor: gs.Tensor) -> Iterator[str]:
    """The tensors of the file that one of the canonical graph is made of, the nearest."""
    made = {name for node in model.proto.graph.node for name in node.output}
    seen, open_ = set[int](), [tensor]
    while open_:
        tensor = open_.pop()
        if id(tensor) in seen or not isinstance(tensor, gs.Variable) or tensor.is_empty():
            continue
        seen.add(id(tensor))
        if tensor.name in made:
            yield tensor.name
            continue
        node, view = producer(tensor), model.views.get(tensor.name)
        # A view may be cut from all that a file joins, boxes too, where the node has the scores alone.
        if view is not None and (node is None or view.op == "Part" or has_weights(node)):
            open_ += [part for part in view.inputs if isinstance(part, gs.Tensor)]
        elif node is not None:
            open_ += node.inputs
