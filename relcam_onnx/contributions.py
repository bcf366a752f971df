"""What the rules are made of: contributions by sign, their sums, and the quotients R / z.

A contribution is x_i w_ij. p_ij = x_i⁺ w_ij⁺ + x_i⁻ w_ij⁻ are those that push output j up,
q_ij = x_i⁺ w_ij⁻ + x_i⁻ w_ij⁺ those that push it down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from relcam_onnx.ops.records import Backend, Linear, Message, Term, Value

ABSENT = object()
"""The part of a weight that does not exist: fixed coefficients are positive."""


def signed(f: Backend, weight: Value | None) -> tuple[Value, Value]:
    """(w⁺, w⁻); None stands for fixed positive coefficients, whose w⁻ is `ABSENT`."""
    if weight is None:
        return None, ABSENT
    return f.Max(weight, 0.0), f.Min(weight, 0.0)


def halves(f: Backend, t: Term, sign: int) -> Iterator[tuple[Value, Value]]:
    """The (x, w) pairs whose products have this sign: (x⁺, w⁺), (x⁻, w⁻) for +1, (x⁺, w⁻), (x⁻, w⁺) for -1."""
    plus, minus = signed(f, t.weight)
    first, second = (plus, minus) if sign > 0 else (minus, plus)
    if first is not ABSENT:
        yield (t.x if t.nonnegative else f.Max(t.x, 0.0)), first
    if second is not ABSENT and not t.nonnegative:
        yield f.Min(t.x, 0.0), second


def pushed(f: Backend, op: Linear, sign: int, bias: bool) -> Value:
    """Σ_i p_ij + b_j⁺ for +1, Σ_i q_ij + b_j⁻ for -1."""
    parts = [t.apply(x, w) for t in op.terms for x, w in halves(f, t, sign)]
    if bias and op.bias is not None:
        parts.append(f.Max(op.bias, 0.0) if sign > 0 else f.Min(op.bias, 0.0))
    return total(f, parts) if parts else 0.0


def handed(f: Backend, t: Term, s: Value, sign: int) -> Value:
    """R_i / x_i of Σ_j p_ij s_j (+1) or Σ_j q_ij s_j (-1): each x takes the half of the weights that its sign picks."""
    plus, minus = signed(f, t.weight)
    for_positive, for_negative = (plus, minus) if sign > 0 else (minus, plus)

    def side(w: Value) -> Value:
        return 0.0 if w is ABSENT else t.adjoint(s, w)

    if t.nonnegative:
        return side(for_positive)
    return f.Where(f.each(f.Greater(t.x, 0.0)), side(for_positive), side(for_negative))


def share_by_weight(
    f: Backend, op: Linear, message: Message, reweigh: Callable[[Value], Value], eps: float
) -> dict[int, Message]:
    """R_i = Σ_j v_ij R_j / stab(Σ_i v_ij) with v made of w by ``reweigh``; padding is not counted."""
    weights = [None if t.weight is None else reweigh(t.weight) for t in op.terms]
    ones = [f.Expand(1.0, f.dims(t.x)) for t in op.terms]
    z = total(f, (t.apply(x, w) for t, x, w in zip(op.terms, ones, weights, strict=True)))
    s = quotient(f, message, z, eps)
    return {t.index: Message(t.adjoint(s, w)) for t, w in zip(op.terms, weights, strict=True)}


def total(f: Backend, parts: Iterable[Value]) -> Value:
    """The sum of one or more values that broadcast."""
    first, *others = parts
    return f.Sum(first, *others) if others else first


def quotient(f: Backend, message: Message, z: Value, eps: float) -> Value:
    """R / stab(z), (K·N, ...); for ε = 0 what has no denominator gets 0."""
    if eps:
        return f.Div(message.relevance(f), f.each(f.Add(z, f.Where(f.Less(z, 0.0), -eps, eps))))
    nothing = f.Equal(z, 0.0)
    safe = f.Div(message.relevance(f), f.each(f.Where(nothing, 1.0, z)))
    return f.Where(f.each(nothing), 0.0, safe)
