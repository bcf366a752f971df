"""Methods that ask the model again and again: their formulas on models with known answers, and through Explainer."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nets import Net, inverted, picture, plain, residual

import relcam_onnx as rc
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.methods import METHODS, Probe
from relcam_onnx.probing import activations, gradients, growing, pictures

Floats = np.ndarray
PROBES = [name for name, how in METHODS.items() if isinstance(how, Probe)]
X = picture(2, 3, 32, 32)


class Known:
    """A subject whose values are ``told`` of a picture, and of an activation, (M, ...) to (M, K)."""

    def __init__(self, x: Floats, told: Callable[[Floats], Floats], slope: Floats | None = None, **more: Any) -> None:
        self.x, self.told, self.slope = x, told, slope
        self.own, self.size, self.rng = told(x[None])[0], 5, np.random.default_rng(0)
        self.samples, self.baselines = more.get("samples", 10), more.get("baselines", np.zeros((0, *x.shape)))

    def values(self, rows: Floats) -> Floats:
        assert len(rows) <= self.size
        return self.told(rows)

    values_with = values

    def activation(self) -> Floats:
        return self.x

    def gradients(self, rows: Floats) -> Floats:
        assert self.slope is not None
        return np.broadcast_to(self.slope, (len(rows), *self.slope.shape)) * (
            2 * rows[:, None] if self.told is square else 1
        )


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def linear(weights: Floats) -> Callable[[Floats], Floats]:
    return lambda rows: np.tensordot(rows, weights, (tuple(range(1, rows.ndim)), tuple(range(1, weights.ndim))))


def square(rows: Floats) -> Floats:
    return (rows**2).sum(axis=tuple(range(1, rows.ndim)))[:, None]


def test_occlusion_of_one_pixel_is_seen_by_the_windows_over_it() -> None:
    """A model that reads one pixel: every window that hides it takes the whole value, and no other does."""
    weights = np.zeros((1, 3, 14, 21), np.float32)
    weights[0, 1, 5, 10] = 2
    x = np.abs(normal(3, 14, 21))
    got = pictures.occlusion(Known(x, linear(weights)))
    assert got.shape == (1, 3, 14, 21)
    shown = got.sum(axis=1)[0]
    windows = [(r, c) for r in pictures.starts(14) for c in pictures.starts(21)]
    for row, column in ((5, 10), (5, 11), (0, 0), (13, 20)):
        over = [w for w in windows if w[0].start <= row < w[0].stop and w[1].start <= column < w[1].stop]
        hit = [w for w in over if w[0].start <= 5 < w[0].stop and w[1].start <= 10 < w[1].stop]
        np.testing.assert_allclose(shown[row, column], 2 * x[1, 5, 10] * len(hit) / len(over), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 6, 7, 20, 224])
def test_windows_cover_a_side_and_end_with_it(size: int) -> None:
    windows = pictures.starts(size)
    covered = np.zeros(size, int)
    for window in windows:
        covered[window] += 1
    assert covered.all()
    assert windows[-1].stop == size
    assert len({w.stop - w.start for w in windows}) == 1


def test_rise_finds_the_one_cell_that_counts() -> None:
    """A value that is the picture's brightness in a corner: there the map is highest, and elsewhere it says nothing."""
    weights = np.zeros((1, 3, 28, 28), np.float32)
    weights[:, :, :6, :6] = 1 / 108
    got = pictures.rise(Known(np.ones((3, 28, 28), np.float32), linear(weights), samples=3000))
    shown = got.sum(axis=1)[0]
    assert np.unravel_index(shown.argmax(), shown.shape)[0] < 6
    assert shown[:5, :5].mean() > shown[8:, 8:].mean() + 0.1
    np.testing.assert_allclose(shown[14:, 14:], 0, atol=0.05)


def test_masks_of_rise_are_in_0_to_1_and_half_open() -> None:
    rng = np.random.default_rng(0)
    masks = pictures.masks_of(rng.random((200, 7, 7)) < 0.5, rng.integers(0, (5, 7), (200, 2)), (30, 45))
    assert masks.shape == (200, 30, 45)
    assert masks.min() >= 0
    assert masks.max() <= 1
    np.testing.assert_allclose(masks.mean(axis=0), 0.5, atol=0.15)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(9, 14), (3, 5), (1, 1), (2, 30)])
def test_grown_planes_are_onnxs(aligned: bool, size: tuple[int, int]) -> None:
    planes, mode = normal(4, 3, 5), "align_corners" if aligned else "half_pixel"
    wanted = Eager().Resize(
        planes[:, None], None, None, [4, 1, *size], mode="linear", coordinate_transformation_mode=mode
    )
    np.testing.assert_allclose(growing.grown(planes, size, aligned=aligned), np.asarray(wanted)[:, 0], atol=1e-6)


def test_score_cam_is_its_formula() -> None:
    x, weights = normal(4, 6, 5), normal(2, 4, 6, 5, seed=1)
    got, shares = activations.score_cam(Known(x, linear(weights)))
    masks = (x - x.min(axis=(1, 2), keepdims=True)) / (np.ptp(x, axis=(1, 2))[:, None, None] + 1e-8)
    values = np.einsum("kchw,chw,mhw->km", weights, x, masks)
    wanted = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, wanted, rtol=1e-4)
    np.testing.assert_allclose(got, np.einsum("km,mhw->khw", wanted, x), rtol=1e-3, atol=1e-5)


def test_ablation_cam_of_a_linear_head_is_each_channels_share() -> None:
    x, weights = normal(4, 3, 5), normal(2, 4, 3, 5, seed=1)
    got, shares = activations.ablation_cam(Known(x, linear(weights)))
    parts = np.einsum("kchw,chw->kc", weights, x)
    wanted = parts / np.abs(parts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(shares, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got, np.einsum("kc,chw->khw", wanted, x), rtol=1e-4, atol=1e-5)


def test_recipro_cam_of_a_linear_head_is_each_positions_part() -> None:
    x, weights = normal(4, 3, 5), normal(2, 4, 3, 5, seed=1)
    got, none = activations.recipro_cam(Known(x, linear(weights)))
    parts = np.einsum("kchw,chw->khw", weights, x)
    assert none is None
    np.testing.assert_allclose(got, parts - parts.min(axis=(1, 2), keepdims=True), rtol=1e-4, atol=1e-5)


def test_averaged_gradients_of_known_functions() -> None:
    """Linear: the weights and their products, whatever is drawn. A square: its integral from b is x² - b²."""
    x, weights, ones = normal(3, 4, 5), normal(2, 3, 4, 5, seed=1), np.ones((1, 3, 4, 5), np.float32)
    np.testing.assert_allclose(gradients.smoothgrad(Known(x, linear(weights), weights)), np.abs(weights), rtol=1e-5)
    got = gradients.integrated_gradients(Known(x, linear(weights), weights))
    np.testing.assert_allclose(got, weights * x, rtol=1e-4, atol=1e-6)
    baselines = normal(3, 3, 4, 5, seed=2)
    got = gradients.integrated_gradients(Known(x, square, ones, baselines=baselines))
    np.testing.assert_allclose(got[0], (x**2 - baselines**2).mean(axis=0), rtol=1e-4, atol=1e-5)
    got = gradients.expected_gradients(Known(x, square, ones, baselines=baselines, samples=20_000))
    np.testing.assert_allclose(got[0], (x**2 - baselines**2).mean(axis=0), atol=0.15)


PASSES = {
    **dict.fromkeys(("score-cam", "ablation-cam"), 24 + 48 + 32),
    "recipro-cam": 16 * 16 + 8 * 8 + 4 * 4,
    "occlusion": 15 * 15,
    **dict.fromkeys(("rise", "smoothgrad", "integrated-gradients", "expected-gradients"), 8),
}
"""Channels, or positions, of the stages; windows of five pixels, two apart; samples."""


@pytest.mark.parametrize("name", PROBES)
def test_explainer_gives_what_the_contract_says(name: str) -> None:
    """Shapes, one map for each target whatever stands beside it, and the same twice."""
    how = METHODS[name]
    few = {"samples": 8} if how.samples else {}
    more = {"baselines": X} if name == "expected-gradients" else {}
    with rc.Explainer(inverted(), method=name, **few) as explainer:
        both, alone = explainer(X, [[1, 2]] * 2, **more), explainer(X[1:], [2], **more)
        assert (
            explainer.passes(X)
            == 1
            + sum(
                how.passes(explainer._runner.samples, X.shape[1:], shape)
                for shape in (
                    [()] if "input" in both.maps else [both.maps[k].shape[1:] for k in both.maps if k != "fused"]
                )
            )
            or "cam" in name
        )
    if how.explains_input_alone:
        assert both.maps["input"].shape == (2, 2, 3, 32, 32)
    else:
        assert list(both.maps) == ["stride2", "stride4", "stride8", "fused"]
        assert both.maps["fused"].shape == both.maps["stride2"].shape
    for layer in both.maps:
        assert np.isfinite(both.maps[layer]).all()
        assert both.maps[layer].any()
        largest = np.abs(both.maps[layer]).max()
        np.testing.assert_allclose(alone.maps[layer][0, 0], both.maps[layer][1, 1], atol=2e-3 * largest)
    assert not both.relevance_kept
    np.testing.assert_array_equal(both.targets, [[1, 2]] * 2)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated-gradients"])
def test_both_backends_give_the_gradients(name: str) -> None:
    maps = []
    for backend in ("eager", "compiled"):
        with rc.Explainer(plain(), method=name, backend=backend, samples=6) as explainer:
            maps.append(explainer(X, [[0, 3]] * 2).maps["input"])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4 * np.abs(maps[0]).max())


def test_integrated_gradients_add_up_to_the_difference_of_scores() -> None:
    """To a twentieth: Relus have kinks on the way."""
    with rc.Explainer(plain(), method="integrated-gradients", samples=100) as explainer:
        found, nothing = explainer(X, [[0, 3]] * 2), explainer(np.zeros_like(X), [[0, 3]] * 2)
    wanted = (found.scores - nothing.scores)[:, [0, 3]]
    np.testing.assert_allclose(found.maps["input"].sum(axis=(2, 3, 4)), wanted, atol=0.05 * np.abs(wanted).max())


def test_ablation_and_recipro_cam_change_the_layer_and_nothing_else() -> None:
    """Behind the last stage stand a mean and a dense layer: the fall of the score is known."""
    model = plain()
    with rc.Explainer(model, "stage4", method="lrp", preset="gradient") as explainer:
        gradient = explainer(X, [[2]] * 2)
    with rc.Explainer(model, "stage4", method="ablation-cam") as explainer:
        got = explainer(X, [[2]] * 2)
    with rc.Explainer(model, "stage4", method="hires-cam") as explainer:
        parts = explainer(X, [[2]] * 2).maps["stage4"]
    slopes = gradient.maps["stage4"][:, 0]
    assert np.ptp(slopes, axis=(2, 3)).max() < 1e-6  # a mean behind it
    score = got.scores[:, 2]
    means = got.maps["stage4"]
    assert means.shape == parts.shape
    falls = got.weights["stage4"][:, 0] * np.abs(score)[:, None]
    np.testing.assert_allclose(falls.sum(axis=1), parts[:, 0].sum(axis=(1, 2)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["occlusion", "rise", "score-cam", "recipro-cam"])
def test_fixed_batches_and_channels_last(name: str) -> None:
    """The same maps from a file for three pictures at a time, and from one that takes (N, H, W, C)."""
    few = {"samples": 16} if METHODS[name].samples else {}
    net = Net("N", 32, 32, 3)
    last = Net(3, 3, 32, 32)
    free = Net("N", 3, 32, 32)
    models = [
        build.model(build.head(build("Relu", build.conv(x, 3, 8, stride=2), name="stage"), 8))
        for build, x in ((free, free.x), (last, last.x), (net, net("Transpose", net.x, perm=[0, 3, 1, 2])))
    ]
    layers = "input" if METHODS[name].explains_input_alone else "stage"
    found = []
    for model, x in zip(models, (X, X, X.transpose(0, 2, 3, 1).copy()), strict=True):
        with rc.Explainer(model, layers, method=name, **few) as explainer:
            found.append(explainer(x, [[1, 2]] * 2).maps[layers])
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-4 * np.abs(found[0]).max())


def unknown() -> Any:
    """Determinants of 4 × 4 patches: no rule knows them."""
    net = Net("N", 3, 8, 8)
    blocks = net("Reshape", net.x, np.array([0, 3, 4, 4, 4]))
    return net.model(net("ReduceSum", net("Det", blocks), np.array([2]), keepdims=0, name="scores"))


@pytest.mark.parametrize("name", ["occlusion", "rise"])
def test_ops_that_no_rule_knows_stand_in_nobodys_way(name: str) -> None:
    with rc.Explainer(unknown(), method=name) as explainer:
        maps = explainer(X[:1, :, :8, :8].copy(), [[0, 2]]).maps["input"]
    assert maps.shape == (1, 2, 3, 8, 8)
    assert maps[0].any(axis=(1, 2, 3)).all()
    with pytest.raises(rc.RelcamError):
        rc.Explainer(unknown(), "input", method="lrp")


def test_another_random_state_is_another_map() -> None:
    maps = []
    for state in (0, 0, 1):
        with rc.Explainer(plain(), method="rise", samples=8, random_state=state) as explainer:
            maps.append(explainer(X).maps["input"])
    np.testing.assert_array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "samples of a walk": ({"samples": 3}, "method 'local-relevance-cam' takes no samples"),
    "samples of windows": ({"method": "occlusion", "samples": 3}, "method 'occlusion' takes no samples"),
    "no samples": ({"method": "rise", "samples": 0}, "at least 1, not 0"),
    "state": ({"random_state": 1}, "draws nothing at random"),
    "seed": ({"method": "rise", "seed": "finer"}, "probability: it takes no seed"),
    "preset": ({"method": "rise", "preset": "paper"}, "needs preset 'gradient', not 'paper'"),
    "guided": ({"method": "grad-cam", "preset": "guided-backprop"}, "needs preset 'gradient'"),
    "layers": ({"method": "rise", "layers": "stages"}, "explains the input alone"),
    "input": ({"method": "score-cam", "layers": "input"}, "explains layers, not the input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together(case: str) -> None:
    options, says = REFUSED[case]
    with pytest.raises(rc.RelcamError, match=says):
        rc.Explainer(residual(), **options)


def test_baselines_go_with_the_methods_that_have_such() -> None:
    with rc.Explainer(plain(), method="expected-gradients") as explainer:
        with pytest.raises(rc.OptionError, match="give baselines="):
            explainer(X)
        with pytest.raises(rc.InputError, match="the model takes"):
            explainer(X, baselines=X[:, :, :8])
    with rc.Explainer(plain()) as explainer, pytest.raises(rc.OptionError, match="takes no baselines"):
        explainer(X, baselines=X)


def test_no_file_holds_many_runs() -> None:
    with pytest.raises(rc.OptionError, match="again and again"):
        rc.compile_model(plain(), method="rise")


@pytest.mark.parametrize("options", [{"backend": "eager"}, {"backend": "compiled"}, {"method": "recipro-cam"}], ids=str)
def test_nothing_waits_for_the_collector(options: dict[str, Any]) -> None:
    """The command line hardly lets it run: what a run has computed must go when the run ends, not in a cycle."""
    with rc.Explainer(residual(), "stages", **options) as explainer:
        explainer(X)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            explainer(X)
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(5):
                explainer(X)
            assert tracemalloc.get_traced_memory()[0] - before < 2 * X.nbytes
        finally:
            tracemalloc.stop()
            gc.enable()
