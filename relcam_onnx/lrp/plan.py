"""What must run between the scores and the layers asked for: the nodes in reverse, each with its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.bounds import Bounds, image_bounds
from relcam_onnx.analysis.layers import Layer
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.paths import Paths, receivers, receiving
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.analysis.support import check_supported, lowest_explained
from relcam_onnx.errors import OptionError
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.lrp.sites import ROLES, Site, matches
from relcam_onnx.model import View, static_shape, variables
from relcam_onnx.ops import TABLE, key, lookup
from relcam_onnx.ops.signs import Signs
from relcam_onnx.rules import Rule, ZBox


@dataclass(frozen=True)
class Step:
    """One node of the reverse walk: its rule, the inputs that get something, and the computed ones known to be ≥ 0.

    Of a ``rounded`` one the file has its output rounded.
    """

    node: gs.Node
    rule: Rule
    receivers: frozenset[int]
    nonnegative: frozenset[int]
    rounded: bool = False


@dataclass(frozen=True)
class Plan:
    """The reverse walk for one set of layers.

    Attributes
    ----------
    steps
        From the scores down.
    scores
        Where relevance starts.
    tensors
        The names of those whose values it reads.
    views
        How those among them that the file does not have are made.
    nonnegative
        The names of the layers that are ≥ 0 whatever the picture.
    """

    steps: tuple[Step, ...]
    scores: gs.Tensor
    tensors: tuple[str, ...]
    views: Mapping[str, View]
    nonnegative: frozenset[str]

    @cached_property
    def exposed(self) -> tuple[str, ...]:
        """The tensors of the file that the walk needs: ``tensors``, and what views are made of."""
        waiting, exposed = list(self.tensors), set()
        while waiting:
            name = waiting.pop()
            if name in self.views:
                waiting += [part.name for part in self.views[name].inputs if isinstance(part, gs.Tensor)]
            else:
                exposed.add(name)
        return tuple(sorted(exposed))


def make_plan(
    paths: Paths, geometry: Stages, preset: Preset, layers: Sequence[Layer], bounds: Mapping[str, Bounds]
) -> Plan:
    """Choose what runs.

    Parameters
    ----------
    paths, geometry
        What was found in the model.
    preset
        Which rule each op gets.
    layers
        Where relevance is wanted.
    bounds
        Picture -> the smallest and largest values that it can have, (C,) each, for zᴮ; of those where they are known.

    Raises
    ------
    UnsupportedModelError
        Nodes on the way cannot be handled; all are listed.
    OptionError
        The preset has no rule for an op, or a match that names no op of the model.
    """
    gradient = any(rule.gates for _, rule in preset.rules)
    leads = {layer.tensor.name for layer in layers}
    needed = []
    for node in paths.reached(gradient=gradient):
        if any(t.name in leads for _, t in receiving(node, gradient=gradient)):
            leads.add(node.outputs[0].name)
            needed.append(node)
    check_supported(paths.model, needed, partial(lowest_explained, paths, geometry.strides, gradient=gradient))
    sites = Sites(paths, geometry)
    check_matches(sites, preset)
    signs = Signs()
    steps, arriving = [], {paths.scores.name}
    for node in reversed(needed):
        if node.outputs[0].name not in arriving:
            continue
        rule = rule_for(sites.of(node), node, preset)
        taking = {i: t for i, t in receiving(node, gradient=rule.gates) if t.name in leads}
        if not taking:
            continue
        arriving.update(t.name for t in taking.values())
        nonnegative = frozenset(i for i, t in variables(node) if signs.nonnegative(t))
        if isinstance(rule, ZBox):
            rule = bounded(rule, paths, [t.name for t in taking.values()], bounds)
        rounded = paths.model.rounds(node.outputs[0].name)
        steps.append(Step(node, rule, frozenset(taking), nonnegative, rounded))
    names = {t.name for step in steps for _, t in variables(step.node)}
    names |= {step.node.outputs[0].name for step in steps} | {paths.scores.name}
    names |= {layer.tensor.name for layer in layers}
    names |= {layer.layout.origin for layer in layers if layer.layout and None in sizes_of(layer.layout)}
    positive = frozenset(layer.tensor.name for layer in layers if signs.nonnegative(layer.tensor))
    return Plan(tuple(steps), paths.scores, tuple(sorted(names)), paths.model.views, positive)


def reading_plan(paths: Paths, layers: Sequence[Layer], more: Sequence[str] = ()) -> Plan:
    """No walk at all: the scores, the values of some layers, and of ``more`` tensors."""
    names = {paths.scores.name, *(layer.tensor.name for layer in layers), *more}
    names |= {layer.layout.origin for layer in layers if layer.layout and None in sizes_of(layer.layout)}
    return Plan((), paths.scores, tuple(sorted(names)), paths.model.views, frozenset())


def bounded(rule: ZBox, paths: Paths, reads: Sequence[str], bounds: Mapping[str, Bounds]) -> ZBox:
    """zᴮ with the pictures' bounds as they are where a layer reads it: those that were set, else those known."""
    low, high = rule.low, rule.high
    known = low is None and high is None
    ends: Any = (low if low is not None else high, high if high is not None else low)
    told = {picture.name: ends for picture in paths.pictures}
    if known:
        told = dict(bounds) if rule.known_bounds else {}
    followed = image_bounds(paths, told)
    box = next((followed[name] for name in reads if name in followed), None)
    if box is None:
        return rule
    return replace(rule, low=box[0] if known or low is not None else None,
                   high=box[1] if known or high is not None else None)  # fmt: skip


def sizes_of(layout: Layout) -> tuple[int | None, ...]:
    """The sizes of a row's grid, None for those that only a run knows."""
    return tuple(size if isinstance(size, int) else None for size in layout.grid)


def check_matches(sites: Sites, preset: Preset) -> None:
    """A match that is a text names a role, or something that the model has."""
    every = [sites.of(node) for node in sites.paths.nodes]
    for match, _ in preset.rules:
        if callable(match) or match in ROLES or match in TABLE or any(matches(match, site) for site in every):
            continue
        raise OptionError(
            f"preset {preset.name!r}: {match!r} is no role ({', '.join(ROLES)}), no op type, and fits no module "
            "path or node name of this model"
        )


class Sites:
    """Nodes as matches see them."""

    def __init__(self, paths: Paths, geometry: Stages) -> None:
        self.paths, self.geometry = paths, geometry

    def of(self, node: gs.Node) -> Site:
        """A node's type, name, module path and roles."""
        name, roles = node.outputs[0].name, set()
        role = lookup(node).role_of(node) if key(node) in TABLE else None
        if role == "conv":
            over_channels = self.paths.attends and not self.geometry.mixes(node)
            roles.add("conv" if self._several(node) and not over_channels else "dense")
        elif role == "average":
            roles |= {"average", "global-average"} if name not in self.geometry.layouts else {"average"}
        elif role:
            roles.add(role)
        if name in self.paths.raw and role not in (None, "average") and len(receivers(node)) == 1:
            roles.add("input-shift")
        roles |= {word for word, names in (("first", self.paths.first), ("output", self.paths.output)) if name in names}
        if self.paths.attends and role in ("sum", "average"):
            roles.add("attention-sum")
        if "first" in roles and (static_shape(node.inputs[0]) or ())[1:2] == (3,):
            roles.add("first-rgb")
        return Site(node.op, node.name, self.paths.model.scopes.get(name, ""), frozenset(roles))

    def _several(self, node: gs.Node) -> bool:
        """Whether a layer's output has several positions, or a number that only a run knows."""
        output = node.outputs[0]
        layer, shape = lookup(node).layer_of(node), static_shape(output)
        if layer is None or shape is None:
            return output.name in self.geometry.layouts
        return any(shape[axis] != 1 for axis in layer.positions(node, len(shape)))


def rule_for(site: Site, node: gs.Node, preset: Preset) -> Rule:
    """The preset's rule; relays that nothing matches relay as they are."""
    rule = preset.rule(site)
    if rule is not None:
        return rule
    if lookup(node).role_of(node) in (None, "bias"):
        return Rule()
    raise OptionError(
        f"preset {preset.name!r} has no rule for {site.op} node {site.name!r} "
        f'({", ".join(sorted(site.roles)) or "no role"}); end its rules with a match "*"'
    )
