"""Rules that share by contribution, x_i w_ij: ε and its kin, αβ, z⁺, γ, and the share by the output's sign."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from relcam_onnx.errors import OptionError
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Linear, Message, Relay, Term
from relcam_onnx.rules.base import EPSILON, Messages, Rule
from relcam_onnx.rules.contributions import half, handed, pushed, quotient, shared, without_bias
from relcam_onnx.rules.parameters import AMOUNT, FLAG


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = x_i Σ_j w_ij R_j / stab(y_j): the ε rule; the bias takes its share (``bias``)."""

    eps: float = field(default=EPSILON, metadata=AMOUNT)
    bias: bool = field(default=True, metadata=FLAG)
    name: ClassVar[str] = "epsilon"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        s = quotient(f, message, op.y if self.bias else without_bias(op), self.eps)
        return {t.index: Message(t.adjoint(s, t.weight), t.x, t.x) for t in op.terms}


@dataclass(frozen=True)
class Zero(Epsilon):
    """Rule 0: the ε rule with ε = 0; nothing passes where y_j = 0."""

    eps: float = field(default=0.0, metadata=AMOUNT)
    name: ClassVar[str] = "zero"


@dataclass(frozen=True)
class Norm(Epsilon):
    """The ε rule without bias, for Add and average pools: every input by its part of the sum."""

    bias: bool = field(default=False, metadata=FLAG)
    name: ClassVar[str] = "norm"


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_i = α Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺) - β Σ_j q_ij R_j / stab(Σ_i q_ij + b_j⁻).

    p_ij = x_i⁺ w_ij⁺ + x_i⁻ w_ij⁻ are the contributions that push up,
    q_ij = x_i⁺ w_ij⁻ + x_i⁻ w_ij⁺ those that push down.
    """

    alpha: float = field(default=2.0, metadata=AMOUNT)
    beta: float = field(default=1.0, metadata=AMOUNT)
    bias: bool = field(default=True, metadata=FLAG)
    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "alpha-beta"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isclose(self.alpha - self.beta, 1, abs_tol=EPSILON):
            raise OptionError(
                f"alpha - beta of rule {self.name!r} must be 1, which keeps relevance, and alpha is {self.alpha!r}, "
                f"beta {self.beta!r}"
            )

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        up = shared(f, op, message, +1, self.bias, self.eps)
        down = shared(f, op, message, -1, self.bias, self.eps)

        def share(t: Term) -> Value:
            gained, lost = up[t.index].relevance(f), down[t.index].relevance(f)
            return gained * self.alpha - lost * self.beta

        return {t.index: Message(share(t), support=t.x) for t in op.terms}


@dataclass(frozen=True)
class ZPlus(Rule):
    """R_i = Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺): only what pushes up counts; ``bias=False`` leaves b out."""

    bias: bool = field(default=True, metadata=FLAG)
    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "z-plus"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return shared(f, op, message, +1, self.bias, self.eps)


@dataclass(frozen=True)
class Gamma(Rule):
    """What pushes the way the output went counts γ times more, for inputs of either sign.

    Where y_j > 0: n_ij = x_i w_ij + γ p_ij over y_j + γ Σ_i p_ij + γ b_j⁺; where y_j < 0 the same with q_ij and b_j⁻;
    nothing passes where y_j = 0.
    """

    gamma: float = field(default=0.25, metadata=AMOUNT)
    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "gamma"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        op = op.by_sign()
        up, down = (
            quotient(f, side, op.y + self._lean(f, op, sign) * self.gamma, self.eps)
            for sign, side in zip((+1, -1), by_sign(f, op, message), strict=True)
        )

        def share(t: Term) -> Value:
            extra = handed(f, t, up, +1).relevance(f) + handed(f, t, down, -1).relevance(f)
            plain = t.adjoint(up + down, t.weight) * f.each(t.x)
            return plain + extra * self.gamma

        return {t.index: Message(share(t), support=t.x) for t in op.terms}

    def _lean(self, f: Backend, op: Linear, sign: int) -> Value:
        """Σ_i p_ij + b_j⁺, or Σ_i q_ij + b_j⁻."""
        return pushed(f, op, sign) + half(f, op.bias, sign)


@dataclass(frozen=True)
class SignShare(Rule):
    """Every input by its part of what has the output's sign; the rest gets nothing, nor does anything where y_j = 0.

    For y = x + p that is R · clip(x / y, 0, 1) for x and the remainder for p: shares stay between 0 and 1, where
    proportional ones explode as x and p cancel.
    """

    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "sign-share"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        if len(op.terms) == 1 and op.terms[0].nonnegative and op.terms[0].weight is None:
            return Norm(self.eps).linear(f, op, message)  # all has the output's sign: its part is its proportion
        if len(op.terms) == 2 and all(t.weight is None or is_number(t.weight) for t in op.terms):
            return self._of_two(f, op, message)
        up, down = (
            shared(f, op, side, sign, bias=False, eps=self.eps)
            for sign, side in zip((+1, -1), by_sign(f, op, message), strict=True)
        )
        return {t.index: Message(up[t.index].relevance(f) + down[t.index].relevance(f), support=t.x) for t in op.terms}

    def _of_two(self, f: Backend, op: Linear, message: Message) -> Messages:
        """R · clip(x / y, 0, 1) and the rest.

        Kept beside the formula for its price: one quotient for both where the formula has four.
        """
        first, second = sorted(op.terms, key=lambda t: not t.nonnegative)
        relevance, y = message.relevance(f), message.support
        if y is None:
            y = op.y
            relevance = f.Where(f.each(f.Equal(y, 0.0)), 0.0, relevance)
        # 1e-30 is below every activation and keeps 0 / 0 from being NaN.
        share = f.Clip(first.apply(first.x, first.weight) / (y + 1e-30), 0.0, 1.0)
        taken = relevance * f.each(share)
        rest = relevance - taken
        return {t.index: Message(t.adjoint(r, None), support=t.x) for t, r in ((first, taken), (second, rest))}


@dataclass(frozen=True)
class Halves(Epsilon):
    """The ε rule in a product of two tensors, each counted half: attention's weights get relevance, too (AttnLRP)."""

    name: ClassVar[str] = "halves"
    gates: ClassVar[bool] = True

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return super().linear(f, op.halves() if op.halves else op, message)


@dataclass(frozen=True)
class Taylor(Epsilon):
    """The ε rule in an op that is no sum, as it is for small changes: R_i = x_i Σ_j ∂y_j/∂x_i R_j / stab(y_j).

    Of a softmax that is x_i (R_i - y_i Σ_j R_j) (AttnLRP).
    """

    name: ClassVar[str] = "taylor"
    gates: ClassVar[bool] = True

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """See the class."""
        return self.linear(f, op.expansion(), message) if op.expansion else super().relay(f, op, message)


def is_number(weight: Value) -> bool:
    """Whether a weight is one number for all, as of a difference or a mean."""
    return isinstance(weight, np.ndarray) and weight.ndim == 0


def by_sign(f: Backend, op: Linear, message: Message) -> tuple[Message, Message]:
    """The relevance of the outputs that are above 0, and of those below."""
    relevance = message.relevance(f)
    sides = (f.Greater(op.y, 0.0), f.Less(op.y, 0.0))
    up, down = (Message(f.Where(f.each(side), relevance, 0.0)) for side in sides)
    return up, down
