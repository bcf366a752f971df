"""Every rule against its twin in `twins`, and how messages pass.

Values are quarters: float32 holds every product and sum exactly, and a denominator is 0 on both sides or on none.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, picture
from twins import TWINS, Vector

import relcam_onnx as rc
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import OptionError
from relcam_onnx.ops import Linear, Message, Relay, Term, meet
from relcam_onnx.rules import RULES, Gradient, Guided, Pass, Rule, SignShare
from relcam_onnx.rules.published import PublishedAdaptivePool


def dense(f: Eager, x: Vector, w: Vector, b: Vector | None, *, nonnegative: bool = False) -> Linear:
    """A dense layer as the table of ops describes it."""
    y = x @ w if b is None else x @ w + b
    term = Term(x, lambda x, w: x @ w, lambda s, w: s @ np.asarray(w).T, w, nonnegative)
    return Linear((term,), y, b)


quarters = st.integers(-12, 12).map(lambda v: v / 4)


def vectors(data: st.DataObject, *sizes: int) -> list[np.ndarray]:
    return [np.array(data.draw(st.lists(quarters, min_size=n, max_size=n)), np.float32) for n in sizes]


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
@given(data=st.data())
def test_rule_is_its_twin(name: str, signed: bool, data: st.DataObject) -> None:
    """To 1e-5 of the shares of all outputs: what float32 rounds in a quotient, its stabiliser and their sum."""
    rule, twin = TWINS[name]
    w, b, *pairs = vectors(data, 12, 3, 4, 4, 3, 3)
    w, x, r = w.reshape(4, 3), np.stack(pairs[:2]), np.stack(pairs[2:])
    x = x if signed else np.abs(x)
    f = Eager()
    got = rule.linear(f, dense(f, x, w, b, nonnegative=not signed), Message(r))[0].relevance(f)
    exact = [a.astype(np.float64) for a in (x, w, b, r)]
    for n, (xn, rn) in enumerate(zip(exact[0], exact[3], strict=True)):
        shares = [twin(xn, exact[1], exact[2], one * rn) for one in np.eye(3)]
        np.testing.assert_allclose(got[n], sum(shares), rtol=0, atol=1e-5 * np.abs(shares).sum())


def test_every_named_rule_has_a_twin() -> None:
    assert {type(rule) for rule, _ in TWINS.values()} >= set(RULES.values()) - {Pass, Guided}


OF_RELEVANCE = {name: make() for name, make in RULES.items() if not issubclass(make, Gradient)}


@pytest.mark.parametrize("rule", OF_RELEVANCE.values(), ids=list(OF_RELEVANCE))
def test_a_quotient_and_its_relevance_are_one_message(rule: Rule) -> None:
    """R = c · a, whether the product is done before or left to the rule (a gradient is no relevance)."""
    f, rng = Eager(), np.random.default_rng(0)
    x, w, c = (rng.standard_normal(shape, np.float32) for shape in ((2, 3), (3, 3), (2, 3)))
    op = dense(f, x, w, None)
    done, undone = (rule.linear(f, op, m)[0].relevance(f) for m in (Message(c * op.y), Message(c, op.y)))
    np.testing.assert_allclose(done, undone, rtol=1e-4)  # a product left undone meets no stabiliser, 1e-6 of y ~ .01


@pytest.mark.parametrize("name", sorted({*OF_RELEVANCE} - {"flat"}))
@given(data=st.data())
def test_an_op_element_by_element_is_a_diagonal_matrix(name: str, data: st.DataObject) -> None:
    """But for the flat rule, which counts zeros among the weights too."""
    x, w, b, r = vectors(data, 4, 4, 4, 4)
    f, rule = Eager(), OF_RELEVANCE[name]
    term = Term(x[None], f.Mul, f.Mul, w, diagonal=True)
    got = rule.linear(f, Linear((term,), x[None] * w + b, b), Message(r[None]))[0].relevance(f)
    wanted = rule.linear(f, dense(f, x[None], np.diag(w), b), Message(r[None]))[0].relevance(f)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_messages_meet_by_their_sum() -> None:
    f, a = Eager(), np.array([[2.0, -1.0]])
    c, d = Message(np.array([[1.0, 2.0]]), a), Message(np.array([[3.0, 4.0]]), a)
    assert meet(f, [c, d]).of is a
    plain = Message(np.array([[10.0, 20.0]]))
    for messages in ([c, d], [c, plain], [plain, c, d]):
        wanted = sum(m.relevance(f) for m in messages)
        np.testing.assert_array_equal(meet(f, messages).relevance(f), wanted)


@given(st.lists(st.tuples(quarters, quarters), min_size=1, max_size=6), quarters)
def test_sign_share_of_a_sum_is_clipped_and_keeps_all(pairs: list[tuple[float, float]], r: float) -> None:
    """Of y = x + p, x gets R · clip(x / y, 0, 1) and p the rest; nothing where y is 0."""
    f = Eager()
    x, p = (np.array([[pair[i] for pair in pairs]], np.float32) for i in (0, 1))
    y = x + p
    terms = tuple(Term(v, lambda v, w: v, lambda s, w: s, index=i) for i, v in enumerate((x, p)))
    handed = SignShare().linear(f, Linear(terms, y), Message(np.full_like(y, r)))
    safe = np.where(y == 0, 1, y)
    share = np.where(y == 0, 0, r * np.clip(x / safe, 0, 1))
    # The stabiliser is 4e-6 of the smallest denominator here, a quarter.
    np.testing.assert_allclose(handed[0].relevance(f), share, atol=2e-5)
    np.testing.assert_allclose(handed[1].relevance(f), np.where(y == 0, 0, r - share), atol=2e-5)


def test_pass_refuses_other_shapes() -> None:
    f = Eager()
    op = dense(f, np.ones((1, 2)), np.ones((2, 3)), None)
    with pytest.raises(OptionError, match="rule pass needs one input"):
        Pass().linear(f, op, Message(np.ones((1, 3))))


def test_a_rule_without_linear_part_says_so() -> None:
    f = Eager()
    with pytest.raises(OptionError, match="not for linear ops"):
        Rule().linear(f, dense(f, np.ones((1, 2)), np.ones((2, 2)), None), Message(np.ones((1, 2))))


def test_gradient_takes_a_relays_gradient() -> None:
    relay = Relay(lambda m: {0: m}, lambda g: {0: 2 * g})
    f, g = Eager(), np.ones((1, 2))
    np.testing.assert_array_equal(Gradient().relay(f, relay, Message(g))[0].value, 2 * g)
    np.testing.assert_array_equal(Rule().relay(f, relay, Message(g))[0].value, g)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_guided_backprop_lets_relus_hand_on_what_is_positive(backend: str) -> None:
    """Springenberg et al. 2015: through each Relu the positive part of the gradient, where the Relu is open."""
    net = Net("N", 6)
    first, second, last = (net.normal(*shape) for shape in ((6, 8), (8, 8), (8, 3)))
    hidden = net("Relu", net("MatMul", net("Relu", net("MatMul", net.x, first)), second))
    x = picture(4, 6)
    with rc.Explainer(
        net.model(net("MatMul", hidden, last)), "input", "lrp", "guided-backprop", backend=backend
    ) as explainer:
        got = explainer(x, [[0, 2]] * 4)
    assert not got.relevance_kept
    one = np.maximum(x @ first, 0)
    two = np.maximum(one @ second, 0)
    for place, target in enumerate((0, 2)):
        back = np.maximum(last[:, target], 0) * (two > 0)
        back = np.maximum(back @ second.T, 0) * (one > 0)
        np.testing.assert_allclose(got.maps["input"][:, place], back @ first.T, rtol=1e-4, atol=1e-5)


def test_published_adaptive_pool_clamps_its_input() -> None:
    f, x = Eager(), np.array([[3.0, -5.0, 1.0]], np.float32)
    pool = Linear((Term(x, lambda x, w: x.mean(axis=1, keepdims=True), lambda s, w: np.repeat(s / 3, 3, axis=1)),),
                  x.mean(axis=1, keepdims=True))  # fmt: skip
    handed = PublishedAdaptivePool().linear(f, pool, Message(np.array([[8.0]], np.float32)))[0].relevance(f)
    np.testing.assert_allclose(handed, [[6, 0, 2]])
