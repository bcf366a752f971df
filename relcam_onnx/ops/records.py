"""What an op tells the walk: its linear part, or how it relays relevance.

An op is a function that takes a `Call`, one node with the values its tensors have in this run, and returns a `Linear`
(a weighted sum, for which a preset chooses a rule) or a `Relay` (anything else). Both speak only through a backend
``f`` whose methods are named like ONNX ops, so the same lines run in NumPy and can be recorded as ONNX nodes.

Shapes: activations have a leading axis N, the images; relevance has K·N, all images for the first target, then for the
second, and so on. ``f.each(a)`` repeats something made of activations K times so that the two meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import mul
from typing import Any, TypeAlias, TypeVar

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Size, Value

T = TypeVar("T")


def product(sizes: Sequence[Size]) -> Size:
    """How many positions these sizes make."""
    return reduce(mul, sizes, 1)


@dataclass(frozen=True)
class Message:
    """Relevance on its way back through one tensor.

    R = ``value`` where ``of`` is None, else R = ``value`` · ``of``: a rule that divides by what the next one multiplies
    with leaves the product undone, and passing an activation or a gate costs nothing.

    ``support`` is a tensor (N, ...) that is 0 only where R is, and elsewhere equals the tensor that the message is
    at; None where a rule makes no such promise. Before a ReLU it is the ReLU's output: its input need not be known.
    """

    value: Value
    of: Value | None = None
    support: Value | None = None

    def unsupported(self) -> Message:
        """The same relevance at another tensor, of which nothing is promised."""
        return Message(self.value, self.of)

    def relevance(self, f: Backend) -> Value:
        """R itself, (K·N, ...)."""
        return self.value if self.of is None else self.value * f.each(self.of)


def meet(f: Backend, messages: Sequence[Message]) -> Message:
    """The sum of what all readers of a tensor hand back: relevance meets before it passes on."""
    first, *others = messages
    if not others:
        return first
    support = first.support if all(m.support is first.support for m in others) else None
    if first.of is not None and all(m.of is first.of for m in others):
        return Message(f.Sum(*(m.value for m in messages)), first.of, support)
    return Message(f.Sum(*(m.relevance(f) for m in messages)), support=support)


@dataclass(frozen=True)
class Term:
    """One input of a linear op.

    Attributes
    ----------
    x
        The input's value, (N, ...).
    apply
        (x, w) -> its part of the output, linear in both arguments.
    adjoint
        (s, w) -> the transposed map of s, (K·N, *output) -> (K·N, *x).
    weight
        The weights; None where the op has none to choose a sign of (coefficients that are fixed and positive).
    nonnegative
        Whether x is known to be ≥ 0 for every picture (it comes from a ReLU, say).
    index
        Which input of the node it is.
    diagonal
        Whether each output has a single contribution from here, x · w element by element.
    receives
        Whether anyone reads what it gets: a constant takes its share, and that is gone.
    """

    x: Value
    apply: Callable[[Value, Any], Value]
    adjoint: Callable[[Value, Any], Value]
    weight: Value | None = None
    nonnegative: bool = False
    index: int = 0
    diagonal: bool = False
    receives: bool = True


@dataclass(frozen=True)
class Linear:
    """y = Σ_terms apply(x, w) + b.

    ``y`` is the output that the forward pass computed, ``bias`` broadcasts to it. ``derivative`` replaces the adjoints
    under the gradient, by input index, where the weights themselves depend on an input (normalisation by the picture's
    own statistics, a product of two tensors). ``elementwise`` makes the same op with its mean, too, a number that
    stands in the bias: see `by_sign`. ``halves`` makes a product of two tensors of both, each counted half.
    """

    terms: tuple[Term, ...]
    y: Value
    bias: Value | None = None
    derivative: Callable[[Value], Mapping[int, Value]] | None = None
    elementwise: Callable[[], Linear] | None = None
    halves: Callable[[], Linear] | None = None

    def by_sign(self) -> Linear:
        """The form for rules that ask for the sign of a weight.

        A weight of a normalisation has contributions of both signs, x_j w_j and the mean's; there each output has a
        single one.
        """
        return self.elementwise() if self.elementwise else self


@dataclass(frozen=True)
class Relay:
    """An op without weights: how relevance, and how a gradient, passes back.

    ``relevance`` and ``gradient`` map what arrives at the output to what each input gets, by input index.
    ``keeps_support`` says that what `Message.support` promises of the output holds in each message that is handed on,
    as it stands there; without it ``relevance`` is given messages that promise nothing. ``expansion`` makes of an op
    that mixes its elements (softmax) the linear one that it is for small changes.
    """

    relevance: Callable[[Message], Mapping[int, Message]]
    gradient: Callable[[Value], Mapping[int, Value]]
    keeps_support: bool = False
    expansion: Callable[[], Linear] | None = None


Record: TypeAlias = Linear | Relay


@dataclass(frozen=True)
class Call:
    """One node, with what its tensors hold in one run.

    ``inputs`` has None for an optional input left out; constants are ndarrays, but for large weights while a model is
    compiled, which are names. ``output`` is the first output.
    """

    node: gs.Node
    inputs: tuple[Value | None, ...]
    output: Value
    nonnegative: frozenset[int] = field(default_factory=frozenset)

    def attr(self, name: str, default: T) -> T:
        """An attribute of the node, ``default`` where it is not set."""
        value = self.node.attrs.get(name, default)
        return default if value is None else value

    def constant(self, index: int) -> bool:
        """Whether input ``index`` is there and stands in the file."""
        return index < len(self.node.inputs) and isinstance(self.node.inputs[index], gs.Constant)

    @property
    def x(self) -> Value:
        """Input 0."""
        return self.value(0)

    def value(self, index: int) -> Value:
        """Input ``index``, which every node of this op has."""
        value = self.inputs[index]
        if value is None:
            raise ValueError(f"input {index} of {self.node.op} node {self.node.name!r} is left out")
        return value

    def get(self, index: int) -> Value | None:
        """Input ``index``, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def numbers(self, index: int) -> list[Any]:
        """What input ``index`` lists (axes, scales, ...), as Python numbers; [] where it is left out."""
        value = self.get(index)
        return [] if value is None else list(np.asarray(value).reshape(-1).tolist())

    def attributes(self, *names: str) -> dict[str, Any]:
        """Those of the named attributes that the node sets, as keywords for the backend."""
        return {name: self.node.attrs[name] for name in names if self.node.attrs.get(name) is not None}


def through(f: Backend, slope: Value | None = None) -> Relay:
    """Relevance passes to input 0 as it is; a gradient times ``slope`` (N, ...), where there is one."""
    return Relay(
        relevance=lambda m: {0: m},
        gradient=lambda g: {0: g if slope is None else g * f.each(slope)},
    )
