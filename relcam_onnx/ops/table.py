"""The one table of ops: what the engine knows of each, under its ONNX name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import variables
from relcam_onnx.ops.grids import Grids
from relcam_onnx.ops.records import Backend, Call, Record

Build: TypeAlias = Callable[[Backend, Call], Record]
Affine: TypeAlias = tuple[np.ndarray, np.ndarray]
Known: TypeAlias = Callable[[gs.Tensor], bool]


def first_input(node: gs.Node) -> tuple[int, ...]:
    """Relevance goes to input 0 alone: weights, shapes and bounds get none."""
    return (0,)


def every_input(node: gs.Node) -> tuple[int, ...]:
    """Relevance goes to every input that a run computes."""
    return tuple(index for index, _ in variables(node))


def never_refuses(node: gs.Node) -> str | None:
    """Every form of the op is known."""
    return None


def sign_unknown(node: gs.Node, known: Known) -> bool:
    """The output may be negative."""
    return False


def sign_nonnegative(node: gs.Node, known: Known) -> bool:
    """The output never is negative."""
    return True


def sign_kept(node: gs.Node, known: Known) -> bool:
    """The output is ≥ 0 where all inputs are that carry relevance."""
    return all(known(node.inputs[index]) for index in lookup(node).carries(node))


def values_kept(node: gs.Node) -> Affine:
    """What is moved or cast keeps its values."""
    return np.ones(1), np.zeros(1)


@dataclass(frozen=True)
class Op:
    """An entry of the table.

    Attributes
    ----------
    build
        (f, call) -> `Linear` or `Relay`.
    carries
        node -> the inputs that relevance can take.
    differentiates
        node -> the inputs that a gradient takes; None: the same. Gates have a gradient, and get no relevance.
    nonnegative
        (node, known) -> whether the output is ≥ 0 whatever the picture; ``known`` answers that for a tensor.
    grids
        (node, axes) -> where the output's positions lie on the input's, one `Grid` for each of the input's ``axes``
        that hold positions: a stride above 1 for pooling, below for upsampling. None: every position stays.
    affine
        node -> (scale, shift) where all that the op does to the values of what carries relevance is ``x · scale +
        shift``, numbers or one a channel, as the file has them; else None. None for an op that never does.
    refuses
        node -> why this form of the op cannot be explained, or None.
    role
        What presets call it: ``"conv"``, ``"batch-norm"``, ``"norm"``, ``"sum"`` or ``"average"`` for an op
        with a linear part; None for a relay. What makes a linear part dense or first is the plan's to say.
    """

    build: Build
    carries: Callable[[gs.Node], tuple[int, ...]] = first_input
    differentiates: Callable[[gs.Node], tuple[int, ...]] | None = None
    nonnegative: Callable[[gs.Node, Known], bool] = sign_unknown
    grids: Grids | None = None
    affine: Callable[[gs.Node], Affine | None] | None = None
    refuses: Callable[[gs.Node], str | None] = never_refuses
    role: str | None = None

    def takers(self, node: gs.Node, *, gates: bool) -> tuple[int, ...]:
        """The inputs that relevance takes; with ``gates`` those that a gradient takes."""
        return self.differentiates(node) if gates and self.differentiates else self.carries(node)


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
    carries: Callable[[gs.Node], tuple[int, ...]] = first_input,
    differentiates: Callable[[gs.Node], tuple[int, ...]] | None = None,
    nonnegative: Callable[[gs.Node, Known], bool] = sign_unknown,
    grids: Grids | None = None,
    affine: Callable[[gs.Node], Affine | None] | None = None,
    refuses: Callable[[gs.Node], str | None] = never_refuses,
    role: str | None = None,
) -> Callable[[Build], Build]:
    """Teach the engine an op.

    The decorated function takes a backend ``f`` and a `Call` and returns a `Linear` or a `Relay`; the arguments are the
    attributes of `Op`. Ops of other domains than ONNX's are named ``"domain::Op"``. A name that the table has already
    is replaced. docs/ops.md walks through an example.
    """

    def register(build: Build) -> Build:
        entry = Op(build, carries, differentiates, nonnegative, grids, affine, refuses, role)
        TABLE.update(dict.fromkeys(names, entry))
        return build

    return register
