"""Stages: one layer for each of a network's resolutions, or at equal steps of depth where it keeps one.

Where a model reads several pictures each has stages of its own, as far as its tower goes: up to where they meet.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.paths import has_weights, receivers
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import is_op

HALF = Fraction(1, 2)
MOST = 4
"""So many stages a picture has at most, but for levels that a head reads."""


class Stage(NamedTuple):
    """A stage's name, ``stride8`` or ``depth6``, and its tensor."""

    name: str
    tensor: gs.Variable


def towers(geometry: Stages) -> dict[str, tuple[Stage, ...]]:
    """Picture -> its stages, finest first; pictures without any are left out.

    Where several have stages, those that are of some pictures alone bear their names: ``stride8/left``.
    """
    found = {t.name: Tower(geometry, t.name).stages for t in geometry.paths.pictures}
    found = {picture: stages for picture, stages in found.items() if stages}

    def named(stage: Stage) -> Stage:
        own = [picture for picture in found if picture in geometry.paths.origins[stage.tensor.name]]
        return stage if len(own) == len(found) else stage._replace(name=f"{stage.name}/{'+'.join(own)}")

    return {picture: tuple(map(named, stages)) for picture, stages in found.items()}


@dataclass(frozen=True)
class Tower:
    """What a network makes of one picture, and of others with it."""

    geometry: Stages
    picture: str

    def holds(self, name: str) -> bool:
        """Whether a tensor is made of the picture."""
        return self.picture in self.geometry.paths.origins[name]

    @cached_property
    def candidates(self) -> list[gs.Variable]:
        """The tensors that may be its stages, in order."""
        return [t for t in self.geometry.candidates if self.holds(t.name)]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """At each of the four largest strides the last cut, else the tensor of the largest share; finest first.

        Of tensors alike in that, one that other pictures have no part in tells more. Where a head reads several levels
        there are more, down to the finest of them: what is found there may pass no coarser one.
        """
        if steps := self._steps():
            return steps
        at: dict[Fraction, list[gs.Variable]] = defaultdict(list)
        for tensor in self.candidates:
            at[self.geometry.strides[tensor.name]].append(tensor)
        strides, levels = sorted(at), self.geometry.levels
        finest = min(levels) if len(levels) > 1 else max(strides, default=0)
        chosen = [s for i, s in enumerate(strides) if i >= len(strides) - MOST or s >= finest]
        return tuple(Stage(f"stride{float(stride):g}", self._best(at[stride])) for stride in chosen)

    def _best(self, tensors: Sequence[gs.Variable]) -> gs.Variable:
        """The tensor of the largest worth; of several alike in that the one behind the others.

        Of those that stand side by side, in an ensemble, no order of nodes decides, which files are free in: it is
        that of the most layers, of the largest weights, of the fewest moves; of crops the one that begins first.
        """
        most = max(map(self._worth, tensors))
        ends = self._ends([tensor for tensor in tensors if self._worth(tensor) == most])
        return ends[0] if len(ends) == 1 else max(ends, key=self._size)

    def _ends(self, tensors: Sequence[gs.Variable]) -> list[gs.Variable]:
        """Those of some tensors that none of the others is made of."""
        names, before = {tensor.name for tensor in tensors}, set[str]()
        for node in reversed(self.geometry.paths.nodes) if len(names) > 1 else ():
            if (name := node.outputs[0].name) in names or name in before:
                before.update(t.name for t in receivers(node))
        return [tensor for tensor in tensors if tensor.name not in before]

    @property
    def beside(self) -> list[gs.Variable]:
        """What ends at the stride of the deepest stage as that does: of other crops, views or networks."""
        deepest = self.stages[-1].tensor
        if self.geometry.paths.shares[deepest.name] == 1:
            return []
        strides = self.geometry.strides
        alike = [t for t in self.candidates if strides[t.name] == strides[deepest.name]]
        return [tensor for tensor in self._ends(alike) if tensor is not deepest]

    def _size(self, tensor: gs.Variable) -> tuple[object, ...]:
        """What tensors that stand side by side are chosen by."""
        return *self._sizes[tensor.name], [-grid.offset for grid in self.geometry.grids[tensor.name]]

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, float, int]]:
        """Tensor -> how many layers it stands behind, how large the last ones' weights are, and how few moves."""
        sizes: dict[str, tuple[int, float, int]] = {}
        for node in self.geometry.paths.nodes:
            read = [sizes.get(t.name, (0, 0.0, 0)) for t in receivers(node)]
            layers, weights, moved = (list(part) for part in zip(*read, strict=True)) if read else ([], [], [])
            layer, weight = has_weights(node), float(sum(weights))
            if layer:
                weight = sum(float(np.abs(t.values).sum()) for t in node.inputs if isinstance(t, gs.Constant))
            few = min(moved, default=0) - (moves(node) or is_op(node, "Slice"))
            sizes[node.outputs[0].name] = max(layers, default=0) + layer, weight, few
        return sizes

    def _worth(self, tensor: gs.Variable) -> tuple[Fraction, int]:
        paths = self.geometry.paths
        return paths.shares[tensor.name], -len(paths.origins[tensor.name])

    def _steps(self) -> tuple[Stage, ...]:
        """The stages of a network of residual blocks at one resolution; none where it is no such network."""
        geometry = self.geometry
        outputs = self._blocks([t for t in self.candidates if geometry.paths.shares[t.name] == 1])
        # Attention may stand on convolutions that bring the picture down to its resolution, and others on attention.
        finest = min((geometry.strides[t.name] for t in outputs), default=0)
        coarser = [t for t in self.candidates if geometry.strides[t.name] > finest and self._worth(t)[0] > HALF]
        alike = [*outputs, *coarser] if geometry.paths.attends else self.candidates
        depth = len(outputs)
        if depth < MOST or len({geometry.strides[t.name] for t in alike}) != 1:
            return ()
        chosen = [math.ceil(Fraction(depth * step, MOST)) for step in range(1, MOST + 1)]
        return tuple(Stage(f"depth{number}", outputs[number - 1]) for number in chosen)

    def _blocks(self, cuts: Sequence[gs.Variable]) -> list[gs.Variable]:
        """What residual blocks hand on: a block begins where positions are mixed, and joins that mix none are its own.

        The cut before a join is where its branch began, so it is what the block before handed on.
        """
        nodes = [node for node in self.geometry.paths.nodes if self.holds(node.outputs[0].name)]
        places = {node.outputs[0].name: place for place, node in enumerate(nodes)}
        ends = []
        for before, tensor in pairwise(cuts):
            between = nodes[places[before.name] + 1 : places[tensor.name] + 1]
            if len(receivers(between[-1])) > 1 and any(self.geometry.mixes(node) for node in between):
                ends.append(before)
        return [*ends[1:], cuts[-1]] if ends else []
