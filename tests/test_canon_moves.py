"""Moves by what they do, and what stands behind them: the canonical form of each spelling, and near misses."""

from __future__ import annotations

import numpy as np
import pytest
from nets import canonical, picture, run
from test_canon_forms import Drawn, Write, biased, conv, holds, relu, shown

import relcam_onnx as rc

TABLE = ("Reshape", "Transpose", "Reshape", "MatMul")


def shuffled(net: Drawn, x: str, perm: tuple[int, ...] = (0, 2, 1, 3, 4)) -> str:
    """Four channels in two groups, moved and put together again."""
    apart = net("Transpose", net("Reshape", x, np.array([1, 2, 2, 8, 8])), perm=list(perm))
    return net("Reshape", apart, np.array([1, 4, 8, 8]))


def copied(net: Drawn, x: str, op: str, counts: list[int], thin: tuple[int, ...] = (1, 4, 8, 1, 8, 1)) -> str:
    return net("Reshape", net(op, net("Reshape", x, np.array(thin)), np.array(counts)), np.array([1, 4, 16, 16]))


def in_pixels(net: Drawn, perm: list[int], last: bool = False, sizes: tuple[int, ...] = (2, 2, 2, 8, 8)) -> str:
    """Eight channels as two of twice as many rows and columns, as einops writes it."""
    y = conv(net, after=8)
    y = net("Transpose", y, perm=[0, 2, 3, 1]) if last else y
    apart = net("Transpose", net("Reshape", y, np.array([1, *sizes])), perm=perm)
    return net("Reshape", apart, np.array([1, 2, 16, 16]))


def expanded(net: Drawn) -> str:
    """The same of positions in one row, as Swin-Unet has them."""
    row = net("Transpose", net("Reshape", conv(net, after=8), np.array([1, 8, 64])), perm=[0, 2, 1])
    apart = net("Transpose", net("Reshape", row, np.array([1, 8, 8, 2, 2, 2])), perm=[0, 1, 3, 2, 4, 5])
    return net("Reshape", apart, np.array([1, 256, 2]))


def around(net: Drawn, x: str, before: list[int], after: list[int], axis: int = 2) -> str:
    """Single rows or columns before and behind what they are of."""
    ends = [[net("Slice", x, *map(np.array, ([i], [i + 1], [axis]))) for i in some] for some in (before, after)]
    return net("Concat", *ends[0], x, *ends[1], axis=axis)


def in_depth(net: Drawn, perm: list[int], *after: int) -> str:
    apart = net("Reshape", relu(net), np.array([1, 4, 4, 2, 4, 2]))
    return net("Reshape", net("Transpose", apart, perm=perm), np.array(after))


def windows(net: Drawn, x: str, perm: list[int]) -> str:
    """Patches of 2×2 in rows of a table, and a dense layer over them."""
    apart = net("Transpose", net("Reshape", x, np.array([1, 4, 4, 2, 4, 2])), perm=perm)
    return net("MatMul", net("Reshape", apart, np.array([1, 16, 16])), net.normal(16, 6))


def columns(net: Drawn, x: str, perm: tuple[int, ...] | list[int] = (0, 1, 2, 4, 3, 5)) -> str:
    """Windows of 3×3, a column each, as PyTorch's unfold gathers them."""
    taps = np.arange(3)[:, None] + np.arange(6)
    apart = net("Transpose", net("Gather", net("Gather", x, taps, axis=2), taps, axis=4), perm=list(perm))
    return net("Reshape", apart, np.array([1, 36, 36]))


def halves(net: Drawn, x: str, orders: list[tuple[int, int]]) -> str:
    """Every second position of either axis, from each of these first ones, side by side as channels."""
    starts, ends, axes, steps = [np.array(o) for o in orders], np.array([8, 8]), np.array([2, 3]), np.array([2, 2])
    parts = [net("Slice", x, start, ends, axes, steps) for start in starts]
    return conv(net, net("Concat", *parts, axis=1), 4 * len(parts), 6, kernel=1)


def resized(net: Drawn, x: str, sizes: list[int], mode: str = "linear", **how: str) -> str:
    return net("Resize", x, None, None, np.array([1, 4, *sizes]), mode=mode, **how)


def every_second(net: Drawn, x: str, axes: list[int] | None = None, first: int = 0, end: int = 2**31 - 1) -> str:
    """Every second position, as a Slice."""
    axes = axes or [2, 3]
    spans = [np.array([value] * len(axes)) for value in (first, end, 2)]
    return net("Slice", x, *spans[:2], np.array(axes), spans[2])


def in_batch(net: Drawn, x: str, back: tuple[int, ...] = (2, 3, 4, 0, 5, 1)) -> str:
    """Every second position of either axis an image of its own, a convolution, and positions together again."""
    apart = net("Transpose", net("Reshape", x, np.array([1, 4, 4, 2, 4, 2])), perm=[3, 5, 0, 1, 2, 4])
    y = net("Conv", net("Reshape", apart, np.array([4, 4, 4, 4])), net.normal(6, 4, 3, 3), net.normal(6))
    y = net("Transpose", net("Reshape", y, np.array([2, 2, 1, 6, 2, 2])), perm=list(back))
    return net("Reshape", y, np.array([1, 6, 4, 4]))


def one_row(net: Drawn, axis: int, kernel: tuple[int, int], **options: list[int]) -> str:
    """A convolution of a signal as Keras' Conv1D has it: an axis more, and away again."""
    wide = net("Unsqueeze", net("Reshape", conv(net), np.array([1, 4, 64])), np.array([axis]))
    return net("Squeeze", net("Conv", wide, net.normal(6, 4, *kernel), **options), np.array([axis]))


def single_taps(channels: int) -> np.ndarray:
    """The weight of a convolution that makes channels of the places of blocks of 2×2, one channel's after another's."""
    return np.eye(4 * channels, dtype=np.float32).reshape(4 * channels, channels, 2, 2)


def grouped_bias(net: Drawn, shape: tuple[int, ...]) -> str:
    split = net("Reshape", conv(net, bias=False), np.array([1, 2, 2, 8, 8]))
    return net("Reshape", biased(net, split, shape), np.array([1, 4, 8, 8]))


def moved_sum(net: Drawn, between: str | None = None) -> str:
    turned = [net("Transpose", conv(net, kernel=k), perm=[0, 2, 3, 1]) for k in (1, 3)]
    added = net("Add", *turned)
    if between == "shown":
        shown(net, added)
    elif between:
        added = net(between, added)
    return net("Add", net("Transpose", added, perm=[0, 3, 1, 2]), conv(net, kernel=5))


FORMS: dict[str, tuple[Write, list[str]]] = {
    "a shuffle of channels": (lambda n: shuffled(n, relu(n)), ["Conv", "Relu", "Gather"]),
    "a shuffle and back": (lambda n: shuffled(n, shuffled(n, relu(n))), ["Conv", "Relu"]),
    "- positions that change places": (
        lambda n: shuffled(n, relu(n), (0, 1, 2, 4, 3)), ["Conv", "Relu", "Reshape", "Transpose", "Reshape"],
    ),
    "upsampling by Expand": (lambda n: copied(n, relu(n), "Expand", [1, 4, 8, 2, 8, 2]), ["Conv", "Relu", "Resize"]),
    "upsampling by Tile": (lambda n: copied(n, relu(n), "Tile", [1, 1, 1, 2, 1, 2]), ["Conv", "Relu", "Resize"]),
    "lines axis by axis": (
        lambda n: resized(n, resized(n, relu(n), [32, 8]), [32, 32]), ["Conv", "Relu", "Resize"],
    ),
    "- lines of one axis and then of both": (
        lambda n: resized(n, resized(n, relu(n), [16, 8]), [32, 16]), ["Conv", "Relu", "Resize", "Resize"],
    ),
    "- lines of one axis and copies of the other": (
        lambda n: resized(n, resized(n, relu(n), [32, 8]), [32, 32], "nearest"), ["Conv", "Relu", "Resize", "Resize"],
    ),
    "- lines axis by axis, the first returned": (
        lambda n: resized(n, shown(n, resized(n, relu(n), [32, 8])), [32, 32]), ["Conv", "Relu", "Resize", "Resize"],
    ),
    "half as large by lines": (lambda n: resized(n, relu(n), [4, 4]), ["Conv", "Relu", "AveragePool"]),
    "- a quarter as large by lines": (lambda n: resized(n, relu(n), [2, 2]), ["Conv", "Relu", "Resize"]),
    "- the whole picture side by side": (
        lambda n: copied(n, relu(n), "Tile", [1, 1, 2, 1, 2, 1], (1, 4, 1, 8, 1, 8)),
        ["Conv", "Relu", "Reshape", "Tile", "Reshape"],
    ),
    "a dense layer over patches": (
        lambda n: windows(n, relu(n), [0, 2, 4, 1, 3, 5]), ["Conv", "Relu", "Conv", "Transpose", "Reshape"],
    ),
    "a dense layer over patches, channels last": (
        lambda n: windows(n, relu(n), [0, 2, 4, 3, 5, 1]), ["Conv", "Relu", "Conv", "Transpose", "Reshape"],
    ),
    "- patches that interleave": (
        lambda n: windows(n, relu(n), [0, 3, 5, 1, 2, 4]), ["Conv", "Relu", "SpaceToDepth", "Reshape", "MatMul"],
    ),
    "- patches column by column": (
        lambda n: windows(n, relu(n), [0, 4, 2, 1, 3, 5]), ["Conv", "Relu", *TABLE],
    ),
    "a pointwise layer over all halves": (
        lambda n: halves(n, relu(n), [(0, 0), (1, 0), (0, 1), (1, 1)]), ["Conv", "Relu", "Conv"],
    ),
    "a pointwise layer over two of the four halves": (
        lambda n: halves(n, relu(n), [(0, 0), (1, 1)]), ["Conv", "Relu", "Conv"],
    ),
    "- a pointwise layer over one half twice": (
        lambda n: halves(n, relu(n), [(1, 0), (1, 0)]), ["Conv", "Relu", "Slice", "Concat", "Conv"],
    ),
    "a matrix by columns of windows": (
        lambda n: n("MatMul", n.normal(6, 36), columns(n, relu(n))), ["Conv", "Relu", "Conv", "Reshape"],
    ),
    "- a matrix by columns of windows in turn": (
        lambda n: n("MatMul", n.normal(6, 36), columns(n, relu(n), [0, 1, 2, 4, 5, 3])),
        ["Conv", "Relu", "Gather", "Gather", *TABLE[1:]],
    ),
    "every second position in the batch": (lambda n: in_batch(n, relu(n)), ["Conv", "Relu", "Conv"]),
    "a signal as a picture of one row": (lambda n: one_row(n, 2, (1, 3)), ["Conv", "Reshape", "Conv"]),
    "a signal as a picture of one column": (lambda n: one_row(n, 3, (3, 1)), ["Conv", "Reshape", "Conv"]),
    "- a signal as a picture of one row, padded to three": (
        lambda n: one_row(n, 2, (3, 3), pads=[1, 0, 1, 0]), ["Conv", "Reshape", "Conv", "Squeeze"],
    ),
    "a pixel shuffle": (lambda n: in_pixels(n, [0, 1, 4, 2, 5, 3]), ["Conv", "DepthToSpace"]),
    "a pixel shuffle by blocks": (lambda n: in_pixels(n, [0, 3, 4, 1, 5, 2]), ["Conv", "DepthToSpace"]),
    "a pixel shuffle whose columns come first": (
        lambda n: in_pixels(n, [0, 1, 4, 3, 5, 2]), ["Conv", "Gather", "DepthToSpace"],
    ),
    "a pixel shuffle, channels last": (
        lambda n: in_pixels(n, [0, 5, 1, 3, 2, 4], last=True, sizes=(8, 8, 2, 2, 2)), ["Conv", "DepthToSpace"],
    ),
    "rows of positions in blocks": (expanded, ["Conv", "DepthToSpace", "Transpose", "Reshape"]),
    "circular padding by joining": (
        lambda n: around(n, around(n, relu(n), [7], [0]), [7], [0], axis=3), ["Conv", "Relu", "Pad"],
    ),
    "reflections by joining": (lambda n: around(n, relu(n), [2, 1], [6]), ["Conv", "Relu", "Pad"]),
    "repeated edges by gathering": (
        lambda n: n("Gather", relu(n), np.array([0, 0, *range(8), 7]), axis=3), ["Conv", "Relu", "Pad"],
    ),
    "one way of padding axis by axis": (
        lambda n: around(n, n("Pad", relu(n), np.array([0, 0, 0, 1, 0, 0, 0, 1]), mode="wrap"), [7], [0]),
        ["Conv", "Relu", "Pad"],
    ),
    "- a ring that is turned": (
        lambda n: n("Concat", n("Slice", y := relu(n), *map(np.array, ([7], [8], [2]))),
                    n("Slice", y, *map(np.array, ([0], [7], [2]))), axis=2),
        ["Conv", "Relu", "Slice", "Slice", "Concat"],
    ),
    "- two ways of padding": (
        lambda n: around(n, around(n, relu(n), [7], [0]), [0], [7], axis=3), ["Conv", "Relu", "Pad", "Pad"],
    ),
    "- edges that change places": (
        lambda n: around(n, relu(n), [3], [0]), ["Conv", "Relu", "Slice", "Slice", "Concat"],
    ),
    "- all of it twice": (lambda n: n("Concat", y := relu(n), y, axis=2), ["Conv", "Relu", "Concat"]),
    "- places of a block apart from each other": (
        lambda n: in_pixels(n, [0, 1, 2, 4, 3, 5]), ["Conv", "Reshape", "Transpose", "Reshape"],
    ),
    "blocks as channels": (
        lambda n: in_depth(n, [0, 3, 5, 1, 2, 4], 1, 16, 4, 4), ["Conv", "Relu", "SpaceToDepth"],
    ),
    "blocks as channels, channel by channel": (
        lambda n: in_depth(n, [0, 1, 3, 5, 2, 4], 1, 16, 4, 4), ["Conv", "Relu", "SpaceToDepth", "Gather"],
    ),
    "blocks as channels of a row": (
        lambda n: in_depth(n, [0, 2, 4, 3, 5, 1], 1, 16, 16),
        ["Conv", "Relu", "SpaceToDepth", "Transpose", "Reshape"],
    ),
    "- windows in the order of their places": (
        lambda n: in_depth(n, [0, 1, 2, 4, 3, 5], 1, 4, 16, 4), ["Conv", "Relu", *TABLE[:3]],
    ),
    "a scale behind a pixel shuffle": (
        lambda n: n("Mul", in_pixels(n, [0, 1, 4, 2, 5, 3]), n.normal(2, 1, 1)), ["Conv", "DepthToSpace"],
    ),
    "a scale before blocks as channels": (
        lambda n: conv(n, n("SpaceToDepth", n("Mul", relu(n), n.normal(4, 1, 1)), blocksize=2), 16),
        ["Conv", "Relu", "SpaceToDepth", "Conv"],
    ),
    "every second position behind a layer": (
        lambda n: every_second(n, n("Conv", relu(n), n.normal(6, 4, 3, 3), pads=[1] * 4)), ["Conv", "Relu", "Conv"],
    ),
    "every second position from the second one": (
        lambda n: every_second(n, n("Conv", relu(n), n.normal(6, 4, 3, 3), pads=[1] * 4), first=1),
        ["Conv", "Relu", "Conv"],
    ),
    "- every second position behind a layer without padding": (
        lambda n: every_second(n, n("Conv", relu(n), n.normal(6, 4, 3, 3)), first=1), ["Conv", "Relu", "Conv", "Slice"],
    ),
    "every second position before a pointwise layer": (
        lambda n: conv(n, every_second(n, relu(n)), 4, kernel=1), ["Conv", "Relu", "Conv"],
    ),
    "- every second channel before a pointwise layer": (
        lambda n: conv(n, every_second(n, relu(n), axes=[1]), 2, kernel=1), ["Conv", "Relu", "Slice", "Conv"],
    ),
    "- every second position before a layer of windows": (
        lambda n: n("Conv", every_second(n, relu(n)), n.normal(6, 4, 3, 3)), ["Conv", "Relu", "Slice", "Conv"],
    ),
    "- every second position that something else reads": (
        lambda n: n("Mul", y := every_second(n, relu(n)), n("Sigmoid", conv(n, y, 4, kernel=1))),
        ["Conv", "Relu", "Slice", "Conv", "Sigmoid", "Mul"],
    ),
    "- every second position but the last ones": (
        lambda n: conv(n, every_second(n, relu(n), end=5), 4, kernel=1), ["Conv", "Relu", "Slice", "Conv"],
    ),
    "a maximum of single positions": (
        lambda n: conv(n, n("MaxPool", relu(n), kernel_shape=[1, 1], strides=[2, 2]), 4, kernel=1),
        ["Conv", "Relu", "Conv"],
    ),
    "a mean of single positions": (
        lambda n: conv(n, n("AveragePool", relu(n), kernel_shape=[1, 1], strides=[2, 1]), 4, kernel=1),
        ["Conv", "Relu", "Conv"],
    ),
    "every second position by two Gathers": (
        lambda n: n("Gather", n("Gather", relu(n), np.arange(0, 8, 2), axis=2), np.arange(0, 8, 2), axis=3),
        ["Conv", "Relu", "Slice"],
    ),
    "every second position by Reshapes": (
        lambda n: n("Gather", n("Reshape", relu(n), np.array([1, 4, 8, 4, 2])), np.array(0), axis=4),
        ["Conv", "Relu", "Slice"],
    ),
    "- every second position from the second one by Reshapes": (
        lambda n: n("Gather", n("Reshape", relu(n), np.array([1, 4, 8, 4, 2])), np.array(1), axis=4),
        ["Conv", "Relu", "Reshape", "Gather"],
    ),
    "a nearest Resize to the half": (
        lambda n: resized(n, relu(n), [4, 4], "nearest", coordinate_transformation_mode="asymmetric"),
        ["Conv", "Relu", "Slice"],
    ),
    "- a nearest Resize to two thirds": (
        lambda n: resized(n, relu(n), [6, 6], "nearest", coordinate_transformation_mode="asymmetric"),
        ["Conv", "Relu", "Resize"],
    ),
    "a bias of grouped channels": (lambda n: grouped_bias(n, (2, 2, 1, 1)), ["Conv"]),
    "- what varies over grouped positions": (lambda n: grouped_bias(n, (2, 2, 8, 1)), ["Conv", "Add"]),
    "- a number for each place, in one row": (
        lambda n: biased(n, n("Reshape", conv(n), np.array([1, 256])), (256,)), ["Conv", "Add", "Reshape"],
    ),
    "a moved sum in a sum": (moved_sum, ["Conv"]),
    "- a moved sum that the file returns": (
        lambda n: moved_sum(n, "shown"), ["Conv", "Conv", "Conv", "Transpose", "Transpose", "Add", "Transpose", "Add"],
    ),
    "- a moved sum with an activation behind": (
        lambda n: moved_sum(n, "Relu"), [*["Conv"] * 3, *["Transpose"] * 3, "Add", "Relu", "Add"],
    ),
    "a mean by a convolution": (
        lambda n: n("Conv", relu(n), np.full((4, 1, 2, 2), 0.25, np.float32), group=4, strides=[2, 2]),
        ["Conv", "Relu", "AveragePool"],
    ),
    "- a mean by a convolution that is bent": (
        lambda n: n("Relu", n("Conv", relu(n), np.full((4, 1, 2, 2), 0.25, np.float32), group=4, strides=[2, 2])),
        ["Conv", "Relu", "Conv", "Relu"],
    ),
    "a sum by a convolution": (
        lambda n: n("Conv", relu(n), np.ones((4, 1, 2, 2), np.float32), group=4, strides=[2, 2]),
        ["Conv", "Relu", "AveragePool", "Mul"],
    ),
    "a mean by a convolution over all channels, with a bias": (
        lambda n: n("Conv", n("Conv", conv(n), np.eye(4)[:, :, None, None] * np.full((3, 3), 0.1), n.normal(4)),
                    n.normal(4, 4, 1, 1)),
        ["Conv", "AveragePool", "Conv"],
    ),
    "- a mean of two channels by a convolution": (
        lambda n: n("Conv", relu(n), np.full((2, 2, 2, 2), 0.125, np.float32), group=2, strides=[2, 2]),
        ["Conv", "Relu", "Conv"],
    ),
    "- numbers that differ by a convolution": (
        lambda n: n("Conv", relu(n), np.full((4, 1, 2, 2), np.diag([0.2, 0.3]) + 0.1), group=4),
        ["Conv", "Relu", "Conv"],
    ),
    "blocks as channels by a convolution": (
        lambda n: n("Conv", relu(n), single_taps(4), strides=[2, 2]), ["Conv", "Relu", "SpaceToDepth", "Gather"],
    ),
    "- single taps of windows that overlap": (
        lambda n: n("Conv", relu(n), single_taps(4)), ["Conv", "Relu", "Conv"],
    ),
    "a pixel shuffle by a transposed convolution": (
        lambda n: n("ConvTranspose", conv(n, after=8), single_taps(2), strides=[2, 2]), ["Conv", "DepthToSpace"],
    ),
    "- a transposed convolution that makes a place of two channels": (
        lambda n: n("ConvTranspose", conv(n, after=8), single_taps(2)[[*range(7), 0]], strides=[2, 2]),
        ["Conv", "ConvTranspose"],
    ),
    "a bias without the batch": (
        lambda n: n("Unsqueeze", biased(n, n("Squeeze", conv(n), np.array([0])), (4, 1, 1)), np.array([0])), ["Conv"],
    ),
    "a matrix by rows of positions of the one image": (
        lambda n: n("MatMul", n.normal(6, 4), n("Reshape", relu(n), np.array([4, 64]))),
        ["Conv", "Relu", "Reshape", "MatMul", "Reshape"],
    ),
    "a step as a comparison": (
        lambda n: n("Mul", y := conv(n), n("Cast", n("Greater", y, np.float32(0)), to=1)), ["Conv", "LeakyRelu"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_moves(name: str) -> None:
    holds(*FORMS[name])


def test_positions_in_the_batch_that_change_places_are_no_dilation() -> None:
    net = Drawn(1, 3, 8, 8)
    model = net.model(net("Sigmoid", in_batch(net, relu(net), (2, 3, 4, 1, 5, 0))))
    assert all(set(node.attrs.get("dilations", [1])) == {1} for node in canonical(model).graph.nodes)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_scores_without_a_batch_are_those_of_the_one_image(backend: str) -> None:
    """The file's own output keeps its shape; two images are run one by one."""
    net = Drawn(1, 3, 8, 8)
    pooled = net("Squeeze", net("GlobalAveragePool", relu(net)))
    model = net.model(net("MatMul", pooled, net.normal(4, 5), name="scores"))
    x = picture(2, 3, 8, 8)
    with rc.Explainer(model, "stages", backend=backend) as explainer:
        both, one = explainer(x, [[-1, 0]] * 2), explainer(x[:1])
    assert both.scores.shape == (2, 5)
    assert both.maps["stride1"].shape == (2, 2, 8, 8)
    np.testing.assert_allclose(one.outputs["scores"], run(model, x=x[:1])[0], atol=1e-6)
    np.testing.assert_allclose(both.outputs["scores"], both.scores.reshape(-1))
