"""The first largest, or smallest, takes all: in row-major order of a window, or of the operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import strategies as st
from test_pool import window_attrs

from relcam_onnx.ops import Message, Relay

Draw = Any


@st.composite
def max_pool(draw: Draw) -> Case:
    rank, seed = draw(st.integers(1, 3)), draw(SEED)
    attrs = window_attrs(draw, rank, dilations=True)
    reach = [d * (k - 1) + 1 for k, d in zip(attrs["kernel_shape"], attrs.get("dilations", [1] * rank), strict=True)]
    return case("MaxPool", apart(seed, draw(BATCH), 2, *(r + draw(st.integers(0, 4)) for r in reach)), **attrs)


@st.composite
def global_max_pool(draw: Draw) -> Case:
    return case("GlobalMaxPool", apart(draw(SEED), draw(BATCH), 3, *[2, 3, 4][: draw(st.integers(1, 3))]))


@st.composite
def reduced(draw: Draw, op: str) -> Case:
    axes = draw(st.lists(st.sampled_from([1, 2, 3, -1, -2]), min_size=1, max_size=2, unique_by=lambda a: a % 4))
    x = apart(draw(SEED), draw(BATCH), 3, 2, 4)
    return case(op, x, fixed(np.array(axes, np.int64)), keepdims=draw(st.integers(0, 1)))


@st.composite
def extreme(draw: Draw, op: str) -> Case:
    """One to three operands that broadcast, some of them constant; no two values are equal."""
    seed, batch = draw(SEED), draw(BATCH)
    shapes = [(3, 2, 4), *draw(st.lists(st.sampled_from([(3, 2, 4), (1, 2, 4), (3, 1, 1)]), max_size=2))]
    operands: list[Any] = [apart(seed + 1 + i, batch, *s) + np.float32(0.02 * i) for i, s in enumerate(shapes)]
    for index in range(1, len(operands)):
        if draw(st.booleans()):
            operands[index] = fixed(draw(st.sampled_from([operands[index][:1], np.float32(0)])))
    return case(op, *operands)


@st.composite
def chosen(draw: Draw) -> Case:
    """One of two operands by a constant condition that broadcasts; one of them may be constant."""
    seed, batch, shapes = draw(SEED), draw(BATCH), st.sampled_from([(3, 2, 4), (1, 2, 4), (3, 1, 1)])
    condition = np.random.default_rng(seed).random(draw(shapes)) > 0.5
    operands: list[Any] = [noise(seed + 1, batch, 3, 2, 4), noise(seed + 2, batch, *draw(shapes))]
    if draw(st.booleans()):
        operands[1] = fixed(operands[1][:1])
    return case("Where", fixed(condition), *operands[:: draw(st.sampled_from([1, -1]))])


MOVES: dict[str, st.SearchStrategy[Case]] = {
    "MaxPool": max_pool(),
    "GlobalMaxPool": global_max_pool(),
    "ReduceMax": reduced("ReduceMax"),
    "ReduceMin": reduced("ReduceMin"),
}
"""One input, whose values come out."""

CASES: dict[str, st.SearchStrategy[Case]] = {
    **MOVES,
    "ReduceLogSumExp": reduced("ReduceLogSumExp"),
    "Max": extreme("Max"),
    "Min": extreme("Min"),
    "Where": chosen(),
}

FLAT = np.ones((1, 1, 2, 2), np.float32)
TIES = {
    "MaxPool": case("MaxPool", FLAT, kernel_shape=[2, 2]),
    "GlobalMaxPool": case("GlobalMaxPool", FLAT),
    "ReduceMax": case("ReduceMax", FLAT, fixed(np.array([2, 3], np.int64)), keepdims=1),
    "ReduceMin": case("ReduceMin", FLAT, fixed(np.array([2, 3], np.int64)), keepdims=1),
}


def hand_back(of: Case, s: np.ndarray) -> np.ndarray:
    f, _, record = of.describe()
    assert isinstance(record, Relay)
    return np.asarray(record.relevance(Message(s))[0].relevance(f))


@pytest.mark.parametrize("op", TIES)
def test_the_first_of_equals_takes_all(op: str) -> None:
    handed = hand_back(TIES[op], np.full((1, 1, 1, 1), 5, np.float32))
    np.testing.assert_array_equal(handed, [[[[5, 0], [0, 0]]]])


def test_overlapping_windows_add_up_at_their_common_winner() -> None:
    """Kernel 2, stride 1 over 0, 9, 0: both windows choose the middle."""
    pool = case("MaxPool", np.array([[[0, 9, 0]]], np.float32), kernel_shape=[2])
    np.testing.assert_array_equal(hand_back(pool, np.array([[[2, 3]]], np.float32)), [[[0, 5, 0]]])


def test_ties_in_overlapping_windows_are_each_windows_own() -> None:
    """Two windows over three equal values: each hands to the first position that it reads itself."""
    pool = case("MaxPool", np.ones((1, 1, 3), np.float32), kernel_shape=[2])
    np.testing.assert_array_equal(hand_back(pool, np.array([[[2, 3]]], np.float32)), [[[2, 3, 0]]])


def test_padding_never_wins() -> None:
    x = -np.abs(noise(0, 1, 1, 4)) - 1
    pool = case("MaxPool", x, kernel_shape=[3], pads=[1, 1])
    assert hand_back(pool, np.ones((1, 1, 4), np.float32)).sum() == 4


def both(op: str, a: Any, b: Any, r: np.ndarray) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """What each operand gets: of relevance, and of a gradient."""
    f, _, record = case(op, a, b).describe()
    assert isinstance(record, Relay)
    return {i: np.asarray(m.relevance(f)) for i, m in record.relevance(Message(r)).items()}, dict(record.gradient(r))


@pytest.mark.parametrize(("op", "taken"), [("Max", [0, 6, 7]), ("Min", [5, 6, 0])])
def test_the_operand_that_wins_takes_all_and_the_first_of_equals(op: str, taken: list[float]) -> None:
    a, b = np.array([[1, 2, 3]], np.float32), np.array([[2, 2, 2]], np.float32)
    for handed in both(op, a, b, np.array([[5, 6, 7]], np.float32)):
        np.testing.assert_array_equal(handed[0], [taken])
        np.testing.assert_array_equal(handed[1], [np.subtract([5, 6, 7], taken)])


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_a_constant_bound_lets_relevance_pass_and_stops_a_gradient(op: str) -> None:
    """At the bound itself the slope is 0, as ReLU's."""
    a, r = np.array([[1, 2, 3]], np.float32), np.array([[5, 6, 7]], np.float32)
    relevance, gradient = both(op, fixed(np.float32(2)), a, r)
    np.testing.assert_array_equal(relevance[1], r)
    np.testing.assert_array_equal(gradient[1], [[0, 0, 7]] if op == "Max" else [[5, 0, 0]])


@pytest.mark.parametrize("computed", [False, True])
def test_each_operand_takes_where_it_is_chosen(computed: bool) -> None:
    """A broadcast operand gets the sum; nothing else of the other's places. A computed condition is held fixed."""
    mask, r = np.array([[True, False, True]]), np.array([[5, 6, 7]], np.float32)
    condition = mask if computed else fixed(mask[0])
    f, _, record = case("Where", condition, np.ones((1, 3), np.float32), np.ones((1, 1), np.float32)).describe()
    assert isinstance(record, Relay)
    handed = {i: np.asarray(m.relevance(f)) for i, m in record.relevance(Message(r)).items()}
    np.testing.assert_array_equal(handed[1], [[5, 0, 7]])
    np.testing.assert_array_equal(handed[2], [[6]])
