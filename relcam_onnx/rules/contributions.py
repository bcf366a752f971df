"""What the rules are made of: contributions by sign, their sums, and the quotients R / z.

A contribution is x_i w_ij. p_ij = x_i⁺ w_ij⁺ + x_i⁻ w_ij⁻ are those that push output j up,
q_ij = x_i⁺ w_ij⁻ + x_i⁻ w_ij⁺ those that push it down. A half that an input or a weight does not have is `ZERO`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Linear, Message, Term
from relcam_onnx.ops.zero import ZERO
from relcam_onnx.rules.base import EPSILON

Pair = tuple[Value, Value | None]


def half(f: Backend, value: Value | None, sign: int) -> Value:
    """A value's positive part (+1) or its negative part (-1); of None, which is not there, `ZERO`."""
    if value is None:
        return ZERO
    return f.Relu(value) if sign > 0 else f.Min(value, 0.0)


def weights(f: Backend, t: Term) -> tuple[Value | None, Value | None]:
    """(w⁺, w⁻); None, fixed positive coefficients, is its own w⁺."""
    return (None, ZERO) if t.weight is None else (half(f, t.weight, +1), half(f, t.weight, -1))


def inputs(f: Backend, t: Term) -> tuple[Value, Value]:
    """(x⁺, x⁻)."""
    return (t.x, ZERO) if t.nonnegative else (half(f, t.x, +1), half(f, t.x, -1))


def pairs(f: Backend, t: Term, sign: int) -> list[Pair]:
    """The halves of x and w whose products are Σ p (+1) or Σ q (-1); those that are there."""
    w = weights(f, t)
    halves = zip(inputs(f, t), w[::sign], strict=True)
    return [(x, weight) for x, weight in halves if x is not ZERO and weight is not ZERO]


def is_mixed(t: Term) -> bool:
    """Whether inputs of either sign meet weights of either sign in one sum."""
    return t.weight is not None and not t.nonnegative and not t.diagonal


def pushed(f: Backend, op: Linear, sign: int) -> Value:
    """Σ_i p_ij for +1, Σ_i q_ij for -1."""
    return total(pushed_by(f, op, t, sign) for t in op.terms)


def pushed_by(f: Backend, op: Linear, t: Term, sign: int) -> Value:
    """One term's part of `pushed`."""
    if t.diagonal:
        return half(f, t.apply(t.x, t.weight), sign)
    if is_mixed(t):
        return magnitude(f, op, t, sign) * (0.5 * sign)
    return total(t.apply(x, w) for x, w in pairs(f, t, sign))


def magnitude(f: Backend, op: Linear, t: Term, sign: int) -> Value:
    """2 |Σ_i p_ij| or 2 |Σ_i q_ij| of a mixed term: Σ |x| |w| + Σ x w, or - Σ x w.

    Kept beside the formula for its price: of one term Σ x w is the output less its bias, so that one map is computed
    where x⁺ w⁺ and x⁻ w⁻ are two. Rounding may leave a trace of the wrong sign, which is cut.
    """
    size = t.apply(f.Abs(t.x), f.Abs(t.weight))
    if len(op.terms) > 1:
        lean = t.apply(t.x, t.weight)
    else:
        lean = op.y
        if op.bias is not None:  # added to the map of magnitudes, where onnxruntime takes it into the convolution
            size = size + (-op.bias if sign > 0 else op.bias)
    return f.Relu(size + lean if sign > 0 else size - lean)


def handed(f: Backend, t: Term, s: Value, sign: int) -> Message:
    """Σ_j p_ij s_j (+1) or Σ_j q_ij s_j (-1): each x takes the half of the weights that its sign picks."""
    if t.diagonal:
        return Message(s * f.each(half(f, t.apply(t.x, t.weight), sign)), support=t.x)
    parts = [Message(t.adjoint(s, w), x) for x, w in pairs(f, t, sign)]
    if len(parts) == 1:
        return Message(parts[0].value, parts[0].of, t.x)
    return Message(total(part.relevance(f) for part in parts), support=t.x)


def shared(f: Backend, op: Linear, message: Message, sign: int, bias: bool, eps: float) -> dict[int, Message]:
    """R_i = Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺) for +1, Σ_j q_ij R_j / stab(Σ_i q_ij + b_j⁻) for -1, by input index.

    No contribution of this sign can be on the wrong side of 0, so ε needs no sign test.
    """
    op = op.by_sign()
    rest = half(f, op.bias if bias else None, sign) + sign * eps
    if len(op.terms) == 1 and is_mixed(op.terms[0]):
        return shared_by_magnitude(f, op, message, sign, rest)
    z = pushed(f, op, sign)
    if z is ZERO:
        return {t.index: Message(ZERO) for t in op.terms}
    s = message.relevance(f) / f.each(z + rest)
    return {t.index: handed(f, t, s, sign) for t in op.terms}


def shared_by_magnitude(f: Backend, op: Linear, message: Message, sign: int, rest: Value) -> dict[int, Message]:
    """`shared` for one mixed term, everything above and below the line counted twice.

    Kept beside the formula for its price: 2 |Σ p| is what `magnitude` gives, and 2 x⁺ = |x| + x, 2 x⁻ = x - |x| reuse
    the |x| that it took; nothing is halved.
    """
    (t,) = op.terms
    size, twice = f.Abs(t.x), magnitude(f, op, t, sign)
    s = message.relevance(f) / f.each((twice if sign > 0 else -twice) + rest * 2.0)
    for_positive, for_negative = weights(f, t)[::sign]
    gained = t.adjoint(s, for_positive) * f.each(size + t.x)
    return {t.index: Message(gained + t.adjoint(s, for_negative) * f.each(t.x - size), support=t.x)}


def share_by_weight(
    f: Backend, op: Linear, message: Message, reweigh: Callable[[Value], Value], eps: float
) -> dict[int, Message]:
    """R_i = Σ_j v_ij R_j / stab(Σ_i v_ij) with v made of w by ``reweigh``; padding is not counted."""
    op = op.by_sign()
    shares = [None if t.weight is None else reweigh(t.weight) for t in op.terms]
    ones = [f.Expand(1.0, f.dims(t.x)) for t in op.terms]
    z = total(t.apply(x, w) for t, x, w in zip(op.terms, ones, shares, strict=True))
    s = quotient(f, message, z, eps)
    return {t.index: Message(t.adjoint(s, w)) for t, w in zip(op.terms, shares, strict=True)}


def without_bias(op: Linear) -> Value:
    """Σ_i x_i w_ij of a linear op: its output less its bias."""
    return op.y if op.bias is None else op.y - op.bias


def total(parts: Iterable[Value]) -> Value:
    """The sum of values that broadcast; `ZERO` of none."""
    return reduce(add, parts, ZERO)


def quotient(f: Backend, message: Message, z: Value, eps: float) -> Value:
    """R / stab(z), (K·N, ...); for ε = 0 what has no denominator gets 0.

    What arrives as a multiple of this very z is divided by it exactly where ε is but a stabiliser.
    """
    if 0 < eps <= EPSILON and message.of is z:
        return message.value
    if eps:
        return message.relevance(f) / f.each(z + f.Where(f.Less(z, 0.0), -eps, eps))
    nothing = f.Equal(z, 0.0)
    safe = message.relevance(f) / f.each(f.Where(nothing, 1.0, z))
    return f.Where(f.each(nothing), 0.0, safe)
