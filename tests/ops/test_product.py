"""Products of two computed tensors: which factor is mixed, by hand, and AttnLRP's formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from case import BATCH, SEED, Case, case, noise
from hypothesis import strategies as st

from relcam_onnx.backends.eager import Eager
from relcam_onnx.ops import Call, Linear, Message, Relay, lookup
from relcam_onnx.ops.product import mixed
from relcam_onnx.rules import Epsilon, Halves, Taylor

Draw = Any


@st.composite
def products(draw: Draw) -> Case:
    """Stacks of matrices, one of which may be repeated for several heads."""
    seed, batch, heads = draw(SEED), draw(BATCH), draw(st.sampled_from([(), (2, 2), (1, 2), (2, 1)]))
    left, right = (heads[:1], heads[1:]) if heads else ((), ())
    return case("MatMul", noise(seed, batch, *left, 3, 4), noise(seed + 1, batch, *right, 4, 5))


@st.composite
def contractions(draw: Draw) -> Case:
    seed, batch = draw(SEED), draw(BATCH)
    equation, a, b = draw(
        st.sampled_from([("nqhd,nkhd->nhqk", (3, 2, 4), (5, 2, 4)), ("nhqk,nkhd->nqhd", (2, 3, 5), (5, 2, 4))])
    )
    return case("Einsum", noise(seed, batch, *a), noise(seed + 1, batch, *b), equation=equation)


def described(
    op: str, factors: list[np.ndarray], made_by: list[str], rank: int = 4, **attrs: Any
) -> tuple[Any, gs.Node]:
    """A node's record, and itself, with ops that make its inputs."""
    tensors = [gs.Variable(f"x{i}", np.float32, value.shape) for i, value in enumerate(factors)]
    for tensor, maker in zip(tensors, made_by, strict=True):
        source = gs.Variable(f"{tensor.name}/source", np.float32, tensor.shape)
        gs.Node(maker, f"make {tensor.name}", inputs=[source], outputs=[tensor])
    node = gs.Node(op, "node", attrs, tensors, [gs.Variable("y", np.float32, (None,) * rank)])
    f = Eager()
    y = f.Einsum(*factors, equation=attrs["equation"]) if op == "Einsum" else f.MatMul(*factors)
    return lookup(node).build(f, Call(node, tuple(factors), y)), node


@pytest.mark.parametrize(
    ("made_by", "receivers"),
    [(["Softmax", "Relu"], (1,)), (["Relu", "Sigmoid"], (0,)), (["Relu", "Relu"], (0, 1)), (["Softmax"] * 2, (0, 1))],
)
def test_the_factor_that_a_gate_weighs_is_mixed(made_by: list[str], receivers: tuple[int, ...]) -> None:
    a, v = np.abs(noise(0, 1, 2, 3, 3)), noise(1, 1, 2, 3, 4)
    record, node = described("MatMul", [a, v], made_by)
    assert mixed(node) == receivers
    assert tuple(t.index for t in record.terms) == receivers


def test_a_mean_over_heads_mixes_too() -> None:
    """What comes from a softmax by sums, scales and layers over heads is no less a mixing matrix."""
    a = gs.Variable("a", np.float32, (1, 2, 3, 3))
    scores = gs.Variable("scores", np.float32, (1, 2, 3, 3))
    heads = gs.Constant("heads", np.ones((2, 2, 1, 1), np.float32))
    talked, scaled = gs.Variable("talked", np.float32, a.shape), gs.Variable("scaled", np.float32, a.shape)
    gs.Node("Softmax", "softmax", {}, [scores], [a])
    gs.Node("Conv", "talk", {}, [a, heads], [talked])
    gs.Node("Mul", "scale", {}, [talked, gs.Constant("c", np.float32([2]))], [scaled])
    values = gs.Variable("v", np.float32, (1, 2, 3, 4))
    assert mixed(gs.Node("MatMul", "mix", {}, [scaled, values], [gs.Variable("y")])) == (1,)


def test_by_hand() -> None:
    """A = ((.75, .25), (.5, .5)), V = (4, 8), so y = (5, 6): with R = (10, 12) every unit of V is worth 2."""
    a = np.array([[[[0.75, 0.25], [0.5, 0.5]]]], np.float32)
    v = np.array([[[[4.0], [8.0]]]], np.float32)
    record, _ = described("MatMul", [a, v], ["Softmax", "Relu"])
    r = np.array([[[[10.0], [12.0]]]], np.float32)
    (got,) = Epsilon().linear(Eager(), record, Message(r)).values()
    np.testing.assert_allclose(got.relevance(Eager()).ravel(), [4 * 2 * 1.25, 8 * 2 * 0.75], rtol=1e-5)


def test_halves_and_taylor_are_the_papers_formulas() -> None:
    """S = q kᵀ, A = softmax(S), O = A V, in float64: R_V, R_A, R_S, R_q and R_k as the paper has them."""
    f = Eager()
    q, k, v, r = (noise(seed, 1, 2, 3, 4) for seed in range(4))
    turned = np.ascontiguousarray(k.swapaxes(-1, -2))
    scores = f.MatMul(q, turned)
    a = f.Softmax(scores, axis=-1)
    mix, _ = described("MatMul", [a, v], ["Softmax", "Relu"])
    handed = Halves().linear(f, mix, Message(r))
    wide = [value.astype(np.float64) for value in (q, turned, v, r, scores, a)]
    q64, k64, v64, r64, s64, a64 = wide
    s = r64 / (2 * (a64 @ v64))
    relevance_a, relevance_v = a64 * (s @ v64.swapaxes(-1, -2)), v64 * (a64.swapaxes(-1, -2) @ s)
    close(handed[0].relevance(f), relevance_a)
    close(handed[1].relevance(f), relevance_v)
    relay, _ = described("MatMul", [q, turned], ["Relu", "Relu"])
    softmax = gs.Node(
        "Softmax", "softmax", {"axis": -1}, [gs.Variable("s", np.float32, scores.shape)], [gs.Variable("a")]
    )
    record = lookup(softmax).build(f, Call(softmax, (scores,), a))
    assert isinstance(record, Relay)
    at_scores = Taylor().relay(f, record, Message(handed[0].value, a))[0]
    relevance_s = s64 * (relevance_a - a64 * relevance_a.sum(axis=-1, keepdims=True))
    close(at_scores.relevance(f), relevance_s)
    assert isinstance(relay, Linear)
    back = Halves().linear(f, relay, Message(at_scores.relevance(f)))
    t = relevance_s / (2 * s64)
    close(back[0].relevance(f), q64 * (t @ k64.swapaxes(-1, -2)))
    close(back[1].relevance(f), k64 * (q64.swapaxes(-1, -2) @ t))


def close(got: Any, wanted: np.ndarray) -> None:
    """To 1e-4 of the largest: the stabiliser of 1e-6 is not in the formulas, and some sums are near 0."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_a_softmax_that_a_mask_closes_hands_nothing_to_it() -> None:
    f = Eager()
    scores = np.array([[[1.0, -np.inf, 0.5]]], np.float32)
    a = f.Softmax(scores, axis=-1)
    node = gs.Node("Softmax", "softmax", {"axis": -1}, [gs.Variable("s", np.float32, scores.shape)], [gs.Variable("a")])
    record = lookup(node).build(f, Call(node, (scores,), a))
    assert isinstance(record, Relay)
    got = Taylor().relay(f, record, Message(np.ones_like(a), a))[0].relevance(f)
    assert np.isfinite(got).all()
    assert got[0, 0, 1] == 0


@pytest.mark.parametrize("shapes", [((2, 3), (3, 4)), ((2, 3, 4), (4, 5))])
def test_products_that_mix_images_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    node = case("MatMul", noise(0, *shapes[0]), noise(1, *shapes[1])).node
    assert "own matrices" in str(lookup(node).refuses(node))
