"""The one table of ops: what the engine knows of each, under its ONNX name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import onnx_graphsurgeon as gs

from relcam_onnx.model import variables
from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.grids import Grids
from relcam_onnx.ops.layer import Layer
from relcam_onnx.ops.records import Call, Record

Build: TypeAlias = Callable[[Backend, Call], Record]
Nonnegative: TypeAlias = Callable[[gs.Tensor], bool]


def first_input(node: gs.Node) -> tuple[int, ...]:
    """Relevance goes to input 0 alone: weights, shapes and bounds get none."""
    return (0,)


def every_input(node: gs.Node) -> tuple[int, ...]:
    """Relevance goes to every input that a run computes."""
    return tuple(index for index, _ in variables(node))


def never_refuses(node: gs.Node) -> str | None:
    """Every form of the op is known."""
    return None


def sign_unknown(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output may be negative."""
    return False


def sign_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output never is negative."""
    return True


def sign_kept(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output is ≥ 0 where all inputs are that receive relevance."""
    return all(nonnegative(node.inputs[index]) for index in lookup(node).receivers(node))


def sign_of_all(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output is ≥ 0 where all inputs are, constants too."""
    return all(map(nonnegative, node.inputs))


def sign_of_any(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """The output is ≥ 0 where one input is."""
    return any(map(nonnegative, node.inputs))


@dataclass(frozen=True)
class Op:
    """An entry of the table.

    Attributes
    ----------
    build
        (f, call) -> `Linear` or `Relay`.
    receivers
        node -> the inputs that relevance goes to.
    gradient_receivers
        node -> the inputs that a gradient goes to; None: the same. Gates have a gradient, and get no relevance.
    nonnegative
        (node, nonnegative) -> whether the output is ≥ 0 whatever the picture; the second answers that for a tensor.
    grids
        (node, axes) -> where the output's positions lie on the input's, one `Grid` for each of the input's ``axes``
        that hold positions: a stride above 1 for pooling, below for upsampling. None: every position stays.
    refuses
        node -> why this form of the op cannot be explained, or None.
    role
        What presets call it, or node -> that: ``"conv"``, ``"batch-norm"``, ``"norm"``, ``"sum"`` or ``"average"`` for
        an op with a linear part, ``"bias"`` for a constant on its own; None for any other relay.
        Whether a linear part is dense or first is the plan's to say.
    layer
        Where its weights stand and how scales go into them; None where it has none.
    """

    build: Build
    receivers: Callable[[gs.Node], tuple[int, ...]] = first_input
    gradient_receivers: Callable[[gs.Node], tuple[int, ...]] | None = None
    nonnegative: Callable[[gs.Node, Nonnegative], bool] = sign_unknown
    grids: Grids | None = None
    refuses: Callable[[gs.Node], str | None] = never_refuses
    role: str | Callable[[gs.Node], str] | None = None
    layer: Layer | None = None

    def role_of(self, node: gs.Node) -> str | None:
        """What presets call a node of this op."""
        return self.role(node) if callable(self.role) else self.role

    def layer_of(self, node: gs.Node) -> Layer | None:
        """What a node says of its weights; None where it has none in the file (a product of two computed tensors)."""
        held = self.layer is not None and isinstance(node.inputs[self.layer.weight(node)], gs.Constant)
        return self.layer if held else None

    def receiving(self, node: gs.Node, *, gradient: bool) -> tuple[int, ...]:
        """The inputs that relevance goes to; with ``gradient`` those that a gradient goes to."""
        return self.gradient_receivers(node) if gradient and self.gradient_receivers else self.receivers(node)


TABLE: dict[str, Op] = {}


def key(node: gs.Node) -> str:
    """A node's name in the table: its op, with the domain before it (``"com.acme::Gate"``) unless that is ONNX's."""
    domain = getattr(node, "domain", None)
    return node.op if domain in (None, "", "ai.onnx") else f"{domain}::{node.op}"


def lookup(node: gs.Node) -> Op:
    """The entry of a node's op; KeyError where there is none."""
    return TABLE[key(node)]


def op(
    *names: str,
    receivers: Callable[[gs.Node], tuple[int, ...]] = first_input,
    gradient_receivers: Callable[[gs.Node], tuple[int, ...]] | None = None,
    nonnegative: Callable[[gs.Node, Nonnegative], bool] = sign_unknown,
    grids: Grids | None = None,
    refuses: Callable[[gs.Node], str | None] = never_refuses,
    role: str | Callable[[gs.Node], str] | None = None,
    layer: Layer | None = None,
) -> Callable[[Build], Build]:
    """Teach the engine an op.

    The decorated function takes a backend ``f`` and a `Call` and returns a `Linear` or a `Relay`; the arguments are the
    attributes of `Op`. Ops of other domains than ONNX's are named ``"domain::Op"``. A name that the table has already
    is replaced. docs/ops.md walks through an example.
    """

    def register(build: Build) -> Build:
        entry = Op(build, receivers, gradient_receivers, nonnegative, grids, refuses, role, layer)
        TABLE.update(dict.fromkeys(names, entry))
        return build

    return register
