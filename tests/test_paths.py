"""Paths that relevance takes: stages, strides, cuts, and which layers are first and last."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx
import pytest
from nets import Net, canonical, inverted, plain, residual

from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.analysis.stages import Stages


def paths_of(model: onnx.ModelProto) -> Paths:
    loaded = canonical(model)
    return Paths(loaded, find_scores(loaded).tensor)


def stages(model: onnx.ModelProto) -> dict[str, Fraction]:
    geometry = Stages(paths_of(model))
    return {tensor.name: geometry.strides[tensor.name] for _, tensor in geometry.stages}


def stride(model: onnx.ModelProto, tensor: str) -> Fraction | None:
    return Stages(paths_of(model)).strides.get(tensor)


def dense_net() -> onnx.ModelProto:
    """DenseNet-like: every block concatenates what it makes to what it got; transitions halve."""
    net = Net("N", 3, 32, 32)
    x, channels = net.conv(net.x, 3, 4, name="stem"), 4
    for number in (1, 2):
        for _ in range(2):
            made = net("Relu", net.conv(net("Relu", net.batch_norm(x, channels)), channels, 3))
            x, channels = net("Concat", x, made, axis=1), channels + 3
        x = net("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], name=f"transition{number}")
    return net.model(net.head(net("Relu", net.batch_norm(x, channels), name="last"), channels))


def names_at(model: onnx.ModelProto) -> dict[int, str]:
    return {int(s): name for name, s in stages(model).items()}


def test_plain_net_ends_its_stages_before_the_next_stride() -> None:
    assert names_at(plain()) == {1: "stage1", 2: "stage2", 4: "stage4"}


def test_resnet_stages_are_its_blocks() -> None:
    """The last cut at a stride: behind the sum's Relu, not inside a block."""
    assert names_at(residual()) == {1: "stem", 2: "block1b", 4: "block2b"}


def test_inverted_residuals_end_their_stages_inside_the_halving_block() -> None:
    """The activation after the expansion is the last tensor that every path passes before the stride."""
    assert names_at(inverted()) == {2: "expand1", 4: "expand3", 8: "head"}


def test_dense_net_stages() -> None:
    found = names_at(dense_net())
    assert sorted(found) == [1, 2, 4]
    assert found[4] == "last"


def test_only_the_four_largest_strides_count() -> None:
    net = Net("N", 3, 64, 64)
    x = net.x
    for i, channels in enumerate((3, 4, 4, 4, 4)):
        x = net("Relu", net.conv(x, channels, 4, stride=2), name=f"s{2 ** (i + 1)}")
    assert names_at(net.model(net.head(x, 4))) == {4: "s4", 8: "s8", 16: "s16", 32: "s32"}


def built(build: Callable[[Net], str]) -> onnx.ModelProto:
    net = Net("N", 4, "height", "width")
    return net.model(net.head(net("Relu", build(net), name="here"), 4))


PADS = np.array([0, 0, 0, 0, 0, 0, 1, 1])
STRIDES: dict[str, tuple[Callable[[Net], str], Fraction]] = {
    "padded": (
        lambda n: n("Conv", n("Pad", n.x, PADS), n.normal(4, 4, 3, 3), strides=[2, 2]), Fraction(2),
    ),
    "unpadded": (lambda n: n("Conv", n.x, n.normal(4, 4, 5, 5)), Fraction(1)),
    "transposed": (
        lambda n: n("ConvTranspose", n.conv(n.x, 4, 4, stride=2), n.normal(4, 4, 2, 2), strides=[2, 2]), Fraction(1),
    ),
    "resized": (
        lambda n: n("Resize", n.conv(n.x, 4, 4, stride=2), None, [1.0, 1.0, 2.0, 2.0]), Fraction(1),
    ),
    "space to depth": (
        lambda n: n.conv(n("SpaceToDepth", n.x, blocksize=2), 16, 4), Fraction(2),
    ),
    "uneven": (
        lambda n: n("Conv", n.x, n.normal(4, 4, 3, 3), strides=[1, 2], pads=[1, 1, 1, 1]), Fraction(2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STRIDES)
def test_strides_count_ops_and_never_sizes(name: str) -> None:
    build, wanted = STRIDES[name]
    assert stride(built(build), "here") == wanted


def test_pooled_tensors_have_no_stride() -> None:
    paths = paths_of(plain())
    pooled = next(t for t in paths.tensors if t.inputs[0].op == "GlobalAveragePool")
    assert pooled.name not in Stages(paths).strides


def test_gates_are_no_paths() -> None:
    paths = paths_of(inverted())
    assert "Sigmoid" not in {node.op for node in paths.nodes}
    assert [t.name for t in paths.images] == ["x"]


def test_first_layers_are_reached_through_scaling_padding_and_turning() -> None:
    """NHWC pixels, minus a mean, over a deviation, turned; two padded convolutions read that."""
    net = Net("N", 32, 32, 3)
    scaled = net("Div", net("Sub", net.x, 0.5), 0.25)
    turned = net("Transpose", scaled, perm=[0, 3, 1, 2])
    a, b = net.conv(turned, 3, 4, name="a"), net.conv(turned, 3, 4, name="b")
    model = net.model(net.head(net.conv(net("Relu", net("Add", a, b)), 4, 4, name="inner"), 4))
    paths = paths_of(model)
    assert paths.first == {"a", "b"}
    assert [node.op for node in paths.raw.values()] == ["BatchNormalization", "Transpose"]
    assert paths.output == {"scores"}


def test_the_last_layer_may_be_a_convolution() -> None:
    """SqueezeNet ends in Conv, Relu, GlobalAveragePool."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 4)), 4, 5, name="classes"))
    paths = paths_of(net.model(net("Flatten", net("GlobalAveragePool", x))))
    assert paths.output == {paths.nodes[2].outputs[0].name}
    assert paths.nodes[2].op == "Conv"
