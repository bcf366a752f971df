"""Heads with places: segmenters, whose classes are explained over the pixels they win, and raw detectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net, picture, run
from onnx import TensorProto, helper, numpy_helper

import relcam_onnx as rc
from relcam_onnx.runners.found import Told, corners, detections

X = picture(2, 3, 16, 16)
CLASSES, LAYERS = 4, ("stages", "fused", "input")
BACKENDS = ["eager", "compiled"]


def body(net: Net) -> str:
    """Two convolutions, (N, 8, 8, 8)."""
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="first")
    return net("Relu", net.conv(x, 8, 8), name="second")


def pixels(
    squash: str = "", *, last: bool = False, chosen: bool = False, above: float | None = None, classes: int = CLASSES
) -> onnx.ModelProto:
    """A segmenter: scores of each pixel, enlarged; perhaps squashed, channels last, only what wins or is ``above``."""
    net = Net("N", 3, 16, 16)
    small = net.conv(body(net), 8, classes, 1, name="small")
    scores = net("Resize", small, None, np.array([1, 1, 2, 2], np.float32), mode="linear", name="scores")
    if last:
        scores = net("Transpose", scores, perm=[0, 2, 3, 1], name="turned")
    axis = 3 if last else 1
    y = net(squash, scores, **({} if squash == "Sigmoid" else {"axis": axis})) if squash else scores
    if above is not None:
        return net.model(net("Cast", net("Greater", y, np.float32(above)), to=TensorProto.FLOAT))
    if not chosen:
        return net.model(y)
    return whole_numbers(net.model(net("ArgMax", y, axis=axis, keepdims=0)))


def whole_numbers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Tell that an output holds classes."""
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def scores_of(model: onnx.ModelProto) -> np.ndarray:
    """The scores of each pixel, (N, classes, 16, 16)."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, None))
    return np.asarray(run(copy, "scores", x=X)[0])


def in_another_order() -> onnx.ModelProto:
    """The same scores, picked from a layer that makes them in another order."""
    model, order = pixels(), np.roll(np.arange(CLASSES), 1)
    layer, last = (next(node for node in model.graph.node if name in node.output) for name in ("small", "scores"))
    for tensor in model.graph.initializer:
        if tensor.name in layer.input:
            values = numpy_helper.to_array(tensor)[np.argsort(order)]
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model.graph.initializer.append(numpy_helper.from_array(order, "order"))
    last.output[0] = "made"
    model.graph.node.append(helper.make_node("Gather", ["made", "order"], ["scores"], axis=1))
    return model


FORMS: dict[str, Callable[[], onnx.ModelProto]] = {
    "scores": pixels,
    "in another order": in_another_order,
    "softmax": lambda: pixels("Softmax"),
    "channels last": lambda: pixels(last=True),
    "channels last, softmax": lambda: pixels("Softmax", last=True),
    "classes": lambda: pixels(chosen=True),
    "classes of a softmax": lambda: pixels("Softmax", chosen=True),
    "classes, channels last": lambda: pixels("Softmax", last=True, chosen=True),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_segmenter_has_one_map_however_it_ends(form: str, backend: str) -> None:
    wanted = rc.Explainer(pixels(), LAYERS, backend="eager")(X, [[-1, 2]] * 2)
    got = rc.Explainer(FORMS[form](), LAYERS, backend=backend)(X, [[-1, 2]] * 2)
    np.testing.assert_array_equal(got.targets, wanted.targets)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-5)
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value)


def test_ranks_are_by_the_pixels_that_a_class_wins_the_background_last() -> None:
    won = scores_of(pixels()).argmax(axis=1).reshape(2, -1)
    areas = np.stack([np.bincount(each, minlength=CLASSES) for each in won])
    found = rc.Explainer(pixels(), "stages")(X, [[-1, -2, -3, -4]] * 2)
    np.testing.assert_array_equal(found.targets, np.argsort(-areas, axis=1, kind="stable"))
    top = int(areas[0].argmax())
    labels = [f"class {i}" if i != top else "__background__" for i in range(CLASSES)]
    first = rc.Explainer(pixels(), "stages", labels=labels)(X[:1], [[-1, -CLASSES]])
    assert first.targets[0, 1] == top
    assert first.targets[0, 0] == next(c for c in found.targets[0] if c != top)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_is_that_of_the_mean_score_over_the_region(backend: str) -> None:
    model, target = pixels(), 1
    scores = scores_of(model)
    won = scores.argmax(axis=1) == target
    for n in np.flatnonzero(~won.any(axis=(1, 2))):  # where it wins nowhere: at its best pixel
        won[n] = scores[n, target] == scores[n, target].max()
    got = rc.Explainer(model, "input", "lrp", "gradient", backend=backend)(X, target).maps["input"][:, 0]
    module, x = in_torch(model), torch.tensor(X, requires_grad=True)
    share = torch.tensor(won / won.sum(axis=(1, 2), keepdims=True))
    (wanted,) = torch.autograd.grad((module(x)[:, target] * share).sum(), x)
    agree(got[:, None], wanted.numpy()[:, None])


def in_torch(model: onnx.ModelProto) -> Callable[[torch.Tensor], torch.Tensor]:
    """The segmenter above, in PyTorch."""
    weights = {t.name: torch.tensor(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer}
    convs = [[weights[n] for n in node.input[1:]] for node in model.graph.node if node.op_type == "Conv"]

    def forward(x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(torch.nn.functional.conv2d(x, *convs[0], stride=2, padding=1))
        x = torch.relu(torch.nn.functional.conv2d(x, *convs[1], padding=1))
        x = torch.nn.functional.conv2d(x, *convs[2])
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")

    return forward


def test_relevance_starts_as_the_seed_of_the_mean_scores() -> None:
    """Logit at the scores themselves: each pixel of the region starts with its own score over their number."""
    model, target = pixels(), 2
    scores = scores_of(model)
    found = rc.Explainer(model, "scores", "lrp", seed="logit")(X, target)
    won = scores.argmax(axis=1) == target
    assert won.any(axis=(1, 2)).all()
    mean = (scores * won[:, None]).sum(axis=(2, 3)) / won.sum(axis=(1, 2))[:, None]
    np.testing.assert_allclose(found.scores[:, 0], mean, rtol=1e-4)
    wanted = scores[:, target] * won / won.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found.maps["scores"][:, 0, target], wanted, rtol=0, atol=1e-6)
    assert not np.delete(found.maps["scores"][:, 0], target, axis=1).any()
    np.testing.assert_allclose(found.relevance_kept["scores"], 1, rtol=1e-4)
    rivals = rc.Explainer(model, "scores", "lrp")(X, target)
    start = rivals.maps["scores"][:, 0].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(start, rivals.margin[:, 0], rtol=0, atol=1e-4 * np.abs(start).max())


APART: dict[str, Callable[[], onnx.ModelProto]] = {
    "sigmoids": lambda: pixels("Sigmoid"),
    "sigmoids, channels last": lambda: pixels("Sigmoid", last=True),
    "thresholds": lambda: pixels("Sigmoid", above=0.5),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", APART)
def test_classes_with_a_sigmoid_each_win_every_pixel_where_they_are_said_yes_to(form: str, backend: str) -> None:
    scores = scores_of(pixels()).reshape(2, CLASSES, -1)
    won = scores > 0
    assert (won.sum(axis=1) > 1).any()
    with rc.Explainer(APART[form](), "stages", backend=backend) as explainer:
        found = explainer(X, [[-1, -2, -3, -4]] * 2)
        asked = explainer(X, targets=[[{"label": kind} for kind in range(CLASSES)]] * 2)
    areas = won.sum(axis=2)
    np.testing.assert_array_equal(found.targets, np.argsort(-areas, axis=1, kind="stable"))
    for n, k in np.ndindex(2, CLASSES):
        kind = found.targets[n, k]
        region = won[n, kind] if areas[n, kind] else scores[n, kind] == scores[n, kind].max()
        for scored in (found.scores[n, k], asked.scores[n, kind]):
            np.testing.assert_allclose(scored, scores[n][:, region].mean(axis=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["a background", "an ArgMax"])
def test_sigmoids_beside_a_background_or_before_an_argmax_are_rivals(how: str) -> None:
    scores = scores_of(pixels()).reshape(2, CLASSES, -1)
    labels = ["background", "a", "b", "c"] if how == "a background" else None
    found = rc.Explainer(pixels("Sigmoid", chosen=how == "an ArgMax"), "stages", labels=labels)(X, 2)
    for n in range(2):
        region = scores[n].argmax(axis=0) == 2
        np.testing.assert_allclose(found.scores[n, 0], scores[n][:, region].mean(axis=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("labels", [None, ["ground", "thing"]])
def test_a_segmenter_of_one_class_wins_above_zero(labels: list[str] | None) -> None:
    model = pixels("Sigmoid", classes=1)
    targets = 1 if labels else 0
    found = [rc.Explainer(model, LAYERS, labels=labels, backend=b)(X, targets) for b in BACKENDS]
    for layer, value in found[0].maps.items():
        assert value.any(), layer
        agree(found[1].maps[layer], value)
    scores = scores_of(model)
    mean = np.where(scores > 0, scores, 0).sum(axis=(1, 2, 3)) / np.maximum((scores > 0).sum(axis=(1, 2, 3)), 1)
    np.testing.assert_allclose(found[0].scores[:, 0, 0], mean, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_segmenter_is_asked_about_a_box_or_a_mask(backend: str) -> None:
    """The input is 16 pixels a side, and so are the scores."""
    model, box = pixels(), (2, 3, 9, 8)
    mask = np.zeros((16, 16))
    mask[3:8, 2:9] = 1
    scores = scores_of(model)
    with rc.Explainer(model, ["scores"], "lrp", seed="logit", backend=backend) as explainer:
        found = explainer(X, [[{"box": box, "label": 1}, {"mask": mask}]] * 2)
        enlarged = explainer(X, [[{"mask": mask.repeat(3, 0).repeat(2, 1), "label": 1}]] * 2)
    inside = mask.astype(bool)
    for n in range(2):
        won = np.bincount(scores[n].argmax(axis=0)[inside], minlength=CLASSES)
        assert found.targets[n].tolist() == [1, won.argmax()]
        for k, index in enumerate(found.targets[n]):
            start = np.where(inside, scores[n, index], 0) / inside.sum()
            np.testing.assert_allclose(found.maps["scores"][n, k, index], start, rtol=0, atol=1e-6)
            np.testing.assert_allclose(found.scores[n, k], scores[n][:, inside].mean(axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(enlarged.maps["scores"][:, 0], found.maps["scores"][:, 0])


def test_a_class_by_its_name_is_that_class_where_it_wins() -> None:
    names = ["background", "road", "sky", "cat"]
    with rc.Explainer(pixels(), LAYERS, labels=names) as explainer:
        named, numbered = explainer(X, [[{"label": "sky"}, 1]] * 2), explainer(X, [[2, 1]] * 2)
        ranked, plain = explainer(X, [[{"label": -1}]] * 2), explainer(X)
    for one, other in ((named, numbered), (ranked, plain)):
        np.testing.assert_array_equal(one.targets, other.targets)
        for layer, values in other.maps.items():
            agree(one.maps[layer], values)


def test_regions_are_told_in_the_pictures_pixels() -> None:
    bars = {"size": [16, 16], "resize": "letterbox"}
    wide = np.random.default_rng(0).integers(0, 255, (16, 32, 3), np.uint8)
    mask = np.zeros((16, 32), bool)
    mask[4:12, 8:24] = True
    with rc.Explainer(pixels(), ["scores"], "lrp", preprocess=bars) as explainer:
        by_mask = rc.explain(explainer, wide, {"mask": mask, "label": 1})
        by_box = rc.explain(explainer, wide, {"box": (8, 4, 24, 12), "label": 1})
    np.testing.assert_array_equal(by_mask.maps["scores"], by_box.maps["scores"])
    held = by_mask.maps["scores"][0, 0].any(axis=0)
    assert held[6:10, 4:12].all()
    assert held.sum() == 4 * 8


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ({"box": (40, 40, 50, 50)}, "the region has no pixel"),
        ({"box": (4, 4, 1, 1)}, "a box is left, top"),
        ({"mask": np.ones(4)}, "a mask has two axes"),
        ({"label": 9}, "target 9 is out of range"),
        ({"name": "sky"}, "told by box, label, mask, not by"),
        ([[{"label": 1}], [{"label": 1}, 2]], "different numbers of targets"),
    ],
)
def test_regions_that_are_none(targets: Any, said: str) -> None:
    with rc.Explainer(pixels(), "stages") as explainer, pytest.raises(rc.TargetError, match=said):
        explainer(X, targets)


def anchors(form: str) -> onnx.ModelProto:
    """A raw detector of two levels: boxes and class scores of 64 + 16 places, in one output or two."""
    net = Net("N", 3, 16, 16)
    fine = body(net)
    levels = [fine, net("Relu", net.conv(fine, 8, 8, stride=2), name="coarse")]

    def rows(channels: int, kind: str) -> str:
        parts = [net("Reshape", net.conv(x, 8, channels, 1), np.array([0, channels, -1])) for x in levels]
        return net("Concat", *parts, axis=2, name=kind)

    scores, boxes = rows(CLASSES, "scores"), rows(4, "boxes")
    if form.startswith("joined"):
        shares = (
            [net("Sigmoid", scores)]
            if form != "joined, each class"
            else [
                net("Sigmoid", net("Slice", scores, np.array([k]), np.array([k + 1]), np.array([1])))
                for k in range(CLASSES)
            ]
        )
        if form == "joined, bounded":
            shares = [net("Clip", shares[0], 1e-4, 1 - 1e-4)]
        parts = [boxes]
        if form.startswith("joined, boxes in pieces"):  # middles and sizes, each in pixels
            ends = (np.array([end]) for end in (0, 2, 2, 4))
            cuts = [net("Slice", boxes, next(ends), next(ends), np.array([1])) for _ in range(2)]
            parts = [net("Mul", cut, np.float32(8)) for cut in cuts]
        y = net("Concat", *parts, *shares, axis=1, name="y")
        return net.model(net("Transpose", y, perm=[0, 2, 1], name="turned") if form.endswith("turned") else y)
    scores, boxes = (net("Transpose", part, perm=[0, 2, 1], name=f"{part}/rows") for part in (scores, boxes))
    squash = {"softmax": "Softmax", "sigmoid": "Sigmoid"}.get(form)
    outputs = [net(squash, scores, name="shares") if squash else scores, boxes]
    return net.model(*(reversed(outputs) if form == "boxes first" else outputs))


DETECTORS = [
    "joined",
    "joined, turned",
    "joined, bounded",
    "joined, each class",
    "joined, boxes in pieces",
    "joined, boxes in pieces, turned",
    "softmax",
    "sigmoid",
    "scores",
    "boxes first",
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", DETECTORS)
def test_a_place_of_a_detector_has_one_map_however_it_ends(form: str, backend: str) -> None:
    targets = np.array([[[3, 1], [70, 2]], [[12, 0], [-1, -1]]])
    options: dict[str, Any] = {"seed": "logit"}
    wanted = rc.Explainer(anchors("scores"), LAYERS, backend="eager", **options)(X, targets)
    got = rc.Explainer(anchors(form), LAYERS, backend=backend, **options)(X, targets)
    np.testing.assert_array_equal(got.targets, targets)
    for layer, value in wanted.maps.items():
        for n, k in ((0, 0), (0, 1), (1, 0)):
            agree(got.maps[layer][n : n + 1, k : k + 1], value[n : n + 1, k : k + 1])
        assert not got.maps[layer][1, 1].any()


ANCHORS, NUMBERS = 3, 5 + CLASSES


def with_objectness(form: str) -> onnx.ModelProto:
    """Two levels of boxes, objectness and classes of one tensor or of three, as YOLO's before version 8 and YOLOX's."""
    net = Net("N", 3, 16, 16)
    fine = body(net)
    levels = [fine, net("Relu", net.conv(fine, 8, 8, stride=2), name="coarse")]
    rows = []
    for number, x in enumerate(levels):
        size = 8 if number == 0 else 4
        if form == "three tensors":
            parts = [net.conv(x, 8, channels, 1) for channels in (4, 1, CLASSES)]
            parts[1:] = [net("Sigmoid", part) for part in parts[1:]]
            whole = net("Concat", *parts, axis=1)
            rows.append(net("Reshape", whole, np.array([0, NUMBERS, size * size])))
            continue
        raw = net("Reshape", net.conv(x, 8, ANCHORS * NUMBERS, 1), np.array([0, ANCHORS, NUMBERS, size, size]))
        y = net("Sigmoid", net("Transpose", raw, perm=[0, 1, 3, 4, 2]))
        xy, wh = (net("Slice", y, np.array([a]), np.array([b]), np.array([4])) for a, b in ((0, 2), (2, 4)))
        rest = net("Slice", y, np.array([4]), np.array([NUMBERS]), np.array([-1]))
        whole = net("Concat", net("Mul", xy, np.float32(16)), net("Mul", wh, np.float32(8)), rest, axis=-1)
        rows.append(net("Reshape", whole, np.array([0, ANCHORS * size * size, NUMBERS])))
    if form == "three tensors":
        return net.model(net("Transpose", net("Concat", *rows, axis=2), perm=[0, 2, 1], name="y"))
    return net.model(net("Concat", *rows, axis=1, name="y"))


@pytest.mark.parametrize("form", ["one tensor", "three tensors"])
def test_objectness_counts_to_the_score(form: str) -> None:
    model = with_objectness(form)
    (y,) = run(model, "y", x=X)
    places = np.array([[[2, 1], [70, 3]], [[9, 0], [40, 2]]])
    found = [rc.Explainer(model, LAYERS, backend=backend)(X, places) for backend in BACKENDS]
    for layer, value in found[0].maps.items():
        agree(found[1].maps[layer], value)
    odds = np.log(y / (1 - y))
    for n, k in np.ndindex(2, 2):
        place, index = places[n, k]
        z = odds[n, place, 4] + odds[n, place, 5 + index]
        assert found[0].scores[n, k, index] == pytest.approx(z, abs=1e-4)
        share = y[n, place, 4] * y[n, place, 5 + index]
        assert found[0].detections[n][k].score == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("form", ["one tensor", "three tensors"])
def test_the_gradient_of_a_place_is_a_difference_of_scores(form: str) -> None:
    """Of the score z, by steps of 1e-2 of a random direction, in the file's own outputs; to 1e-2 of the largest."""
    model, place = with_objectness(form), [[[5, 1]]]
    gradient = rc.Explainer(model, "input", "lrp", "gradient")(X[:1], place).maps["input"][0, 0]
    with rc.Explainer(model, "stages") as explainer:
        for seed in range(3):
            step = 1e-2 * np.random.default_rng(seed).standard_normal(X[:1].shape).astype(np.float32)
            ahead, behind = (explainer(X[:1] + sign * step, place).scores[0, 0, 1] for sign in (1, -1))
            slope = 2 * float((gradient * step[0]).sum())
            assert ahead - behind == pytest.approx(slope, abs=1e-2 * float(np.abs(gradient * step[0]).sum()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_places_are_each_alone(backend: str) -> None:
    places = [[5, 1], [70, 3], [70, 0]]
    with rc.Explainer(anchors("joined"), LAYERS, backend=backend) as explainer:
        together = explainer(X[:1], [places])
        for k, place in enumerate(places):
            alone = explainer(X[:1], [[place]])
            np.testing.assert_allclose(together.probability[0, k], alone.probability[0, 0], rtol=1e-5)
            for layer, value in alone.maps.items():
                agree(together.maps[layer][:, k : k + 1], value)


def test_what_is_told_of_a_place_is_what_the_file_says() -> None:
    model = anchors("joined")
    (y,) = run(model, "y", x=X)
    found = rc.Explainer(model, "stages")(X, [[[7, 1]], [[70, 2]]])
    for n, (place, index) in enumerate(((7, 1), (70, 2))):
        np.testing.assert_allclose(found.probability[n, 0], y[n, 4 + index, place], rtol=1e-5)


def test_the_compiled_file_takes_places_and_classes_at_run_time() -> None:
    model = anchors("joined")
    compiled = rc.compile_model(model, LAYERS)
    assert {v.name: v.type.tensor_type.elem_type for v in compiled.graph.input}["relcam_targets"] == TensorProto.INT64
    targets = np.array([[3 * CLASSES + 1, 70 * CLASSES + 2]])
    (got,) = run(compiled, "cam/stride2", x=X[:1], relcam_targets=targets)
    wanted = rc.Explainer(model, "stages")(X[:1], [[[3, 1], [70, 2]]]).maps["stride2"]
    agree(got, wanted)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([[[3, 9]], [[0, 0]]], "class 9 is out of range: this model has 4 classes"),
        ([[[90, 0]], [[0, 0]]], "place 90 is out of range: this model has 80 places"),
        ([[[1, 1, 1]], [[0, 0, 0]]], r"\(N, K, 2\), place and class"),
    ],
)
def test_a_place_or_class_that_is_not_there(targets: Any, said: str) -> None:
    with rc.Explainer(anchors("joined"), "stages") as explainer, pytest.raises(rc.TargetError, match=said):
        explainer(X, targets)


def test_a_place_that_only_a_run_can_miss() -> None:
    model = anchors("joined")
    for port in (*model.graph.input, *model.graph.output):
        for axis in port.type.tensor_type.shape.dim[2:]:
            axis.dim_param = f"free{axis.dim_value}"
    del model.graph.value_info[:]
    with rc.Explainer(model, "stages") as explainer:
        np.testing.assert_array_equal(explainer(X[:1], np.array([[[79, 0], [-1, -1]]])).targets, [[[79, 0], [-1, -1]]])
        with pytest.raises(rc.TargetError, match="place 80 is out of range: a picture of this size has fewer"):
            explainer(X[:1], np.array([[[80, 0]]]))


def levels() -> onnx.ModelProto:
    """Scores and distances of two levels in outputs of their own."""
    net = Net("N", 3, 32, 32)
    fine = net("Relu", net.conv(body(net), 8, 8, stride=2), name="fine")
    coarse = net("Relu", net.conv(fine, 8, 8, stride=2), name="coarse")
    outputs = []
    for number, (size, x) in enumerate(((8, fine), (4, coarse))):
        for kind, channels in (("scores", CLASSES), ("sides", 4 * 3)):
            raw = net("Reshape", net.conv(x, 8, channels, 1), np.array([0, channels, size * size]))
            raw = net("Sigmoid", raw) if kind == "scores" else raw
            outputs.append(net("Transpose", raw, perm=[0, 2, 1], name=f"{kind}{number}"))
    return net.model(*outputs[::2], *outputs[1::2])


def test_levels_with_outputs_of_their_own() -> None:
    model, x = levels(), picture(1, 3, 32, 32)
    names = ["scores0", "scores1", "sides0", "sides1"]
    scores0, scores1, sides0, sides1 = run(model, *names, x=x)
    places = [[[9, 1], [64 + 6, 3]]]
    found = [rc.Explainer(model, LAYERS, backend=backend)(x, places) for backend in BACKENDS]
    for layer, value in found[0].maps.items():
        agree(found[1].maps[layer], value)
    for k, (scores, sides, place, stride) in enumerate(((scores0, sides0, 9, 4), (scores1, sides1, 6, 8))):
        told, index = found[0].detections[0][k], places[0][k][1]
        assert told.score == pytest.approx(scores[0, place, index], rel=1e-5)
        powers = np.exp(sides[0, place].reshape(4, 3))
        shares = powers / powers.sum(axis=1, keepdims=True)
        left, top, right, bottom = (shares @ [0, 1, 2]) * stride
        across = 32 // stride
        middle = ((place % across + 0.5) * stride, (place // across + 0.5) * stride)
        wanted = (middle[0] - left, middle[1] - top, middle[0] + right, middle[1] + bottom)
        assert told.box == pytest.approx(wanted, rel=1e-4)


SIDE, CELL = 32, 8


def planted(form: str) -> onnx.ModelProto:
    """Detects squares of eight pixels, red ones as class 0 and green ones as class 1, where their cell is."""
    net = Net("N", 3, SIDE, SIDE)
    colours = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    x = net("Relu", net("Conv", net.x, colours), name="colours")
    means = net("AveragePool", x, kernel_shape=[CELL] * 2, strides=[CELL] * 2, name="cells")
    rows = net("Reshape", means, np.array([0, 2, -1]))
    scores = net("Add", net("Mul", rows, np.float32(8)), np.float32(-4), name="scores")
    centres = np.arange(CELL / 2, SIDE, CELL)
    y, x = (grid.ravel() for grid in np.meshgrid(centres, centres, indexing="ij"))
    size = np.full(len(x), CELL)
    boxes = [x, y, size, size] if form == "joined" else [x - 4, y - 4, x + 4, y + 4]
    boxes = [boxes[i] for i in (1, 0, 3, 2)] if form.endswith("y first") else boxes
    none = net("Mul", net("ReduceSum", rows, np.array([1])), np.float32(0))
    told = net("Add", none, np.stack(boxes).astype(np.float32)[None] / (SIDE if form == "shares" else 1))
    if form.startswith("joined"):
        return net.model(net("Concat", told, net("Sigmoid", scores), axis=1, name="y"))
    scores, told = (net("Transpose", part, perm=[0, 2, 1], name=f"{part}/rows") for part in (scores, told))
    return net.model(net("Sigmoid", scores, name="shares"), told)


def street(width: int = SIDE, height: int = SIDE) -> np.ndarray:
    """Two red squares and a green one on grey, each in a cell of its own, enlarged."""
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for row, column, colour in ((1, 0, (255, 0, 0)), (2, 3, (255, 0, 0)), (0, 2, (0, 255, 0))):
        picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = colour
    return np.asarray(picture.repeat(height // SIDE, 0).repeat(width // SIDE, 1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["joined", "joined corners", "joined corners, y first", "corners", "shares"])
def test_planted_squares_are_detected_and_explained_each_by_itself(form: str, backend: str) -> None:
    options: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "input"]}
    with rc.Explainer(planted(form), backend=backend, **options) as explainer:
        found = rc.explain(explainer, street(64, 64))
    wanted = {("red", (0, 16, 16, 32)), ("red", (48, 32, 64, 48)), ("green", (32, 0, 48, 16))}
    boxes = [each.box for each in found.detections[0] if each.box is not None]
    assert {
        (each.label, tuple(map(round, box))) for each, box in zip(found.detections[0], boxes, strict=True)
    } == wanted
    for k, box in enumerate(boxes):
        left, top, right, bottom = map(round, box)
        heat = np.maximum(found.heat("input", 0, k), 0)
        assert heat[top:bottom, left:right].sum() >= 0.9 * heat.sum() > 0
        assert found.detections[0][k].score == pytest.approx(1 / (1 + np.exp(-4)), abs=0.02)  # edges are resized


def test_a_letterboxed_picture_has_its_boxes_in_its_own_pixels() -> None:
    bars = {"size": [SIDE, SIDE], "resize": "letterbox", "pad_value": 114}
    wide = np.concatenate([np.full((SIDE // 2, 2 * SIDE, 3), 90, np.uint8)] * 2)
    wide[:16, 16:32] = (255, 0, 0)
    found = rc.explain(planted("joined"), wide, preprocess=bars, labels=["red", "green"], layers=["input"])
    (only,) = found.detections[0]
    assert only.box == pytest.approx((16, 0, 32, 16))
    asked = rc.explain(planted("joined"), wide, {"box": only.box, "label": "RED"}, preprocess=bars,
                       labels=["red", "green"], layers=["input"])  # fmt: skip
    np.testing.assert_array_equal(asked.targets, found.targets)


def test_what_can_be_asked_of_a_detector() -> None:
    options: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"]}
    with rc.Explainer(planted("corners"), ["input"], **options) as explainer:
        ask = lambda targets: rc.explain(explainer, street(), targets).detections[0]  # noqa: E731
        (green,) = ask("green")
        assert green.label == "green"
        assert ask({"label": 1}) == (green,)
        assert ask({"box": green.box}) == (green,)
        assert ask([[{"label": "green"}, -1]])[0] == green
        assert ask(-1) == ask(None)[:1]
        assert ask([[-1, -9]]) == ask(-1)
        grey = rc.explain(explainer, np.full((SIDE, SIDE, 3), 90, np.uint8), "red")
        assert grey.doubt() == "the model does not detect this"
        for targets, said in (
            ({"box": (90, 90, 99, 99)}, "no place of image 0 has a box that meets"),
            ({"box": (9, 9, 2, 2)}, "a box is left, top, right and bottom"),
            ({"name": "red"}, "'box', 'label' or both, not by"),
            ("blue", "is no label of this model's 2"),
            ({"label": 7}, "label 7 is no class of this model, which has 2"),
            (0.5, "a detector's targets are ranks"),
        ):
            with pytest.raises(rc.TargetError, match=said):
                ask(targets)


def test_a_picture_in_which_nothing_is_detected(tmp_path: Any) -> None:
    grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
    found = rc.explain(planted("joined"), grey, preprocess="unit", labels=["red", "green"], layers=["input", "colours"])
    assert found.detections == ((),)
    assert not found.maps["input"].any()
    assert "nothing detected" in str(found)
    found.save(tmp_path, mask=True)
    (image,) = json.loads((tmp_path / "results.json").read_text())["images"]
    assert image["targets"] == []
    assert image["layers"] == {"input": [], "colours": []}
    assert "nothing detected" in (tmp_path / "index.html").read_text()


def test_pictures_with_fewer_detections_have_fewer_targets() -> None:
    both = np.stack([street(), np.full((SIDE, SIDE, 3), 90, np.uint8)])
    x = (both / 255).transpose(0, 3, 1, 2).astype(np.float32)
    found = rc.Explainer(planted("joined"), ["stages", "input"])(x)
    assert [found.count(i) for i in (0, 1)] == [3, 0]
    assert (found.targets[1] == -1).all()
    assert not any(value[1].any() for value in found.maps.values())
    assert np.isnan(found.probability[1]).all()


def test_boxes_of_one_class_that_overlap_are_one_detection() -> None:
    boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [20, 0, 30, 10]]], np.float32)
    shares = np.array([[[0.9, 0], [0.8, 0], [0, 0.7], [0.6, 0.5]]], np.float32)
    assert detections(Told(shares, boxes), 0) == [(0, 0), (2, 1), (3, 0)]
    assert detections(Told(shares, None), 0) == [(0, 0), (1, 0), (2, 1), (3, 0)]
    assert detections(Told(shares * 0.25, boxes), 0) == []


def test_a_class_behind_those_with_labels_is_no_object() -> None:
    """DETR: logits of queries, boxes of centre and size behind a sigmoid."""
    net = Net("N", 3, 16, 16)
    tokens = net("Transpose", net("Reshape", body(net), np.array([0, 8, 64])), perm=[0, 2, 1])
    weights = net.rng.standard_normal((2, 8, 4)).astype(np.float32)
    logits = net("MatMul", tokens, weights[0], name="logits")
    model = net.model(logits, net("Sigmoid", net("MatMul", tokens, weights[1]), name="boxes"))
    z, sides = run(model, "logits", "boxes", x=X)
    shares = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    with rc.Explainer(model, "stages", labels=["cat", "dog", "bird"]) as explainer:
        found = explainer(X)
    for n in range(2):
        best = shares[n, :, :3].max(axis=1)
        assert found.count(n) > 0
        for each in found.detections[n]:
            assert each.index < 3
            assert each.score == pytest.approx(shares[n, each.place, each.index], rel=1e-4)
            x, y, w, h = sides[n, each.place] * 16
            assert each.box == pytest.approx((x - w / 2, y - h / 2, x + w / 2, y + h / 2), rel=1e-4)
        assert found.detections[n][0].score == pytest.approx(best.max(), rel=1e-4)


def rows_of(net: Net, channels: int, name: str) -> str:
    """A table (N, 64, channels) of the body's places."""
    flat = net("Reshape", net.conv("second", 8, channels, 1), np.array([0, channels, 64]))
    return net("Transpose", flat, perm=[0, 2, 1], name=name)


def ended(*parts: tuple[str, int, str], grid: bool = False) -> onnx.ModelProto:
    """A network that ends in tables, each a name, channels and the op behind; or in one grid."""
    net = Net("N", 3, 16, 16)
    body(net)
    outputs = []
    for name, channels, op in parts:
        raw = net.conv("second", 8, channels, 1, name=name) if grid else rows_of(net, channels, name)
        outputs.append(net(op, raw, name=f"{name}/{op.lower()}") if op else raw)
    return net.model(*outputs)


def tailed(third: int = 0, factor: float = 1) -> onnx.ModelProto:
    """Boxes in some unit, sigmoids of four classes, and perhaps more numbers behind, in one output."""
    net = Net("N", 3, 16, 16)
    body(net)
    boxes = net("Mul", rows_of(net, 4, "boxes"), np.float32(factor)) if factor != 1 else rows_of(net, 4, "boxes")
    parts = [boxes, net("Sigmoid", rows_of(net, CLASSES, "logits"))]
    return net.model(net("Concat", *parts, *[rows_of(net, third, "masks")] * (third > 0), axis=2, name="y"))


@pytest.mark.parametrize("count", [1, 4, 8, 80])
@pytest.mark.parametrize("squash", ["", "Sigmoid", "Softmax"])
def test_scores_beside_boxes_are_scores_however_many(count: int, squash: str) -> None:
    head = rc.Explainer(ended(("scores", count, squash), ("boxes", 4, "")), "stages").prepared.choices
    assert (head.head.kind, head.classes, head.head.objectness) == ("detector", count, False)
    assert head.head.boxes is not None
    assert head.head.boxes.outputs == ("boxes",)


def of_four(squash: str, *, decoded: bool, boxes_first: bool) -> onnx.ModelProto:
    """Scores of four classes beside boxes that are called nothing."""
    net = Net("N", 3, 16, 16)
    body(net)
    told = rows_of(net, 4, "one")
    told = net(squash, told, name="told") if squash else told
    boxes = rows_of(net, 4, "other")
    boxes = net("Add", boxes, net.normal(1, 64, 4), name="decoded") if decoded else boxes
    return net.model(*([boxes, told] if boxes_first else [told, boxes]))


@pytest.mark.parametrize("boxes_first", [False, True])
@pytest.mark.parametrize(("squash", "decoded"), [("Softmax", False), ("Sigmoid", True), ("", True)])
def test_boxes_and_four_classes_are_told_apart_whichever_is_first(
    squash: str, decoded: bool, boxes_first: bool
) -> None:
    with rc.Explainer(of_four(squash, decoded=decoded, boxes_first=boxes_first), "stages") as explainer:
        assert explainer.settings.output == ("told" if squash else "one")
        boxes = explainer.prepared.choices.head.boxes
    assert boxes is not None
    assert boxes.outputs == ("decoded" if decoded else "other",)


@pytest.mark.parametrize("squash", ["", "Sigmoid"])
def test_boxes_and_four_classes_that_nothing_tells_apart_are_asked_for(squash: str) -> None:
    model = of_four(squash, decoded=False, boxes_first=True)
    name = "told" if squash else "one"
    with pytest.raises(rc.OptionError, match=r"nothing in the file tells which are boxes .* output="):
        rc.Explainer(model, "stages")
    assert rc.Explainer(model, "stages", output=name).prepared.choices.head.boxes is not None


@pytest.mark.parametrize("model", [tailed(factor=8), tailed(32), tailed(51)], ids=["factor", "masks", "key points"])
def test_what_stands_beside_joined_boxes_and_scores_changes_nothing(model: onnx.ModelProto) -> None:
    targets = np.array([[[3, 1]], [[40, 2]]])
    wanted = rc.Explainer(tailed(), "second", "lrp")(X, targets)
    found = rc.Explainer(model, "second", "lrp")(X, targets)
    assert found.settings.classes == CLASSES
    agree(found.maps["second"], wanted.maps["second"])
    assert [each[0].score for each in found.detections] == pytest.approx([each[0].score for each in wanted.detections])


@pytest.mark.parametrize("classes", [3, 8, 17, 150])
def test_the_axis_of_classes_is_the_one_that_is_no_side(classes: int) -> None:
    prepared = rc.Explainer(ended(("scores", classes, ""), grid=True), "stages").prepared
    assert prepared.choices.classes == classes


@pytest.mark.parametrize("parts", [("tokens", 16, ""), ("multi-label", 16, "Sigmoid"), ("key points", 2, "")])
def test_tables_without_boxes_are_no_detector_unless_it_is_named(parts: tuple[str, int, str]) -> None:
    with pytest.raises(rc.UnsupportedModelError, match=r"no output is a table of scores.*docs/heads\.md lists"):
        rc.Explainer(ended(parts))
    assert rc.Explainer(ended(parts), "stages", head="detector").prepared.choices.classes == parts[1]


def test_what_are_no_boxes_yet_is_not_drawn_as_such() -> None:
    """Half of all random numbers for a size are below 0, as logarithms are."""
    found = rc.Explainer(tailed(), "stages")(X, [[{"label": 1}]] * 2)
    assert all(each.box is None for image in found.detections for each in image)


def test_one_box_far_outside_changes_no_unit() -> None:
    near = np.tile(np.array([0.25, 0.25, 0.75, 0.5], np.float32), (1, 16, 1))
    near[0, 3] = (-0.7, 0.1, 1.9, 0.4)
    boxes = corners([near], (32, 64), "corners")
    assert boxes is not None
    assert boxes[0, 0] == pytest.approx((16, 8, 48, 16))


@pytest.mark.parametrize("targets", [None, {"label": 1}, -1])
@pytest.mark.parametrize("images", [1, 3])
def test_a_fixed_batch_is_filled_up(images: int, targets: Any) -> None:
    x = picture(3, 3, 16, 16)[:images]
    free, fixed = anchors("joined"), anchors("joined")
    for port in (*fixed.graph.input, *fixed.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 2
    found = [rc.Explainer(model, "stages")(x, targets) for model in (free, fixed)]
    np.testing.assert_array_equal(found[0].targets, found[1].targets)
    np.testing.assert_array_equal(found[0].maps["stride2"], found[1].maps["stride2"])


@pytest.mark.parametrize("method", ["rise", "recipro-cam"])
def test_methods_that_ask_for_probabilities_follow_a_region(method: str) -> None:
    boxes = [{"box": (0, 0, 6, 6), "label": 1}, {"box": (10, 10, 16, 16), "label": 1}]
    with rc.Explainer(pixels(), method=method) as explainer:
        found, turned = explainer(X, [boxes] * 2), explainer(X, [boxes[::-1]] * 2)
    layer = next(iter(found.maps))
    np.testing.assert_array_equal(found.maps[layer], turned.maps[layer][:, ::-1])
    assert np.abs(found.maps[layer][:, 0] - found.maps[layer][:, 1]).max() > 1e-3


def test_masks_are_as_many_for_a_region() -> None:
    made = [rc.Explainer(pixels(), method="rise", samples=3, random_state=seed)(X, {"label": 1}) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(made[0].maps["input"], made[1].maps["input"])
    assert (made[0].maps["input"] != made[2].maps["input"]).any()


@pytest.mark.parametrize(
    ("model", "targets", "said"),
    [
        (pixels(), {"like": np.ones(4)}, "'like' is for embeddings.*is a segmenter"),
        (anchors("joined"), {"like": np.ones(4)}, "'like' is for embeddings.*is a detector"),
        (anchors("joined"), 3, "a detector's targets are ranks"),
        (anchors("joined"), {"box": "all"}, "a box is left, top, right and bottom"),
    ],
)
def test_targets_of_another_head(model: onnx.ModelProto, targets: Any, said: str) -> None:
    with pytest.raises(rc.TargetError, match=said):
        rc.Explainer(model, "stages")(X, targets)


def test_a_list_of_another_length_is_no_list_of_pictures_targets() -> None:
    net = Net("N", 3, 16, 16)
    body(net)
    model, noise = net.model(net.head("second", 8)), np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    for pictures, targets in ((noise, [1, 2, 3]), ([noise, noise], [1])):
        with pytest.raises(rc.TargetError, match="do not fit"):
            rc.explain(model, pictures, targets, preprocess="unit")


def test_a_tuple_of_as_many_is_one_for_each_image_as_a_list_is() -> None:
    each = ({"label": 1}, {"label": 2})
    for model in (anchors("joined"), pixels()):
        with rc.Explainer(model, "stages") as explainer:
            found = [explainer(X, targets).classes for targets in (each, list(each))]
        np.testing.assert_array_equal(found[0], [[1], [2]])
        np.testing.assert_array_equal(found[1], found[0])


def test_baselines_count_for_a_region_as_for_a_class() -> None:
    ones = np.ones((1, 3, 16, 16), np.float32)
    with rc.Explainer(pixels(), method="integrated-gradients", samples=3) as explainer:
        plain, found = explainer(X, {"label": 1}), explainer(X, {"label": 1}, baselines=ones)
        wanted = explainer(X, 1, baselines=ones)
    assert np.abs(found.maps["input"] - plain.maps["input"]).max() > 1e-3
    agree(found.maps["input"], wanted.maps["input"])
    with pytest.raises(rc.OptionError, match="takes no baselines"):
        rc.Explainer(pixels())(X, {"label": 1}, baselines=ones)


@pytest.mark.parametrize("model", [pixels(), anchors("joined")])
def test_a_closed_explainer_says_so_whatever_is_asked(model: onnx.ModelProto) -> None:
    with rc.Explainer(model, "stages") as explainer:
        explainer(X, {"label": 1})
    for targets in (None, {"label": 1}):
        with pytest.raises(rc.OptionError, match="this Explainer is closed"):
            explainer(X, targets)


def test_another_output_beside_levels_is_left_alone() -> None:
    model = levels()
    model.graph.output.append(helper.make_tensor_value_info("fine", TensorProto.FLOAT, ["N", 8, 8, 8]))
    assert rc.Explainer(model, "stages").prepared.choices.head == rc.Explainer(levels(), "stages").prepared.choices.head


def test_masks_of_queries_are_no_classes() -> None:
    """(N, queries, classes) and (N, queries, h, w), as MaskFormer has them: the file says no score of a pixel."""
    net = Net("N", 3, 16, 16)
    feature = body(net)
    masks = net.conv(feature, 8, 6, 1, name="masks")
    pooled = net("Reshape", net("GlobalAveragePool", feature), np.array([0, 8]))
    classes = net("Reshape", net.dense(pooled, 8, 6 * 7), np.array([0, 6, 7]), name="classes")
    model = net.model(classes, masks)
    with pytest.raises(rc.UnsupportedModelError, match="no output is a table of scores"):
        rc.Explainer(model)
    assert rc.Explainer(model, output="masks").settings.head == "segmenter"


def test_a_head_can_be_named() -> None:
    with pytest.raises(rc.OptionError, match=r"no head is called 'segmentor'.*segmenter"):
        rc.Explainer(pixels(), head="segmentor")
    with pytest.raises(rc.UnsupportedModelError, match="no output looks like a detector"):
        rc.Explainer(pixels(), head="detector")
    assert rc.Explainer(pixels(), "stages", head="segmenter").settings.head == "segmenter"


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "occlusion", "rise", "gradient-x-input", "score-cam"])
def test_other_methods_explain_a_place(method: str) -> None:
    """Of the green square: the largest value lies in its cell, or beside it where masks are coarse."""
    x = (street() / 255).transpose(2, 0, 1)[None].astype(np.float32)
    options: dict[str, Any] = {"samples": 400} if method == "rise" else {}
    layers = ["colours"] if method in ("grad-cam", "layer-cam", "score-cam") else None
    with rc.Explainer(planted("joined"), layers, method=method, labels=["red", "green"], **options) as explainer:
        found = explainer(x, {"label": "green"})
    (values,) = found.maps.values()
    heat = values[0, 0].sum(axis=0) if values.ndim == 5 else values[0, 0]
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert row < CELL
    assert 2 * CELL - 4 <= column < 3 * CELL + 4


@pytest.mark.parametrize("build", [pixels, lambda: anchors("joined")])
def test_integrated_gradients_add_up_for_heads_with_places(build: Callable[[], onnx.ModelProto]) -> None:
    """To the difference of the scores where relevance starts; of a region its own at the picture, kept fixed."""
    model = build()
    target: Any = 2 if build is pixels else [[[3, 1]]]
    found = rc.Explainer(model, method="integrated-gradients", samples=200)(X[:1], target)
    scores = scores_of(model) if build is pixels else None
    if scores is not None:
        won = scores[0].argmax(axis=0) == 2
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        (nothing,) = run(copy, model.graph.output[0].name, x=np.zeros_like(X[:1]))
        wanted = (scores[0, 2] - nothing[0, 2])[won].mean()
    else:
        name = model.graph.output[0].name
        ys = [run(model, name, x=x)[0][0, 4 + 1, 3] for x in (X[:1], np.zeros_like(X[:1]))]
        wanted = np.subtract(*(np.log(y / (1 - y)) for y in ys))
    assert found.maps["input"].sum() == pytest.approx(wanted, rel=2e-2, abs=2e-3)


COLUMNS = ["wide", "turned", "squeezed", "squeezed behind", "flattened behind", "in parts", "logits"]


def column_alone(form: str) -> onnx.ModelProto:
    """Detects red squares of eight pixels, its scores (N, places) but for "wide"."""
    net = Net("N", 3, SIDE, SIDE)
    red = net("Relu", net("Conv", net.x, np.array([1, -1, -1], np.float32)[None, :, None, None]), name="red")
    means = net("AveragePool", red, kernel_shape=[CELL] * 2, strides=[CELL] * 2)
    rows = net("Add", net("Mul", net("Reshape", means, np.array([0, -1, 1])), np.float32(8)), np.float32(-4))
    left = np.stack(np.meshgrid(np.arange(0, SIDE, CELL), np.arange(0, SIDE, CELL)), axis=-1).reshape(1, -1, 2)
    none = net("Mul", rows, np.float32(0))
    boxes = net("Add", none, np.concatenate([left, left + CELL], axis=2).astype(np.float32), name="boxes")
    axis = np.array([2])

    def in_parts() -> str:
        cut = [net("Slice", rows, np.array([a]), np.array([b]), np.array([1])) for a, b in ((0, 12), (12, 16))]
        return net("Concat", *(net("Flatten", net("Sigmoid", part)) for part in cut), axis=1)

    shares = {
        "wide": lambda: net("Sigmoid", rows),
        "turned": lambda: net("Sigmoid", net("Transpose", rows, perm=[0, 2, 1])),
        "flattened behind": lambda: net("Clip", net("Flatten", net("Sigmoid", rows)), np.float32(0), np.float32(1)),
        "in parts": in_parts,
        "squeezed": lambda: net("Sigmoid", net("Squeeze", rows, axis)),
        "squeezed behind": lambda: net("Squeeze", net("Sigmoid", rows), axis),
        "logits": lambda: net("Squeeze", rows, axis),
    }[form]()
    return net.model(shares, boxes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", COLUMNS)
def test_scores_of_one_class_may_lack_its_axis(form: str, backend: str) -> None:
    """(N, places), a box for each: no classifier of as many classes, and no other explanation."""
    model = column_alone(form)
    options: dict[str, Any] = {"preprocess": "unit", "layers": "input", "backend": backend}
    options |= {"head": "detector"} if form == "logits" else {}  # as a table of logits may be a classifier's
    bare = rc.explain(model, street(), **options)
    found = rc.explain(model, street(), labels=["red"], **options)
    assert [one.box for one in bare.detections[0]] == [one.box for one in found.detections[0]]
    told = [(one.label, one.box) for one in found.detections[0]]
    assert told == [("red", (0, 8, 8, 16)), ("red", (24, 16, 32, 24))]
    assert [one.score for one in found.detections[0]] == pytest.approx([1 / (1 + np.exp(-4))] * 2, abs=1e-6)
    assert found.maps["input"].sum(axis=(0, 2, 3, 4)) == pytest.approx(4, rel=1e-4)
    if form not in ("wide", "turned"):
        assert rc.Explainer(model, head="classifier", output=found.settings.output).settings.classes == 16


def with_points(form: str) -> onnx.ModelProto:
    """The same with numbers of two key points behind those of each box: as they are drawn, or offsets from nothing."""
    net = Net("N", 3, SIDE, SIDE)
    red = net("Relu", net("Conv", net.x, np.array([1, -1, -1], np.float32)[None, :, None, None]), name="red")
    means = net("AveragePool", red, kernel_shape=[CELL] * 2, strides=[CELL] * 2)

    def rows(x: str, count: int) -> str:
        return net("Reshape", net("Transpose", x, perm=[0, 2, 3, 1]), np.array([0, -1, count]))

    scores = rows(net("Conv", means, np.full((1, 1, 1, 1), 8, np.float32), np.float32([-4])), 1)
    points = rows(net("Conv", means, net.normal(8, 1, 1, 1, scale=0.01)), 8)
    left = np.stack(np.meshgrid(np.arange(0, SIDE, CELL), np.arange(0, SIDE, CELL)), axis=-1).reshape(1, -1, 2)
    corner = np.concatenate([left, left + CELL, left + 2, left + 6], axis=2)
    middle = np.concatenate([left + CELL / 2, np.full(left.shape, CELL), left + 2, left + 6], axis=2)
    if form != "offsets":
        points = net("Add", points, (middle if form == "centred" else corner).astype(np.float32), name="regressors")
    return net.model(points, scores if form == "logits" else net("Sigmoid", scores))


@pytest.mark.parametrize("form", ["corners", "centred", "logits", "offsets"])
def test_boxes_may_have_key_points_behind_them(form: str) -> None:
    found = rc.explain(with_points(form), street(), preprocess="unit", labels=["face"], layers="input")
    assert [one.place for one in found.detections[0]] == [4, 11]
    assert [one.score for one in found.detections[0]] == pytest.approx([1 / (1 + np.exp(-4))] * 2, abs=1e-6)
    for one, box in zip(found.detections[0], ((0, 8, 8, 16), (24, 16, 32, 24)), strict=True):
        assert one.box is None if form == "offsets" else one.box == pytest.approx(box, abs=0.2)


@pytest.mark.parametrize("squash", ["Softmax", "LogSoftmax", "", "Sigmoid"])
def test_classes_with_four_numbers_each_are_a_classifiers(squash: str) -> None:
    """But where sigmoids stand for all, which then are one class at several places."""
    net = Net("N", 3, SIDE, SIDE)
    x = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 8))))
    scores, sides = net.dense(x, 8, 10), net("Reshape", net.dense(x, 8, 40), np.array([0, 10, 4]))
    model = net.model(net(squash, scores) if squash else scores, sides)
    assert rc.Explainer(model).settings.head == ("detector" if squash == "Sigmoid" else "classifier")


@pytest.mark.parametrize("labels", [["face", "background"], ["background", "face"], ["no", "yes"]])
def test_two_names_are_not_for_a_detector_of_one_class(labels: list[str]) -> None:
    with pytest.raises(rc.OptionError, match="there are 2 labels for 1 class; give"):
        rc.explain(column_alone("wide"), street(), preprocess="unit", labels=labels)
    found = rc.Explainer(column_alone("wide"), "input", labels=labels)(
        street().transpose(2, 0, 1)[None] / np.float32(255)
    )
    assert [one.index for one in found.detections[0]] == [0, 0]
