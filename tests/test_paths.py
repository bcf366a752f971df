"""Paths that relevance takes: stages, strides, cuts, and which layers are first and last."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import onnx
import pytest
from nets import Net, canonical, inverted, picture, plain, residual

import relcam_onnx as rc
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.analysis.towers import Stage, towers


def paths_of(model: onnx.ModelProto) -> Paths:
    loaded = canonical(model)
    return Paths(loaded, find_scores(loaded).tensor)


def stages_of(geometry: Stages) -> tuple[Stage, ...]:
    """Those of the one picture."""
    (stages,) = towers(geometry).values()
    return stages


def stages(model: onnx.ModelProto) -> dict[str, Fraction]:
    geometry = Stages(paths_of(model))
    return {tensor.name: geometry.strides[tensor.name] for _, tensor in stages_of(geometry)}


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
    model = net.model(net.head(net.conv(net("Relu", net("Add", net("Sigmoid", a), b)), 4, 4, name="inner"), 4))
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


def ensemble() -> onnx.ModelProto:
    """Two networks whose scores are added: one of a block more."""
    net = Net("N", 3, 16, 16)
    scores = []
    for name, blocks in (("a", 1), ("b", 2)):
        x = net("Relu", net.conv(net.x, 3, 4, stride=2), name=f"{name}2")
        x = net("Relu", net.conv(x, 4, 4, stride=2), name=f"{name}4")
        for _ in range(blocks):
            x = net("Add", net("Relu", net.conv(x, 4, 4)), x)
        scores.append(net.head(net("Relu", x, name=f"{name}last"), 4, name=f"{name}scores"))
    return net.model(net("Add", *scores, name="scores"))


def test_without_a_cut_the_largest_share_of_paths_is_a_stage() -> None:
    """Of 6 paths 4 go through the second network: each of its two blocks has two ways."""
    geometry = Stages(paths_of(ensemble()))
    found = [(stage.name, stage.tensor.name) for stage in stages_of(geometry)]
    assert found == [("stride2", "b2"), ("stride4", "blast")]
    assert geometry.paths.shares["blast"] == Fraction(4, 6)
    assert geometry.paths.shares["alast"] == Fraction(2, 6)


def test_a_vector_beside_the_picture_takes_no_part() -> None:
    net = Net("N", 3, 16, 16)
    vector = net.input("vector", "N", 4)
    picture = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 4, stride=2), name="seen")))
    both = net("Concat", picture, net("Relu", net.dense(vector, 4, 4)), axis=1)
    geometry = Stages(paths_of(net.model(net.dense(both, 8, 3))))
    assert [(stage.name, stage.tensor.name) for stage in stages_of(geometry)] == [("stride2", "seen")]
    assert geometry.paths.shares["seen"] == 1


@pytest.mark.parametrize("size", [16, "size"])
def test_what_a_pool_leaves_is_no_stage(size: int | str) -> None:
    """A window as large as the layer, of stride 1; in a file of free sizes nobody knows that it is."""
    net = Net(1, 3, size, size)
    x = net("Relu", net.conv(net.x, 3, 4, stride=2), name="seen")
    pooled = net("AveragePool", x, kernel_shape=[8, 8])
    model = net.model(net("Conv", pooled, net.normal(5, 4, 1, 1)))
    geometry = Stages(Paths(loaded := canonical(model), loaded.graph.outputs[0]))
    assert [stage.tensor.name for stage in stages_of(geometry)] == ["seen"]


def test_zeros_around_a_tensor_make_it_no_layer() -> None:
    """Keras pads before it pools; here a pool that takes negative values, so that the Pad stays."""
    net = Net(1, 3, 16, 16)
    x = net.conv(net.x, 3, 4, name="seen")
    padded = net("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    x = net("Relu", net.conv(net("MaxPool", padded, kernel_shape=[3, 3], strides=[2, 2]), 4, 4), name="last")
    assert names_at(net.model(net.head(x, 4))) == {1: "seen", 2: "last"}


def mixer(blocks: int, tokens: bool) -> onnx.ModelProto:
    """One resolution: each block mixes positions, then channels, both around a shortcut."""
    net = Net(1, 3, 32, 48)
    x = net("Conv", net.x, net.normal(8, 3, 8, 8, scale=0.1), strides=[8, 8], name="patches")
    if tokens:
        x = net("Transpose", net("Reshape", x, np.array([1, 8, -1])), perm=[0, 2, 1])
    for number in range(1, blocks + 1):
        if tokens:
            across = net("Transpose", x, perm=[0, 2, 1])
            mixed = net("Transpose", net("Relu", net("MatMul", across, net.normal(24, 24, scale=0.2))), perm=[0, 2, 1])
        else:
            mixed = net("Relu", net.conv(x, 8, 8, group=8))
        x = net("Add", mixed, x, name=f"mixed{number}")
        inner = net("MatMul", x, net.normal(8, 8, scale=0.3)) if tokens else net.conv(x, 8, 8, 1)
        x = net("Add", net("Relu", inner), x, name=f"block{number}")
    pooled = net("ReduceMean", x, np.array([1] if tokens else [2, 3]), keepdims=0)
    return net.model(net.dense(pooled, 8, 4))


@pytest.mark.parametrize("tokens", [False, True])
def test_a_network_of_one_resolution_has_stages_by_depth(tokens: bool) -> None:
    """Blocks count, not sums: of 6 the second, third, fifth and last."""
    geometry = Stages(paths_of(mixer(6, tokens)))
    assert [(stage.name, stage.tensor.name) for stage in stages_of(geometry)] == [
        (f"depth{number}", f"block{number}") for number in (2, 3, 5, 6)
    ]


def test_maps_of_tokens_lie_on_their_grid() -> None:
    """The same network over (N, tokens, C) and over (N, C, h, w) has the same maps."""
    net = Net(1, 3, 32, 48)
    weight, x = net.normal(8, 8, scale=0.3), net.conv(net.x, 3, 8, 4, stride=8)
    row = net("Transpose", net("Reshape", net("Relu", x), np.array([1, 8, -1])), perm=[0, 2, 1])
    tokens = net("Relu", net("MatMul", row, weight), name="tokens")
    spatial = Net(1, 3, 32, 48)
    spatial.normal(8, 8)
    same = spatial("Relu", spatial.conv(spatial.x, 3, 8, 4, stride=8))
    grid = spatial("Relu", spatial("Conv", same, weight.T[:, :, None, None].copy()), name="tokens")
    last = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    models = [
        net.model(net("MatMul", net("ReduceMean", tokens, np.array([1]), keepdims=0), last)),
        spatial.model(spatial("MatMul", spatial("ReduceMean", grid, np.array([2, 3]), keepdims=0), last)),
    ]
    x = picture(1, 3, 32, 48)
    for method in ("local-relevance-cam", "lrp"):
        maps = []
        for model in models:
            with rc.Explainer(model, ["tokens", "stages", "fused"], method) as explainer:
                maps.append(explainer(x).maps)
        assert list(maps[0]) == ["tokens", "stride8", "fused"]
        for name, value in maps[1].items():
            assert maps[0][name].shape == value.shape
            np.testing.assert_allclose(maps[0][name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_rows_of_pixels_that_a_convolution_strides_over_are_positions_of_one_axis() -> None:
    """The picture as 256 samples: a map has theirs, no longer the picture's two axes."""
    net = Net(1, 3, 16, 16)
    x = net("Reshape", net.x, np.array([0, 3, 256]))
    for before in (3, 6):
        x = net("Relu", net("Conv", x, net.normal(6, before, 3), strides=[2], pads=[1, 1]))
    model = net.model(net("Gemm", net("ReduceMean", x, np.array([2]), keepdims=0), net.normal(6, 4)))
    for backend in ("eager", "compiled"):
        maps = rc.Explainer(model, backend=backend)(picture(1, 3, 16, 16)).maps
        assert [value.shape[2:] for value in maps.values()] == [(128,), (64,), (128,)]


def test_rows_of_one_that_change_places_with_columns_are_followed_no_further() -> None:
    net = Net("N", 3, 1, 32)
    y = net("Reshape", net.conv(net.x, 3, 4), np.array([0, 4, 32, 1]))
    model = net.model(net.head(net("Conv", y, net.normal(4, 4, 3, 1), name="after"), 4))
    with rc.Explainer(model, "stages") as explainer:
        assert explainer(picture(1, 3, 1, 32)).maps
