"""Norms by what they compute: the canonical form of each spelling, and near misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture
from test_canon_forms import Drawn, Write, conv, holds, shown

import relcam_onnx as rc

EPSILON = np.float32(1e-5)
ACROSS = (1, 4, 1, 1)
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def silu(net: Drawn) -> str:
    """Signed values that no norm takes into a layer."""
    return net("Mul", y := conv(net), net("Sigmoid", y))


def mean(net: Drawn, x: str, axes: Sequence[int]) -> str:
    return net("ReduceMean", x, np.array(axes), keepdims=1)


def deviation(net: Drawn, rest: str, axes: Sequence[int]) -> str:
    return net("Sqrt", net("Add", mean(net, net("Mul", rest, rest), axes), EPSILON))


def normed(net: Drawn, x: str, axes: Sequence[int], over: Sequence[int] | None = None) -> str:
    """(x - mean) / deviation; the deviation perhaps over other axes."""
    rest = net("Sub", x, mean(net, x, axes))
    return net("Div", rest, deviation(net, rest, over or axes))


def gain(net: Drawn, *shape: int) -> np.ndarray:
    return np.exp(net.normal(*shape, scale=0.3))


def with_gain_inside(net: Drawn, x: str, axes: Sequence[int]) -> str:
    """x · (gain / deviation) + (shift - mean · gain / deviation), as ONNX's own function of layer norm folds."""
    middle = mean(net, x, axes)
    scale = net("Div", gain(net, *ACROSS), deviation(net, net("Sub", x, middle), axes))
    return net("Add", net("Mul", x, scale), net("Sub", net.normal(*ACROSS), net("Mul", middle, scale)))


def root_mean_square(net: Drawn, x: str, axes: Sequence[int]) -> str:
    return net("Mul", x, net("Div", gain(net, *ACROSS), deviation(net, x, axes)))


def grouped(net: Drawn, x: str, within: tuple[int, ...] = (1, 2, 2, 1, 1), axes: Sequence[int] = (2, 3, 4)) -> str:
    y = normed(net, net("Reshape", x, np.array([1, 2, 2, 8, 8])), axes)
    y = net("Add", net("Mul", y, gain(net, *within)), net.normal(*within))
    return net("Reshape", y, np.array([1, 4, 8, 8]))


def grouped_last(net: Drawn, x: str) -> str:
    """As Keras' GroupNormalization: (N, h, w, groups, C / groups)."""
    split = net("Reshape", net("Transpose", x, perm=LAST), np.array([1, 8, 8, 2, 2]))
    y = net("Reshape", normed(net, split, [1, 2, 4]), np.array([1, 8, 8, 4]))
    return net("Transpose", net("Add", net("Mul", y, gain(net, 4)), net.normal(4)), perm=FIRST)


def instance_groups(net: Drawn, x: str) -> str:
    rows = net("Reshape", x, np.array([0, 2, -1]))
    y = net("InstanceNormalization", rows, gain(net, 2), net.normal(2), epsilon=1e-5)
    return net("Mul", net("Reshape", y, np.array([1, 4, 8, 8])), gain(net, *ACROSS))


def turned_within(net: Drawn, x: str, mean_behind: bool) -> str:
    """A layer norm over channels, turned behind its mean, or behind what is left without it, as optimisers do."""
    middle = mean(net, x, [1])
    if mean_behind:
        rest = net("Sub", net("Transpose", x, perm=LAST), net("Transpose", middle, perm=LAST))
    else:
        rest = net("Transpose", net("Sub", x, middle), perm=LAST)
    return net("Div", rest, deviation(net, rest, [3]))


def over_positions(net: Drawn, x: str, mean: Callable[[Drawn, str], str]) -> str:
    """An instance norm by some mean."""
    rest = net("Sub", x, mean(net, x))
    return net("Div", rest, net("Sqrt", net("Add", mean(net, net("Mul", rest, rest)), EPSILON)))


def pooled(net: Drawn, x: str) -> str:
    return net("GlobalAveragePool", x)


def counted(net: Drawn, x: str) -> str:
    """A sum over the number of positions: of fewer it would be another function."""
    return net("Div", net("ReduceSum", x, np.array([2, 3])), np.float32(64))


def one_group(net: Drawn, x: str) -> str:
    """As PyTorch's exporters write GroupNorm(1)."""
    rows = net("Reshape", x, np.array([0, 1, -1]))
    y = net("InstanceNormalization", rows, np.ones(1), np.zeros(1), epsilon=1e-5)
    y = net("Reshape", y, np.array([1, 4, 8, 8]))
    return net("Add", net("Mul", y, gain(net, *ACROSS)), net.normal(*ACROSS))


def shares(net: Drawn, x: str) -> str:
    """A softmax of two heads over 64 positions, in pieces."""
    rows = net("Reshape", x, np.array([1, 2, 2, 64]))
    scores = net("MatMul", net("Transpose", rows, perm=[0, 1, 3, 2]), rows)
    powers = net("Exp", net("Sub", scores, net("ReduceMax", scores, np.array([-1]))))
    return net("Div", powers, net("ReduceSum", powers, np.array([-1])))


SILU = ["Conv", "Swish"]
LESS_THE_MEAN = ["ReduceMean", "Mul", "Add"]
IN_ROWS = ["Reshape", "LayerNormalization", "Mul", "Add", "Reshape"]

FORMS: dict[str, tuple[Write, list[str]]] = {
    "a layer norm over channels": (lambda n: normed(n, silu(n), [1]), [*SILU, "LayerNormalization"]),
    "its gain inside": (lambda n: with_gain_inside(n, silu(n), [1]), [*SILU, "LayerNormalization"]),
    "one that is turned behind its mean": (
        lambda n: turned_within(n, silu(n), True), [*SILU, "Transpose", "LayerNormalization"],
    ),
    "one that is turned without its mean": (
        lambda n: turned_within(n, silu(n), False), [*SILU, "Transpose", "LayerNormalization"],
    ),
    "one over channels and positions, its gain inside": (
        lambda n: with_gain_inside(n, silu(n), [1, 2, 3]), [*SILU, "LayerNormalization"],
    ),
    "an instance norm": (lambda n: with_gain_inside(n, silu(n), [2, 3]), [*SILU, "LayerNormalization"]),
    "one by global pools": (lambda n: over_positions(n, silu(n), pooled), [*SILU, "LayerNormalization"]),
    "one by sums": (lambda n: over_positions(n, silu(n), counted), [*SILU, "LayerNormalization"]),
    "a norm by means of means": (
        lambda n: over_positions(n, silu(n), lambda n, x: mean(n, pooled(n, x), [1])), [*SILU, "LayerNormalization"],
    ),
    "a softmax of many": (
        lambda n: shares(n, silu(n)), [*SILU, "Reshape", "Transpose", "MatMul", "Softmax"],
    ),
    "ONNX's norm without gain": (
        lambda n: n("MeanVarianceNormalization", silu(n), axes=[2, 3]), [*SILU, "LayerNormalization"],
    ),
    "- a mean of channels, a deviation of positions": (
        lambda n: normed(n, silu(n), [1], [2, 3]), [*SILU, *LESS_THE_MEAN, "RMSNormalization"],
    ),
    "- a norm whose deviation the file returns": (
        lambda n: n("Div", rest := n("Sub", y := silu(n), mean(n, y, [1])), shown(n, deviation(n, rest, [1]))),
        [*SILU, "LayerNormalization", *LESS_THE_MEAN, "Mul", "ReduceMean", "Add", "Sqrt"],
    ),
    "a norm by the root of the mean square": (
        lambda n: root_mean_square(n, silu(n), [1]), [*SILU, "RMSNormalization"],
    ),
    "a group norm": (lambda n: grouped(n, silu(n)), [*SILU, "GroupNormalization"]),
    "a group norm, channels last": (
        lambda n: grouped_last(n, silu(n)), [*SILU, "GroupNormalization"],
    ),
    "a group norm as an instance norm of groups": (
        lambda n: instance_groups(n, silu(n)), [*SILU, "GroupNormalization"],
    ),
    "one group": (lambda n: one_group(n, silu(n)), [*SILU, "GroupNormalization"]),
    "- groups with a gain of each row": (
        lambda n: grouped(n, silu(n), (1, 2, 2, 8, 1)), [*SILU, *IN_ROWS],
    ),
    "- groups normed over one channel of each": (
        lambda n: grouped(n, silu(n), axes=(1, 3, 4)), [*SILU, *IN_ROWS],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_norm(name: str) -> None:
    holds(*FORMS[name])


@pytest.mark.parametrize("gains", ["behind", "in the row", "of a product"])
def test_a_norm_of_all_of_a_picture_in_a_row_is_one_of_the_picture(gains: str) -> None:
    """As a group norm of one group, which the stage is behind."""
    rng, x = np.random.default_rng(0), picture(2, 3, 16, 16)
    pointwise, bias = rng.normal(0, 0.5, (6, 3, 1, 1)).astype(np.float32), rng.normal(0, 0.5, 6).astype(np.float32)
    gain, shift = np.exp(rng.normal(0, 0.3, 6)).astype(np.float32), rng.normal(0, 0.3, 6).astype(np.float32)

    def network(form: str) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16, opset=21)
        if form == "of a product":  # of columns of pixels, with positions in a row
            columns = net("Reshape", net("MaxPool", net.x, kernel_shape=[2, 2], strides=[2, 2]), np.array([0, 3, 64]))
            y = net("Add", net("MatMul", pointwise[:, :, 0, 0], columns), bias[:, None])
        else:
            pooled = net("MaxPool", net.x, kernel_shape=[2, 2], strides=[2, 2])
            y = net("Conv", pooled, pointwise, bias)
        if form == "group":
            y = net("GroupNormalization", y, gain, shift, num_groups=1)
        else:
            tables = [np.repeat(v, 64) for v in (gain, shift)] if form == "in the row" else [np.ones(384, np.float32)]
            row = net("LayerNormalization", net("Flatten", y), *tables)
            y = net("Reshape", row, np.array([-1, 6, 8, 8]))
            if form != "in the row":
                y = net("Add", net("Mul", y, gain[:, None, None]), shift[:, None, None])
        return net.model(net.head(net("Relu", net.conv(net("Relu", y), 6, 8, stride=2)), 8))

    got, wanted = (rc.Explainer(network(form), ["stages", "input"])(x, [[0, 1]] * 2) for form in (gains, "group"))
    same_maps(got, wanted, 1e-4)
