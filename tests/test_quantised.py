"""Models of quantised weights and activations: what stands for a float network is explained as that network is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, run
from test_compile import agree, explained, results

import relcam_onnx as rc

STEP = np.float32(1 / 32)
# Multiples of the step, so that quantising the picture does not change it.
X = (np.random.default_rng(0).integers(-100, 100, (2, 3, 16, 16)) * STEP).astype(np.float32)
TARGETS = [[0, -1], [1, 2]]
OPTIONS: dict[str, Any] = {"layers": ("stages", "fused", "input")}
BACKENDS = ["eager", "compiled"]


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values, and a scale for each output channel."""
    scales = np.abs(weight).max(axis=tuple(range(1, weight.ndim))) / 127
    values = np.round(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return values.astype(np.int8), scales.astype(np.float32)


def weights(net: Net, form: str, *shape: int) -> str:
    """The same weights as floats, as DequantizeLinear of int8, or as both ops on floats."""
    exact = net.normal(*shape, scale=0.3)
    values, scales = rounded(exact)
    if form == "float":
        return net.constant(values * scales.reshape(-1, *[1] * (len(shape) - 1)))
    zeros = np.zeros(len(scales), np.int8)
    source = net("QuantizeLinear", exact, scales, zeros, axis=0) if form == "both" else values
    return net("DequantizeLinear", source, scales, zeros, axis=0)


def straight(net: Net, x: str, scale: np.float32, zero: int, name: str | None = None) -> str:
    """QuantizeLinear and DequantizeLinear of an activation."""
    middle = np.uint8(zero)
    return net("DequantizeLinear", net("QuantizeLinear", x, scale, middle), scale, middle, name=name)


def network(form: str, *, picture: bool = False, activations: bool = False) -> onnx.ModelProto:
    """Two convolutions and a dense layer; perhaps the picture and the activations go through 8 bits."""
    net = Net("N", 3, 16, 16)
    x = straight(net, net.x, STEP, 128) if picture else net.x
    for name, before, stride in (("fine", 3, 1), ("coarse", 8, 2)):
        x = net("Conv", x, weights(net, form, 8, before, 3, 3), pads=[1] * 4, strides=[stride] * 2)
        x = net("Relu", x, name=None if activations else name)
        if activations:
            x = straight(net, x, 2 * STEP, 0, name)
    flat = net("Flatten", net("GlobalAveragePool", x))
    return net.model(net("Gemm", flat, weights(net, form, 5, 8), transB=1, name="scores"))


def same(got: rc.Explanation, wanted: rc.Explanation) -> None:
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-5)
    assert [value.shape for value in got.maps.values()] == [value.shape for value in wanted.maps.values()]
    for ours, value in zip(got.maps.values(), wanted.maps.values(), strict=True):
        assert np.abs(value).max() > 0
        agree(ours, value)


@pytest.mark.parametrize("form", ["stored", "both"])
@pytest.mark.parametrize("preset", ["default", "paper", "gradient"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore:seed 'one-hot'")
def test_weights_by_output_channel(backend: str, preset: str, form: str) -> None:
    wanted = explained(network("float"), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(network(form), preset=preset, backend=backend, **OPTIONS) as explainer:
        assert list(wanted.maps) == ["stride1", "stride2", "input", "fused"]
        same(explainer(X, TARGETS), wanted)


@pytest.mark.parametrize("preset", ["default", "gradient"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_activations_pass_straight_through(backend: str, preset: str) -> None:
    """The picture's values are what 8 bits hold, so that only the way back could make a difference."""
    wanted = explained(network("float"), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(network("float", picture=True), preset=preset, backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def whole() -> onnx.ModelProto:
    return network("stored", picture=True, activations=True)


def test_a_whole_quantised_model() -> None:
    """8 bits of every activation move the maps a little: a cosine of at least 0.99 to the float network's."""
    reference = explained(network("float"), X, TARGETS, **OPTIONS)
    wanted = explained(whole(), X, TARGETS, **OPTIONS)
    assert list(wanted.maps) == list(reference.maps)
    for name, value in reference.maps.items():
        a, b = wanted.maps[name].ravel(), value.ravel()
        assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)
    with rc.Explainer(whole(), backend="compiled", **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def test_a_compiled_quantised_model_stays_one() -> None:
    """The file's own outputs come from the same integers; nothing is dequantised for good."""
    compiled = rc.compile_model(whole(), **OPTIONS)
    onnx.checker.check_model(compiled, full_check=True)
    kept = [tensor for tensor in compiled.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) > 1 for tensor in kept) == 3
    wanted = explained(whole(), X, TARGETS, **OPTIONS)
    got = results(compiled, x=X, relcam_targets=wanted.targets)
    np.testing.assert_allclose(got["scores"], run(whole(), x=X)[0], atol=1e-5)
    for name, value in wanted.maps.items():
        agree(got["relevance/input" if name == "input" else f"cam/{name}"], value)
