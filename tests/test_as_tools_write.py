"""Files as tools write them that join, optimise or quantise: what they leave behind changes no map."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from compare import agree
from nets import Net, picture
from onnx import compose, helper, numpy_helper

import relcam_onnx as rc

BACKENDS = ["eager", "compiled"]
X = picture(1, 3, 32, 32)
LAYERS = ["stages", "fused", "input"]


def same(wanted: onnx.ModelProto, *models: onnx.ModelProto, **options: Any) -> None:
    """One map of all, in both backends."""
    for backend in BACKENDS:
        maps = rc.Explainer(wanted, LAYERS, backend=backend, **options)(X, [[1]]).maps
        for model in models:
            found = rc.Explainer(model, LAYERS, backend=backend, **options)(X, [[1]]).maps
            assert list(found) == list(maps)
            for name, value in maps.items():
                agree(found[name], value)


def trunk(net: Net) -> str:
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    return net("Relu", net.conv(x, 8, 16, stride=2))


def test_two_imports_of_one_domain() -> None:
    net = Net()
    first = net.model(net.head(trunk(net), 16))
    tail = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N, 5] s) => (float[N, 5] p) { p = Softmax <axis = 1> (s) }'
    )
    joined = compose.merge_models(compose.add_prefix(first, "a/"), tail, io_map=[("a/scores", "s")])
    assert len(joined.opset_import) == 2
    same(first, joined)
    joined.opset_import[1].version = 17
    with pytest.raises(rc.ModelFileError, match="in two versions"):
        rc.Explainer(joined)


@pytest.mark.parametrize("scales", [(8,), (8, 2, 3, 3)], ids=["by channel", "in blocks"])
def test_int8_weights_without_zero_points(scales: tuple[int, ...]) -> None:
    def model(*, zero: bool) -> onnx.ModelProto:
        net = Net(opset=21)
        x = net("Relu", net.conv(net.x, 3, 8, stride=2))
        weight = net.rng.integers(-127, 127, (8, 8, 3, 3)).astype(np.int8)
        attrs = {"axis": 0} if len(scales) == 1 else {"axis": 1, "block_size": 4}
        zeros = [np.zeros(scales, np.int8)] if zero else []
        whole = net("DequantizeLinear", weight, np.full(scales, 0.01), *zeros, **attrs)
        return net.model(net.head(net("Relu", net("Conv", x, whole, strides=[2, 2])), 8))

    same(model(zero=True), model(zero=False))


def test_large_weights_that_are_rounded_when_they_are_read() -> None:
    """Such weights have no stored tensor that they are made of, and nodes need no names."""

    def model(*, named: bool) -> onnx.ModelProto:
        net = Net()
        x = net("Relu", net.conv(net.x, 3, 32, stride=2))
        step, zero = net.constant(np.float32(0.01)), net.constant(np.int8(0))
        weight = net("QuantizeLinear", net.normal(32, 32, 3, 3, scale=0.2), step, zero)
        x = net("Relu", net("Conv", x, net("DequantizeLinear", weight, step, zero), strides=[2, 2]))
        x = net("MaxPool", x, kernel_shape=[2, 2])
        if not named:
            net.nodes[-1].output.append("")  # an output that is left out
        proto = net.model(net.head(x, 32))
        for node in proto.graph.node:
            node.name = node.name if named else ""
        return proto

    same(model(named=True), model(named=False))


def test_one_bias_of_two_quantised_convolutions(capfd: pytest.CaptureFixture[str]) -> None:
    def model(*, shared: bool) -> onnx.ModelProto:
        net = Net(1, 3, 32, 32)
        step, zero = net.constant(np.float32(0.03)), net.constant(np.uint8(128))
        x = net("QuantizeLinear", net.x, step, zero)
        bias = net.rng.integers(-900, 900, 6).astype(np.int32)
        name = net.constant(bias)
        for before, scale in ((3, 0.004), (6, 0.02)):
            weight = net.rng.integers(-60, 60, (6, before, 3, 3)).astype(np.int8)
            own = name if shared or before == 3 else net.constant(bias)
            parts = (weight, np.float32(scale), np.int8(0), step, zero, own)
            x = net("QLinearConv", x, step, zero, *parts, strides=[2, 2])
        return net.model(net.head(net("DequantizeLinear", x, step, zero), 6))

    same(model(shared=False), model(shared=True))
    assert "share the same name" not in "".join(capfd.readouterr())


def test_a_quantised_tensor_is_dequantised_for_each_reader() -> None:
    """As onnxruntime's optimiser writes it at its lowest level."""

    def model(*, each: bool) -> onnx.ModelProto:
        net = Net()
        step, zero = net.constant(np.float32(0.02)), net.constant(np.uint8(0))
        x = net.conv(net.x, 3, 8, stride=2)
        for _ in range(2):
            rounded = net("QuantizeLinear", x, step, zero)
            first = net("DequantizeLinear", rounded, step, zero)
            other = net("DequantizeLinear", rounded, step, zero) if each else first
            x = net("Add", net.conv(first, 8, 8), other)
        return net.model(net.head(net("Relu", x), 8))

    same(model(each=False), model(each=True))


def test_a_slice_that_leaves_the_batch_as_it_is() -> None:
    def model(axes: list[int]) -> onnx.ModelProto:
        net = Net(1, 3, 32, 32)
        rows = net("Transpose", net("Reshape", trunk(net), np.array([1, 16, 64])), perm=[0, 2, 1])
        bounds = [np.array(bound) for bound in ([0] * len(axes), [{0: 1, 1: 4, 2: 16}[axis] for axis in axes], axes)]
        few = net("ReduceMean", net("Slice", rows, *bounds), np.array([1]), keepdims=0)
        return net.model(net.dense(few, 16, 5))

    same(model([1]), model([0, 1, 2]), model([2, 1]))


@pytest.mark.parametrize("decided", ["by a constant", "by a shape"])
def test_a_branch_that_the_file_decides_though_nothing_else_folds(decided: str) -> None:
    constant = "<bool cond = {1}>"
    shape = "<int64 one = {1}, int64 last = {3}>"
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 3, 32, 32] x) => (float[1, 5] y)'
    trunk = "c = Conv <strides = [4, 4]> (x, w)  q = Relu (c)  p = GlobalAveragePool (q)  f = Flatten (p)"
    branches = "then_branch = t () => (float[1, 5] a) { a = Identity (z) }, else_branch = e () => (float[1, 5] b) "
    ends = f"z = Gemm (f, v)  y = If (cond) <{branches} {{ b = Neg (z) }}>"
    asked = "s = Shape (p)  d = Gather (s, last)  cond = Equal (d, one)" if decided == "by a shape" else ""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 4, 4)), "v": rng.standard_normal((8, 5))}
    plain, branching = (
        onnx.parser.parse_model(text)
        for text in (f"{head} {{ {trunk} y = Gemm (f, v) }}",
                     f"{head} {shape if asked else constant} {{ {trunk} {asked} {ends} }}")
    )  # fmt: skip
    for model in (plain, branching):
        for name, value in weights.items():
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    same(plain, branching)


def test_pools_over_channels_in_blocks() -> None:
    """onnxruntime saves such pools where the convolutions around them are over integers."""

    def model(*, blocks: bool) -> onnx.ModelProto:
        net = Net()
        x = net("Relu", net.conv(net.x, 3, 16, stride=2))
        domain = "com.microsoft.nchwc" if blocks else ""
        x = net("ReorderInput", x, domain=domain, channels_last=0) if blocks else x
        x = net("MaxPool", x, domain=domain, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
        x = net("ReorderOutput", x, domain=domain, channels_last=0, channels=16) if blocks else x
        return net.model(net.head(net("Relu", net.conv(x, 16, 16, stride=2)), 16), domains=[domain] * blocks)

    same(model(blocks=False), model(blocks=True))


@pytest.mark.parametrize("join", ["sum", "mean of softmaxes"])
def test_the_order_of_an_ensemble_s_nodes_decides_nothing(join: str) -> None:
    """Members alike in all but their weights; one with as many layers of the same weights reads the picture turned."""
    net, members = Net(), []
    for _ in range(2):
        begun = len(net.nodes)
        scores = net.head(trunk(net), 16, name=f"scores{begun}")
        members.append((net.nodes[begun:], scores))
    net.nodes = []
    told = [net("Softmax", scores, axis=1) if "soft" in join else scores for _, scores in members]
    ends = net.nodes
    models = []
    for order in permutations(range(2)):
        net.nodes = [node for index in order for node in members[index][0]] + ends
        net.nodes.append(helper.make_node("Sum", [told[index] for index in order], ["y"], f"y{order}"))
        models.append(net.model("y"))
    same(*models)


def test_one_network_of_a_picture_and_its_mirror_image() -> None:
    weights = Net()
    kernel, dense = weights.normal(8, 3, 3, 3), weights.normal(8, 5)

    def model(*, mirrored_first: bool) -> onnx.ModelProto:
        net = Net()
        names = net.constant(kernel), net.constant(dense)
        scores = []
        for mirrored in (mirrored_first, not mirrored_first):
            axis, back = (np.array([value]) for value in (3, -1))
            start, end = np.array([-1]), np.array([-(2**31)])
            x = net("Slice", net.x, start, end, axis, back) if mirrored else net.x
            x = net("Relu", net("Conv", x, names[0], strides=[2, 2]))
            scores.append(net("MatMul", net("Flatten", net("GlobalAveragePool", x)), names[1]))
        return net.model(net("Sum", *scores))

    same(model(mirrored_first=False), model(mirrored_first=True))


@pytest.mark.parametrize("preset", ["default", "paper", "epsilon-plus", "epsilon-gamma-box"])
@pytest.mark.parametrize("join", ["Add", "Sub"])
def test_a_picture_beside_what_is_made_of_it(join: str, preset: str) -> None:
    """Reconstruction errors and denoisers; a shift of the picture stays the plain constant that it is."""
    net = Net()
    shifted = net("Sub", net.x, net.normal(1, 3, 1, 1))
    made = net.conv(net("Relu", net.conv(shifted, 3, 8)), 8, 3)
    error = net("Abs", net(join, shifted, made))
    model = net.model(net("ReduceMean", error, np.array([2, 3]), keepdims=0))
    found = [rc.Explainer(model, ["stages", "input"], preset=preset, backend=each)(X) for each in BACKENDS]
    for name, value in found[0].maps.items():
        assert value.any()
        agree(found[1].maps[name], value)
