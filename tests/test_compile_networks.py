"""Eager and compiled on whole networks: published architectures with seeded weights, and shapes by Hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from compare import same_maps
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, inverted, picture, plain, residual
from test_light import LIGHT, image, read, seeded

import relcam_onnx as rc
from relcam_onnx.lrp.presets import PRESETS
from relcam_onnx.lrp.seeds import PROPORTIONAL, SEEDS
from relcam_onnx.rules import RULES, Epsilon, Pass

# Preset official says so where a network has no batch norm.
pytestmark = pytest.mark.filterwarnings("ignore:preset 'official':UserWarning")
NETWORKS: dict[str, Any] = {"plain": plain, "residual": residual, "inverted": inverted}


def both(model: onnx.ModelProto, x: Any, targets: Any, **options: Any) -> tuple[rc.Explanation, rc.Explanation]:
    """The same explanation by the reference and by the compiled model."""
    with rc.Explainer(model, backend="eager", **options) as explainer:
        wanted = explainer(x, targets)
    with rc.Explainer(model, backend="compiled", **options) as explainer:
        return wanted, explainer(x, targets)


@pytest.mark.parametrize("name", LIGHT)
def test_light_models(name: str) -> None:
    model = seeded(read(name))
    with rc.Explainer(model, "stages", backend="eager") as explainer:
        x = image(explainer)
        wanted = explainer(x)
    with rc.Explainer(model, "stages") as explainer:
        got = explainer(x)
    same_maps(got, wanted, 1e-4)
    assert all(np.isfinite(array).all() and array.any() for array in wanted.maps.values())
    for output, value in wanted.outputs.items():
        np.testing.assert_allclose(got.outputs[output], value, rtol=0, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_seeds(name: str, seed: str) -> None:
    """1e-4 where each score has its own share; 1e-3 where they cancel in the dense layer (z⁺ there, as they want)."""
    targets, preset = [[-1, 1, 2, 3, 0]] * 3, "default" if seed in PROPORTIONAL else "paper"
    found = both(NETWORKS[name](), picture(3, 3, 32, 32), targets, layers="stages", seed=seed, preset=preset)
    same_maps(*found, 1e-4 if seed in PROPORTIONAL else 1e-3)


@pytest.mark.parametrize("rule", [name for name in RULES if RULES[name] is not Pass])
@pytest.mark.parametrize("name", NETWORKS)
def test_rules(name: str, rule: str) -> None:
    """One rule for every op but the last; 1e-3 where denominators of either sign come close to 0."""
    chosen = rc.Preset("one rule", (("output", Epsilon()), ("*", RULES[rule]())), seed="logit", method="lrp")
    wanted, got = both(NETWORKS[name](), picture(1, 3, 32, 32), None, layers=("stages", "input"), preset=chosen)
    same_maps(got, wanted, 1e-3 if rule in ("zero", "epsilon", "norm") else 1e-4)


@given(data=st.data(), preset=st.sampled_from(list(PRESETS)))
def test_generated_networks(data: st.DataObject, preset: str) -> None:
    """A convolution of any geometry, perhaps a pool, perhaps a sum, over pictures of any size."""
    draw = data.draw
    height, width = draw(st.integers(7, 14)), draw(st.integers(7, 14))
    net = Net("N", 3, height, width, seed=draw(st.integers(0, 9)))
    kernel = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    attrs: dict[str, Any] = {
        "strides": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        "pads": draw(st.lists(st.integers(0, 2), min_size=4, max_size=4)),
        "dilations": [draw(st.integers(1, 2)), draw(st.integers(1, 2))],
    }
    x = net("Relu", net("Conv", net.x, net.normal(4, 3, *kernel), net.normal(4, scale=0.1), **attrs), name="first")
    if draw(st.booleans()):
        pool = draw(st.sampled_from(["MaxPool", "AveragePool"]))
        x = net(pool, x, kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    stride = draw(st.integers(1, 2))
    y = net.conv(x, 4, 6, 3, stride, group=2)
    if draw(st.booleans()):
        y = net("Add", y, net.conv(x, 4, 6, 1, stride))
    model = net.model(net.head(net("Relu", y, name="last"), 6))
    images, count = draw(st.sampled_from([(1, 1), (1, 5), (8, 1), (3, 2)]))
    targets = [list(range(count))] * images
    layers = ("first", "last", "input")
    same_maps(*both(model, picture(images, 3, height, width), targets, layers=layers, preset=preset), 1e-3)


@pytest.mark.parametrize("batch", [1, "N"])
def test_upsampling(batch: int | str) -> None:
    """A Resize behind which shape inference calls the batch by another name."""
    net = Net(batch, 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 6, stride=2), name="low")
    scales = np.array([1, 1, 2, 2], np.float32)
    y = net("Concat", net("Resize", x, None, scales, mode="linear"), net.conv(net.x, 3, 2), axis=1)
    model = net.model(net.head(net("Relu", net.conv(y, 8, 6), name="high"), 6))
    same_maps(*both(model, picture(2, 3, 16, 16), [[0, 1]] * 2, layers=("low", "high", "input")), 1e-4)
