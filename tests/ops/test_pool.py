"""Average pools, sums, means and lengths over axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import Linear, Message, lookup
from relcam_onnx.rules import Norm, ZPlus

Draw = Any


def window_attrs(draw: Draw, rank: int, *, dilations: bool) -> dict[str, Any]:
    """kernel_shape, strides, pads (below the kernel) or auto_pad, ceil_mode, perhaps dilations."""
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    attrs: dict[str, Any] = {"kernel_shape": draw(each), "strides": draw(each)}
    kernel = attrs["kernel_shape"]
    if draw(st.booleans()):
        attrs["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
        attrs["ceil_mode"] = draw(st.integers(0, 1))
        if dilations:
            attrs["dilations"] = draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    else:
        attrs["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
        # SAME of a kernel below the stride would have to pad by a negative amount, which onnxruntime refuses.
        attrs["kernel_shape"] = [max(k, s) for k, s in zip(kernel, attrs["strides"], strict=True)]
    return attrs


@st.composite
def average_pool(draw: Draw) -> Case:
    rank, seed = draw(st.integers(1, 3)), draw(SEED)
    attrs = window_attrs(draw, rank, dilations=True) | {"count_include_pad": draw(st.integers(0, 1))}
    reach = [d * (k - 1) + 1 for k, d in zip(attrs["kernel_shape"], attrs.get("dilations", [1] * rank), strict=True)]
    size = [r + draw(st.integers(0, 4)) for r in reach]
    return case("AveragePool", noise(seed, draw(BATCH), 2, *size), **attrs)


@st.composite
def lp_pool(draw: Draw) -> Case:
    attrs = window_attrs(draw, 2, dilations=False)
    attrs["p"] = draw(st.sampled_from([1, 2, 3]))
    size = [k + draw(st.integers(0, 4)) for k in attrs["kernel_shape"]]
    return case("LpPool", apart(draw(SEED), draw(BATCH), 2, *size), **attrs)


@st.composite
def global_lp_pool(draw: Draw) -> Case:
    x = apart(draw(SEED), draw(BATCH), 3, *[2, 3, 4][: draw(st.integers(1, 3))])
    return case("GlobalLpPool", x, p=draw(st.sampled_from([1, 2, 3])))


@st.composite
def global_average_pool(draw: Draw) -> Case:
    return case("GlobalAveragePool", noise(draw(SEED), draw(BATCH), 3, *[2, 3, 4][: draw(st.integers(1, 3))]))


@st.composite
def reduction(draw: Draw, op: str) -> Case:
    x = (apart if op == "ReduceL1" else noise)(draw(SEED), draw(BATCH), 3, 2, 4)
    axes = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True))
    axes = [a - 4 if draw(st.booleans()) else a for a in axes]
    return case(op, x, fixed(np.array(axes, np.int64)), keepdims=draw(st.integers(0, 1)))


@st.composite
def col2im(draw: Draw) -> Case:
    """Windows of (N, 2, 5, 4) pixels, with gaps, overlaps and borders."""
    seed, batch = draw(SEED), draw(BATCH)
    forms = [
        ([2, 2], [1, 1], [0] * 4, [1, 1]),
        ([3, 2], [2, 2], [1, 0, 1, 0], [1, 1]),
        ([2, 2], [1, 2], [0] * 4, [2, 1]),
    ]
    kernel, strides, pads, dilations = draw(st.sampled_from(forms))
    size = np.array([5, 4])
    reach = np.array(dilations) * (np.array(kernel) - 1) + 1
    counts = (size + np.array(pads[:2]) + np.array(pads[2:]) - reach) // np.array(strides) + 1
    x = noise(seed, batch, 2 * int(np.prod(kernel)), int(np.prod(counts)))
    return case("Col2Im", x, fixed(size), fixed(np.array(kernel)), strides=strides, pads=pads, dilations=dilations)


@st.composite
def cumsum(draw: Draw) -> Case:
    axis = draw(st.sampled_from([1, 2, 3, -1]))
    flags = {name: draw(st.integers(0, 1)) for name in ("exclusive", "reverse")}
    return case("CumSum", noise(draw(SEED), draw(BATCH), 3, 4, 2), fixed(np.int64(axis)), **flags)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Col2Im": col2im(),
    "AveragePool": average_pool(),
    "GlobalAveragePool": global_average_pool(),
    "LpPool": lp_pool(),
    "GlobalLpPool": global_lp_pool(),
    "ReduceMean": reduction("ReduceMean"),
    "ReduceSum": reduction("ReduceSum"),
    **{op: reduction(op) for op in ("ReduceL1", "ReduceL2", "ReduceSumSquare")},
    "CumSum": cumsum(),
}


def adjoint(of: Case, s: np.ndarray) -> np.ndarray:
    _, _, record = of.describe()
    assert isinstance(record, Linear)
    return np.asarray(record.terms[0].adjoint(s, None))


def test_windows_at_the_border_divide_by_what_they_count() -> None:
    """3 positions, kernel 2, stride 2, one position of padding before: windows {pad, 0} and {1, 2}."""
    x, s = noise(0, 1, 1, 3), np.ones((1, 1, 2), np.float32)
    attrs: dict[str, Any] = {"kernel_shape": [2], "strides": [2], "pads": [1, 0]}
    counted = case("AveragePool", x, count_include_pad=1, **attrs)
    left_out = case("AveragePool", x, count_include_pad=0, **attrs)
    np.testing.assert_allclose(adjoint(counted, s), [[[0.5, 0.5, 0.5]]], rtol=1e-6)
    np.testing.assert_allclose(adjoint(left_out, s), [[[1, 0.5, 0.5]]], rtol=1e-6)


def test_the_last_window_of_ceil_mode_shares_among_the_positions_it_has() -> None:
    pool = case("AveragePool", noise(0, 1, 1, 3), kernel_shape=[2], strides=[2], ceil_mode=1)
    np.testing.assert_allclose(adjoint(pool, np.ones((1, 1, 2), np.float32)), [[[0.5, 0.5, 1]]], rtol=1e-6)


SIZES = {"ReduceL1": np.abs, "ReduceSumSquare": np.square, "ReduceL2": np.square}


@pytest.mark.parametrize("rule", [Norm(), ZPlus(bias=False)], ids=["norm", "z-plus"])
@pytest.mark.parametrize("op", SIZES)
def test_lengths_share_by_what_each_value_adds(op: str, rule: Any) -> None:
    """R_i = c_i R / Σ c, c = |x| or x²: of one sign, so that every rule by contribution agrees."""
    x, r = noise(0, 2, 3, 4), noise(1, 2, 1, 4)
    f, _, record = case(op, x, fixed(np.array([1], np.int64))).describe()
    assert isinstance(record, Linear)
    part = SIZES[op](x.astype(np.float64))
    got = rule.linear(f, record, Message(r))[0].relevance(f)
    np.testing.assert_allclose(got, part * r / part.sum(1, keepdims=True), rtol=0, atol=1e-5 * np.abs(r).max())


@pytest.mark.parametrize("axes", [[], [fixed(np.array([0, 1], np.int64))], [fixed(np.array([-3], np.int64))]], ids=str)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax", "ReduceMin"])
def test_reductions_over_the_batch_are_refused(op: str, axes: list[Any]) -> None:
    node = case(op, noise(0, 2, 3, 4), *axes).node
    assert "batch" in str(lookup(node).refuses(node))
    whole = case(op, noise(0, 2, 3, 4), noop_with_empty_axes=1).node
    assert lookup(whole).refuses(whole) is None


@pytest.mark.parametrize("axis", [0, -3])
def test_a_running_sum_over_the_batch_is_refused(axis: int) -> None:
    node = case("CumSum", noise(0, 2, 3, 4), fixed(np.int64(axis))).node
    assert "batch" in str(lookup(node).refuses(node))
