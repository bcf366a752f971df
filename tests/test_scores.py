"""Which tensor relevance starts at, whatever a file makes of its scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture
from onnx import TensorProto, helper
from PIL import Image

import relcam_onnx as rc

X = picture(2, 3, 16, 16)
Tail = Callable[[Net, str], Sequence[str]]


def network(tail: Tail | None = None) -> onnx.ModelProto:
    """Two convolutions and five classes, and what a file does with their scores."""
    net = Net("N", 3, 16, 16)
    y = net("Relu", net.conv(net.x, 3, 4, stride=2))
    scores = net.head(net("Relu", net.conv(y, 4, 6, stride=2)), 6)
    outputs = [scores] if tail is None else list(tail(net, scores))
    model = net.model(*outputs, domains=["ai.onnx.ml"])
    for value in model.graph.output:
        if value.name == "named":
            value.CopyFrom(helper.make_value_info("named", NAMED))
    return model


NAMED = helper.make_sequence_type_proto(
    helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(1, []))
)
LABELS = np.array(list("abcde"), object)


def soft(net: Net, scores: str) -> str:
    return net("Softmax", scores, name="soft", axis=1)


def custom_vision(net: Net, scores: str) -> Sequence[str]:
    """ArgMax and ZipMap, and the scores themselves are no output."""
    p = soft(net, scores)
    index = net("ArgMax", p, name="index", axis=1, keepdims=0)
    label = net("ArrayFeatureExtractor", net.constant(LABELS), index, domain="ai.onnx.ml")
    return net("Flatten", label, name="label"), net(
        "ZipMap", p, name="named", domain="ai.onnx.ml", classlabels_strings=list("abcde")
    )


def best(net: Net, scores: str) -> Sequence[str]:
    p = soft(net, scores)
    net.nodes.append(helper.make_node("TopK", [p, net.constant(np.array([3]))], ["values", "indices"]))
    return "values", "indices"


def quantised(net: Net, scores: str) -> Sequence[str]:
    scale, zero = np.float32(1 / 255), np.uint8(0)
    return (net("DequantizeLinear", net("QuantizeLinear", soft(net, scores), scale, zero), scale, zero, name="y"),)


def softmax_in_pieces(net: Net, scores: str) -> Sequence[str]:
    axes = np.array([1])
    powers = net("Exp", net("Sub", scores, net("ReduceMax", scores, axes)))
    return (net("Div", powers, net("ReduceSum", powers, axes), name="y"),)


def chosen(net: Net, scores: str) -> str:
    return net("ArgMax", soft(net, scores), axis=1, keepdims=0)


def encoded(net: Net, scores: str) -> Sequence[str]:
    """The name alone, as a LabelEncoder tells it."""
    index = chosen(net, scores)
    return (net("LabelEncoder", index, name="label", domain="ai.onnx.ml", classes_strings=list("abcde")),)


def listed(net: Net, scores: str) -> Sequence[str]:
    """The name alone, from a list in the file."""
    return (net("Gather", net.constant(LABELS), chosen(net, scores), name="label"),)


def one_hot(net: Net, scores: str) -> Sequence[str]:
    return (net("OneHot", chosen(net, scores), np.array(5), np.array([0.0, 1.0], np.float32), name="y"),)


def compared(net: Net, scores: str) -> Sequence[str]:
    """The same, as PyTorch's newer exporter writes it."""
    same = net("Equal", net("Unsqueeze", chosen(net, scores), np.array([1])), np.arange(5))
    return (net("Cast", same, name="y", to=TensorProto.FLOAT),)


TAILS: dict[str, Tail] = {
    "a name by an encoder": encoded,
    "a name from a list": listed,
    "a number from a list": lambda net, s: [net("Gather", np.arange(5) * 7, chosen(net, s), name="label")],
    "one hot": one_hot,
    "one hot by comparison": compared,
    "argmax and zipmap": custom_vision,
    "argmax": lambda net, s: [net("ArgMax", s, name="index", axis=1, keepdims=0)],
    "argmin of distances": lambda net, s: [net("ArgMin", net("Neg", s), name="index", axis=1, keepdims=0)],
    "argmax of probabilities as a float": lambda net, s: [
        net("Cast", net("ArgMax", soft(net, s), axis=1, keepdims=0), name="index", to=TensorProto.FLOAT)
    ],
    "label and confidence": lambda net, s: [
        net("ArgMax", s, name="index", axis=1), net("ReduceMax", s, np.array([1]), name="confidence"),
    ],
    "the three best": best,
    "percent": lambda net, s: [net("Mul", soft(net, s), np.float32(100), name="y")],
    "a share": lambda net, s: [net("Div", soft(net, s), np.float32(2), name="y")],
    "quantised probabilities": quantised,
    "softmax in pieces": softmax_in_pieces,
    "exponents of log-softmax": lambda net, s: [net("Exp", net("LogSoftmax", s, axis=1), name="y")],
    "logarithms of softmax": lambda net, s: [net("Log", soft(net, s), name="y")],
}  # fmt: skip


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", TAILS)
def test_what_chooses_among_scores_is_stepped_back_over(name: str, backend: str) -> None:
    layers = ["stages", "fused", "input"]
    with (
        rc.Explainer(network(), layers, backend=backend) as bare,
        rc.Explainer(network(TAILS[name]), layers, backend=backend) as other,
    ):
        wanted, got = bare(X, [[0, -1]] * 2), other(X, [[0, -1]] * 2)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-5)
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value, 1e-5)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_what_names_the_scores_is_among_the_outputs(backend: str) -> None:
    with rc.Explainer(network(custom_vision), "input", backend=backend) as explainer:
        got = explainer(X, [[0, -1]] * 2)
    p = np.exp(got.scores) / np.exp(got.scores).sum(1, keepdims=True)
    assert [list(named) for named in got.outputs["named"]] == [list("abcde")] * 2
    np.testing.assert_allclose([list(named.values()) for named in got.outputs["named"]], p, rtol=0, atol=1e-5)
    assert "".join(got.outputs["label"].reshape(-1)) == "".join(LABELS[p.argmax(1)])


@pytest.mark.parametrize("tail", [custom_vision, encoded, listed], ids=["ZipMap", "LabelEncoder", "Gather"])
def test_names_that_a_file_looks_up_are_labels(tail: Tail) -> None:
    model = network(tail)
    grey = Image.new("RGB", (16, 16), "grey")
    e = rc.explain(model, grey, [["b", "d"]], layers="input", preprocess="unit")
    assert e.targets.tolist() == [[1, 3]]
    assert e.label(3) == "d"
    compiled = rc.compile_model(model)
    assert {entry.key: entry.value for entry in compiled.metadata_props}["relcam.labels"] == json.dumps(list("abcde"))
    model.metadata_props.add(key="names", value="{0: 'v', 1: 'w', 2: 'x', 3: 'y', 4: 'z'}")
    told = rc.explain(model, grey, "y", layers="input", preprocess="unit")
    assert told.targets.tolist() == [[3]]  # what metadata tell counts first


@pytest.mark.parametrize(("lines", "labels"), [
    ("a\nb\n\u3000\nd\n<", ["a", "b", "\u3000", "d", "<"]),
    ("a\nb\nc\nd", ["blank", "a", "b", "c", "d"]),
    ("a\nb\nc", ["blank", "a", "b", "c", " "]),
    ("<!DOCTYPE html>\n<html>", None),
])  # fmt: skip
def test_names_on_lines_are_labels(lines: str, labels: list[str] | None) -> None:
    """RapidAI's models have them in metadata, recognisers without what stands before and behind."""
    model = network()
    model.metadata_props.add(key="character", value=lines)
    told = {entry.key: entry.value for entry in rc.compile_model(model, "input").metadata_props}.get("relcam.labels")
    assert (told and json.loads(told)) == labels


def test_a_pool_that_ends_a_model_is_no_choice() -> None:
    """ReduceMax over positions makes the scores; over classes it chooses among them."""
    net = Net("N", 3, 16, 16)
    y = net("ReduceMax", net.conv(net.x, 3, 5), np.array([2, 3]), name="scores", keepdims=0)
    assert rc.Explainer(net.model(y), "input")(X).scores.shape == (2, 5)


def largest_place(form: str, channels: int = 1) -> onnx.ModelProto:
    """The largest value of all places as the only score, as files that look for faults have it."""
    net = Net("N", 3, 16, 16)
    z = net.conv(net("Relu", net.conv(net.x, 3, 4, stride=2)), 4, channels)
    flat = net("Flatten", z)
    if form == "both axes":
        y = net("ReduceMax", z, np.array([1, 2, 3]), keepdims=0)
        return net.model(net("Unsqueeze", y, np.array([1]), name="y"))
    if form == "no axis":
        return net.model(net("ReduceMax", flat, np.array([1]), name="y", keepdims=0))
    if form == "flat":
        return net.model(net("ReduceMax", flat, np.array([1]), name="y"))
    if form == "flat above a number":
        return net.model(net("Greater", net("ReduceMax", flat, np.array([1])), 0.5, name="y"))
    if form == "by and by":
        rows = net("ReduceMax", z, np.array([3]), keepdims=0)
        return net.model(net("ReduceMax", rows, np.array([2]), name="y", keepdims=0))
    net.nodes.append(helper.make_node("TopK", [flat, net.constant(np.array([1]))], ["y", "at"]))
    return net.model("y")


PLACES = ["no axis", "flat", "flat above a number", "by and by", "topk"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", PLACES)
def test_the_largest_of_all_places_is_one_score(form: str, channels: int) -> None:
    """Positions of the picture are no classes to choose from."""
    if channels == 2 and form == "by and by":
        return  # one score for each channel
    wanted, got = (rc.Explainer(largest_place(f, channels))(X) for f in ("both axes", form))
    assert got.scores.shape == (2, 1)
    np.testing.assert_allclose(got.probability, wanted.probability, rtol=1e-5)
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value, 1e-5)


def test_scores_inside_a_file_may_be_named() -> None:
    model = network(lambda net, s: [net("Gemm", net("Softmax", s, name="soft"), net.normal(5, 2), name="y")])
    with rc.Explainer(model, "input", output="soft") as explainer, rc.Explainer(network(), "input") as bare:
        assert explainer.settings.output == "soft"
        agree(explainer(X, 1).maps["input"], bare(X, 1).maps["input"], 1e-5)


def test_classes_with_a_sigmoid_each_are_no_rivals_and_a_gradient_starts_at_one() -> None:
    """Grad-CAM of a class whose score is negative is not turned over."""
    sigmoid = network(lambda net, s: [net("Sigmoid", s, name="y")])
    for preset, seed in {None: "logit", "paper": "logit", "gradient": "one-hot", "official": "logit"}.items():
        assert rc.Explainer(sigmoid, "input", preset=preset).seed == seed
    with rc.Explainer(sigmoid, method="grad-cam") as squashed, rc.Explainer(network(), method="grad-cam") as bare:
        targets = bare(X).scores.argmin(1)
        assert (bare(X).scores.min(1) < 0).all()
        for layer, value in bare(X, targets).maps.items():
            agree(squashed(X, targets).maps[layer], value, 1e-6)
