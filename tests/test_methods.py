"""The methods against their formulas, position by position in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp import fusing, gradient_cams, relevance_cams


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def grown(means: np.ndarray, scale: int, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, half-pixel, by exactly ``scale``, cropped to ``size``; (h, w) in float64."""
    out = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            weight_of = []
            for p, n in ((y, means.shape[0]), (x, means.shape[1])):
                at = min(max((p + 0.5) / scale - 0.5, 0), n - 1)
                low = min(math.floor(at), n - 1)
                weight_of.append(((low, 1 - (at - low)), (min(low + 1, n - 1), at - low)))
            out[y, x] = sum(means[i, j] * a * b for i, a in weight_of[0] for j, b in weight_of[1])
    return out


def local_twin(a: np.ndarray, r: np.ndarray, s: int) -> np.ndarray:
    """Σ_k |A_k| · R̄_k / (Ā_k + ε) of one image, (C, h, w) -> (h, w), window by window."""
    size = a.shape[1:]
    eps = 1e-3 * np.abs(a).mean() + 1e-12

    def windowed(values: np.ndarray) -> np.ndarray:
        rows, columns = (-(-n // s) for n in size)
        means = [[values[i * s : (i + 1) * s, j * s : (j + 1) * s].mean() for j in range(columns)] for i in range(rows)]
        return values if s == 1 else grown(np.array(means), s, size)

    strength = np.abs(a)
    return sum((strength[k] * windowed(r[k]) / (windowed(strength[k]) + eps) for k in range(len(a))), np.zeros(size))


@given(seed=st.integers(0, 99), window=st.integers(1, 4), h=st.integers(2, 9), w=st.integers(2, 9))
def test_local_relevance_cam_is_its_formula(seed: int, window: int, h: int, w: int) -> None:
    """Two images and two targets each; to 1e-5 of the largest, float32's."""
    a, r = normal(seed, 2, 3, h, w), normal(seed + 1, 4, 3, h, w)
    got = relevance_cams.local_relevance_cam(Eager(2), a, r, window)
    for row in range(4):
        exact = a[row % 2].astype(np.float64), r[row].astype(np.float64)
        wanted = local_twin(*exact, window)
        np.testing.assert_allclose(got[row], wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_local_relevance_cam_at_the_deepest_stage_is_the_sum_over_channels() -> None:
    """Up to ε, a thousandth of the mean activation: where activations are no smaller than the mean, 0.1 %."""
    a, r = np.abs(normal(0, 1, 4, 5, 5)) + 1, normal(1, 1, 4, 5, 5)
    got = relevance_cams.local_relevance_cam(Eager(), a, r, 1)
    np.testing.assert_allclose(got, r.sum(axis=1), atol=2e-3 * np.abs(r).sum(axis=1).max())


@pytest.mark.parametrize("window", [2, 4, 8])
def test_local_relevance_cam_keeps_the_sum(window: int) -> None:
    """Relevance that goes with activation, as a z-rule gives it: 2 % of Σ|ΣR| over positions."""
    a = np.abs(normal(0, 1, 16, 32, 32)) + np.float32(0.1)
    r = a * normal(1, 1, 16, 1, 1)
    got = relevance_cams.local_relevance_cam(Eager(), a, r, window)
    assert abs(got.sum() - r.sum()) <= 0.02 * np.abs(r.sum(axis=1)).sum()


@given(seed=st.integers(0, 99))
def test_relevance_cam_and_grad_cam(seed: int) -> None:
    a, r = normal(seed, 2, 3, 4, 5), normal(seed + 1, 4, 3, 4, 5)
    f = Eager(2)
    weights = r.astype(np.float64).mean(axis=(2, 3))
    wanted = np.einsum("nchw,nc->nhw", np.concatenate([a, a]), weights)
    np.testing.assert_allclose(relevance_cams.channel_weights(f, a, r)[..., 0, 0], weights, atol=1e-6)
    np.testing.assert_allclose(relevance_cams.relevance_cam(f, a, r, 9), wanted, atol=1e-5)
    np.testing.assert_allclose(gradient_cams.grad_cam(f, a, r, 9), np.maximum(wanted, 0), atol=1e-5)
    assert relevance_cams.lrp(f, a, r, 9) is r


@given(seed=st.integers(0, 99))
def test_the_family_of_grad_cam_is_its_formulas(seed: int) -> None:
    a, g = normal(seed, 2, 3, 4, 5), normal(seed + 1, 4, 3, 4, 5)
    values, slopes = np.concatenate([a, a]).astype(np.float64), g.astype(np.float64)
    wanted = {
        gradient_cams.layer_cam: (np.maximum(slopes, 0) * values).sum(axis=1),
        gradient_cams.hires_cam: (slopes * values).sum(axis=1),
    }
    for method, exact in wanted.items():
        np.testing.assert_allclose(method(Eager(2), a, g, 9), exact, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 5), (7, 2, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_eigen_cams_are_projections_on_the_first_singular_vector(seed: int, shape: tuple[int, int, int]) -> None:
    """More positions than channels, and fewer; a gap between singular values makes the vector one."""
    a, g = normal(seed, 2, *shape), normal(seed + 1, 4, *shape)
    a[:, :] += 3 * normal(seed + 2, 2, shape[0], 1, 1) * normal(seed + 3, 2, 1, *shape[1:])
    g[:] = np.concatenate([a, a]) * (1 + g / 8)  # what decides is as far from the rest as in the activation
    twice = np.concatenate([a, a])
    evidence = g * twice
    for got, x, lead in [
        (gradient_cams.eigen_cam(Eager(2), a, g, 9), twice, np.abs(twice).sum(axis=1)),
        (gradient_cams.eigen_grad_cam(Eager(2), a, g, 9), evidence, evidence.sum(axis=1)),
    ]:
        for one, values, toward in zip(got, x.astype(np.float64), lead, strict=True):
            flat = values.reshape(shape[0], -1).T
            flat = flat - flat.mean(axis=0)
            wanted = (flat @ np.linalg.svd(flat)[2][0]).reshape(one.shape)
            wanted *= np.sign((wanted * toward).sum())
            np.testing.assert_allclose(one, wanted, atol=1e-3 * np.abs(wanted).max())


def test_eigen_cam_of_nothing_is_nothing() -> None:
    nothing = np.zeros((1, 3, 4, 4), np.float32)
    assert not gradient_cams.eigen_cam(Eager(), nothing, nothing, 1).any()


def test_a_product_of_stages() -> None:
    fine, coarse = normal(0, 1, 4, 4), normal(1, 1, 2, 2)
    got = fusing.product_of_all(Eager(), [fine, coarse], [(4, 4), (2, 2)])
    units = [np.maximum(m[0], 0) / np.maximum(m[0], 0).max() for m in (fine, coarse)]
    np.testing.assert_allclose(got[0], units[0] * grown(units[1], 2, (4, 4)), atol=1e-6)


def test_fused_is_the_geometric_mean_of_unit_maps() -> None:
    fine, coarse = normal(0, 2, 6, 6), normal(1, 2, 3, 3)
    got = fusing.geometric_mean(Eager(), [fine, coarse], [(6, 6), (3, 3)])
    assert got.shape == (2, 6, 6)
    for n in range(2):
        units = [np.maximum(m[n], 0) / np.maximum(m[n], 0).max() for m in (fine, coarse)]
        stages = [np.maximum(m, 1e-6) for m in (units[0], grown(units[1], 2, (6, 6)))]
        np.testing.assert_allclose(got[n], np.sqrt(stages[0] * stages[1]), atol=1e-5)


def test_fused_of_nothing_positive_is_the_floor() -> None:
    maps = [-np.ones((1, 4, 4), np.float32), -np.ones((1, 2, 2), np.float32)]
    got = fusing.geometric_mean(Eager(), maps, [(4, 4), (2, 2)])
    np.testing.assert_allclose(got, 1e-6, rtol=1e-3)


@pytest.mark.parametrize(("deepest", "stride", "window"), [(32, 4, 8), (32, 32, 1), (16, 32, 1), (12, 8, 2)])
def test_window_size_is_rounded_up(deepest: float, stride: float, window: int) -> None:
    assert relevance_cams.window_size(deepest, stride) == window
