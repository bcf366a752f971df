"""What must run between the scores and the layers asked for: the nodes in reverse, each with its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.paths import Paths, is_global, receivers, receiving, single_position
from relcam_onnx.analysis.support import check_supported
from relcam_onnx.errors import OptionError
from relcam_onnx.lrp.presets import ROLES, Preset, Site, matches
from relcam_onnx.model import Model, static_shape, variables
from relcam_onnx.ops import TABLE, key, lookup
from relcam_onnx.rules import Rule


@dataclass(frozen=True)
class Step:
    """One node of the reverse walk: its rule, the inputs that get something, and the computed ones known to be ≥ 0."""

    node: gs.Node
    rule: Rule
    receivers: frozenset[int]
    nonnegative: frozenset[int]


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
    nonnegative
        The names of the layers that are ≥ 0 whatever the picture.
    """

    steps: tuple[Step, ...]
    scores: gs.Tensor
    tensors: tuple[str, ...]
    nonnegative: frozenset[str]


def make_plan(model: Model, paths: Paths, preset: Preset, layers: Sequence[gs.Tensor]) -> Plan:
    """Choose what runs.

    Raises
    ------
    UnsupportedModelError
        Nodes on the way cannot be handled; all are listed.
    OptionError
        The preset has no rule for an op, or a match that names no op of the model.
    """
    gradient = any(rule.gradient for _, rule in preset.rules)
    leads = {id(t) for t in layers}
    region = paths.reached(gradient=gradient)
    needed = []
    for node in region:
        if any(id(t) in leads for _, t in receiving(node, gradient=gradient)):
            leads.add(id(node.outputs[0]))
            needed.append(node)
    check_supported(model, needed)
    check_matches(model, paths, preset)
    signs = Signs()
    steps, arriving = [], {id(paths.scores)}
    for node in reversed(needed):
        if id(node.outputs[0]) not in arriving:
            continue
        rule = rule_for(site_of(model, paths, node), node, preset)
        taking = {i: t for i, t in receiving(node, gradient=rule.gradient) if id(t) in leads}
        if not taking:
            continue
        arriving.update(id(t) for t in taking.values())
        nonnegative = frozenset(i for i, t in variables(node) if signs.nonnegative(t))
        steps.append(Step(node, rule, frozenset(taking), nonnegative))
    names = {t.name for step in steps for _, t in variables(step.node)}
    names |= {step.node.outputs[0].name for step in steps} | {t.name for t in layers} | {paths.scores.name}
    positive = frozenset(t.name for t in layers if signs.nonnegative(t))
    return Plan(tuple(steps), paths.scores, tuple(sorted(names)), positive)


def check_matches(model: Model, paths: Paths, preset: Preset) -> None:
    """A match that is a text names a role, or something that the model has."""
    sites = [site_of(model, paths, node) for node in paths.nodes]
    for match, _ in preset.rules:
        if callable(match) or match in ROLES or match in TABLE or any(matches(match, site) for site in sites):
            continue
        raise OptionError(
            f"preset {preset.name!r}: {match!r} is no role ({', '.join(ROLES)}), no op type, and fits no module "
            "path or node name of this model"
        )


def site_of(model: Model, paths: Paths, node: gs.Node) -> Site:
    """A node as matches see it."""
    roles = set()
    role = lookup(node).role if key(node) in TABLE else None
    if role == "conv":
        roles.add("dense" if is_dense(node) else "conv")
    elif role == "average":
        roles |= {"average", "global-average"} if is_global(node) else {"average"}
    elif role == "sum":
        roles.add("sum" if len(receivers(node)) > 1 else "bias")
    elif role:
        roles.add(role)
    roles |= {
        name
        for name, nodes in (
            ("first", paths.first),
            ("input-shift", paths.input_shifts),
            ("output", paths.output),
        )
        if id(node) in nodes
    }
    if "first" in roles and (static_shape(node.inputs[0]) or ())[1:2] == (3,):
        roles.add("first-rgb")
    return Site(node.op, node.name, model.scopes.get(node.outputs[0].name, ""), frozenset(roles))


def is_dense(node: gs.Node) -> bool:
    """Gemm, MatMul, and Conv over a single position."""
    return node.op in ("Gemm", "MatMul") or single_position(node.inputs[0])


def rule_for(site: Site, node: gs.Node, preset: Preset) -> Rule:
    """The preset's rule; relays that nothing matches relay as they are."""
    rule = preset.rule(site)
    if rule is not None:
        return rule
    if lookup(node).role is None:
        return Rule()
    raise OptionError(
        f"preset {preset.name!r} has no rule for {site.op} node {site.name!r} "
        f'({", ".join(sorted(site.roles)) or "no role"}); end its rules with a match "*"'
    )


class Signs:
    """Which tensors are ≥ 0 whatever the picture."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def nonnegative(self, tensor: gs.Tensor) -> bool:
        """Whether a tensor is; a constant by its values, anything else by the op that makes it."""
        if id(tensor) not in self._known:
            self._known[id(tensor)] = self._ask(tensor)
        return self._known[id(tensor)]

    def _ask(self, tensor: gs.Tensor) -> bool:
        if isinstance(tensor, gs.Constant):
            return bool((tensor.values >= 0).all())
        if not tensor.inputs or key(tensor.inputs[0]) not in TABLE:
            return False
        node = tensor.inputs[0]
        return lookup(node).nonnegative(node, self.nonnegative)
