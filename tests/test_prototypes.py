"""Heads that compare features with prototypes are dense layers; what only looks like one is left as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, canonical, ops, picture

import relcam_onnx as rc

FEATURES, CLASSES = 6, 4
TABLE = np.random.default_rng(1).standard_normal((CLASSES, FEATURES)).astype(np.float32)
OWN = np.square(TABLE).sum(1)[None]
TOLERANCE = 1e-4
"""Of the maximum: float32 through a file's own subtraction of squares and through none."""


def built(head: Callable[[Net, str], str]) -> onnx.ModelProto:
    """A network that ends in this head over its features, (N, 6)."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    return net.model(head(net, net.dense(net("Flatten", net("GlobalAveragePool", x)), 8, FEATURES)))


def apart(net: Net, z: str) -> str:
    """z - c, (N, classes, D)."""
    return net("Sub", net("Unsqueeze", z, np.array([1])), TABLE[None])


def linear(net: Net, z: str) -> str:
    return net("Sub", net("MatMul", z, 2 * TABLE.T), OWN)


def squared(net: Net, z: str) -> str:
    return net("Neg", net("ReduceSumSquare", apart(net, z), np.array([2]), keepdims=0))


def expanded(net: Net, z: str) -> str:
    lengths = net("ReduceSumSquare", z, np.array([1]), keepdims=1)
    return net("Neg", net("Add", net("Sub", lengths, net("MatMul", z, 2 * TABLE.T)), OWN))


def weighed(net: Net, z: str) -> str:
    """Each feature's distance counts otherwise: no dense layer does that."""
    squares = net("Pow", apart(net, z), np.float32(2))
    weights = np.linspace(0.5, 2, FEATURES, dtype=np.float32)
    return net("Neg", net("ReduceSum", net("Mul", squares, weights), np.array([2]), keepdims=0))


def by_sums(net: Net, z: str) -> str:
    """Distances of another kind."""
    return net("Neg", net("ReduceSum", net("Abs", apart(net, z)), np.array([2]), keepdims=0))


@pytest.mark.parametrize("head", [weighed, by_sums])
def test_other_distances_stay_as_they_are(head: Callable[[Net, str], str]) -> None:
    assert "Sub" in ops(canonical(built(head)))


@pytest.mark.parametrize("head", [squared, expanded])
@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_what_all_distances_have_in_common_tells_no_class_from_another(
    head: Callable[[Net, str], str], backend: str
) -> None:
    """Seeds that compare classes see the linear map that is left, whether a softmax stands behind or not."""
    x = picture(2, 3, 16, 16)
    wanted, got = (rc.Explainer(built(form), backend=backend)(x, [[0, 1]] * len(x)).maps for form in (linear, head))
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=TOLERANCE * np.abs(values).max())


def test_a_bias_that_all_classes_share_is_none_behind_a_softmax() -> None:
    """Also where the start of relevance is the score itself, as under the paper's seed."""
    x = picture(1, 3, 16, 16)

    def scores(shift: float) -> Callable[[Net, str], str]:
        return lambda net, z: net(
            "Softmax", net("Add", net("MatMul", z, TABLE.T.copy()), np.full(CLASSES, shift, np.float32)), axis=1
        )

    wanted, got = (rc.Explainer(built(scores(shift)), preset="paper")(x, [[0, 1]]).maps for shift in (0.0, 3.0))
    for name, values in wanted.items():
        np.testing.assert_allclose(got[name], values, atol=TOLERANCE * np.abs(values).max())


@pytest.mark.parametrize("preset", ["default", "paper", "epsilon-gamma-box"])
@pytest.mark.parametrize("form", ["product", "kept", "mean"])
def test_a_template_of_each_class_is_a_dense_layer(form: str, preset: str) -> None:
    """(N, 1, C, h, w) times (K, C, h, w), summed over all but the classes."""

    def network(form: str) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)
        x = net("Relu", net.conv(net.x, 3, 6, stride=4))
        templates = net.normal(5, 6, 4, 4, scale=0.3)
        if form == "Gemm":
            return net.model(net("Gemm", net("Flatten", x), templates.reshape(5, -1), transB=1))
        product = net("Mul", net("Unsqueeze", x, np.array([1])), templates * np.float32(96 if form == "mean" else 1))
        axes = np.array([2, 3, 4])
        summed = net("ReduceMean" if form == "mean" else "ReduceSum", product, axes, keepdims=int(form == "kept"))
        return net.model(net("Flatten", summed) if form == "kept" else summed)

    x = picture(2, 3, 16, 16)
    found = [
        rc.Explainer(network(each), ["stages", "input"], preset=preset)(x, [[-1, 0]] * 2) for each in (form, "Gemm")
    ]
    same_maps(*found)
