"""Laws of what an op hands back: the linear part, the derivative, K targets, what a message promises."""

from __future__ import annotations

import numpy as np

from relcam_onnx.laws.arithmetic import close, inner, noise, pass_through, relevance_of, rules_for, slope
from relcam_onnx.laws.case import Array, Case
from relcam_onnx.model import variables
from relcam_onnx.ops import Linear, Message, lookup
from relcam_onnx.rules import Gradient, Rule


def terms_make_the_output(case: Case, seed: int) -> None:
    """Of an op with a linear part: Σ apply(x, w) + b is what onnxruntime computes."""
    _, call, record = case.describe()
    y = np.asarray(call.output)
    if not isinstance(record, Linear):
        return
    parts = [np.asarray(t.apply(t.x, t.weight)) for t in record.terms]
    bias = 0.0 if record.bias is None else np.asarray(record.bias)
    most = max(1.0, *(float(np.abs(part).max(initial=0)) for part in parts))
    whole = np.broadcast_to(sum(parts) + bias, y.shape)
    np.testing.assert_allclose(whole, y, rtol=0, atol=1e-5 * most, err_msg="terms and bias, and the output")


def adjoint_is_the_transposed_map(case: Case, seed: int) -> None:
    """<apply(x, w), s> = <x, adjoint(s, w)> for the model's weights and for any others of their shape."""
    f, call, record = case.describe()
    if not isinstance(record, Linear):
        return
    s = noise(seed, *np.shape(np.asarray(call.output)))
    for term in (term for term in record.terms if term.receives):
        x = noise(seed + 1, *np.asarray(term.x).shape)
        other = None if term.weight is None else noise(seed + 2, *np.asarray(term.weight).shape)
        for weight in (term.weight, other):
            y = np.broadcast_to(np.asarray(term.apply(x, weight)), s.shape)
            back = np.asarray(term.adjoint(s, weight))
            assert back.shape == x.shape, f"the adjoint hands back {back.shape}, to an input of {x.shape}"
            close(inner(x, back), inner(y, s), inner(np.abs(y), np.abs(s)))
    if record.derivative is None:
        for index, message in Gradient().linear(f, record, Message(s)).items():
            term = next(t for t in record.terms if t.index == index)
            np.testing.assert_array_equal(np.asarray(message.value), np.asarray(term.adjoint(s, term.weight)))


def gradient_is_the_derivative(case: Case, seed: int) -> None:
    """<g, J v> = Σ <gradient, v> over all inputs: none may be left out that the output depends on."""
    f, call, record = case.describe()
    y = np.asarray(call.output)
    if any(value.dtype != np.float32 for value in (*case.values.values(), y)):
        return
    g = noise(seed, *y.shape)
    directions = {name: noise(seed + i, *x.shape) for i, (name, x) in enumerate(case.values.items(), 1)}
    directions = {name: v / max(1.0, float(np.abs(v).max(initial=0))) for name, v in directions.items()}
    along, unsure = slope(case, directions)
    handed = pass_through(Gradient(), f, record, Message(g))
    got = sum(inner(directions[case.node.inputs[i].name], np.asarray(m.value)) for i, m in handed.items())
    close(got, inner(along, g), inner(np.abs(along), np.abs(g)) + 1e4 * inner(unsure, np.abs(g)))


def receivers_receive(case: Case, seed: int) -> None:
    """The computed inputs that the entry names get something, and no others; so for a gradient."""
    f, call, record = case.describe()
    y = np.asarray(call.output)
    computed = {index for index, _ in variables(case.node)}
    message = Message(noise(seed, *y.shape))
    for rule in rules_for(record):
        named = lookup(case.node).receiving(case.node, gradient=rule.gates)
        got = set(pass_through(rule, f, record, message))
        extra = f"rule {type(rule).__name__}: the entry names {sorted(named)}, and {sorted(got)} are handed something"
        assert set(named) & computed >= got & computed, extra
        if isinstance(rule, Gradient) or type(rule) is Rule:
            assert set(named) & computed <= got, extra


def nothing_in_nothing_out_and_always_finite(case: Case, seed: int) -> None:
    """No relevance makes none, any makes finite relevance of the input's shape, under every rule."""
    f, call, record = case.describe()
    y = np.asarray(call.output)
    for rule in rules_for(record):
        nothing = relevance_of(rule, f, record, Message(0 * noise(seed, *y.shape)))
        assert not any(part.any() for part in nothing.values()), rule
        for index, part in relevance_of(rule, f, record, Message(noise(seed, *y.shape))).items():
            assert part.shape == np.asarray(call.inputs[index]).shape, (rule, part.shape)
            assert part.dtype == np.float32, (rule, part.dtype)
            assert np.isfinite(part).all(), rule


def targets_together_are_targets_alone(case: Case, seed: int) -> None:
    """Three targets of N images, in one pass of 3·N, give what three passes give, to float32 rounding."""
    f, call, record = case.describe()
    f3, _, record3 = case.describe(targets=3)
    y = np.asarray(call.output)
    arriving = [noise(seed + k, *y.shape) for k in range(3)]
    for rule, rule3 in zip(rules_for(record), rules_for(record3), strict=True):
        together = relevance_of(rule3, f3, record3, Message(np.concatenate(arriving)))
        alone = [relevance_of(rule, f, record, Message(r)) for r in arriving]
        for index, got in together.items():
            wanted = np.concatenate([one[index] for one in alone])
            most = float(np.abs(wanted).max(initial=0))
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * most, err_msg=f"{rule}")


def support_is_true_and_changes_nothing(case: Case, seed: int) -> None:
    """A message may bring a tensor that equals its own where relevance is: what is handed on is the same, and kept.

    To 1e-4 of the largest share: another route to the same denominators rounds differently.
    """
    f, call, record = case.describe()
    y = np.asarray(call.output)
    if y.dtype != np.float32:
        return
    relevance: Array = np.where(y > 0.1, noise(seed, *y.shape), np.float32(0))
    support: Array = np.where(y > 0.1, y, np.float32(0))
    supported = Message(relevance, support=support)
    for rule in rules_for(record):
        if isinstance(rule, Gradient):
            continue
        wanted = relevance_of(rule, f, record, Message(relevance))
        for index, message in pass_through(rule, f, record, supported).items():
            got, share = np.asarray(message.relevance(f)), wanted[index]
            most = float(np.abs(share).max(initial=0))
            np.testing.assert_allclose(got, share, rtol=0, atol=1e-4 * most, err_msg=f"{rule}")
            if message.support is not None:
                promised = np.asarray(message.support)
                silent = promised == 0
                assert not got[silent].any(), f"{rule}: relevance where the support is 0"
                np.testing.assert_array_equal(promised[~silent], np.asarray(call.inputs[index])[~silent])
