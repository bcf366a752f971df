"""The measures of maps: by hand, against definitions, and against other libraries' on random maps."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import plain
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from relcam_onnx.audit import metrics
from relcam_onnx.audit.weights import Weights
from relcam_onnx.onnx_file.load import load

MAP = np.array([[5, 1], [-7, 3], [0, 1]], np.float32)
MASK = np.array([[True, False], [True, False], [False, True]])
SEEDS = st.integers(0, 2**32 - 1)


def test_places_by_hand() -> None:
    """The positive part sums to 10: 6 of it inside, as are 2 of the three highest."""
    assert metrics.mass_accuracy(MAP, MASK) == pytest.approx(0.6)
    assert metrics.rank_accuracy(MAP, MASK) == pytest.approx(1 / 3)
    assert metrics.points(MAP, MASK)
    assert not metrics.points(-MAP, ~MASK)
    assert metrics.iou(MAP > 0, MASK) == pytest.approx(2 / 5)
    # Highest first: 5 in, 3 out, two 1s of which one is in, 0 out, -7 in.
    assert metrics.average_precision(MAP, MASK) == pytest.approx((1 / 1 + 2 / 4 + 3 / 6) / 3)
    assert metrics.best_iou(MAP, MASK) == pytest.approx((3 / 6, 0))
    assert metrics.mass_accuracy(-np.abs(MAP), MASK) == 0


def test_tiles_of_a_mosaic() -> None:
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0], heat[3, 5], heat[0, 5], heat[3, 0] = 3, 1, 4, -9
    diagonal = np.eye(2, dtype=bool)
    assert metrics.in_tiles(heat, diagonal) == metrics.in_tiles(heat, ~diagonal) == 0.5
    assert metrics.points_at_tile(heat, ~diagonal)
    assert not metrics.points_at_tile(heat, diagonal)
    assert metrics.in_tiles(-np.ones((4, 6), np.float32), diagonal) == 0
    # Of three cells across two tiles the middle one lies on both.
    assert metrics.in_tiles(np.array([[0, 2, 6]], np.float32), np.array([[False, True]])) == pytest.approx(7 / 8)


@given(SEEDS, st.booleans())
def test_precision_is_scikit_learns(seed: int, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    heat, mask = rng.standard_normal((7, 8)), rng.random((7, 8)) > 0.7
    heat, mask[0, 0] = heat.round() if rounded else heat, True
    assert metrics.average_precision(heat, mask) == pytest.approx(average_precision_score(mask.ravel(), heat.ravel()))


@given(SEEDS)
def test_the_best_threshold_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heat, mask = rng.standard_normal((5, 6)).round(1), rng.random((5, 6)) > 0.6
    best, share = metrics.best_iou(heat, mask)
    assert best == pytest.approx(max(metrics.iou(heat >= t, mask) for t in np.unique(heat)))
    if share > 0:  # a threshold below 0 marks everything that is positive, and more
        assert metrics.iou(heat >= share * heat.max() - 1e-9, mask) == pytest.approx(best)


@given(SEEDS)
def test_ranks_and_areas_are_scipys_and_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal(12).round(1), rng.standard_normal(12).round(1)
    assert metrics.spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert metrics.auroc(a, b) == pytest.approx(roc_auc_score([1] * 12 + [0] * 12, [*a, *b]))
    assert np.isnan(metrics.spearman(a, np.ones(12)))


def test_an_interval_holds_the_mean_and_narrows_with_its_root() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    few, many = metrics.bootstrap(values[:100]), metrics.bootstrap(values)
    for found in (few, many):
        assert found.low < 3 < found.high
    # 1.96 deviations either side.
    assert many.high - many.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.2)
    assert metrics.bootstrap([]).size == 0


def test_deleting_a_patch_sets_it_to_nothing_and_nothing_else() -> None:
    x = np.ones((3, 8, 12), np.float32)
    without = metrics.without_patches(x)
    assert without.shape == (16, 3, 8, 12)
    np.testing.assert_array_equal((1 - without).sum(axis=0), x)
    assert (without[1] == 0).nonzero()[2].tolist()[:3] == [3, 4, 5]
    drops = (1 - without)[:, 0, 0, :].sum(axis=1) * np.arange(16)
    assert metrics.single_deletion(drops, np.arange(16, dtype=np.float32).reshape(4, 4) * [[1], [0], [0], [0]]) == 1


def left_half(x: np.ndarray, veil: np.ndarray):
    """A "model" that sees only the left half of a picture: 0 for the blur, 1 for the picture, linear between."""
    return lambda pictures: np.abs(pictures - veil)[..., :32].sum(axis=(1, 2, 3)) / np.abs(x - veil)[..., :32].sum()


def test_insertion_and_deletion_reward_the_pixels_that_count() -> None:
    x = np.zeros((3, 64, 64), np.float32)
    x[:, 8:56, :16] = 1
    score = left_half(x, metrics.blurred(x))
    columns = np.tile(np.arange(64, 0, -1, dtype=np.float32), (64, 1))
    for heat, sign in ((columns, 1), (-columns, -1)):
        assert sign * (metrics.insertion(score, x, heat) - metrics.deletion(score, x, heat)) > 0.4


def test_blur_is_a_gaussian_of_deviation_10() -> None:
    point = np.zeros((1, 201, 201), np.float32)
    point[0, 100, 100] = 1
    spread = metrics.blurred(point)[0]
    at = np.arange(201) - 100
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(axis=0) * at**2).sum() == pytest.approx(100, rel=1e-3)
    np.testing.assert_allclose(metrics.blurred(np.ones((2, 30, 40), np.float32)), 1, atol=1e-5)


def test_what_is_imputed_is_its_neighbours_mean() -> None:
    """A plane is the mean of its neighbours, so nothing of it is lost but at the border; what stays is untouched."""
    down, across = np.mgrid[:20, :24]
    x = np.stack([down + 2 * across, 3 * down - across]).astype(np.float32)
    gone = np.zeros((20, 24), bool)
    gone[5:15, 6:18] = np.random.default_rng(0).random((10, 12)) > 0.3
    filled = metrics.imputed(x, gone)
    np.testing.assert_array_equal(filled[:, ~gone], x[:, ~gone])
    np.testing.assert_allclose(filled, x, atol=0.06)  # noise of deviation 0.01
    assert np.isfinite(metrics.imputed(x, np.ones((20, 24), bool) & (down > 0))).all()


def test_road_is_positive_for_the_pixels_that_count() -> None:
    x = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    heat = np.zeros((32, 32), np.float32)
    heat[:, :16] = 1

    def score(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(-np.abs(pictures - x)[..., :16].mean(axis=(1, 2, 3)), np.float32)

    assert metrics.road(score, x, heat) > 0.1
    assert metrics.road(score, x, -heat) == pytest.approx(-metrics.road(score, x, heat), abs=0.05)


def test_correlation() -> None:
    assert metrics.correlation(MAP, 3 * MAP + 1) == pytest.approx(1)
    assert metrics.correlation(MAP, -MAP) == pytest.approx(-1)
    assert metrics.correlation(MAP, np.ones_like(MAP)) == 0
    assert np.isnan(metrics.correlation(np.zeros_like(MAP), np.ones_like(MAP)))


def test_weights_are_drawn_anew_from_the_top() -> None:
    model = plain()
    weights = Weights(load(model))
    names = [weight.name for weight in weights.found]
    assert len(names) == 4
    drawn = weights.randomised(2).proto
    before, after = ({t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (model, drawn))
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert set(changed) == set(names[:2])
    assert before[names[0]].shape == (5, 16)
    assert after[names[1]].std() == pytest.approx(before[names[1]].std(), rel=0.1)
    with pytest.raises(ValueError, match="4 weights"):
        weights.randomised(5)
