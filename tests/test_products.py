"""Shares that are products of a class' and of there being anything: the same scores, however the file multiplies."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from choosing_nets import SIDE, Choosing, squares, suppressed
from compare import same_maps
from nets import Net, picture, run
from onnx import helper
from test_heads import street

import relcam_onnx as rc

X = picture(1, 3, 32, 32)
PLACES = [[[5, 1], [9, 2]]]
FORMS = ("two outputs", "other way round", "joined", "turned", "root", "joined root", "each level", "moved behind")


def raw(net: Net, classes: int) -> dict[str, str]:
    """Boxes, objectness and classes of 64 places, (N, 64, numbers), logits."""
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    x = net("Relu", net.conv(x, 8, 8, stride=2), name="feature")
    kinds = {"boxes": 4, "anything": 1, "classes": classes}
    rows = {k: net("Reshape", net.conv(x, 8, n, 1), np.array([0, n, -1])) for k, n in kinds.items()}
    return {kind: net("Transpose", part, perm=[0, 2, 1]) for kind, part in rows.items()}


def separate(classes: int = 3) -> onnx.ModelProto:
    """Boxes, objectness and classes as YOLO has them, the product left to who reads them."""
    net = Net("N", 3, 32, 32)
    parts = raw(net, classes)
    return net.model(
        net("Concat", parts["boxes"], net("Sigmoid", parts["anything"]), net("Sigmoid", parts["classes"]), axis=2)
    )


def multiplied(form: str, classes: int = 3) -> onnx.ModelProto:
    """The same, with the product in the file."""
    net = Net("N", 3, 32, 32)
    parts = raw(net, classes)
    if form == "each level":  # of which there are two
        halves = []
        for first, end in ((0, 40), (40, 64)):
            some = [net("Slice", parts[k], np.array([first]), np.array([end]), np.array([1])) for k in parts]
            halves.append(net("Mul", net("Sigmoid", some[2]), net("Sigmoid", some[1])))
        return net.model(net("Concat", *halves, axis=1), parts["boxes"])
    both = [net("Sigmoid", parts["classes"]), net("Sigmoid", parts["anything"])]
    if form == "moved behind":
        both = [net("Transpose", part, perm=[0, 2, 1]) for part in both]
    shares = net("Mul", *(both[::-1] if form == "other way round" else both))
    if form == "moved behind":
        shares = net("Transpose", shares, perm=[0, 2, 1])
    if "root" in form:
        shares = net("Sqrt", shares)
    if "joined" in form or form == "turned":
        whole = net("Concat", parts["boxes"], shares, axis=2)
        return net.model(net("Transpose", whole, perm=[0, 2, 1]) if form == "turned" else whole)
    return net.model(shares, parts["boxes"])


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("form", FORMS)
def test_a_product_of_shares_is_a_sum_of_scores(form: str, backend: str) -> None:
    wanted = rc.Explainer(separate(), ["feature", "input"])(X, PLACES)
    found = rc.Explainer(multiplied(form), ["feature", "input"], backend=backend)(X, PLACES)
    same_maps(found, wanted)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    for one, other in zip(found.detections[0], wanted.detections[0], strict=True):
        assert one.score == pytest.approx(other.score ** (0.5 if "root" in form else 1), rel=1e-5)


@pytest.mark.parametrize("squeezed", [True, False])
def test_one_class_and_objectness(squeezed: bool) -> None:
    """(N, places) or (N, places, 1)."""
    model = multiplied("two outputs", 1)
    if squeezed:
        net = Net("N", 3, 32, 32)
        parts = raw(net, 1)
        flat = [net("Squeeze", net("Sigmoid", parts[k]), np.array([2])) for k in ("classes", "anything")]
        model = net.model(net("Mul", *flat), parts["boxes"])
    wanted = rc.Explainer(separate(1), ["feature", "input"])(X, [[[5, 0]]])
    same_maps(rc.Explainer(model, ["feature", "input"])(X, [[[5, 0]]]), wanted)


def test_what_was_chosen_by_a_product_is_explained_by_its_factors() -> None:
    """Objectness and classes are tensors of their own; non-maximum suppression reads their product."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    anything = net("Add", net("ReduceMax", logits, net.whole(2)), np.float32(2))
    shares = net("Mul", net("Sigmoid", logits), net("Sigmoid", anything), name="shares")
    kept = suppressed(net, boxes, net("Transpose", shares, perm=[0, 2, 1]))
    place, kind = (net("Gather", kept, net.whole(at).reshape(()), axis=1) for at in (2, 1))
    one = net("Gather", net("Squeeze", boxes, net.whole(0)), place)
    pairs = net("Concat", net("Unsqueeze", place, net.whole(1)), net("Unsqueeze", kind, net.whole(1)), axis=1)
    marks = net("GatherND", net("Squeeze", shares, net.whole(0)), pairs)
    rows = [one, net("Unsqueeze", marks, net.whole(1)), net("Cast", net("Unsqueeze", kind, net.whole(1)), to=1)]
    model = net.model(net("Concat", *rows, axis=1))
    with rc.Explainer(model, ["input"], preprocess="unit", labels=["red", "green"]) as explainer:
        found = rc.explain(explainer, street())
    x = street().transpose(2, 0, 1)[None].astype(np.float32) / 255
    for name in (logits, anything):
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    z, sure = run(model, logits, anything, x=x)
    assert len(found.detections[0]) == 3
    for k, each in enumerate(found.detections[0]):
        assert found.scores[0, k, each.index] == pytest.approx(z[0, each.place, each.index] + sure[0, each.place, 0])
