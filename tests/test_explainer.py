"""`Explainer` as users call it: outputs, batches, targets, seeds, options."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, inverted, picture, plain, residual, run

import relcam_onnx as rc
from relcam_onnx.lrp.presets import PRESETS
from relcam_onnx.lrp.seeds import SEEDS

X = picture(3, 3, 32, 32)
NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"plain": plain, "residual": residual, "inverted": inverted}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_plain_models(name: str) -> None:
    model = NETWORKS[name]()
    (wanted,) = run(model, x=X)
    with rc.Explainer(model) as explainer:
        got = np.asarray(explainer(X).outputs["scores"], np.float32)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_shapes_and_dtypes() -> None:
    with rc.Explainer(plain(), layers=("input", "stages", "fused")) as explainer:
        result = explainer(X, [[0, 1], [2, 3], [4, 0]])
    shapes = {name: value.shape for name, value in result.maps.items()}
    assert shapes == {
        "input": (3, 2, 3, 32, 32), "stride1": (3, 2, 32, 32), "stride2": (3, 2, 16, 16), "stride4": (3, 2, 8, 8),
        "fused": (3, 2, 32, 32),
    }  # fmt: skip
    assert {value.dtype for value in result.maps.values()} == {np.dtype(np.float32)}
    assert result.targets.dtype == np.int64
    assert {n: w.shape for n, w in result.weights.items()} == {
        "stride1": (3, 2, 8), "stride2": (3, 2, 12), "stride4": (3, 2, 16),
    }  # fmt: skip
    fused = result.maps["fused"]
    assert fused.min() >= 0
    assert fused.max() <= 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_its_images(name: str, seed: str) -> None:
    """1e-5 of each map's maximum; 1e-3 for the seeds whose sum cancels in dense layers (z⁺ there, as they want)."""
    share = 1e-5 if seed in ("logit", "one-hot", "contrast", "rivals") else 1e-3
    preset = "default" if share == 1e-5 else "paper"
    with rc.Explainer(NETWORKS[name](), preset=preset, seed=seed) as explainer:
        together = explainer(X, [1, 2, 3]).maps
        for n in range(3):
            alone = explainer(X[n : n + 1], n + 1).maps
            for layer, wanted in alone.items():
                # The floor of the fused map turns rounding at zero into its cube root.
                agree(together[layer][n : n + 1], wanted, share if layer != "fused" else max(share, 1e-3))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_backends_agree(name: str, preset: str) -> None:
    """To 1e-4 of each map's maximum, in float32 on both sides; every preset with the seed and method that it has."""
    layers = ("stages", "input")
    with rc.Explainer(NETWORKS[name](), layers, preset=preset, backend="eager") as eager:
        wanted = eager(X, [[0, 1], [2, 3], [4, 0]])
    with rc.Explainer(NETWORKS[name](), layers, preset=preset, backend="compiled") as compiled:
        got = compiled(X, [[0, 1], [2, 3], [4, 0]])
    np.testing.assert_array_equal(got.targets, wanted.targets)
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value, 1e-4)


def test_targets_together_are_targets_alone() -> None:
    with rc.Explainer(residual()) as explainer:
        together = explainer(X, [[0, 4, 2], [1, 1, 3], [4, 3, 2]])
        for k, targets in enumerate(([0, 1, 4], [4, 1, 3], [2, 3, 2])):
            alone = explainer(X, targets)
            for layer in ("stem", "block1b", "block2b"):
                agree(together.maps[layer][:, [k]], alone.maps[layer], 1e-5)


def test_ranks() -> None:
    with rc.Explainer(plain(), layers="last") as explainer:
        order = np.argsort(-explainer(X).scores, axis=1, kind="stable")
        np.testing.assert_array_equal(explainer(X).targets, order[:, :1])
        np.testing.assert_array_equal(explainer(X, [[-1, -2, -5]] * 3).targets, order[:, [0, 1, 4]])


def test_equal_scores_rank_by_lower_index() -> None:
    net = Net("N", 3, 8, 8)
    x = net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 4)))
    model = net.model(net("Gemm", net("Flatten", x), np.zeros((4, 5)), np.array([0.0, 1, 0, 1, 0]), name="scores"))
    with rc.Explainer(model, layers="input") as explainer:
        assert explainer(picture(1, 3, 8, 8), [[-1, -2, -3, -4, -5]]).targets.tolist() == [[1, 3, 0, 2, 4]]


def test_a_fixed_batch_runs_in_pieces_and_the_last_is_filled_up() -> None:
    x = picture(5, 3, 32, 32)
    with rc.Explainer(plain(batch=2)) as pieces, rc.Explainer(plain()) as whole:
        got, wanted = pieces(x, [[1, 2]] * 5), whole(x, [[1, 2]] * 5)
    assert len(got.outputs["scores"]) == 5
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=1e-5, atol=1e-5)
    for layer in ("stage1", "stage2", "stage4"):
        agree(got.maps[layer], wanted.maps[layer], 1e-5)
    np.testing.assert_array_equal(got.targets, wanted.targets)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_a_seed_of_ones_own_is_filled_up_with_its_batch(backend: str) -> None:
    x, seed = picture(3, 3, 32, 32), np.random.default_rng(1).standard_normal((3, 2, 5)).astype(np.float32)
    models = plain(batch=2), plain()
    # Under z⁺ everywhere: ε divides a seed by each score, which such a one does not suit.
    options: dict[str, Any] = {"layers": "stages", "preset": "paper", "seed": "given", "backend": backend}
    with rc.Explainer(models[0], **options) as pieces, rc.Explainer(models[1], **options) as whole:
        got, wanted = pieces(x, seed=seed), whole(x, seed=seed)
    assert len(got.targets) == 3
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value, 1e-5)


def test_max_batch_changes_nothing() -> None:
    with rc.Explainer(plain(), max_batch=2) as few, rc.Explainer(plain()) as many:
        agree(few(X).maps["stage1"], many(X).maps["stage1"], 1e-5)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_max_targets_changes_nothing(backend: str) -> None:
    targets = [[0, 1, 2, -1, 3]] * 3
    options: dict[str, Any] = {"layers": ["stages", "fused"], "backend": backend}
    with rc.Explainer(plain(), max_targets=2, **options) as few, rc.Explainer(plain(), **options) as many:
        x = picture(3, 3, 32, 32)
        got, wanted = few(x, targets), many(x, targets)
    np.testing.assert_array_equal(got.targets, wanted.targets)
    np.testing.assert_array_equal(got.scores, wanted.scores)
    for layer, value in wanted.maps.items():
        np.testing.assert_allclose(got.maps[layer], value, rtol=0, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("name", ["max_batch", "max_targets", "threads", "samples"])
@pytest.mark.parametrize("value", [0, -1, "2", 1.5])
def test_counts_are_whole_numbers_from_one_on(name: str, value: Any) -> None:
    with pytest.raises(rc.OptionError, match=f"{name} must be a whole number, at least 1, not {value!r}"):
        rc.Explainer(plain(), **{name: value})


@pytest.mark.parametrize("value", [-1, "2", 1.5])
def test_a_random_state_is_a_whole_number_from_zero_on(value: Any) -> None:
    with pytest.raises(rc.OptionError, match=f"random_state must be a whole number, at least 0, not {value!r}"):
        rc.Explainer(plain(), method="rise", random_state=value)


def test_a_dynamic_picture_size() -> None:
    with rc.Explainer(residual(size="size")) as dynamic:
        for size in (32, 48):
            maps = dynamic(picture(1, 3, size, size)).maps
            assert maps["stem"].shape[2:] == (size, size)
            assert maps["block2b"].shape[2:] == (size // 4, size // 4)
        fixed = rc.Explainer(residual())
        agree(dynamic(X).maps["block1b"], fixed(X).maps["block1b"], 1e-5)


def two_heads() -> onnx.ModelProto:
    """Two inputs, two tables of scores, and an output that is none."""
    net = Net("N", 3, 8, 8)
    other = net.input("other", "N", 3, 8, 8)
    x = net("Relu", net("Add", net.conv(net.x, 3, 4), net.conv(other, 3, 4)), name="both")
    return net.model(net.head(x, 4, name="a"), net.head(x, 4, 7, name="b"), x)


def test_several_inputs_and_outputs() -> None:
    x = {"x": picture(2, 3, 8, 8), "other": picture(2, 3, 8, 8, seed=1)}
    with pytest.raises(rc.OptionError, match=r"several outputs could be the scores; name one with output="):
        rc.Explainer(two_heads())
    with pytest.raises(rc.OptionError, match="no output is called 'c'"):
        rc.Explainer(two_heads(), output="c")
    with rc.Explainer(two_heads(), layers=("both", "other"), output="b", method="lrp") as explainer:
        result = explainer(x, 6)
        assert set(result.outputs) == {"a", "b", "both"}
        assert result.scores.shape == (2, 7)
        assert result.maps["other"].shape == (2, 1, 3, 8, 8)
        with pytest.raises(rc.InputError, match="this model has 2 inputs"):
            explainer(x["x"])


def test_a_transpose_at_the_input_makes_no_other_map() -> None:
    """NHWC and NCHW graphs of one network."""
    nets = Net("N", 3, 16, 16), Net("N", 16, 16, 3)
    models = []
    for net in nets:
        image = net.x if net is nets[0] else net("Transpose", net.x, perm=[0, 3, 1, 2])
        y = net("Relu", net.conv(image, 3, 4, stride=2), name="relu")
        models.append(net.model(net.head(y, 4)))
    x = picture(2, 3, 16, 16)
    with rc.Explainer(models[0], ("relu", "input")) as first, rc.Explainer(models[1], ("relu", "input")) as last:
        wanted, got = first(x), last(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    agree(got.maps["relu"], wanted.maps["relu"], 1e-5)
    agree(got.maps["input"], wanted.maps["input"], 1e-5)  # (N, K, C, H, W) whatever the file's order


@pytest.mark.parametrize("final", ["Softmax", "Sigmoid"])
def test_a_final_squashing_is_stepped_over(final: str) -> None:
    with rc.Explainer(plain(final=final), seed="logit") as squashed, rc.Explainer(plain(), seed="logit") as bare:
        got, wanted = squashed(X), bare(X)
    assert got.squashed_by == final
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=1e-5, atol=1e-6)
    agree(got.maps["stage1"], wanted.maps["stage1"], 1e-5)
    assert set(got.outputs) == {"final"}


def test_classes_do_not_compete_under_a_sigmoid() -> None:
    assert rc.Explainer(plain(final="Sigmoid")).seed == "logit"
    assert rc.Explainer(plain(final="Sigmoid"), method="finer-cam").seed == "one-hot"
    assert rc.Explainer(plain(), method="finer-cam").seed == "finer"
    assert rc.Explainer(plain(final="Softmax")).seed == "rivals"
    assert rc.Explainer(plain(final="Sigmoid"), seed="one-hot").seed == "one-hot"


def test_a_seed_of_ones_own() -> None:
    seed = np.zeros((3, 2, 5), np.float32)
    seed[:, 0, 1] = seed[:, 1, 3] = 1
    with rc.Explainer(plain(), preset="epsilon-plus", seed="one-hot") as named:
        wanted = named(X, [[1, 3]] * 3)
    with pytest.warns(UserWarning, match="seed 'given' under preset 'epsilon-plus'"):
        own = rc.Explainer(plain(), preset="epsilon-plus", seed="given")
    got = own(X, seed=seed)
    np.testing.assert_array_equal(got.targets, wanted.targets)
    agree(got.maps["stage1"], wanted.maps["stage1"], 1e-6)
    with pytest.raises(rc.OptionError, match="an array as seed goes with"):
        own(X)
    with pytest.raises(rc.TargetError, match="a seed must be"):
        own(X, seed=seed[:, :, :4])


def test_epsilon_with_a_seed_that_does_not_suit_warns_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explainer = rc.Explainer(plain(), seed="clrp")
        explainer(X)
        explainer(X)
    said = [str(w.message) for w in caught if "ε" in str(w.message)]
    assert len(said) == 1
    assert "'clrp'" in said[0]
    assert "'default'" in said[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rc.Explainer(plain(), preset="paper")


def test_threads_share_one_explainer() -> None:
    pictures = [picture(1, 3, 32, 32, seed=i) for i in range(8)]
    with rc.Explainer(residual(), threads=1) as explainer:
        wanted = [explainer(x).maps["stem"] for x in pictures]
        together = threading.Barrier(4)

        def call(i: int) -> np.ndarray:
            together.wait()
            return explainer(pictures[i]).maps["stem"]

        with ThreadPoolExecutor(4) as pool:
            for got, want in zip(pool.map(call, range(8)), wanted, strict=True):
                agree(got, want, 1e-6)


def test_names_of_maps() -> None:
    with rc.Explainer(plain(), layers="last") as explainer:
        maps = explainer(X).maps
    assert list(maps) == ["stride4"]
    assert maps["last"] is maps["stage4"] is maps["stride4"]
    with pytest.raises(rc.LayerError, match=r"no map of layer 'stage1' was asked for.*there are stride4"):
        maps["stage1"]


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_methods_of_the_input_are_made_of_its_gradient(backend: str) -> None:
    """Without layers they explain the input, which is their only layer."""
    targets = [[0, 1], [2, 3], [4, 0]]
    with rc.Explainer(plain(), "input", preset="gradient", method="lrp", backend=backend) as explainer:
        gradient = explainer(X, targets).maps["input"]
    wanted = {"saliency": np.abs(gradient), "gradient-x-input": gradient * X[:, None]}
    for method, value in wanted.items():
        with rc.Explainer(plain(), method=method, backend=backend) as explainer:
            found = explainer(X, targets)
        assert list(found.maps) == ["input"]
        agree(found.maps["input"], value)
        with pytest.raises(rc.LayerError, match=f"'{method}' explains the input alone"):
            rc.Explainer(plain(), ("stages", "fused"), method=method)


def test_warnings_name_the_line_that_made_the_explainer() -> None:
    for options in ({"preset": "epsilon-plus", "seed": "official"}, {"preset": "official"}):
        with pytest.warns(UserWarning, match="preset") as told:
            rc.Explainer(plain(), "stages", **options)
        assert told[0].filename == __file__
