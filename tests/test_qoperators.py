"""Files that compute in integers, as onnxruntime's quantiser writes them: explained as the network that they stand for.

How near to the float file: what 8 bits do to activations moves maps by a few hundredths; a wrong scale, zero or weight
turns them into something else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, run
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

import relcam_onnx as rc

X = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
TARGETS = [[0, -1], [1, 2]]
LAYERS = ("stages", "fused", "input")


class Pictures(CalibrationDataReader):
    """Random ones."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.left = iter([{"x": rng.standard_normal((2, 3, 16, 16)).astype(np.float32)} for _ in range(8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def residual() -> onnx.ModelProto:
    """Convolutions, a sum, pools, a branch that is joined again, a product, a dense layer."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8), name="stem")
    x = net("Relu", net("Add", net.conv(x, 8, 8), x), name="sum")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    left, right = (
        net("Relu", net.conv(x, 8, 4)),
        net("AveragePool", net.conv(x, 8, 4), kernel_shape=[3, 3], pads=[1] * 4),
    )
    x = net("Concat", left, right, axis=1, name="joined")
    gate = net("Sigmoid", net.conv(net("GlobalAveragePool", x), 8, 8, kernel=1))
    x = net("Mul", x, gate, name="gated")
    return net.model(net.head(net("Relu", net.conv(x, 8, 8), name="last"), 8))


def tokens() -> onnx.ModelProto:
    """Dense layers over positions, a mean over them."""
    net = Net("N", 3, 16, 16)
    x = net("Conv", net.x, net.normal(8, 3, 4, 4, scale=0.2), kernel_shape=[4, 4], strides=[4, 4], name="patches")
    x = net("Transpose", net("Reshape", x, np.array([0, 8, 16])), perm=[0, 2, 1])
    x = net("Relu", net("MatMul", x, net.normal(8, 16, scale=0.3)), name="tokens")
    x = net("ReduceMean", net("MatMul", x, net.normal(16, 8, scale=0.3)), np.array([1]), keepdims=0)
    return net.model(net.dense(x, 8, 5, name="scores"))


def turned() -> onnx.ModelProto:
    """A norm over channels that are put last, and back, before each step down, as in a ConvNeXt."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8), name="stem")
    for step in ("first", "second"):
        rows = net("Transpose", x, perm=[0, 2, 3, 1])
        rows = net("LayerNormalization", rows, net.normal(8, scale=0.5), net.normal(8), axis=-1)
        x = net("Relu", net.conv(net("Transpose", rows, perm=[0, 3, 1, 2]), 8, 8, stride=2), name=step)
    return net.model(net.head(x, 8))


def bottlenecks() -> onnx.ModelProto:
    """Depthwise convolutions that read values of either sign, many of which cancel, as MobileNets have them."""
    net = Net("N", 3, 16, 16)
    x = net("HardSwish", net.conv(net.x, 3, 16), name="stem")
    for stride in (1, 2):
        x = net.conv(x, 16, 16, kernel=1)
        x = net.conv(x, 16, 16, stride=stride, group=16, bias=False)
        x = net("HardSwish", net.conv(x, 16, 16, kernel=1), name=f"block{stride}")
    return net.model(net.head(x, 16))


def quantised(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "float.onnx", Path(folder) / "quantised.onnx"
        onnx.save(model, source)
        if options.pop("dynamic", False):
            whole = options.pop("whole", False)
            quantize_dynamic(source, made, weight_type=QuantType.QUInt8, **options)
            return with_whole_biases(onnx.load(made)) if whole else onnx.load(made)
        quantize_static(source, made, Pictures(), weight_type=QuantType.QInt8, **options)
        return onnx.load(made)


def with_whole_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A bias that is rounded to the scale of each run, among the integers, as onnxruntime's first quantiser had it."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for add in [node for node in model.graph.node if node.op_type == "Add"]:
        scaling, bias = (makers.get(name) for name in add.input)
        cast, scales = (
            (makers.get(name) for name in scaling.input) if scaling and scaling.op_type == "Mul" else 2 * [None]
        )
        if cast is None or scales is None or bias is None or makers[cast.input[0]].op_type != "ConvInteger":
            continue
        stem = add.output[0]
        steps = [
            ("Div", [bias.output[0], scales.output[0]], {}), ("Floor", [f"{stem}/0"], {}),
            ("Cast", [f"{stem}/1"], {"to": onnx.TensorProto.INT32}), ("Add", [cast.input[0], f"{stem}/2"], {}),
        ]  # fmt: skip
        added = [helper.make_node(op, read, [f"{stem}/{i}"], **attrs) for i, (op, read, attrs) in enumerate(steps)]
        cast.input[0] = f"{stem}/3"
        nodes = [node for node in model.graph.node if node is not add and node is not scales and node is not bias]
        place = next(i for i, node in enumerate(nodes) if node is cast)
        scaling.output[0] = stem
        del model.graph.node[:]
        model.graph.node.extend([*nodes[:place], bias, scales, *added, *nodes[place:]])
        return with_whole_biases(model)
    return model


OPERATORS: dict[str, Any] = {"quant_format": QuantFormat.QOperator, "activation_type": QuantType.QUInt8}
FORMS: dict[str, dict[str, Any]] = {
    "operators": OPERATORS,
    "operators per channel": {**OPERATORS, "per_channel": True, "reduce_range": True},
    "signed operators": {"quant_format": QuantFormat.QOperator, "activation_type": QuantType.QInt8},
    "pairs": {"quant_format": QuantFormat.QDQ},
    "pairs of 16 bits": {
        "quant_format": QuantFormat.QDQ,
        "activation_type": QuantType.QUInt16,
        "extra_options": {"UseQDQContribOps": True},
    },
    "dynamic": {"dynamic": True},
    "dynamic with whole biases": {"dynamic": True, "whole": True},
}


@pytest.mark.parametrize("network", [residual, tokens, turned])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", ["default", "epsilon-plus", "gradient"])
@pytest.mark.filterwarnings("ignore:seed")
def test_it_is_explained_as_what_it_stands_for(network: Callable[[], onnx.ModelProto], form: str, preset: str) -> None:
    plain, model = network(), quantised(network(), **FORMS[form])
    x, targets = (X[:1], TARGETS[:1]) if "dynamic" in form else (X, TARGETS)  # whose scales are a batch's
    options: dict[str, Any] = {"preset": preset, "layers": LAYERS}
    with rc.Explainer(plain, **options) as explainer:
        wanted = explainer(x, targets)
    with rc.Explainer(model, **options) as explainer:
        got = explainer(x, wanted.targets)
    with rc.Explainer(model, backend="eager", **options) as explainer:
        eager = explainer(x, wanted.targets)
    np.testing.assert_allclose(got.outputs["scores"], run(model, x=x)[0], atol=1e-5 * np.abs(got.scores).max())
    assert list(got.maps) == list(wanted.maps)
    for name, value in wanted.maps.items():
        if (form, preset) != ("pairs", "gradient"):  # rounding in another order turns a ReLU off
            np.testing.assert_allclose(eager.maps[name], got.maps[name], atol=1e-4 * np.abs(value).max())
        if preset != "gradient":  # ReLUs that round to 0 have another slope
            assert cosine(got.maps[name], value) > 0.9, name


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("form", [form for form in FORMS if "dynamic" not in form])
def test_scores_told_as_integers_are_what_those_mean(form: str, backend: str) -> None:
    """A file that ends in its integers is explained as the same with a DequantizeLinear behind them."""
    whole = quantised(residual(), **FORMS[form])
    integers = onnx.ModelProto()
    integers.CopyFrom(whole)
    meaning = integers.graph.node.pop()
    assert meaning.op_type == "DequantizeLinear"
    zero = next(t for t in integers.graph.initializer if t.name == meaning.input[2])
    integers.graph.output[0].name = meaning.input[0]
    integers.graph.output[0].type.tensor_type.elem_type = zero.data_type
    wanted, found = (rc.Explainer(each, LAYERS, backend=backend)(X, TARGETS) for each in (whole, integers))
    share = 1e-2 if form.startswith("pairs") else 1e-5  # those are onnxruntime's to fuse
    np.testing.assert_allclose(found.scores, wanted.scores, atol=share * np.abs(wanted.scores).max())
    for name, value in wanted.maps.items():
        np.testing.assert_allclose(found.maps[name], value, atol=share * np.abs(value).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
def test_rounding_is_no_share_of_what_cancels(form: str, preset: str) -> None:
    """A sum that is less than rounding is told by what is summed."""
    x, layers = X[:1], ["stem", "block1", "block2", "input"]
    wanted = rc.Explainer(bottlenecks(), layers, "lrp", preset)(x, TARGETS[:1])
    got = rc.Explainer(quantised(bottlenecks(), **FORMS[form]), layers, "lrp", preset)(x, wanted.targets)
    for name, value in wanted.maps.items():
        assert cosine(got.maps[name], value) > 0.97, name
        assert np.abs(got.maps[name]).max() < 1.5 * np.abs(value).max()


def split(net: Net, x: str) -> str:
    """The halves of the channels, changed places."""
    names = [f"half{i}" for i in (0, 1)]
    net.nodes.append(onnx.helper.make_node("Split", [x, net.constant(np.array([4, 4]))], names, "split", axis=1))
    return net("Concat", *names[::-1], axis=1)


def padded(net: Net, x: str, mode: str, *value: np.float32) -> str:
    return net("Pad", x, np.array([0, 0, 1, 1, 0, 0, 2, 0]), *value, mode=mode)


MIDDLES: dict[str, Callable[[Net, str], str]] = {
    "split": split,
    "pad": lambda net, x: padded(net, x, "constant"),
    "pad with a value": lambda net, x: padded(net, x, "constant", np.float32(0.5)),
    "pad with edges": lambda net, x: padded(net, x, "edge"),
    "pad by reflection": lambda net, x: padded(net, x, "reflect"),
    "clip": lambda net, x: net("Clip", x, np.float32(-0.5), np.float32(1)),
    "leaky": lambda net, x: net("LeakyRelu", x, alpha=0.1),
    "sigmoid": lambda net, x: net("Sigmoid", x),
    "maximum": lambda net, x: net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]),
    "mean": lambda net, x: net("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
    "enlarged": lambda net, x: net("Resize", x, None, np.array([1, 1, 2, 2], np.float32), mode="linear"),
    "turned": lambda net, x: net("Transpose", x, perm=[0, 1, 3, 2]),
    "shuffled": lambda net, x: net(
        "Reshape",
        net("Transpose", net("Reshape", x, np.array([0, 2, 4, 8, 8])), perm=[0, 2, 1, 3, 4]),
        np.array([0, 8, 8, 8]),
    ),
    "cut": lambda net, x: net("Slice", x, np.array([1]), np.array([7]), np.array([2])),
    "picked": lambda net, x: net("Gather", x, np.array([7, 6, 5, 4, 3, 2, 1, 0]), axis=1),
    "depth to space": lambda net, x: net("Tile", net("DepthToSpace", x, blocksize=2), np.array([1, 4, 1, 1])),
    "chosen": lambda net, x: net("Where", net("Greater", x, np.float32(0)), x, np.float32(0.25)),
    "highest": lambda net, x: net("Mul", x, net("GlobalMaxPool", x)),
}
"""What stands between two convolutions, (N, 8, 8, 8): the quantiser has most of it on integers."""


@pytest.mark.parametrize("form", ["operators", "signed operators", "pairs"])
@pytest.mark.parametrize("middle", MIDDLES)
def test_what_stands_on_integers(middle: str, form: str) -> None:
    net = Net("N", 3, 16, 16)
    x = MIDDLES[middle](net, net.conv(net.x, 3, 8, stride=2, name="before"))
    model = net.model(net.head(net("Relu", net.conv(x, 8, 8), name="behind"), 8))
    layers = ["stages", "input"]
    wanted = rc.Explainer(model, layers)(X[:1], TARGETS[:1])
    made = quantised(model, **FORMS[form])
    got, eager = (rc.Explainer(made, layers, backend=b)(X[:1], wanted.targets) for b in ("compiled", "eager"))
    for name, value in wanted.maps.items():
        share = 1e-2 if form == "pairs" else 1e-4
        np.testing.assert_allclose(eager.maps[name], got.maps[name], atol=share * np.abs(value).max())
        assert cosine(got.maps[name], value) > 0.9, name


@pytest.mark.parametrize("form", FORMS)
def test_a_norm_of_rounded_values_divides_by_what_it_made(form: str) -> None:
    """A stem of layer normalisation and a residual block, as ConvNeXt's: some of what it makes rounds to 0."""
    net = Net("N", 3, 16, 16)

    def norm(x: str) -> str:
        turned = net("Transpose", x, perm=[0, 2, 3, 1])
        shift = net.normal(16, scale=0.02)
        return net("LayerNormalization", turned, net.rng.uniform(0.02, 1, 16).astype(np.float32), shift, axis=-1)

    x = net("Transpose", norm(net.conv(net.x, 3, 16, kernel=1, stride=2)), perm=[0, 3, 1, 2])
    for _ in range(2):
        inner = net("MatMul", norm(net.conv(x, 16, 16, group=16)), net.normal(16, 32, scale=0.25))
        y = net("MatMul", net("Relu", inner), net.normal(32, 16, scale=0.05))
        x = net("Add", net("Transpose", y, perm=[0, 3, 1, 2]), x)
    plain = net.model(net.dense(net("ReduceMean", x, np.array([2, 3]), keepdims=0), 16, 5, name="scores"))
    wanted = rc.Explainer(plain, "input", "lrp")(X[:1], TARGETS[:1]).maps["input"]
    for backend in ("eager", "compiled"):
        got = rc.Explainer(quantised(plain, **FORMS[form]), "input", "lrp", backend=backend)(X[:1], TARGETS[:1])
        assert cosine(got.maps["input"], wanted) > 0.9


def test_names_mean_the_same_layers() -> None:
    """A tensor of the float file is found in the file of integers under its name."""
    names = ["joined", "gated"]
    model = quantised(residual(), **OPERATORS)
    with rc.Explainer(residual(), names) as plain, rc.Explainer(model, names) as explainer:
        wanted, got = plain(X, TARGETS), explainer(X, TARGETS)
    for name in names:
        assert got.maps[name].shape == wanted.maps[name].shape


@pytest.mark.parametrize("form", ["operators", "signed operators", "pairs"])
def test_classes_that_are_chosen_among_integers(form: str) -> None:
    """A segmenter whose enlarged scores and their ArgMax are integers' in the file."""
    net = Net("N", 3, 16, 16)
    coarse = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, 8), name="coarse")
    scores = net("Resize", net.conv(coarse, 8, 3, 1), None, np.array([1, 1, 2, 2], np.float32), mode="linear")
    model = net.model(net("ArgMax", scores, axis=1, name="classes"))
    wanted = rc.Explainer(model, "stages", seed="logit")(X[:1], [[0, 1]])
    got = rc.Explainer(quantised(model, **FORMS[form]), "stages", seed="logit")(X[:1], [[0, 1]])
    assert got.settings.head == "segmenter"
    for name, value in wanted.maps.items():
        assert cosine(got.maps[name], value) > 0.9, name
