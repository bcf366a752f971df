"""Recognisers of characters and slots: the class at each place of a sequence, the batch before the places or behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from compare import same_maps
from nets import Net, picture

import relcam_onnx as rc

PLACES, CLASSES = 8, 5
FORMS = ["logits", "shares", "logarithms", "turned at the end"]


def recogniser(form: str, batch: int | str, *, first: bool) -> onnx.ModelProto:
    """Classes of eight columns of a picture, (N, places, classes) where the batch is ``first``, else turned."""
    net = Net(batch, 3, 16, 16)
    x = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, 8))
    columns = net("ReduceMean", x, np.array([2]), keepdims=0)  # (N, 8, places)
    early = not first and form != "turned at the end"
    y = net("MatMul", net("Transpose", columns, perm=[2, 0, 1] if early else [0, 2, 1]), net.normal(8, CLASSES))
    if form != "logits":
        y = net("LogSoftmax" if form == "logarithms" else "Softmax", y, axis=2)
    return net.model(y if first or early else net("Transpose", y, perm=[1, 0, 2]))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("form", FORMS)
def test_the_batch_may_stand_behind_the_places(form: str, batch: int | str, backend: str) -> None:
    x, targets = picture(2, 3, 16, 16), np.array([[[1, 2], [7, 0]]] * 2)
    options: dict[str, Any] = {"head": "detector", "layers": ["stages", "fused", "input"]}
    wanted = rc.Explainer(recogniser(form, batch, first=True), backend="eager", **options)
    found = rc.Explainer(recogniser(form, batch, first=False), backend=backend, **options)
    same_maps(found(x, targets), wanted(x, targets))
    pairs = zip(found(x).detections, wanted(x).detections, strict=True)
    for one, other in ((a, b) for mine, theirs in pairs for a, b in zip(mine, theirs, strict=True)):
        assert (one.place, one.index, one.score) == (other.place, other.index, pytest.approx(other.score, rel=1e-4))


@pytest.mark.parametrize("first", [True, False])
def test_what_is_no_classifier_may_be_a_recogniser(*, first: bool) -> None:
    with pytest.raises(rc.UnsupportedModelError, match="head='detector' explains the class at each place"):
        rc.Explainer(recogniser("shares", "N", first=first))


@pytest.mark.parametrize("form", ["both", "the class alone", "by TopK"])
def test_the_best_class_of_each_place(form: str) -> None:
    """As files tell it that read text themselves: the largest share of each place was a class for each place."""
    model = recogniser("shares", "N", first=True)
    (shares,) = (value.name for value in model.graph.output)
    del model.graph.output[:]
    told = {"best": onnx.TensorProto.FLOAT, "kinds": onnx.TensorProto.INT64}
    if form == "by TopK":
        one = onnx.numpy_helper.from_array(np.array([1]), "one")
        model.graph.initializer.append(one)
        model.graph.node.append(onnx.helper.make_node("TopK", [shares, "one"], [*told], "best"))
    else:
        axes = onnx.numpy_helper.from_array(np.array([2]), "two")
        model.graph.initializer.append(axes)
        model.graph.node.append(onnx.helper.make_node("ReduceMax", [shares, "two"], ["best"], "best", keepdims=0))
        model.graph.node.append(onnx.helper.make_node("ArgMax", [shares], ["kinds"], "kinds", axis=2, keepdims=0))
    for name, kind in told.items():
        if name == "kinds" or form != "the class alone":
            sizes = ["N", PLACES, 1] if form == "by TopK" else ["N", PLACES]
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, sizes))
    for method in (None, "rise"):
        with pytest.raises(rc.UnsupportedModelError, match="no output is a table"):
            rc.Explainer(model, method=method)
    if form != "by TopK":
        x, targets = picture(2, 3, 16, 16), np.array([[[1, 2], [7, 0]]] * 2)
        options: dict[str, Any] = {"head": "detector", "layers": ["stages", "input"]}
        wanted = rc.Explainer(recogniser("shares", "N", first=True), **options)
        same_maps(rc.Explainer(model, **options)(x, targets), wanted(x, targets))


def test_what_no_rule_passes_may_have_the_batch_behind_too() -> None:
    """An LSTM as CRNN has it, (places, N, classes): relevance cannot pass it, and masks need no rule."""
    net = Net("N", 3, 16, 16)
    columns = net("ReduceMean", net("Relu", net.conv(net.x, 3, 8)), np.array([2]), keepdims=0)
    gates = [net.normal(1, 20, size, scale=0.3) for size in (8, 5)]
    hidden = net("LSTM", net("Transpose", columns, perm=[2, 0, 1]), *gates, hidden_size=5)
    model = net.model(net("MatMul", net("Squeeze", hidden, np.array([1])), net.normal(5, CLASSES)))
    with pytest.raises(rc.UnsupportedModelError, match="LSTM: the engine does not know this op"):
        rc.Explainer(model, head="detector")
    x, targets = picture(2, 3, 16, 16), np.array([[[3, 2], [7, 0]]] * 2)
    with rc.Explainer(model, "input", head="detector", method="occlusion") as explainer:
        e = explainer(x, targets)
    assert e.maps["input"].shape == (2, 2, 3, 16, 16)
    wanted = ort.InferenceSession(model.SerializeToString()).run(None, {net.x: x})[0].transpose(1, 0, 2)
    np.testing.assert_allclose(e.scores, wanted[np.arange(2)[:, None], targets[..., 0]], atol=1e-6)


def test_a_blank_is_no_character() -> None:
    x, model = picture(2, 3, 16, 16), recogniser("shares", "N", first=True)
    often = rc.Explainer(model, head="detector")(x).detections[0][0].index
    labels = ["<blank>" if kind == often else str(kind) for kind in range(CLASSES)]
    read = rc.Explainer(model, head="detector", labels=labels)(x).detections
    assert not any(one.index == often for each in read for one in each)


def columns_of(form: str, size: int | str = 24) -> onnx.ModelProto:
    """Convolutions over columns alone, as recognisers of text and sound have them once the height is pooled away."""
    net = Net(1, 3, 16, size)
    plane = net("Relu", net.conv(net.x, 3, 6, stride=2))
    weights, bias = net.normal(8, 6, 3, scale=0.3), net.normal(8, scale=0.3)
    if form == "a plane":
        tall = net("ReduceMax", plane, np.array([2]))
        row = net("Relu", net("Conv", tall, weights[:, :, None], bias, strides=[1, 2], pads=[0, 1, 0, 1]))
        return net.model(net.head(row, 8))
    row = net("ReduceMax", plane, np.array([2]), keepdims=0)
    if form == "squeezed":
        row = net("Squeeze", net("MaxPool", plane, kernel_shape=[8, 1]), np.array([2]))
    if form == "a plane again":
        again = net("Unsqueeze", row, np.array([2]))
        wide = net("Conv", again, weights[:, :, None], bias, strides=[1, 2], pads=[0, 1, 0, 1])
        row = net("Relu", net("Squeeze", wide, np.array([2])))
    else:
        row = net("Relu", net("Conv", row, weights, bias, strides=[2], pads=[1, 1]))
    return net.model(net.head(row, 8))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("size", [24, "W"])
@pytest.mark.parametrize("form", ["squeezed", "reduced", "a plane again"])
def test_a_row_is_a_plane_of_one_row(form: str, size: int | str, backend: str) -> None:
    layers = ["stages", "fused", "input"]
    with (
        rc.Explainer(columns_of("a plane", size), layers) as wanted,
        rc.Explainer(columns_of(form, size), layers, backend=backend) as found,
    ):
        x = picture(1, 3, 16, 24)
        maps = found(x, 0).maps
        same_maps(found(x, 0), wanted(x, 0))
    assert {name: heat.shape[2:] for name, heat in maps.items()} == {
        "stride2": (1, 12), "stride4": (1, 6), "input": (3, 16, 24), "fused": (1, 12),
    }  # fmt: skip
