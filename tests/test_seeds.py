"""The seeds against their formulas, class by class in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.seeds import SEEDS, rival_count


def softmax(z: list[float]) -> list[float]:
    most = max(z)
    e = [math.exp(v - most) for v in z]
    return [v / sum(e) for v in e]


def twin(name: str, z: list[float], t: int) -> list[float]:
    """What relevance starts as, from the seed's definition."""
    n, classes = len(z), range(len(z))
    if n == 1:
        p = 1 / (1 + math.exp(-z[0]))
        return [{"sglrp": p * (1 - p), "one-hot": 1.0, "official": 1.0, "finer": 1.0}.get(name, z[0])]
    if name == "logit":
        return [z[t] if c == t else 0.0 for c in classes]
    if name == "one-hot":
        return [1.0 if c == t else 0.0 for c in classes]
    if name == "clrp":
        return [z[t] if c == t else -z[t] / (n - 1) for c in classes]
    if name == "official":
        return [1.0 if c == t else -1 / n for c in classes]
    if name == "sglrp":
        every = softmax(z)
        return [every[t] * (1 - every[t]) if c == t else -every[t] * every[c] for c in classes]
    others = [c for c in classes if c != t]
    if name in ("rivals", "finer"):
        count = math.ceil(math.log2(n)) if name == "rivals" else min(3, n - 1)
        apart = {c: abs(z[c] - z[t]) for c in others}
        edge = sorted(apart.values())[count - 1]
        nearer, level = ([c for c in others if test(apart[c])] for test in (edge.__gt__, edge.__eq__))
        share = (count - len(nearer)) / len(level)
        weights = {**dict.fromkeys(nearer, 1.0), **dict.fromkeys(level, share)}
        worth = z if name == "rivals" else [1.0] * n
        return [worth[t] if c == t else -weights.get(c, 0.0) * worth[c] / count for c in classes]
    q = dict(zip(others, softmax([z[c] for c in others]), strict=True))
    return [z[t] if c == t else -q[c] * z[c] for c in classes]


def seed(name: str, z: np.ndarray, targets: list[int]) -> np.ndarray:
    hot = np.eye(z.shape[1], dtype=z.dtype)[targets]
    return np.asarray(SEEDS[name](Eager(), z, hot))


@pytest.mark.parametrize("name", SEEDS)
@given(data=st.data())
def test_seed_is_its_formula(name: str, data: st.DataObject) -> None:
    classes = data.draw(st.integers(1, 6))
    scores = st.lists(st.floats(-20, 20, width=32), min_size=classes, max_size=classes)
    z = [data.draw(scores) for _ in range(2)]
    targets = [data.draw(st.integers(0, classes - 1)) for _ in range(2)]
    wanted = [twin(name, row, t) for row, t in zip(z, targets, strict=True)]
    np.testing.assert_allclose(seed(name, np.array(z), targets), wanted, rtol=1e-12, atol=1e-15)


def test_contrast_sums_to_the_margin_and_lives_where_the_model_is_sure() -> None:
    """With the target 200 logits ahead a softmax over all leaves the others nothing; here they keep their margin."""
    z = np.array([[200.0, 1.0, 1.0]], np.float32)
    started = seed("contrast", z, [0])
    np.testing.assert_allclose(started, [[200, -0.5, -0.5]], rtol=1e-6)
    assert started.sum() == pytest.approx(199)


def test_rivals_by_hand() -> None:
    """Eight classes: three rivals. 5 is two off, 4 and 2 are three and one off, and 4 and -2 tie for the last place."""
    z = np.array([[1.0, 3.0, 5.0, 2.0, 9.0, 4.0, 8.0, -8.0]])
    np.testing.assert_allclose(seed("rivals", z, [1])[0], [-1 / 6, 3, -5 / 6, -2 / 3, 0, -4 / 3, 0, 0])
    np.testing.assert_allclose(seed("rivals", z[:, :2], [0])[0], [1, -3])
    np.testing.assert_allclose(seed("rivals", np.full((1, 5), 2.0), [0])[0], [2, *[-0.5] * 4])


@pytest.mark.parametrize(("classes", "count"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (1000, 10), (1025, 11)])
def test_the_number_of_rivals(classes: int, count: int) -> None:
    """⌈log2 N⌉, whether the file tells N or a run does."""
    f = Eager()
    assert rival_count(f, classes) == ([count], count)
    told, places = rival_count(f, np.int64(classes))
    assert [int(n) for n in told] == [count]
    assert float(places[0]) == count


@given(data=st.data())
def test_the_order_of_classes_does_not_matter_to_rivals(data: st.DataObject) -> None:
    z = data.draw(st.lists(st.sampled_from([-2.0, 0.0, 1.0, 1.5, 3.0]), min_size=2, max_size=9))
    order = data.draw(st.permutations(range(len(z))))
    first = seed("rivals", np.array([z]), [order[0]])[0]
    np.testing.assert_allclose(
        seed("rivals", np.array([[z[c] for c in order]]), [0])[0], first[list(order)], atol=1e-12
    )


@pytest.mark.parametrize("name", SEEDS)
def test_float32_stays_finite_at_large_scores(name: str) -> None:
    started = seed(name, np.array([[3e4, -3e4, 1e4]], np.float32), [1])
    assert started.dtype == np.float32
    assert np.isfinite(started).all()


@pytest.mark.parametrize("name", ["clrp", "sglrp"])
def test_seeds_that_sum_to_nothing(name: str) -> None:
    started = seed(name, np.array([[3.0, 1.0, -2.0]]), [0])
    assert abs(started.sum()) < 1e-12 * np.abs(started).sum()
