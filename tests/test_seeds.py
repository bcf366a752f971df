"""The seeds against their formulas, class by class in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.seeds import SEEDS


def softmax(z: list[float]) -> list[float]:
    most = max(z)
    e = [math.exp(v - most) for v in z]
    return [v / sum(e) for v in e]


def twin(name: str, z: list[float], t: int) -> list[float]:
    """What relevance starts as, from the seed's definition."""
    n, classes = len(z), range(len(z))
    if n == 1:
        p = 1 / (1 + math.exp(-z[0]))
        return [{"sglrp": p * (1 - p), "one-hot": 1.0, "official": 1.0}.get(name, z[0])]
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


@pytest.mark.parametrize("name", SEEDS)
def test_float32_stays_finite_at_large_scores(name: str) -> None:
    started = seed(name, np.array([[3e4, -3e4, 1e4]], np.float32), [1])
    assert started.dtype == np.float32
    assert np.isfinite(started).all()


@pytest.mark.parametrize("name", ["clrp", "sglrp"])
def test_seeds_that_sum_to_nothing(name: str) -> None:
    started = seed(name, np.array([[3.0, 1.0, -2.0]]), [0])
    assert abs(started.sum()) < 1e-12 * np.abs(started).sum()
