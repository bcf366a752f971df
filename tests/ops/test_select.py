"""MaxPool, GlobalMaxPool, ReduceMax: the first largest in row-major order takes all."""

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
def reduce_max(draw: Draw) -> Case:
    axes = draw(st.lists(st.sampled_from([1, 2, 3, -1, -2]), min_size=1, max_size=2, unique_by=lambda a: a % 4))
    x = apart(draw(SEED), draw(BATCH), 3, 2, 4)
    return case("ReduceMax", x, fixed(np.array(axes, np.int64)), keepdims=draw(st.integers(0, 1)))


CASES: dict[str, st.SearchStrategy[Case]] = {
    "MaxPool": max_pool(),
    "GlobalMaxPool": global_max_pool(),
    "ReduceMax": reduce_max(),
}

FLAT = np.ones((1, 1, 2, 2), np.float32)
TIES = {
    "MaxPool": case("MaxPool", FLAT, kernel_shape=[2, 2]),
    "GlobalMaxPool": case("GlobalMaxPool", FLAT),
    "ReduceMax": case("ReduceMax", FLAT, fixed(np.array([2, 3], np.int64)), keepdims=1),
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
