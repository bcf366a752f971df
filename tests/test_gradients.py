"""Preset gradient against the slope of the model itself, by central differences in float64.

The reference evaluator of the onnx package runs the model with every weight in double precision. A step of 1e-6 makes
its error about 1e-10 of the scores, and crosses next to no kink of a Relu.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, picture
from onnx.reference import ReferenceEvaluator

import relcam_onnx as rc

STEP = 1e-6
X = picture(1, 3, 10, 12)


def excited(net: Net, x: str) -> str:
    """Squeeze and excitation: the gate depends on what it gates."""
    narrow = net("Relu", net.conv(net("GlobalAveragePool", x), 8, 8, 1))
    return net("Mul", x, net("Sigmoid", net.conv(narrow, 8, 8, 1)))


def normalised(net: Net, x: str) -> str:
    return net("Div", x, net("Add", net("GlobalAveragePool", x), 0.1))


def product(net: Net, x: str) -> str:
    return net("Mul", x, net("Tanh", net.conv(x, 8, 8)))


def doubled(net: Net, x: str) -> str:
    return net("Add", x, x)


def halved(net: Net, x: str, antialias: int) -> str:
    scales = np.array([1, 1, 0.5, 0.5], np.float32)
    return net("Resize", x, None, scales, mode="linear", antialias=antialias)


def windows(net: Net, x: str) -> str:
    """A mask that differs from one of four windows to the next."""
    apart = net("Transpose", net("Reshape", x, np.array([1, 8, 2, 5, 2, 6])), perm=[0, 2, 4, 1, 3, 5])
    mask = np.random.default_rng(1).random((4, 1, 5, 6)) < 0.5
    chosen = net("Where", mask, net("Reshape", apart, np.array([4, 8, 5, 6])), np.float32(0))
    back = net("Transpose", net("Reshape", chosen, np.array([1, 2, 2, 8, 5, 6])), perm=[0, 3, 1, 4, 2, 5])
    return net("Reshape", back, np.array([1, 8, 10, 12]))


NETWORKS: dict[str, Callable[[Net, str], str]] = {
    "squeeze and excitation": excited,
    "over the mean": normalised,
    "product": product,
    "sum with itself": doubled,
    "windows": windows,
    "Resize": lambda net, x: halved(net, x, 0),
    "Resize, antialiased": lambda net, x: halved(net, x, 1),
}


def network(name: str) -> onnx.ModelProto:
    net = Net(1 if name == "windows" else "N", 3, 10, 12)
    x = NETWORKS[name](net, net("Relu", net.conv(net.x, 3, 8), name="first"))
    return net.model(net.head(net("Tanh", net.conv(x, 8, 8), name="behind"), 8))


def in_double(model: onnx.ModelProto) -> Callable[[np.ndarray], np.ndarray]:
    """Input to scores, with the model's weights in float64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(float), tensor.name))
    evaluator: Any = ReferenceEvaluator(wide)
    return lambda x: np.asarray(evaluator.run(None, {"x": x})[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_slopes_of_the_scores(name: str) -> None:
    model = network(name)
    exact = in_double(model)
    maps = []
    for backend in ("eager", "compiled"):
        with rc.Explainer(model, "input", "lrp", "gradient", backend=backend) as explainer:
            maps.append(explainer(X, [[0, 3]]).maps["input"][0].astype(float))
    rng = np.random.default_rng(0)
    for _ in range(4):
        way = rng.standard_normal(X.shape)
        up, down = exact(X + STEP * way), exact(X - STEP * way)
        slope = ((up - down) / (2 * STEP))[0, [0, 3]]
        for got in maps:
            # Terms of either sign cancel in the sum; float32 rounds each of them.
            size = np.abs(got * way).sum(axis=(1, 2, 3))
            assert (np.abs((got * way).sum(axis=(1, 2, 3)) - slope) <= 1e-5 * size).all()


@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Sub"])
@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_value_float_is_any_other_constant(op: str, backend: str) -> None:
    def build(*, stored: bool) -> onnx.ModelProto:
        net = Net("N", 3, 10, 12)
        x = net("Relu", net.conv(net.x, 3, 8), name="first")
        value = net.constant(np.float32(2.5), "value") if stored else net("Constant", value_float=2.5, name="value")
        return net.model(net.head(net("Tanh", net(op, x, value)), 8))

    for preset in ("default", "gradient"):
        maps = []
        for stored in (True, False):
            with rc.Explainer(build(stored=stored), "input", "lrp", preset, backend=backend) as explainer:
                maps.append(explainer(X).maps["input"])
        assert np.abs(maps[0]).max() > 0
        np.testing.assert_allclose(maps[1], maps[0], rtol=0, atol=1e-6 * np.abs(maps[0]).max())
