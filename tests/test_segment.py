"""The region of a map by each rule: by hand, and against the definitions on random maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import relcam_onnx as rc

MAP = np.array([[4.0, 3.0, 2.0], [1.0, -9.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("rule", "least"),
    [("mass", 2), ("mass=0.8", 2), ("mass=0.4", 4), ("mass=0.41", 3), ("mass=1", 1), ("0.5", 2), (0.76, 4), (1, 4)],
)
def test_regions_by_hand(rule: str | float, least: float) -> None:
    """The positive part sums to 10: 4 and 3 and 2 hold 9 of it, 4 alone 4."""
    np.testing.assert_array_equal(rc.segment(MAP, rule), least <= MAP)


def test_what_is_high_by_mean_and_deviation() -> None:
    heat = np.full((10, 20), -5, np.float32)
    heat[2:5, 7:11] = 1  # mean 0.06, deviation 0.24
    np.testing.assert_array_equal(rc.segment(heat, "deviation"), heat > 0)
    heat[0, 0] = 0.29  # below 0.0615 + 0.2376
    assert not rc.segment(heat, "deviation")[0, 0]
    heat[0, 0] = 0.31
    assert rc.segment(heat, "deviation")[0, 0]


@pytest.mark.parametrize("rule", ["mass", "deviation", "otsu", 0.5])
def test_nothing_positive_marks_nothing_and_each_plane_is_its_own(rule: str | float) -> None:
    planes = np.stack([np.zeros((4, 4)), np.full((4, 4), -1.0), np.eye(4), 7 * np.eye(4)[::-1]])[:, None]
    found = rc.segment(planes, rule)
    assert found.shape == planes.shape
    assert not found[:2].any()
    np.testing.assert_array_equal(found[2:] > 0, planes[2:] > 0)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.8, 0.99]), st.sampled_from([1e-20, 1.0, 1e20]))
def test_mass_is_the_smallest_region_that_holds_the_share(seed: int, share: float, scale: float) -> None:
    heat = (np.random.default_rng(seed).standard_normal((9, 13)) ** 3 * scale).astype(np.float32)
    region, positive = rc.segment(heat, f"mass={share}"), np.maximum(heat, 0).astype(np.float64)
    inside = np.sort(positive[region])
    assert inside.sum() >= share * positive.sum() * (1 - 1e-12)
    assert inside[1:].sum() < share * positive.sum()
    assert positive[~region].max() <= inside[0]


@pytest.mark.parametrize("rule", ["mass", "deviation", "otsu", 0.5])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_region_does_not_hang_on_the_maps_scale(rule: str | float, scale: float) -> None:
    heat = np.random.default_rng(0).standard_normal((20, 20))
    np.testing.assert_array_equal(rc.segment(heat * scale, rule), rc.segment(heat, rule))


@given(st.integers(0, 2**32 - 1))
def test_otsu_sets_two_classes_furthest_apart(seed: int) -> None:
    """Against every other threshold: the variance between the classes, of values rounded to 256 steps."""
    rng = np.random.default_rng(seed)
    heat = np.abs(rng.standard_normal((12, 12)) + 4 * (rng.random((12, 12)) > 0.7)).astype(np.float32)
    steps = np.minimum((heat / heat.max() * 256).astype(int), 255)

    def between(above: np.ndarray) -> float:
        weights = above.mean(), 1 - above.mean()
        return float(np.prod(weights) * (steps[above].mean() - steps[~above].mean()) ** 2)

    best = max(between(steps > t) for t in range(steps.min(), steps.max()))
    assert between(rc.segment(heat, "otsu")) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("rule", ["high", "mass=", "mass=0", "mass=1.5", "otsu=3", "0", -0.5, 2, "nan", "deviation=1"])
def test_a_rule_that_is_none(rule: str | float) -> None:
    with pytest.raises(rc.OptionError, match=r"mass=0\.8.*deviation.*otsu"):
        rc.segment(MAP, rule)


def test_a_map_that_is_none() -> None:
    with pytest.raises(rc.InputError, match="NaN"):
        rc.segment([[1.0, np.nan]])
    with pytest.raises(rc.InputError, match="infinite as float32"):
        rc.segment([[1.0, 1e300]])
    with pytest.raises(rc.InputError, match=r"\(0, 4\)"):
        rc.segment(np.zeros((0, 4)))
    with pytest.raises(rc.InputError, match=r"\(3,\)"):
        rc.segment([1.0, 2.0, 3.0])
