"""What pools hand on: scales, shifts and ReLUs on either side of them are one form, values kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture
from test_canon_forms import Drawn, Write, conv, holds, per_channel, relu, shown, tokens

import relcam_onnx as rc


def pool(net: Net, x: str, op: str = "MaxPool", pads: int = 0, **options: int) -> str:
    return net(op, x, kernel_shape=[2, 2], strides=[2, 2], pads=[pads] * 4, **options)


def shift(net: Drawn, x: str) -> str:
    return net("Add", x, net.normal(4, 1, 1))


def scale(net: Drawn, x: str, sign: float = 1.0) -> str:
    return net("Mul", x, sign * np.exp(net.normal(4, 1, 1)))


def reduced(net: Drawn, x: str, op: str, keepdims: int = 1) -> str:
    return net(op, x, np.array([2, 3]), keepdims=keepdims)


FORMS: dict[str, tuple[Write, list[str]]] = {
    "scale and shift behind a maximum": (lambda n: per_channel(n, pool(n, conv(n)), 4, 1, 1), ["Conv", "MaxPool"]),
    "- a scale that turns over": (lambda n: scale(n, pool(n, conv(n)), -1), ["Conv", "MaxPool", "Mul"]),
    "- behind a maximum that the file returns": (
        lambda n: shift(n, shown(n, pool(n, conv(n)))), ["Conv", "MaxPool", "Add"],
    ),
    "scale and shift behind a mean": (
        lambda n: per_channel(n, pool(n, conv(n), "AveragePool"), 4, 1, 1), ["Conv", "AveragePool"],
    ),
    "a shift where zeros do not count": (
        lambda n: shift(n, pool(n, conv(n), "AveragePool", 1)), ["Conv", "AveragePool"],
    ),
    "- a shift where they do": (
        lambda n: shift(n, pool(n, conv(n), "AveragePool", 1, count_include_pad=1)), ["Conv", "AveragePool", "Add"],
    ),
    "a scale where they do": (
        lambda n: scale(n, pool(n, conv(n), "AveragePool", 1, count_include_pad=1), -1), ["Conv", "AveragePool"],
    ),
    "behind the mean of all": (
        lambda n: per_channel(n, n("GlobalAveragePool", conv(n)), 4, 1, 1), ["Conv", "GlobalAveragePool"],
    ),
    "behind a mean without its axes": (
        lambda n: per_channel(n, reduced(n, conv(n), "ReduceMean", 0), 4), ["Conv", "ReduceMean"],
    ),
    "- a shift behind a sum": (lambda n: shift(n, reduced(n, conv(n), "ReduceSum")), ["Conv", "ReduceSum", "Add"]),
    "- behind a mean of channels": (
        lambda n: n("Add", n("ReduceMean", conv(n), np.array([1]), keepdims=0), n.normal(8)),
        ["Conv", "ReduceMean", "Add"],
    ),
    "before a mean of all and a layer": (
        lambda n: n("Conv", n("GlobalAveragePool", per_channel(n, relu(n), 4, 1, 1)), n.normal(6, 4, 1, 1)),
        ["Conv", "Relu", "GlobalAveragePool", "Conv"],
    ),
    "a sum over its count": (
        lambda n: n("Div", reduced(n, relu(n), "ReduceSum"), np.float32(64)), ["Conv", "Relu", "ReduceMean"],
    ),
    "- a sum over another number": (
        lambda n: n("Div", reduced(n, relu(n), "ReduceSum"), np.float32(60)), ["Conv", "Relu", "ReduceSum", "Mul"],
    ),
    "- a sum over no axes": (
        lambda n: n("Div", n("ReduceSum", relu(n), noop_with_empty_axes=1), np.float32(4 * 64)),
        ["Conv", "Relu", "ReduceSum", "Mul"],
    ),
    "a product with equal shares": (
        lambda n: n("MatMul", n("Reshape", relu(n), np.array([1, 4, 64])), np.full((64, 1), 1 / 64)),
        ["Conv", "Relu", "Reshape", "ReduceMean"],
    ),
    "a row of equal shares": (
        lambda n: n("MatMul", np.full((1, 64), 1 / 64), tokens(n, relu(n))),
        ["Conv", "Relu", "Reshape", "Transpose", "ReduceMean"],
    ),
    "- shares that differ": (
        lambda n: n("MatMul", n("Reshape", relu(n), np.array([1, 4, 64])), np.linspace(0, 1 / 32, 64)[:, None]),
        ["Conv", "Relu", "Reshape", "MatMul"],
    ),
    "a mean of two tensors": (lambda n: n("Mean", relu(n), relu(n)), ["Conv", "Relu", "Conv", "Relu", "Sum", "Mul"]),
    "a ReLU behind a maximum": (lambda n: n("Relu", pool(n, conv(n))), ["Conv", "Relu", "MaxPool"]),
    "a bias and a ReLU behind a maximum": (
        lambda n: n("Relu", shift(n, pool(n, conv(n, bias=False), pads=1))), ["Conv", "Relu", "MaxPool"],
    ),
    "a ReLU6 behind the maximum of all": (
        lambda n: n("Clip", reduced(n, conv(n), "ReduceMax", 0), np.float32(0), np.float32(6)),
        ["Conv", "Clip", "ReduceMax"],
    ),
    "- a ReLU behind a mean": (lambda n: n("Relu", pool(n, conv(n), "AveragePool")), ["Conv", "AveragePool", "Relu"]),
    "- what falls behind a maximum": (
        lambda n: n("LeakyRelu", pool(n, conv(n)), alpha=-0.1), ["Conv", "MaxPool", "LeakyRelu"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_what_stands_beside_a_pool(name: str) -> None:
    holds(*FORMS[name])


@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
def test_channels_that_are_pruned_have_no_part_however_they_are_switched_off(preset: str) -> None:
    """A scale of 0 as a batch norm, as a convolution of each channel, and as one among zeros."""

    def network(way: str) -> onnx.ModelProto:
        net = Net(1, 3, 16, 16)
        y = net.conv(net.x, 3, 6)
        scale, shift = np.array([1, 0, 0.5, 0, 2, 1], np.float32), np.array([0.3, 0.5, -0.2, 0.4, 0.1, 0.6], np.float32)
        if way == "norm":
            y = net("BatchNormalization", y, scale, shift, 0 * scale, 0 * scale + 1, epsilon=0.0)
        elif way == "channels":
            y = net("Conv", y, scale[:, None, None, None].copy(), shift, group=6)
        else:
            y = net("Conv", y, np.diag(scale)[:, :, None, None].copy(), shift)
        y = net("Relu", net.conv(net("Relu", y), 6, 8, stride=2))
        return net.model(net.head(y, 8, 4))

    x = picture(1, 3, 16, 16)
    one, *others = (
        rc.Explainer(network(way), ["stages", "fused", "input"], preset=preset, backend="eager")(x, [[-1, -2]]).maps
        for way in ("norm", "channels", "zeros")
    )
    for other in others:
        for layer, heat in one.items():
            np.testing.assert_allclose(other[layer], heat, rtol=0, atol=1e-5 * np.abs(heat).max())


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_a_maximum_of_sums_of_tiles_is_read_as_one_of_their_means(backend: str) -> None:
    """Their count is the dense layer's, so the walk reads a maximum that the file does not have."""
    x = picture(1, 3, 16, 16)

    def network(form: str) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)
        y = net("Relu", net.conv(net.x, 3, 6, stride=2))
        dense, bias = net.normal(6, 5), net.normal(5)
        if form == "sums":
            y = net("Conv", y, np.ones((6, 1, 2, 2), np.float32), group=6, strides=[2, 2])
        else:
            y, dense = pool(net, y, "AveragePool"), 4 * dense
        y = net("Flatten", net("GlobalAveragePool", pool(net, y)))
        return net.model(net("Gemm", y, dense, bias))

    forms = ("sums", "means")
    got, wanted = (rc.Explainer(network(f), ["stages", "input"], backend=backend)(x, [[0, 1]]) for f in forms)
    same_maps(got, wanted)
