"""Layers of one tensor that are summed are the one layer that re-parametrisation makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from nets import Net, canonical, ops, picture, run

import relcam_onnx as rc

C = 4
Branches = Callable[[Net, str], tuple[list[str], str]]
"""Writes the terms of a sum over a tensor of `C` channels, and the one layer that makes as much; gives both."""


def kernel(net: Net, group: int, *size: int) -> np.ndarray:
    return net.normal(C, C // group, *size, scale=0.5)


def inside(small: np.ndarray, size: int, places: list[int]) -> np.ndarray:
    """A kernel with its taps at these places of a wider one, in either direction."""
    wide = np.zeros((*small.shape[:2], size, size), np.float32)
    wide[np.ix_(range(len(small)), range(small.shape[1]), places, places)] = small
    return wide


def three(net: Net, x: str) -> tuple[list[str], str]:
    """RepVGG's block: 3×3, 1×1, and the input through a batch norm."""
    wide, point, bias = kernel(net, 1, 3, 3), kernel(net, 1, 1, 1), net.normal(C)
    scale, shift, mean, variance = net.normal(C), net.normal(C), net.normal(C), np.abs(net.normal(C)) + 0.5
    factor = scale / np.sqrt(variance + 1e-5)
    own = np.diag(factor)[:, :, None, None].astype(np.float32)
    terms = [
        net("Conv", x, wide, bias, pads=[1] * 4), net("Conv", x, point),
        net("BatchNormalization", x, scale, shift, mean, variance),
    ]  # fmt: skip
    whole = wide + inside(point + own, 3, [1])
    return terms, net("Conv", x, whole, bias + shift - mean * factor, pads=[1] * 4)


def strided(net: Net, x: str) -> tuple[list[str], str]:
    wide, point = kernel(net, 1, 3, 3), kernel(net, 1, 1, 1)
    terms = [net("Conv", x, w, strides=[2, 2], pads=[w.shape[2] // 2] * 4) for w in (point, wide)]
    return terms, net("Conv", x, wide + inside(point, 3, [1]), strides=[2, 2], pads=[1] * 4)


def depthwise(net: Net, x: str) -> tuple[list[str], str]:
    """A position encoding: a depthwise convolution added to its input."""
    wide = kernel(net, C, 3, 3)
    one = np.ones((C, 1, 1, 1), np.float32)
    return [x, net("Conv", x, wide, pads=[1] * 4, group=C)], net(
        "Conv", x, wide + inside(one, 3, [1]), pads=[1] * 4, group=C
    )


def groups(net: Net, x: str) -> tuple[list[str], str]:
    """Four groups and two: the wider groups hold the narrower."""
    two, four = kernel(net, 2, 3, 3), kernel(net, 4, 1, 1)
    spread = np.zeros((C, 2, 1, 1), np.float32)
    for channel in range(C):
        spread[channel, channel % 2] = four[channel, 0]
    terms = [net("Conv", x, two, pads=[1] * 4, group=2), net("Conv", x, four, group=4)]
    return terms, net("Conv", x, two + inside(spread, 3, [1]), pads=[1] * 4, group=2)


def dilated(net: Net, x: str) -> tuple[list[str], str]:
    """UniRepLKNet's: taps far apart inside a wide kernel."""
    wide, far = kernel(net, C, 5, 5), kernel(net, C, 3, 3)
    terms = [net("Conv", x, wide, pads=[2] * 4, group=C), net("Conv", x, far, pads=[2] * 4, dilations=[2, 2], group=C)]
    return terms, net("Conv", x, wide + inside(far, 5, [0, 2, 4]), pads=[2] * 4, group=C)


def one_sided(net: Net, x: str) -> tuple[list[str], str]:
    """Pads at the end alone: the single tap lies at the wide kernel's start."""
    wide, point = kernel(net, 1, 2, 2), kernel(net, 1, 1, 1)
    terms = [net("Conv", x, wide, pads=[0, 0, 1, 1]), net("Conv", x, point)]
    return terms, net("Conv", x, wide + inside(point, 2, [0]), pads=[0, 0, 1, 1])


def over_positions(net: Net, x: str) -> tuple[list[str], str]:
    """One of the layers written channels last."""
    wide, table = kernel(net, 1, 3, 3), net.normal(C, C, scale=0.5)
    last = net("MatMul", net("Transpose", x, perm=[0, 2, 3, 1]), table)
    terms = [net("Conv", x, wide, pads=[1] * 4), net("Transpose", last, perm=[0, 3, 1, 2])]
    return terms, net("Conv", x, wide + inside(table.T[:, :, None, None], 3, [1]), pads=[1] * 4)


def behind_a_norm(net: Net, x: str) -> tuple[list[str], str]:
    """Both written channels last, and turned each, of a tensor that has its channels last."""
    normed = net("LayerNormalization", net("Transpose", x, perm=[0, 2, 3, 1]), net.normal(C), net.normal(C))
    one, other = net.normal(C, C, scale=0.5), net.normal(C, C, scale=0.5)
    *terms, whole = (net("Transpose", net("MatMul", normed, w), perm=[0, 3, 1, 2]) for w in (one, other, one + other))
    return terms, whole


def other_order(net: Net, x: str) -> tuple[list[str], str]:
    """Turned so that the rows are columns."""
    normed = net("LayerNormalization", net("Transpose", x, perm=[0, 2, 3, 1]), net.normal(C), net.normal(C))
    one, other = net.normal(C, C, scale=0.5), net.normal(C, C, scale=0.5)
    *terms, whole = (net("Transpose", net("MatMul", normed, w), perm=[0, 3, 2, 1]) for w in (one, other, one + other))
    return terms, whole


MERGED = [three, strided, depthwise, groups, dilated, one_sided, over_positions, behind_a_norm, other_order]


def model(write: Branches, *, merged: bool, beside: bool = False) -> Any:
    """A stem, the block, a classifier; ``beside``: another tensor is added too."""
    net = Net(1, 3, 12, 12, seed=3)
    stem = net("Relu", net.conv(net.x, 3, C))
    terms, whole = write(net, stem)
    parts = [whole] if merged else terms
    if beside:
        parts = [*parts, net("Relu", net.conv(stem, C, C, stride=2 if write is strided else 1))]
    total = net("Sum", *parts) if len(parts) > 1 else parts[0]
    pooled = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(net("Relu", total), C, 6))))
    return net.model(net.dense(pooled, 6, 5))


def maps(file: Any, preset: str, backend: str) -> Mapping[str, np.ndarray]:
    with rc.Explainer(file, ["stages", "fused", "input"], preset=preset, backend=backend) as explainer:
        return dict(explainer(picture(1, 3, 12, 12), [[-1, -2]]).maps)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("write", MERGED)
def test_branches_are_explained_as_the_layer_that_they_are(write: Branches, beside: bool, backend: str) -> None:
    files = [model(write, merged=merged, beside=beside) for merged in (False, True)]
    np.testing.assert_allclose(*(run(file, x=picture(1, 3, 12, 12))[0] for file in files), rtol=1e-4, atol=1e-5)
    for preset in ("default", "epsilon-plus"):
        branched, whole = (maps(file, preset, backend) for file in files)
        assert branched.keys() == whole.keys()
        for name, expected in whole.items():
            np.testing.assert_allclose(branched[name], expected, atol=1e-4 * np.abs(expected).max(), err_msg=name)


def between(net: Net, x: str) -> list[str]:
    """Two kernels of three taps, of which one's lie between the other's."""
    wide, far = kernel(net, 1, 3, 3), kernel(net, 1, 3, 3)
    return [net("Conv", x, wide, pads=[1] * 4), net("Conv", x, far, pads=[2] * 4, dilations=[2, 2])]


def scaled(net: Net, x: str) -> list[str]:
    """No layer among them, only x and a share of it."""
    return [x, net("Mul", x, net.normal(1, C, 1, 1))]


def other_tensors(net: Net, x: str) -> list[str]:
    return [net("Conv", x, kernel(net, 1, 1, 1)), net("Conv", net("Sigmoid", x), kernel(net, 1, 1, 1))]


def two_orders(net: Net, x: str) -> list[str]:
    """One with rows where the other has columns."""
    rows = net("MatMul", net("Transpose", x, perm=[0, 2, 3, 1]), net.normal(C, C))
    columns = net("MatMul", net("Transpose", x, perm=[0, 2, 3, 1]), net.normal(C, C))
    return [net("Transpose", rows, perm=[0, 3, 1, 2]), net("Transpose", columns, perm=[0, 3, 2, 1])]


@pytest.mark.parametrize("write", [between, scaled, other_tensors, two_orders])
def test_other_sums_stay(write: Callable[[Net, str], list[str]]) -> None:
    net = Net(1, 3, 12, 12)
    total = net("Add", *write(net, net("Relu", net.conv(net.x, 3, C))))
    assert "Add" in ops(canonical(net.model(net.head(net("Relu", total), C))))


def test_a_term_that_the_file_returns_too_is_one_of_the_layer() -> None:
    net = Net(1, 3, 12, 12)
    terms, _ = three(net, net("Relu", net.conv(net.x, 3, C)))
    scores = net.head(net("Relu", net("Sum", *terms)), C)
    assert ops(canonical(net.model(scores, terms[1]))) == ops(canonical(net.model(scores)))


def turned(net: Net, tokens: str, table: np.ndarray) -> str:
    """A dense layer over tokens, by turning them and back."""
    return net("Transpose", net("MatMul", net("Transpose", tokens, perm=[0, 2, 1]), table), perm=[0, 2, 1])


def from_left(net: Net, tokens: str, table: np.ndarray) -> str:
    return net("MatMul", table.T.copy(), tokens)


def mixer(write: Callable[[Net, str, np.ndarray], str]) -> Any:
    """Tokens that are added to what is made of all of them (ResMLP, Touvron et al. 2021)."""
    net = Net(1, 3, 12, 12, seed=3)
    stem = net("Relu", net.conv(net.x, 3, C))
    tokens = net("Transpose", net("Reshape", stem, np.array([1, C, 144])), perm=[0, 2, 1])
    total = net("Add", tokens, write(net, tokens, net.normal(144, 144, scale=0.1)))
    grid = net("Reshape", net("Transpose", total, perm=[0, 2, 1]), np.array([1, C, 12, 12]))
    return net.model(net.head(net("Relu", net.conv(net("Relu", grid), C, 6)), 6))


@pytest.mark.parametrize("preset", ["default", "paper", "epsilon-plus"])
def test_tokens_beside_what_is_made_of_all_of_them_are_explained_as_one_layer(preset: str) -> None:
    files = [mixer(write) for write in (from_left, turned)]
    assert [ops(canonical(file)).count("Add") for file in files] == [0, 0]
    left, right = (maps(file, preset, "eager") for file in files)
    assert left.keys() == right.keys()
    for name, expected in left.items():
        np.testing.assert_allclose(right[name], expected, atol=1e-4 * np.abs(expected).max(), err_msg=name)
