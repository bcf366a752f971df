"""The margin of a target, what is doubtful, and how much relevance a layer holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nets import Net, picture, plain

import relcam_onnx as rc
from relcam_onnx.results.evidence import LITTLE

X = picture(2, 3, 32, 32)


def explained(model: Any, targets: Any = None, **options: Any) -> rc.Explanation:
    with rc.Explainer(model, **{"layers": ["stages", "fused"], **options}) as explainer:
        return explainer(X, targets)


@pytest.mark.parametrize("seed", ["rivals", "contrast", "one-hot"])
def test_the_margin_is_over_the_nearest_rivals_whatever_the_seed(seed: str) -> None:
    """Five classes: three rivals."""
    e = explained(plain(), [[0, -1], [3, -2]], seed=seed, preset="paper" if seed == "one-hot" else None)
    for image, row in enumerate(e.targets):
        for place, target in enumerate(row):
            z = e.scores[image].astype(float)
            others = sorted(np.delete(z, target), key=lambda score: abs(score - z[target]))
            assert e.margin[image, place] == pytest.approx(z[target] - np.mean(others[:3]), rel=1e-5)
    assert e.margin.dtype == np.float32


@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
def test_a_share_of_the_relevance_is_kept_and_nothing_more_without_biases(preset: str) -> None:
    e = explained(plain(bias=False), [[-1], [-1]], preset=preset, layers=["stages", "input"], method="lrp")
    started = e.margin if preset == "default" else np.take_along_axis(e.scores, e.targets, 1)
    for layer, shares in e.relevance_kept.items():
        sums = e.maps[layer].sum(axis=(-3, -2, -1))
        np.testing.assert_allclose(shares, sums / started, rtol=1e-4)
    assert list(e.relevance_kept) == ["stride1", "stride2", "stride4", "input"]
    np.testing.assert_allclose(e.relevance_kept["stride4"], 1, atol=1e-3)


def test_relevance_kept_does_not_hang_on_how_maps_are_made() -> None:
    first, second = (explained(plain(), method=m).relevance_kept for m in ("lrp", "relevance-cam"))
    for layer, shares in first.items():
        np.testing.assert_allclose(shares, second[layer], rtol=1e-4)


@pytest.mark.parametrize("options", [{"preset": "gradient"}, {"method": "grad-cam"}])
def test_gradients_are_no_relevance(options: dict[str, Any]) -> None:
    assert explained(plain(), **options).relevance_kept == {}


def test_a_seed_that_sums_to_nothing_has_no_share() -> None:
    assert all(np.isnan(shares).all() for shares in explained(plain(), preset="paper").relevance_kept.values())


def test_little_margin_is_doubtful_and_drawn_faint() -> None:
    e = rc.explain(plain(size=32), np.full((32, 32, 3), 128, np.uint8), [[-1, -5]], preprocess="unit")
    wanted = [None if margin >= LITTLE else "no evidence for this class over its rivals" for margin in e.margin[0]]
    assert [e.doubt(0, place) for place in (0, 1)] == wanted
    assert wanted[1] is not None


def scaled(factor: float, final: str | None = None) -> rc.Explanation:
    """Two classes whose scores are the picture's first two values times a factor."""
    net = Net(1, 3, 4, 4)
    scores = net("Mul", net("Slice", net("Flatten", net.x), np.array([0]), np.array([2]), np.array([1])), factor)
    scores = net("MatMul", scores, np.eye(2, dtype=np.float32), name="scores")
    model = net.model(net(final, scores, name="final") if final else scores)
    x = np.zeros((1, 3, 4, 4), np.float32)
    x[0, 0, 0, :2] = 1.0, -1.0
    with rc.Explainer(model, layers="input") as explainer:
        return explainer(x, [[0, 1]])


def test_where_doubt_begins() -> None:
    sure, unsure = scaled(0.6), scaled(0.4)
    np.testing.assert_allclose([*sure.margin[0], *unsure.margin[0]], [1.2, -1.2, 0.8, -0.8], rtol=1e-6)
    assert [e.doubt() is None for e in (sure, unsure)] == [True, False]
    assert sure.doubt(target=1) == unsure.doubt() == "no evidence for this class over its rivals"


def test_classes_with_a_sigmoid_each_have_no_rivals() -> None:
    e = scaled(0.4, "Sigmoid")
    np.testing.assert_allclose(e.margin, [[0.4, -0.4]], rtol=1e-6)
    assert (e.doubt(), e.doubt(target=1)) == (None, "the model says no to this class")


def test_a_class_without_a_margin_has_no_share() -> None:
    """Scores that are all but equal: what is left of the seed is rounding, and so would be any share of it."""
    e = scaled(0.4)
    assert np.isfinite(e.relevance_kept["input"]).all()
    near = replace(e, scores=np.array([[3.0, 2.9]], np.float32))
    assert np.isnan(near.relevance_kept["input"]).all()


@pytest.mark.parametrize("final", [None, "Sigmoid"])
@pytest.mark.parametrize("labels", [None, ["no", "yes"]])
def test_one_score_is_its_own_margin(final: str | None, labels: list[str] | None) -> None:
    """And a no below 0, unless nothing says that it is a yes or no."""
    net = Net("N", 3, 32, 32)
    score = net.head(net("Relu", net.conv(net.x, 3, 8)), 8, 1)
    e = explained(net.model(net(final, score) if final else score), [[0]] * 2, layers="last", labels=labels)
    np.testing.assert_allclose(e.margin, -e.scores if labels else e.scores, rtol=1e-6)
    says_no = [bool(z < 0) and (final is not None or labels is not None) for z in e.margin[:, 0]]
    assert [e.doubt(index) == "the model says no to this class" for index in range(2)] == says_no
