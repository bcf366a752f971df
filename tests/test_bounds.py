"""The bounds of zᴮ: from the preprocessing where the first layer reads the picture, else the picture's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net
from torch.nn.functional import conv2d, conv_transpose2d

import relcam_onnx as rc

PIXELS = np.random.default_rng(0).integers(3, 250, (2, 3, 16, 16)).astype(np.float32)
BACKENDS = ["eager", "compiled"]
WEIGHT = np.random.default_rng(1).standard_normal((8, 3, 3, 3)) * 0.3
# What `preprocess="torchvision"` makes of 0 and 255: ImageNet's mean and deviation.
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def network(scaling: str = "", *, weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    """A convolution of the picture, or of a 255th of it, and a dense layer."""
    net = Net("N", 3, 16, 16)
    x = net(scaling, net.x, {"Div": 255.0, "Mul": 1 / 255}[scaling]) if scaling else net.x
    x = net("Conv", x, weight, pads=[1] * 4, name="conv")
    return net.model(net.head(net("Relu", x, name="relu"), 8))


def relevance(model: onnx.ModelProto, x: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    with rc.Explainer(model, ("input", "conv"), "lrp", **options) as explainer:
        return {name: value[:, 0] for name, value in explainer(x).maps.items()}


def boxed(x: np.ndarray, r: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """zᴮ from its formula, in float64; bounds broadcast over (N, 3, 16, 16), padding counts 0."""
    values = [torch.from_numpy(np.broadcast_to(v, x.shape).astype(float)) for v in (x, low, high)]
    w = torch.from_numpy(WEIGHT.astype(np.float32).astype(float))
    terms = list(zip((1, -1, -1), values, (w, w.clamp(min=0), w.clamp(max=0)), strict=True))
    z = np.sum([sign * conv2d(v, weight, padding=1).numpy() for sign, v, weight in terms], axis=0)
    s = torch.from_numpy(r / np.where(z < 0, z - 1e-6, z + 1e-6))
    parts = [(sign * v * conv_transpose2d(s, weight, padding=1)).numpy() for sign, v, weight in terms]
    return np.asarray(np.sum(parts, axis=0))


def own(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each picture's smallest and largest value."""
    return x.min(axis=(1, 2, 3), keepdims=True), x.max(axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("preset", ["default", "epsilon-gamma-box"])
@pytest.mark.parametrize("scaling", ["Div", "Mul"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_scaling_in_the_model_is_scaling_of_the_weights(backend: str, scaling: str, preset: str) -> None:
    """The pictures hold black and white, so that their own bounds are the preprocessing's."""
    x = PIXELS.copy()
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 255
    options: dict[str, Any] = {"backend": backend, "preset": preset, "preprocess": "raw"}
    got = relevance(network(scaling), x, **options)
    wanted = relevance(network(weight=WEIGHT / 255), x, **options)
    agree(got["conv"], wanted["conv"], 1e-5)
    agree(got["input"], wanted["input"], 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_behind_a_scaling_the_bounds_are_scaled_too(backend: str) -> None:
    """0 to 255 are the picture's bounds, 0 to 1 those of what the convolution reads."""
    got = relevance(network("Div"), PIXELS, backend=backend, preprocess="raw")
    agree(got["input"], boxed(PIXELS / 255, got["conv"], np.array(0.0), np.array(1.0)), 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_layer_gets_the_bounds_of_the_preprocessing(backend: str) -> None:
    low, high = (((v - MEAN) / DEVIATION).reshape(1, 3, 1, 1) for v in (0, 1))
    x = ((PIXELS / 255 - MEAN.reshape(3, 1, 1)) / DEVIATION.reshape(3, 1, 1)).astype(np.float32)
    known = relevance(network(), x, backend=backend, preprocess="torchvision")
    agree(known["input"], boxed(x, known["conv"], low, high), 1e-5)
    unknown = relevance(network(), x, backend=backend)
    agree(unknown["input"], boxed(x, unknown["conv"], *own(x)), 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scaling", ["", "Div"])
def test_a_bound_that_was_set_is_kept(backend: str, scaling: str) -> None:
    """It is a bound of the picture; the other one is the picture's own, and the preprocessing changes neither."""
    high = 300.0 if scaling else 3.0
    preset = rc.preset("default", high=high)
    x = PIXELS if scaling else PIXELS / 255
    with rc.Explainer(network(scaling), preset=preset, preprocess="unit", backend=backend) as explainer:
        assert explainer.preset == preset
    got = relevance(network(scaling), x, preset=preset, preprocess="unit", backend=backend)
    read = PIXELS / 255
    agree(got["input"], boxed(read, got["conv"], own(read)[0], np.array(high / 255 if scaling else high)), 1e-5)
