"""Files as tools write them that join, optimise or quantise: what they leave behind changes no map."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from compare import agree, same_maps
from nets import Net, picture, residual, run
from onnx import compose, helper, numpy_helper

import relcam_onnx as rc
from relcam_onnx.onnx_file.load import load

BACKENDS = ["eager", "compiled"]
X = picture(1, 3, 32, 32)
LAYERS = ["stages", "fused", "input"]


def same(wanted: onnx.ModelProto, *models: onnx.ModelProto, target: int = 1, **options: Any) -> None:
    """One map of all, in both backends."""
    for backend in BACKENDS:
        maps = rc.Explainer(wanted, LAYERS, backend=backend, **options)(X, [[target]]).maps
        for model in models:
            found = rc.Explainer(model, LAYERS, backend=backend, **options)(X, [[target]]).maps
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


@pytest.mark.parametrize("channels", [8, 64])
@pytest.mark.parametrize("inside", ["Add (c, k)", "Conv <pads = [1, 1, 1, 1]> (c, w2)"])
def test_what_a_branch_that_is_not_taken_reads_has_no_other_reader(inside: str, channels: int) -> None:
    """A bias is folded into what it stands behind; a weight that is large, and read in a branch alone, is found."""
    sides = f"float[1, {channels}, 8, 8]"
    taken = f"then_branch = t () => ({sides} b) {{ b = {inside} }}"
    left = f"else_branch = e () => ({sides} d) {{ d = Identity (c) }}"
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[1, 3, 32, 32] x) => (float[1, 5] y) <bool t = {1}>'
    rng = np.random.default_rng(0)
    shapes = {"w": (channels, 3, 4, 4), "w2": (channels, channels, 3, 3), "k": (channels, 1, 1), "v": (channels, 5)}
    models = []
    for spelled in (inside, f"If (t) <{taken}, {left}>"):
        body = f"c = Conv <strides = [4, 4]> (x, w)  r = {spelled}  q = Relu (r)  p = GlobalAveragePool (q)"
        model = onnx.parser.parse_model(f"{head} {{ {body}  f = Flatten (p)  y = MatMul (f, v) }}")
        models.append(model)
    for name, shape in shapes.items():
        value = numpy_helper.from_array((rng.standard_normal(shape) / 8).astype(np.float32), name)
        for model in models:
            model.graph.initializer.append(value)
    same(*models)


def test_a_large_weight_that_nothing_reads_is_no_obstacle() -> None:
    net = Net(1, 3, 32, 32)
    plain = net.model(net.head(trunk(net), 16))
    with_more = onnx.ModelProto.FromString(plain.SerializeToString())
    with_more.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64, 16), np.float32), "left over"))
    same(plain, with_more)


def test_a_mean_picture_is_a_shift_of_the_input_as_one_number_a_channel_is() -> None:
    def model(mean: np.ndarray) -> onnx.ModelProto:
        net = Net(1, 3, 32, 32)
        shifted = net("Sub", net.x, mean)
        return net.model(net.head(net("Relu", net("Conv", shifted, net.normal(8, 3, 4, 4), strides=[4, 4])), 8))

    mean = np.array([0.5, 0.3, -0.2], np.float32)[:, None, None]
    same(model(mean), model(np.broadcast_to(mean, (3, 32, 32)).copy()))


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


def test_the_order_of_crops_that_one_network_sees_decides_nothing() -> None:
    """Stages are those of the crop that begins first: all have the same layers and weights."""
    weights = Net()
    kernel, dense = weights.normal(8, 3, 3, 3), weights.normal(8, 5)

    def model(corners: list[tuple[int, int]]) -> onnx.ModelProto:
        net = Net()
        names = net.constant(kernel), net.constant(dense)
        scores = []
        for top, left in corners:
            ends = np.array([top + 24, left + 24])
            crop = net("Slice", net.x, np.array([top, left]), ends, np.array([2, 3]))
            y = net("Relu", net("Conv", crop, names[0], strides=[2, 2], pads=[1] * 4))
            scores.append(net("MatMul", net("Flatten", net("GlobalAveragePool", y)), names[1]))
        return net.model(net("Sum", *scores))

    corners = [(0, 0), (0, 8), (8, 0), (8, 8)]
    same(model(corners), model(corners[::-1]))


JOINED_CROPS: dict[str, Callable[[Net, str], str]] = {
    "split": lambda net, z: net("Mean", *(net("Slice", z, *ints([i], [i + 1], [0])) for i in range(4))),
    "mean of rows": lambda net, z: net("ReduceMean", z, *ints([0])),
    "an axis for them": lambda net, z: net("ReduceMean", net("Reshape", z, *ints([4, -1, 5])), *ints([0]), keepdims=0),
    "sum": lambda net, z: net("Mul", net("ReduceSum", z, *ints([0])), 0.25),
}


def ints(*values: list[int]) -> list[np.ndarray]:
    return [np.array(each) for each in values]


@pytest.mark.parametrize("shares", [False, True], ids=["scores", "shares"])
@pytest.mark.parametrize("name", JOINED_CROPS)
def test_crops_joined_in_the_batch_are_crops_one_by_one(name: str, shares: bool) -> None:
    """As test-time augmentation within a file spells it: one run of the network for all; the warning names one."""
    weights = Net()
    kernel, dense = weights.normal(8, 3, 3, 3), weights.normal(8, 5)

    def model(*, joined: bool) -> onnx.ModelProto:
        net = Net(1, 3, 32, 32)
        names = net.constant(kernel), net.constant(dense)

        def scored(x: str) -> str:
            y = net("Relu", net("Conv", x, names[0], strides=[2, 2], pads=[1] * 4))
            z = net("MatMul", net("Flatten", net("GlobalAveragePool", y)), names[1])
            return net("Softmax", z, axis=1) if shares else z

        corners = [(0, 0), (0, 8), (8, 0), (8, 8)]
        crops = [net("Slice", net.x, *ints([y, x], [y + 24, x + 24], [2, 3])) for y, x in corners]
        if not joined:
            return net.model(net("Mean", *map(scored, crops)))
        return net.model(JOINED_CROPS[name](net, scored(net("Concat", *crops, axis=0))))

    same(model(joined=False), model(joined=True))
    with pytest.warns(UserWarning, match="one of 4 crops, views or networks"):
        rc.Explainer(model(joined=True), "last")


BY_IMAGE: dict[str, Callable[[Net, str], str]] = {
    "mean": lambda net, z: net("ReduceMean", z, *ints([1]), keepdims=0),
    "picked": lambda net, z: net("Mean", *(net("Gather", z, np.array(i), axis=1) for i in range(4))),
    "sliced": lambda net, z: net("Reshape", net("Mean", *(
        net("Slice", z, *ints([i], [i + 1], [1])) for i in range(4))), np.array([-1, 5])),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize("along", ["an axis", "channels"])
@pytest.mark.parametrize("name", BY_IMAGE)
def test_crops_may_stand_image_by_image(name: str, along: str, batch: int | str, backend: str) -> None:
    """As torchvision's ten crops are stacked, `view(-1, C, H, W)`, and averaged, `view(N, crops, -1).mean(1)`."""
    weights = Net()
    kernel, dense = weights.normal(8, 3, 3, 3), weights.normal(8, 5)
    corners = [(0, 0), (0, 8), (8, 0), (8, 8)]

    def model(*, joined: bool) -> onnx.ModelProto:
        net = Net(batch, 3, 32, 32)
        names = net.constant(kernel), net.constant(dense)

        def scored(x: str) -> str:
            y = net("Relu", net("Conv", x, names[0], strides=[2, 2], pads=[1] * 4))
            return net("MatMul", net("Flatten", net("GlobalAveragePool", y)), names[1])

        crops = [net("Slice", net.x, *ints([y, x], [y + 24, x + 24], [2, 3])) for y, x in corners]
        if not joined:
            return net.model(net("Mean", *map(scored, crops)))
        crops = [net("Unsqueeze", crop, *ints([1])) for crop in crops] if along == "an axis" else crops
        rows = net("Reshape", net("Concat", *crops, axis=1), np.array([-1, 3, 24, 24]))
        return net.model(BY_IMAGE[name](net, net("Reshape", scored(rows), np.array([-1, 4, 5]))))

    x = picture(2, 3, 32, 32)
    wanted = rc.Explainer(model(joined=False), LAYERS, backend="eager")(x, 1)
    same_maps(rc.Explainer(model(joined=True), LAYERS, backend=backend)(x, 1), wanted)


def test_stages_that_all_passes_are_of_no_crop(recwarn: pytest.WarningsRecorder) -> None:
    net = Net()
    x = trunk(net)
    side = net("Relu", net.conv(x, 16, 16))
    rc.Explainer(net.model(net.head(net("Concat", x, side, axis=1), 32)), LAYERS)
    assert not [each for each in recwarn if "crops" in str(each.message)]


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


def dense_by(form: str, net: Net, z: str) -> str:
    """The same dense layer of 16 features and 5 classes."""
    weight, bias = net.normal(16, 5), net.normal(5)
    if form == "rows":
        product = net("ReduceSum", net("Mul", net("Unsqueeze", z, np.array([2])), weight), np.array([1]), keepdims=0)
    elif form == "columns":
        wide = net("Unsqueeze", z, np.array([1]))
        product = net("ReduceSum", net("Mul", weight.T[None].copy(), wide), np.array([-1]), keepdims=0)
    elif form == "means":
        wide = net("Unsqueeze", z, np.array([2]))
        product = net("ReduceMean", net("Mul", wide, 16 * weight), np.array([1]), keepdims=0)
    elif form == "scikit-learn":
        return net("LinearRegressor", z, domain="ai.onnx.ml", coefficients=weight.T.ravel().tolist(),
                   intercepts=bias.tolist(), targets=5)  # fmt: skip
    elif form == "scikit-learn, scaled":
        scaled = net("Scaler", z, domain="ai.onnx.ml", offset=[0.5] * 16, scale=[2.0] * 16)
        return net("Gemm", scaled, weight / 2, bias + (weight / 2).sum(axis=0))
    else:
        product = net("MatMul", z, weight)
    return net("Add", product, bias)


@pytest.mark.parametrize("form", ["rows", "columns", "means", "scikit-learn", "scikit-learn, scaled"])
def test_a_dense_layer_however_it_is_written(form: str) -> None:
    def model(form: str) -> onnx.ModelProto:
        net = Net()
        z = net("Flatten", net("GlobalAveragePool", trunk(net)))
        scores = dense_by(form, net, z)
        proto = net.model(net("Identity", scores, name="y"), domains=["ai.onnx.ml"])
        proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5]))
        return proto

    same(model("product"), model(form))


@pytest.mark.parametrize("squash", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("labels", ["numbers", "texts"])
def test_a_linear_classifier_of_scikit_learn(labels: str, squash: str) -> None:
    def model(*, own: bool) -> onnx.ModelProto:
        net = Net()
        z = net("Flatten", net("GlobalAveragePool", trunk(net)))
        weight, bias = net.normal(16, 3), net.normal(3)
        if own:
            names = {"classlabels_ints": [4, 5, 6]} if labels == "numbers" else {"classlabels_strings": list("abc")}
            attrs = {"coefficients": weight.T.ravel().tolist(), "intercepts": bias.tolist(), **names}
            outputs = ["label", "shares"]
            net.nodes.append(
                helper.make_node("LinearClassifier", [z], outputs, domain="ai.onnx.ml", post_transform=squash, **attrs)
            )
        else:
            op = {"NONE": "Identity", "SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}[squash]
            net(op, net("Gemm", z, weight, bias), name="shares")
        proto = net.model("shares", *["label"] * own, domains=["ai.onnx.ml"])
        for value in proto.graph.output:
            kind = onnx.TensorProto.INT64 if labels == "numbers" else onnx.TensorProto.STRING
            told = (kind, ["N"]) if value.name == "label" else (onnx.TensorProto.FLOAT, ["N", 3])
            value.CopyFrom(helper.make_tensor_value_info(value.name, *told))
        return proto

    same(model(own=False), model(own=True))
    wanted, found = (run(each, *names, x=X) for each, names in (
        (model(own=True), ("shares", "label")), (load(model(own=True)).proto, ("shares", "label"))))  # fmt: skip
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-6)
    assert found[1].tolist() == wanted[1].tolist()


@pytest.mark.parametrize("number", [1.0, 3.0])
def test_a_number_over_what_is_computed(number: float) -> None:
    def model(*, spelled: bool) -> onnx.ModelProto:
        net = Net()
        below = net("Add", net("Abs", net.head(trunk(net), 16)), 1.0)
        inverse = net("Div", number, below) if spelled else net("Mul", net("Reciprocal", below), number)
        return net.model(inverse)

    same(model(spelled=False), model(spelled=True))


def test_a_mask_of_infinities_before_a_softmax() -> None:
    def model(low: float, at: str) -> onnx.ModelProto:
        net = Net()
        tokens = net("Transpose", net("Reshape", trunk(net), np.array([0, 16, 64])), perm=[0, 2, 1])
        q, k = (net("MatMul", tokens, net.normal(16, 16, scale=0.25)) for _ in range(2))
        scores = net("MatMul", q, net("Transpose", k, perm=[0, 2, 1]))
        triangle = np.where(np.tri(64, dtype=bool), 0, low).astype(np.float32)
        if at == "a Constant":
            mask = net("Constant", value=numpy_helper.from_array(triangle))
        elif at == "a choice":
            mask = net("Where", net.constant(np.tri(64, dtype=bool)), 0.0, np.float32(low))
        else:
            mask = net.constant(triangle)
        mixed = net("MatMul", net("Softmax", net("Add", scores, mask), axis=-1), tokens)
        return net.model(net.dense(net("ReduceMean", mixed, np.array([1]), keepdims=0), 16, 5))

    for at in ("a weight", "a Constant", "a choice"):
        same(model(-1e9, "a weight"), model(-np.inf, at))
    damaged = model(-1e9, "a weight")
    (tensor,) = (t for t in damaged.graph.initializer if list(t.dims) == [64, 64])
    tensor.CopyFrom(numpy_helper.from_array(np.full((64, 64), np.inf, np.float32), tensor.name))
    with pytest.raises(rc.ModelFileError, match="NaN or infinity"):
        rc.Explainer(damaged)


SCORE = {
    "squeezed behind its sigmoid": lambda net, z: net("Squeeze", net("Sigmoid", z), np.array([1])),
    "squeezed before its sigmoid": lambda net, z: net("Sigmoid", net("Squeeze", z, np.array([1]))),
    "reduced": lambda net, z: net("Sigmoid", net("ReduceSum", z, np.array([1]), keepdims=0)),
}


@pytest.mark.parametrize("form", SCORE)
@pytest.mark.parametrize("batch", ["N", 1])
def test_one_score_without_an_axis(batch: int | str, form: str) -> None:
    def model(how: Any) -> onnx.ModelProto:
        net = Net(batch, 3, 32, 32)
        return net.model(how(net, net.head(trunk(net), 16, 1)))

    same(model(lambda net, z: net("Sigmoid", z)), model(SCORE[form]), seed="logit", target=-1)


def test_an_expectation_is_one_number() -> None:
    """Of ages by their shares, (N, classes) times (classes)."""

    def model(column: int) -> onnx.ModelProto:
        net = Net()
        shares = net("Softmax", net.head(trunk(net), 16), axis=1)
        ages = np.arange(1.0, 6)
        return net.model(net("MatMul", shares, ages[:, None] if column else ages))

    found = [rc.Explainer(model(column), LAYERS)(X).maps for column in (1, 0)]
    for name, value in found[0].items():
        agree(found[1][name], value)


@pytest.mark.parametrize("batch", ["N", "floor(1.0*N)"])
@pytest.mark.parametrize("form", ["squeezed", "reduced", "the largest"])
def test_pixels_of_one_class_without_its_axis(form: str, batch: str) -> None:
    def model(form: str) -> onnx.ModelProto:
        net = Net()
        z = net.conv(trunk(net), 16, 1)
        ops = {"squeezed": "Squeeze", "reduced": "ReduceMean", "the largest": "ReduceMax"}
        attrs = {} if form == "squeezed" else {"keepdims": 0}
        proto = net.model(net(ops[form], z, np.array([1]), **attrs) if form in ops else z)
        proto.graph.output[0].type.tensor_type.shape.dim[0].dim_param = batch
        return proto

    same(model("plain"), model(form), model("squeezed"), target=-1)


def test_scores_with_the_batch_behind_them_are_no_classifiers() -> None:
    """(T, 1, classes), as recognisers of text have them."""
    net = Net(1, 3, 32, 32)
    rows = net("Transpose", net("ReduceMean", trunk(net), np.array([2]), keepdims=0), perm=[2, 0, 1])
    model = net.model(net("MatMul", rows, net.normal(16, 5)))
    with pytest.raises(rc.UnsupportedModelError, match=r"\(8, 1, 5\).*head='detector'"):
        rc.Explainer(model)


def test_a_function_of_another_opset_is_written_out() -> None:
    net = Net()
    net("Head", trunk(net), net.normal(16, 5), domain="own", name="y")
    model = net.model("y", domains=["own"])
    body = [
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["b"]),
    ]
    model.functions.append(helper.make_function("own", "Head", ["a", "w"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5]))
    plain = Net()
    z = plain("Flatten", plain("GlobalAveragePool", trunk(plain)))
    same(plain.model(plain("MatMul", z, plain.normal(16, 5))), model)


@pytest.mark.parametrize("bent", ["Relu", "Softplus", "Abs"])
def test_what_bends_scores_that_were_enlarged_makes_no_stage_of_them(bent: str) -> None:
    """Depth as (N, 1, h, w): what only holds it at another size is no layer."""

    def names(*, plain: bool) -> list[str]:
        net = Net()
        scores = net("Resize", net.conv(trunk(net), 16, 1), None, np.array([1, 1, 4, 4], np.float32), mode="linear")
        model = net.model(scores if plain else net(bent, scores))
        return [layer.name for layer in rc.Explainer(model).layers.stages]

    assert names(plain=False) == names(plain=True) == ["stride2", "stride4"]


@pytest.mark.parametrize("scaled", [False, True])
def test_a_picture_that_gets_its_channel_inside(scaled: bool) -> None:
    """A spectrogram (N, mels, frames), which the file rescales and unsqueezes."""

    def model(*, inside: bool) -> onnx.ModelProto:
        net = Net(2, 32, 24) if inside else Net(2, 1, 32, 24)
        x = net("Mul", net("Sub", net.x, 0.5), 2.0) if scaled else net.x
        x = net("Unsqueeze", x, np.array([1])) if inside else x
        x = net("Relu", net.conv(x, 1, 8, stride=2))
        return net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2)), 8))

    x = picture(2, 1, 32, 24)
    outside, inside = (
        rc.Explainer(model(inside=inside), ["stages", "fused"])(x[:, 0] if inside else x, [[1]] * 2)
        for inside in (False, True)
    )
    assert list(inside.maps) == list(outside.maps) == ["stride2", "stride4", "fused"]
    for name, value in outside.maps.items():
        agree(inside.maps[name], value)


def test_a_pyramid_of_attention_has_stages_at_each_of_its_sizes() -> None:
    """SegFormer's: all levels meet in a decoder, so that only the finest and the decoder are passed by all paths."""
    net = Net(1, 3, 64, 64)
    x, levels = net.x, []
    for before, stride, side in ((3, 4, 16), (8, 2, 8)):
        x = net("Relu", net("Conv", x, net.normal(8, before, stride, stride, scale=0.3), strides=[stride] * 2))
        for _ in range(4):
            rows = net("Transpose", net("Reshape", x, np.array([1, 8, side * side])), perm=[0, 2, 1])
            q, k, v = (net("MatMul", rows, net.normal(8, 8, scale=0.3)) for _ in range(3))
            mixed = net("Softmax", net("MatMul", q, net("Transpose", k, perm=[0, 2, 1])), axis=-1)
            back = net("Transpose", net("MatMul", mixed, v), perm=[0, 2, 1])
            x = net("Add", x, net("Reshape", back, np.array([1, 8, side, side])))
        levels.append(net.conv(x, 8, 4, 1))
    fine = net("Resize", levels[1], None, None, np.array([1, 4, 16, 16]), mode="linear")
    scores = net.conv(net("Concat", levels[0], fine, axis=1), 8, 3, 1)
    names = [layer.name for layer in rc.Explainer(net.model(scores)).layers.stages]
    assert names == ["stride4", "stride8"]


def test_half_precision_is_what_was_computed_before_it_was_rounded() -> None:
    """On a CPU onnxruntime computes it in float32; both backends read that, though a file returns less."""
    model = residual()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for node in model.graph.node:
        node.input[:] = ["x/half" if name == "x" else name for name in node.input]
        node.output[:] = ["scores/half" if name == "scores" else name for name in node.output]
    ends = [helper.make_node("Cast", [a], [b], to=to) for a, b, to in (
        ("x", "x/half", onnx.TensorProto.FLOAT16), ("scores/half", "scores", onnx.TensorProto.FLOAT))]  # fmt: skip
    nodes = [ends[0], *model.graph.node, ends[1]]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    eager, compiled = (rc.Explainer(model, LAYERS, backend=backend)(X, [[1]]).maps for backend in BACKENDS)
    for name, value in compiled.items():
        np.testing.assert_allclose(eager[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)


def merged_patches(net: Net, x: str, side: int, form: str) -> str:
    """(1, side², 8) to (1, side²/4, 8), as Swin merges its patches, in timm's and in its authors' way."""
    if form == "moves":
        parts = net("Reshape", x, np.array([1, side // 2, 2, side // 2, 2, 8]))
        wide = net("Reshape", net("Transpose", parts, perm=[0, 1, 3, 4, 2, 5]), np.array([1, side // 2, side // 2, 32]))
    else:
        grid = net("Reshape", x, np.array([1, side, side, 8]))
        ends, axes, steps = np.array([side, side]), np.array([1, 2]), np.array([2, 2])
        starts = [np.array(pair) for pair in ((0, 0), (1, 0), (0, 1), (1, 1))]
        wide = net("Concat", *(net("Slice", grid, start, ends, axes, steps) for start in starts), axis=3)
    rows = net("Reshape", wide, np.array([1, side * side // 4, 32]))
    return net("MatMul", net("LayerNormalization", rows, np.ones(32), np.zeros(32)), net.normal(32, 8, scale=0.2))


@pytest.mark.parametrize("form", ["moves", "slices"])
def test_merged_patches_are_coarser_positions_and_windows_are_not(form: str) -> None:
    net = Net(1, 3, 64, 64)
    x = net("Relu", net("Conv", net.x, net.normal(8, 3, 4, 4, scale=0.3), strides=[4, 4]))
    x = net("Transpose", net("Reshape", x, np.array([1, 8, 256])), perm=[0, 2, 1])
    for side in (16, 8):
        windows = net("Reshape", x, np.array([1, side // 4, 4, side // 4, 4, 8]))
        windows = net("Reshape", net("Transpose", windows, perm=[0, 1, 3, 2, 4, 5]), np.array([-1, 16, 8]))
        q, k, v = (net("MatMul", windows, net.normal(8, 8, scale=0.3)) for _ in range(3))
        weights = net("Softmax", net("MatMul", q, net("Transpose", k, perm=[0, 2, 1])), axis=-1)
        back = net("Reshape", net("MatMul", weights, v), np.array([1, side // 4, side // 4, 4, 4, 8]))
        back = net("Reshape", net("Transpose", back, perm=[0, 1, 3, 2, 4, 5]), np.array([1, side * side, 8]))
        x = net("Add", x, back)
        x = merged_patches(net, x, side, form)
    explainer = rc.Explainer(net.model(net.dense(net("ReduceMean", x, np.array([1]), keepdims=0), 8, 5)))
    assert [layer.name for layer in explainer.layers.stages] == ["stride4", "stride8", "stride16"]
    maps = explainer(picture(1, 3, 64, 64)).maps
    assert [maps[name].shape[-2:] for name in ("stride4", "stride8", "stride16")] == [(16, 16), (8, 8), (4, 4)]


@pytest.mark.parametrize("axis", [1, 2])
def test_a_dense_layer_by_a_sum_that_keeps_its_axis(axis: int) -> None:
    def model(*, kept: bool) -> onnx.ModelProto:
        net = Net()
        z = net("Flatten", net("GlobalAveragePool", trunk(net)))
        weight = net.normal(16, 5)
        product = net("Mul", net("Unsqueeze", z, np.array([3 - axis])), weight if axis == 1 else weight.T.copy())
        total = net("ReduceSum", product, np.array([axis]), keepdims=int(kept))
        return net.model(net("Squeeze", total, np.array([axis])) if kept else total)

    same(model(kept=False), model(kept=True))


def test_a_mask_with_rows_of_infinities_alone_is_refused() -> None:
    """Their softmax is no number, which files may look for: nothing else is as good."""
    net = Net()
    rows = net("Reshape", trunk(net), np.array([0, 16, 64]))
    mask = np.zeros((16, 64), np.float32)
    mask[3] = -np.inf
    weights = net("Softmax", net("Add", rows, mask), axis=-1)
    guarded = net("Where", net("IsNaN", weights), 0.0, weights)
    model = net.model(net.dense(net("ReduceMean", guarded, np.array([2]), keepdims=0), 16, 5))
    with pytest.raises(rc.ModelFileError, match="NaN or infinity"):
        rc.Explainer(model)


def test_a_scale_that_a_constant_node_tells() -> None:
    def model(*, node: bool) -> onnx.ModelProto:
        net = Net()
        x = net("Relu", net.conv(net.x, 3, 8, stride=2))
        weight, scale = net.rng.integers(-127, 127, (8, 8, 3, 3)).astype(np.int8), np.full(8, 0.01, np.float32)
        told = net("Constant", value=numpy_helper.from_array(scale)) if node else scale
        whole = net("DequantizeLinear", weight, told, axis=0)
        return net.model(net.head(net("Relu", net("Conv", x, whole, strides=[2, 2])), 8))

    same(model(node=False), model(node=True))


@pytest.mark.parametrize("form", ["squeezed", "by a vector", "summed"])
@pytest.mark.parametrize("head", ["segmenter", "detector"])
def test_a_number_beside_places_is_no_class(head: str, form: str) -> None:
    net = Net()
    x = trunk(net)
    pooled = net("Flatten", net("GlobalAveragePool", x))
    if form == "squeezed":
        number = net("Squeeze", net("Gemm", pooled, net.normal(16, 1)), np.array([1]))
    elif form == "by a vector":
        number = net("MatMul", pooled, net.normal(16))
    else:
        number = net("ReduceSum", net("Mul", pooled, net.normal(16)), np.array([1]), keepdims=0)
    scores = net.conv(x, 16, 3)
    if head == "segmenter":
        model = net.model(scores, number)
    else:
        rows = [net("Transpose", net("Reshape", part, np.array([0, count, -1])), perm=[0, 2, 1])
                for part, count in ((scores, 3), (net.conv(x, 16, 4), 4))]  # fmt: skip
        model = net.model(net("Sigmoid", rows[0], name="scores"), net("Abs", rows[1], name="boxes"), number)
    assert rc.Explainer(model).settings.head == head


@pytest.mark.parametrize("form", ["a mean less", "last"])
def test_a_picture_that_gets_its_channel_behind_other_ops(form: str) -> None:
    def model(*, inside: bool) -> onnx.ModelProto:
        net = Net(2, 32, 24) if inside else Net(2, 1, 32, 24)
        x = net.x
        if form == "a mean less":
            x = net("Sub", x, net("ReduceMean", x, np.array([-2, -1])))
            x = net("Unsqueeze", x, np.array([1])) if inside else x
        elif inside:
            x = net("Transpose", net("Unsqueeze", x, np.array([3])), perm=[0, 3, 1, 2])
        return net.model(net.head(net("Relu", net.conv(x, 1, 8, stride=2)), 8))

    x = picture(2, 1, 32, 24)
    outside, inside = (
        rc.Explainer(model(inside=each), ["stages", "fused"])(x[:, 0] if each else x, [[1]] * 2)
        for each in (False, True)
    )
    for name, value in outside.maps.items():
        agree(inside.maps[name], value)


def test_a_binary_model_of_scikit_learn_has_one_score() -> None:
    """Two rows of coefficients, one the other's negative, their sigmoids over the sum of both."""

    def model(*, own: bool) -> onnx.ModelProto:
        net = Net()
        z = net("Flatten", net("GlobalAveragePool", trunk(net)))
        weight, bias = net.normal(16, 1), net.normal(1)
        if own:
            rows, offsets = np.concatenate([-weight, weight], axis=1), np.concatenate([-bias, bias])
            attrs = {
                "coefficients": rows.T.ravel().tolist(),
                "intercepts": offsets.tolist(),
                "classlabels_ints": [0, 1],
            }
            outputs = ["label", "shares"]
            net.nodes.append(
                helper.make_node(
                    "LinearClassifier", [z], outputs, domain="ai.onnx.ml", post_transform="LOGISTIC", **attrs
                )
            )
            net("Normalizer", "shares", domain="ai.onnx.ml", norm="L1", name="told")
        else:
            share = net("Sigmoid", net("Gemm", z, weight, bias))
            net("Concat", net("Sub", 1.0, share), share, axis=1, name="told")
        proto = net.model("told", domains=["ai.onnx.ml"])
        proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("told", onnx.TensorProto.FLOAT, ["N", 2]))
        return proto

    same(model(own=False), model(own=True))
    shares = run(model(own=True), "told", x=X)[0]
    np.testing.assert_allclose(rc.Explainer(model(own=True))(X, [[1]]).probability[0, 0], shares[0, 1], atol=1e-6)


def test_what_bends_scores_that_were_enlarged_is_no_level_of_theirs() -> None:
    """Of six strides the four largest are stages, whatever stands behind the scores at their new size."""

    def names(*, plain: bool) -> list[str]:
        net = Net(1, 3, 128, 128)
        x, width = net.x, 3
        for _ in range(6):
            x, width = net("Relu", net.conv(x, width, 8, stride=2)), 8
        scores = net("Resize", net.conv(x, 8, 1), None, np.array([1, 1, 32, 32], np.float32), mode="linear")
        model = net.model(scores if plain else net("Relu", scores))
        return [layer.name for layer in rc.Explainer(model).layers.stages]

    assert names(plain=False) == names(plain=True) == ["stride8", "stride16", "stride32", "stride64"]
