"""What the rules are made of: contributions by sign, their sums, and the quotients R / z.

A contribution is x_i w_ij. p_ij = x_i⁺ w_ij⁺ + x_i⁻ w_ij⁻ are those that push output j up,
q_ij = x_i⁺ w_ij⁻ + x_i⁻ w_ij⁺ those that push it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

from relcam_onnx.ops.records import Backend, Linear, Message, Term, Value

ABSENT = object()
"""The part of a weight that does not exist: fixed coefficients are positive."""


def signed(f: Backend, weight: Value | None) -> tuple[Value, Value]:
    """(w⁺, w⁻); None stands for fixed positive coefficients, whose w⁻ is `ABSENT`."""
    if weight is None:
        return None, ABSENT
    return f.Max(weight, 0.0), f.Min(weight, 0.0)


def is_either(t: Term) -> bool:
    """Whether inputs of either sign meet weights of either sign in one sum."""
    return t.weight is not None and not t.nonnegative and not t.diagonal


def pushed(f: Backend, op: Linear, sign: int, *, twice: bool = False) -> Value:
    """Σ_i p_ij for +1, Σ_i q_ij for -1; 0.0 where there is no such contribution. ``twice``: see `shared`."""
    parts = [part for t in op.terms if (part := pushed_by(f, op, t, sign, twice)) is not None]
    return total(f, parts) if parts else 0.0


def pushed_by(f: Backend, op: Linear, t: Term, sign: int, twice: bool) -> Value | None:
    """One term's part of `pushed`; None where it has none.

    For inputs of either sign it is (Σ |x| |w| ± Σ x w) / 2, half the price of a map for each sign: Σ x w is the output
    less its bias. Rounding may leave a trace of the wrong sign there, which is cut.
    """
    if is_either(t):
        size = t.apply(f.Abs(t.x), f.Abs(t.weight))
        if len(op.terms) > 1:
            lean = t.apply(t.x, t.weight)
        else:
            lean = op.y
            if op.bias is not None:
                size = f.Add(size, f.Neg(op.bias) if sign > 0 else op.bias)
        return times(f, f.Relu(f.Add(size, lean) if sign > 0 else f.Sub(size, lean)), sign * (1.0 if twice else 0.5))
    if t.diagonal:
        return half(f, t.apply(t.x, t.weight), sign)
    if t.weight is not None:
        return t.apply(t.x, signed(f, t.weight)[0 if sign > 0 else 1])
    if t.nonnegative:
        return t.apply(t.x, None) if sign > 0 else None
    return t.apply(half(f, t.x, sign), None)


def half(f: Backend, value: Value, sign: int) -> Value:
    """A value's positive part (+1) or its negative part (-1)."""
    return f.Relu(value) if sign > 0 else f.Min(value, 0.0)


def without_bias(f: Backend, op: Linear) -> Value:
    """Σ_i x_i w_ij of a linear op: its output less its bias."""
    return op.y if op.bias is None else f.Sub(op.y, op.bias)


def handed(f: Backend, t: Term, s: Value, sign: int, *, twice: bool = False) -> Message:
    """Σ_j p_ij s_j (+1) or Σ_j q_ij s_j (-1): each x takes the half of the weights that its sign picks.

    ``twice``: see `shared`.
    """
    if t.diagonal:
        return Message(f.Mul(s, f.each(half(f, t.apply(t.x, t.weight), sign))), support=t.x)
    plus, minus = signed(f, t.weight)
    for_positive, for_negative = (plus, minus) if sign > 0 else (minus, plus)
    if t.nonnegative:
        return Message(0.0 if for_positive is ABSENT else t.adjoint(s, for_positive), t.x, t.x)
    if twice:
        size = f.Abs(t.x)
        halves = (f.Add(size, t.x), f.Sub(t.x, size))
    else:
        halves = (half(f, t.x, +1), half(f, t.x, -1))
    parts = [
        f.Mul(t.adjoint(s, w), f.each(part))
        for w, part in zip((for_positive, for_negative), halves, strict=True)
        if w is not ABSENT
    ]
    return Message(total(f, parts), support=t.x)


def shared(f: Backend, op: Linear, message: Message, sign: int, bias: bool, eps: float) -> dict[int, Message]:
    """R_i = Σ_j p_ij R_j / stab(Σ_i p_ij + b_j⁺) for +1, Σ_j q_ij R_j / stab(Σ_i q_ij + b_j⁻) for -1, by input index.

    Where inputs of either sign stand alone, everything above and below the line is counted twice: nothing is halved.
    """
    op = op.by_sign()
    twice = len(op.terms) == 1 and is_either(op.terms[0])
    count = 2.0 if twice else 1.0
    lean = 0.0
    if bias and op.bias is not None:
        lean = times(f, f.Max(op.bias, 0.0) if sign > 0 else f.Min(op.bias, 0.0), count)
    # No contribution of this sign can be on the wrong side of 0, so ε needs no sign test.
    z = f.Add(pushed(f, op, sign, twice=twice), f.Add(lean, sign * eps * count))
    s = f.Div(message.relevance(f), f.each(z))
    return {t.index: handed(f, t, s, sign, twice=twice) for t in op.terms}


def times(f: Backend, value: Value, factor: float) -> Value:
    """A value times a number, without a node where that is 1."""
    return value if factor == 1.0 else f.Mul(value, factor)


def share_by_weight(
    f: Backend, op: Linear, message: Message, reweigh: Callable[[Value], Value], eps: float
) -> dict[int, Message]:
    """R_i = Σ_j v_ij R_j / stab(Σ_i v_ij) with v made of w by ``reweigh``; padding is not counted."""
    op = op.by_sign()
    weights = [None if t.weight is None else reweigh(t.weight) for t in op.terms]
    ones = [f.Expand(1.0, f.dims(t.x)) for t in op.terms]
    z = total(f, (t.apply(x, w) for t, x, w in zip(op.terms, ones, weights, strict=True)))
    s = quotient(f, message, z, eps)
    return {t.index: Message(t.adjoint(s, w)) for t, w in zip(op.terms, weights, strict=True)}


def total(f: Backend, parts: Iterable[Value]) -> Value:
    """The sum of one or more values that broadcast."""
    return reduce(f.Add, parts)


def quotient(f: Backend, message: Message, z: Value, eps: float, *, positive: bool = False) -> Value:
    """R / stab(z), (K·N, ...); for ε = 0 what has no denominator gets 0. ``positive``: z is known to be ≥ 0."""
    if eps and positive:
        return f.Div(message.relevance(f), f.each(f.Add(z, eps)))
    if eps:
        return f.Div(message.relevance(f), f.each(f.Add(z, f.Where(f.Less(z, 0.0), -eps, eps))))
    nothing = f.Equal(z, 0.0)
    safe = f.Div(message.relevance(f), f.each(f.Where(nothing, 1.0, z)))
    return f.Where(f.each(nothing), 0.0, safe)
