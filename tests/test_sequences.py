"""Recognisers of characters and slots: the class at each place of a sequence, the batch before the places or behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
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


def test_a_batch_that_cannot_be_brought_in_front_is_to_be_exported_there() -> None:
    net = Net(2, 3, 16, 16)
    columns = net("ReduceMean", net("Relu", net.conv(net.x, 3, 8)), np.array([2]), keepdims=0)
    mixed = net("CumSum", net("Transpose", columns, perm=[2, 0, 1]), np.array(0))  # an op that nobody turns
    model = net.model(net("MatMul", mixed, net.normal(8, CLASSES)))
    with pytest.raises(rc.UnsupportedModelError, match="export the model with a Transpose behind"):
        rc.Explainer(model, head="detector")


def test_a_blank_is_no_character() -> None:
    x, model = picture(2, 3, 16, 16), recogniser("shares", "N", first=True)
    often = rc.Explainer(model, head="detector")(x).detections[0][0].index
    labels = ["<blank>" if kind == often else str(kind) for kind in range(CLASSES)]
    read = rc.Explainer(model, head="detector", labels=labels)(x).detections
    assert not any(one.index == often for each in read for one in each)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_a_row_behind_a_plane_is_no_part_of_the_fused_map(backend: str) -> None:
    """Convolutions over columns alone, as recognisers of text and sound have them once the height is pooled away."""
    net = Net(1, 3, 16, 16)
    plane = net("Relu", net.conv(net.x, 3, 6, stride=2))
    columns = net("Squeeze", net("ReduceMax", plane, np.array([2])), np.array([2]))
    row = net("Relu", net("Conv", columns, net.normal(8, 6, 3, scale=0.3), strides=[2], pads=[1, 1]))
    model = net.model(net.head(row, 8))
    with rc.Explainer(model, ["stages", "fused"], backend=backend) as explainer:
        maps = explainer(picture(1, 3, 16, 16), 0).maps
    assert {name: heat.shape for name, heat in maps.items()} == {
        "stride2": (1, 1, 1, 8), "stride4": (1, 1, 4), "fused": (1, 1, 1, 8),
    }  # fmt: skip


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("form", ["logits", "shares", "squeezed"])
def test_classes_may_stand_before_the_places(form: str, batch: int | str, backend: str) -> None:
    """(N, classes, places), as LPRNet has it: of logits places were taken for classes."""

    def model(*, before: bool) -> onnx.ModelProto:
        net = Net(batch, 3, 16, 16)
        x = net.conv(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, CLASSES)
        y = net("ReduceMean", x, np.array([2]), keepdims=int(form == "squeezed"))
        y = net("Squeeze", y, np.array([2])) if form == "squeezed" else y
        y = y if before else net("Transpose", y, perm=[0, 2, 1])
        return net.model(net("Softmax", y, axis=1 if before else 2) if form == "shares" else y)

    x, targets = picture(2, 3, 16, 16), np.array([[[1, 2], [7, 0]]] * 2)
    options: dict[str, Any] = {"head": "detector", "layers": ["stages", "fused", "input"]}
    wanted = rc.Explainer(model(before=False), backend="eager", **options)
    found = rc.Explainer(model(before=True), backend=backend, **options)
    assert found.settings.classes == CLASSES
    same_maps(found(x, targets), wanted(x, targets))
    (one, *_), (other, *_) = found(x).detections[0], wanted(x).detections[0]
    assert (one.place, one.index, one.score) == (other.place, other.index, pytest.approx(other.score, rel=1e-4))


@pytest.mark.parametrize("place", [0, CLASSES - 1])
def test_a_blank_is_where_labels_say_and_nowhere_else(place: int) -> None:
    """Lists of characters leave it out, and tools differ in where it stands: none is taken for the last class."""
    characters, picture_ = list("abcd"), np.full((16, 16, 3), 90, np.uint8)
    model = recogniser("shares", "N", first=True)
    with pytest.raises(rc.OptionError, match=r"4 labels for 5 classes.*the blank of a recogniser among them"):
        rc.explain(model, picture_, head="detector", labels=characters, preprocess="unit")
    characters.insert(place, "blank")
    found = rc.explain(model, picture_, head="detector", labels=characters, preprocess="unit")
    assert found.count(0) > 0 or place == 0
    assert all(each.index != place and each.label == characters[each.index] for each in found.detections[0])
