"""The LRP rules: how the relevance of a linear op's output is shared among its inputs.

Notation: y_j = Σ_i x_i w_ij + b_j, R_j the relevance of output j; x⁺ = max(x, 0), x⁻ = min(x, 0), same for w, b.
Every denominator is stabilised, stab(z) = z + ε · sign(z) with sign(0) = +1. Each class is one formula;
docs/methods.md sets them beside each other.

Sources: Bach et al. 2015, doi:10.1371/journal.pone.0130140 (ε, αβ); Montavon et al. 2017, arXiv:1512.02479
(z⁺, zᴮ, w²); Montavon et al. 2019, doi:10.1007/978-3-030-28954-6_10 (γ, rule 0); Lapuschkin et al. 2019,
arXiv:1902.10178 (flat).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from relcam_onnx.contributions import (
    ABSENT,
    handed,
    pushed,
    pushed_quotient,
    quotient,
    share_by_weight,
    signed,
    total,
    without_bias,
)
from relcam_onnx.errors import OptionError
from relcam_onnx.ops.records import Backend, Linear, Message, Relay, Term, Value

EPSILON = 1e-6
"""The stabiliser of every denominator, unless a rule names another."""

Messages: TypeAlias = Mapping[int, Message]
"""What each input of a node gets, by input index."""


class Rule:
    """How one op hands relevance back. A rule of one's own overrides `linear`."""

    name: ClassVar[str] = ""
    through_gates: ClassVar[bool] = False
    """Whether gates get something too, not only the signal that they weigh."""

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """Share a linear op's relevance among its inputs."""
        raise OptionError(f"rule {self.name or type(self).__name__} is not for linear ops")

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """Pass relevance through an op without weights, as the op itself says."""
        return op.relevance(message)


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = x_i Σ_j w_ij R_j / stab(y_j): the ε rule; the bias takes its share (``bias``)."""

    eps: float = EPSILON
    bias: bool = True
    name: ClassVar[str] = "epsilon"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        z = op.y if self.bias else without_bias(f, op)
        s = quotient(f, message, z, self.eps, positive=all(t.nonnegative and t.weight is None for t in op.terms))
        return {t.index: Message(t.adjoint(s, t.weight), t.x, t.x) for t in op.terms}


@dataclass(frozen=True)
class Zero(Epsilon):
    """Rule 0: the ε rule with ε = 0; nothing passes where y_j = 0."""

    eps: float = 0.0
    name: ClassVar[str] = "zero"


@dataclass(frozen=True)
class Norm(Epsilon):
    """The ε rule without bias, for Add and average pools: every input by its part of the sum."""

    bias: bool = False
    name: ClassVar[str] = "norm"


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_i = α Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺) - β Σ_j q_ij R_j / stab(Σ_i q_ij + b_j⁻).

    p_ij = x_i⁺ w_ij⁺ + x_i⁻ w_ij⁻ are the contributions that push up,
    q_ij = x_i⁺ w_ij⁻ + x_i⁻ w_ij⁺ those that push down.
    """

    alpha: float = 2.0
    beta: float = 1.0
    bias: bool = True
    eps: float = EPSILON
    name: ClassVar[str] = "alpha-beta"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        up = pushed_quotient(f, op, message, +1, self.bias, self.eps)
        down = pushed_quotient(f, op, message, -1, self.bias, self.eps)

        def share(t: Term) -> Value:
            gained, lost = handed(f, t, up, +1).relevance(f), handed(f, t, down, -1).relevance(f)
            return f.Sub(f.Mul(gained, self.alpha), f.Mul(lost, self.beta))

        return {t.index: Message(share(t), support=t.x) for t in op.terms}


@dataclass(frozen=True)
class ZPlus(Rule):
    """R_i = Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺): only what pushes up counts; ``bias=False`` leaves b out."""

    bias: bool = True
    eps: float = EPSILON
    name: ClassVar[str] = "z-plus"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        s = pushed_quotient(f, op, message, +1, self.bias, self.eps)
        return {t.index: handed(f, t, s, +1) for t in op.terms}


@dataclass(frozen=True)
class Gamma(Rule):
    """What pushes the way the output went counts γ times more, for inputs of either sign.

    Where y_j > 0: n_ij = x_i w_ij + γ p_ij over y_j + γ Σ_i p_ij + γ b_j⁺; where y_j < 0 the same with q_ij and b_j⁻;
    nothing passes where y_j = 0.
    """

    gamma: float = 0.25
    eps: float = EPSILON
    name: ClassVar[str] = "gamma"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        up, down = (
            quotient(f, side, f.Add(op.y, f.Mul(self._lean(f, op, sign), self.gamma)), self.eps)
            for sign, side in zip((+1, -1), by_sign(f, op, message), strict=True)
        )

        def share(t: Term) -> Value:
            extra = f.Add(handed(f, t, up, +1).relevance(f), handed(f, t, down, -1).relevance(f))
            plain = f.Mul(t.adjoint(f.Add(up, down), t.weight), f.each(t.x))
            return f.Add(plain, f.Mul(extra, self.gamma))

        return {t.index: Message(share(t), support=t.x) for t in op.terms}

    def _lean(self, f: Backend, op: Linear, sign: int) -> Value:
        """Σ_i p_ij + b_j⁺, or Σ_i q_ij + b_j⁻."""
        found = pushed(f, op, sign)
        if op.bias is None:
            return found
        return f.Add(found, f.Max(op.bias, 0.0) if sign > 0 else f.Min(op.bias, 0.0))


@dataclass(frozen=True)
class SignShare(Rule):
    """Every input by its part of what has the output's sign; the rest gets nothing, nor does anything where y_j = 0.

    For y = x + p that is R · clip(x / y, 0, 1) for x and the remainder for p: shares stay between 0 and 1, where
    proportional ones explode as x and p cancel.
    """

    eps: float = EPSILON
    name: ClassVar[str] = "sign-share"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        if len(op.terms) == 1 and op.terms[0].nonnegative and op.terms[0].weight is None:
            return Norm(self.eps).linear(f, op, message)
        if len(op.terms) == 2 and all(t.weight is None or f.dims(t.weight) == () for t in op.terms):
            return self._of_two(f, op, message)
        up, down = (
            pushed_quotient(f, op, side, sign, bias=False, eps=self.eps)
            for sign, side in zip((+1, -1), by_sign(f, op, message), strict=True)
        )
        return {
            t.index: Message(f.Add(handed(f, t, up, +1).relevance(f), handed(f, t, down, -1).relevance(f)), support=t.x)
            for t in op.terms
        }

    def _of_two(self, f: Backend, op: Linear, message: Message) -> Messages:
        """R · clip(x / y, 0, 1) and the rest: one quotient for both."""
        first, second = sorted(op.terms, key=lambda t: not t.nonnegative)
        relevance, y = message.relevance(f), message.support
        if y is None:
            y = op.y
            relevance = f.Where(f.each(f.Equal(y, 0.0)), 0.0, relevance)
        # 1e-30 is below every activation and keeps 0 / 0 from being NaN.
        share = f.Clip(f.Div(first.apply(first.x, first.weight), f.Add(y, 1e-30)), 0.0, 1.0)
        taken = f.Mul(relevance, f.each(share))
        rest = f.Sub(relevance, taken)
        return {t.index: Message(t.adjoint(r, None), support=t.x) for t, r in ((first, taken), (second, rest))}


@dataclass(frozen=True)
class ZBox(Rule):
    """zᴮ: n_ij = x_i w_ij - low_i w_ij⁺ - high_i w_ij⁻ over Σ_i n_ij, no bias, padding counts 0.

    ``low`` and ``high`` are the bounds of the input: a number, or one per channel (C,). Where they are None the input's
    own smallest and largest value serve, one pair per image over all channels. ``known_bounds`` lets the engine set
    them where the preprocessing tells.
    """

    low: float | tuple[float, ...] | None = None
    high: float | tuple[float, ...] | None = None
    known_bounds: bool = True
    eps: float = EPSILON
    name: ClassVar[str] = "z-box"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        boxes = [
            (self._bound(f, t.x, self.low, f.ReduceMin), self._bound(f, t.x, self.high, f.ReduceMax)) for t in op.terms
        ]
        parts = []
        for t, (low, high) in zip(op.terms, boxes, strict=True):
            plus, minus = signed(f, t.weight)
            parts.append(t.apply(t.x, t.weight))
            parts += [f.Neg(t.apply(v, w)) for v, w in ((low, plus), (high, minus)) if w is not ABSENT]
        s = quotient(f, message, total(f, parts), self.eps)

        def share(t: Term, low: Value, high: Value) -> Message:
            value = f.Mul(t.adjoint(s, t.weight), f.each(t.x))
            for bound, w in zip((low, high), signed(f, t.weight), strict=True):
                if w is not ABSENT:
                    value = f.Sub(value, f.Mul(t.adjoint(s, w), f.each(bound)))
            return Message(value)

        return {t.index: share(t, *box) for t, box in zip(op.terms, boxes, strict=True)}

    def _bound(self, f: Backend, x: Value, bound: float | tuple[float, ...] | None, extreme: Value) -> Value:
        """The bound, spread over the shape of x."""
        dims = f.dims(x)
        if bound is None:
            return f.Expand(extreme(x, list(range(1, len(dims))), keepdims=1), dims)
        per_channel = np.asarray(bound, np.float32).reshape(1, -1, *[1] * (len(dims) - 2))
        return f.Expand(per_channel, dims)


@dataclass(frozen=True)
class WSquare(Rule):
    """w²: R_i = Σ_j w_ij² R_j / stab(Σ_i w_ij²), padding not counted; input values play no part."""

    eps: float = EPSILON
    name: ClassVar[str] = "w-square"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return share_by_weight(f, op, message, lambda w: f.Mul(w, w), self.eps)


@dataclass(frozen=True)
class Flat(Rule):
    """Flat: every input of j gets the same, R_i = Σ_j R_j / count_j, padding not counted."""

    eps: float = EPSILON
    name: ClassVar[str] = "flat"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return share_by_weight(f, op, message, lambda w: f.Expand(1.0, f.dims(w)), self.eps)


@dataclass(frozen=True)
class Pass(Rule):
    """R_i = R_j: input and output have one shape (batch normalisation, a square layer)."""

    name: ClassVar[str] = "pass"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        if len(op.terms) != 1 or tuple(f.dims(op.terms[0].x)) != tuple(f.dims(op.y)):
            raise OptionError(
                f"rule pass needs one input of the output's shape {tuple(f.dims(op.y))}, not "
                f"{[tuple(f.dims(t.x)) for t in op.terms]}; choose another rule for this op"
            )
        return {op.terms[0].index: message.unsupported()}


@dataclass(frozen=True)
class Gradient(Rule):
    """The plain adjoint: the message is the gradient itself."""

    name: ClassVar[str] = "gradient"
    through_gates: ClassVar[bool] = True

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """The transposed map, or the op's own derivative."""
        if op.derivative is not None:
            return {op.terms[0].index: Message(op.derivative(message.value))}
        return {t.index: Message(t.adjoint(message.value, t.weight)) for t in op.terms}

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """The chain rule."""
        return {i: Message(g) for i, g in op.gradient(message.value).items()}


def by_sign(f: Backend, op: Linear, message: Message) -> tuple[Message, Message]:
    """The relevance of the outputs that are above 0, and of those below."""
    relevance = message.relevance(f)
    sides = (f.Greater(op.y, 0.0), f.Less(op.y, 0.0))
    up, down = (Message(f.Where(f.each(side), relevance, 0.0)) for side in sides)
    return up, down


RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (Zero, Epsilon, Gamma, AlphaBeta, ZPlus, ZBox, WSquare, Flat, Pass, Norm, SignShare, Gradient)
}
"""The rules by the names that TOML presets use."""
