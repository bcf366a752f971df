"""Boxes told as ymin, xmin, ymax, xmax, as TensorFlow's detectors tell them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import choosing_nets
import numpy as np
import onnx
import pytest
from choosing_nets import CELL, FORMS, SIDE, Choosing, choosing
from nets import Net
from test_heads import planted, street

import relcam_onnx as rc
from relcam_onnx.analysis.heads import Columns, Rows
from relcam_onnx.analysis.sides import tells_y_first
from relcam_onnx.runners.boxes import corners
from relcam_onnx.runners.matching import matched

OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours"]}
Y_FIRST = [1, 0, 3, 2]


def told(model: onnx.ModelProto) -> dict[int, tuple[float, ...] | None]:
    """The boxes that are detected, by place."""
    return {each.place: each.box for each in rc.explain(model, street(64, 64), **OPTIONS).detections[0]}


def called(model: onnx.ModelProto, name: str, places: list[int] | None = None) -> onnx.ModelProto:
    """A planted detector whose boxes are called so, its places perhaps in another order."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if each == model.graph.output[1].name else each for each in names]
    model.graph.output[1].name = name
    if places is not None:
        for at, output in enumerate(model.graph.output):
            order = onnx.numpy_helper.from_array(np.array(places), f"order{at}")
            model.graph.initializer.append(order)
            model.graph.node.append(
                onnx.helper.make_node("Gather", [output.name, order.name], [f"{output.name}/in"], axis=1)
            )
            last, renamed = model.graph.node[-1], f"{output.name}/all"
            for node in model.graph.node:
                node.output[:] = [renamed if each == output.name else each for each in node.output]
            last.input[0], last.output[0] = renamed, output.name
    return model


def swapped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same detector, y before x."""
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [1, 4, 16]:
            values = onnx.numpy_helper.to_array(tensor)[:, Y_FIRST]
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
            return model
    raise AssertionError("no boxes")


@pytest.mark.parametrize("form", ["joined", "corners", "shares"])
def test_where_boxes_lie_tells_which_side_comes_first(form: str) -> None:
    wanted = told(planted(form))
    assert len({box[:2] for box in wanted.values() if box is not None and box[0] != box[1]}) > 1
    assert told(swapped(planted(form))) == wanted


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_a_file_chooses_are_read_as_what_they_were_chosen_from(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, plain = told(choosing(form)), choosing_nets.squares

    def turned(net: Choosing) -> tuple[str, str]:
        logits, boxes = plain(net)
        model = onnx.ModelProto(graph=onnx.GraphProto(initializer=net.weights))
        net.weights[:] = swapped(model).graph.initializer
        return logits, boxes

    monkeypatch.setattr(choosing_nets, "squares", turned)
    assert told(choosing(form)) == wanted


def test_where_they_lie_in_no_order_their_name_tells() -> None:
    places = [int(place) for place in np.random.default_rng(1).permutation(16)]
    wanted = told(called(planted("corners"), "boxes", places))
    assert told(called(swapped(planted("corners")), "boxes", places)) != wanted
    assert told(called(swapped(planted("corners")), "raw_detection_boxes", places)) == wanted


def test_their_places_count_for_more_than_their_name() -> None:
    assert told(called(planted("corners"), "detection_boxes")) == told(planted("corners"))


@pytest.mark.parametrize("name", ["detection_boxes", "boxes"])
def test_rows_made_of_no_table_of_boxes_are_told_by_their_name(name: str) -> None:
    """Two rows (1, 2, 4) by TopK of the scores, their boxes computed from no table."""
    net = Net(1, 3, SIDE, SIDE)
    colours = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    x = net("Relu", net("Conv", net.x, colours), name="colours")
    means = net("AveragePool", x, kernel_shape=[CELL] * 2, strides=[CELL] * 2)
    logits = net("Transpose", net("Reshape", means, np.array([1, 2, -1])), perm=[0, 2, 1])
    shares = net("Sigmoid", net("Add", net("Mul", logits, np.float32(8)), np.float32(-4)))
    best = net("ReduceMax", shares, np.array([2]), keepdims=0)
    net.nodes.append(onnx.helper.make_node("TopK", [best, net.constant(np.array([2]))], ["marks", "at"]))
    one = net("Unsqueeze", "marks", np.array([2]))
    boxes = net("Add", net("Mul", one, np.zeros(4)), np.array([2.0, 10, 6, 20]), name=name)
    found = rc.explain(net.model(boxes, "marks"), street(), **OPTIONS).detections[0]
    assert {each.box for each in found} == {(10, 2, 20, 6) if name == "detection_boxes" else (2, 10, 6, 20)}


def test_boxes_of_rows_alike_in_score_are_compared_as_they_are() -> None:
    shares, tops = np.full((1, 2, 1), 0.75, np.float32), np.array([[[0, 20, 9, 29], [20, 0, 29, 9]]], np.float32)
    values = {"y": np.concatenate([tops[:, [0]], np.full((1, 1, 1), 0.75, np.float32)], axis=2)}
    rows = Rows(Columns("y", 0, 4), Columns("y", 4, 1), "corners")
    for y_first, place in ((False, 0), (True, 1)):
        assert matched(shares, tops, values, rows, (32, 32), y_first=y_first)[1] == [[(place, 0)]]


@pytest.mark.parametrize("anchors", ["each place's", "each level's"])
@pytest.mark.parametrize("form", ["corners", "centred"])
@pytest.mark.parametrize("y_first", [False, True])
def test_levels_and_anchors_and_what_a_network_adds(*, y_first: bool, form: str, anchors: str) -> None:
    rng, rows = np.random.default_rng(0), []
    for side in (16, 8, 4):
        y, x = np.indices((side, side + 3)).reshape(2, -1) + 0.5
        middles = np.stack([y / side, x / (side + 3)], axis=1)
        many = np.tile(middles, (3, 1)) if anchors == "each level's" else middles.repeat(3, axis=0)
        sizes = rng.uniform(0.5, 3, many.shape) / side
        many = many + 0.1 * sizes * rng.standard_normal(many.shape)
        parts = [many, sizes] if form == "centred" else [many - sizes / 2, many + sizes / 2]
        rows.append(np.concatenate(parts, axis=1))
    table = np.concatenate(rows)[None].astype(np.float32)
    assert tells_y_first(table if y_first else table[..., Y_FIRST], form) is y_first


def test_what_is_noise_does_not_tell() -> None:
    """The letters of number plates, in one row at nearly one height, as a rule; and few places in no order."""
    rng, told = np.random.default_rng(0), []
    for _ in range(40):
        across, height = np.arange(40) * 8.0 + 4, 16 + rng.uniform(-1.5, 1.5, 40)
        plate = np.stack([across - 3, height - 6, across + 3, height + 6], axis=1)[None].astype(np.float32)
        told.append(tells_y_first(plate, "corners"))
        middles = rng.uniform(20, 200, (1, 10, 2))
        few = np.concatenate([middles - 5, middles + 5], axis=2).astype(np.float32)
        assert tells_y_first(few, "corners") is None
    assert told.count(None) > 0.7 * len(told)  # of 40 places noise is smoother than that by chance, at times


def test_objects_one_above_the_other_do_not_tell() -> None:
    """Queries: all in one column, in any order."""
    rng = np.random.default_rng(0)
    middles = np.stack([0.5 + 0.01 * rng.standard_normal(100), rng.uniform(0, 1, 100)], axis=1)
    table = np.concatenate([middles, rng.uniform(0.1, 0.2, (100, 2))], axis=1)[None].astype(np.float32)
    assert tells_y_first(table, "centred") is None
    assert tells_y_first(table[..., Y_FIRST], "centred") is None
    assert tells_y_first(np.zeros((1, 100, 4), np.float32), "corners") is None
    assert tells_y_first(table[:, :1], "centred") is None


def test_results_tell_left_first(tmp_path: Path) -> None:
    rc.explain(swapped(planted("corners")), street(), **OPTIONS).save(tmp_path)
    (entry,) = json.loads((tmp_path / "results.json").read_text())["images"]
    boxes = [tuple(target["box"]) for target in entry["targets"]]
    assert {(0, 8, 8, 16), (24, 16, 32, 24)} <= set(boxes)


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf])
def test_boxes_that_are_no_numbers_stay_what_they_are(number: float) -> None:
    boxes = np.full((1, 5, 4), number, np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(corners([boxes], (32, 32), "corners"), boxes)


def decoded(form: str, *, y_first: bool, far: float = 200.0) -> onnx.ModelProto:
    """A detector of one level whose layers move boxes as far as they like; sizes are exponentials, in one output."""
    net = Net(1, 3, SIDE, SIDE)
    x = net("Relu", net.conv(net.x, 3, 8, stride=4))
    rows = [
        net("Transpose", net("Reshape", net.conv(x, 8, n, 1), np.array([1, n, -1])), perm=[0, 2, 1]) for n in (4, 2)
    ]
    cells = np.stack(np.indices((8, 8)).reshape(2, -1)[:: 1 if y_first else -1], axis=1)[None] * 4.0 + 2
    ends = [net("Slice", rows[0], *(np.array([i]) for i in (a, b, 2))) for a, b in ((0, 2), (2, 4))]
    middle = net("Add", net("Mul", net("Tanh", ends[0]), np.float32(far)), cells)
    size = net("Mul", net("Exp", net("Tanh", ends[1])), np.float32(40))
    if form == "corners":
        half = net("Mul", size, np.float32(0.5))
        middle, size = net("Sub", middle, half), net("Add", middle, half)
    boxes = net("Concat", middle, size, axis=2, name="told")
    shares = net("Sigmoid", rows[1], name="shares")
    return net.model(net("Concat", boxes, shares, axis=2, name="y"))


@pytest.mark.parametrize("form", ["corners", "centred"])
@pytest.mark.parametrize("y_first", [False, True])
def test_the_graph_tells_what_no_picture_s_boxes_do(form: str, *, y_first: bool) -> None:
    """Boxes that lie anywhere, and are larger than the picture is: of such middles and sizes were read as corners."""
    model = decoded(form, y_first=y_first)
    with rc.Explainer(model, ["input"]) as explainer:
        boxes = explainer.prepared.scores.head.boxes
        found = explainer(np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32), np.array([[[9, 1]]]))
    assert boxes is not None
    assert (boxes.form, boxes.y_first) == (form, y_first)
    told = found.outputs["y"][0, 9, :4].reshape(2, 2)[:, :: -1 if y_first else 1]
    wanted = told if form == "corners" else np.stack([told[0] - told[1] / 2, told[0] + told[1] / 2])
    assert found.detections[0][0].box == pytest.approx(tuple(wanted.ravel()), rel=1e-4)


def test_rows_whose_sides_are_turned_behind_the_choice() -> None:
    """Chosen among boxes with x first, told with y first: no table holds those."""
    model = choosing("by_topk")
    joined = next(node for node in model.graph.node if node.output[0] == "detections")
    order = onnx.numpy_helper.from_array(np.array(Y_FIRST), "order")
    model.graph.initializer.append(order)
    turned = onnx.helper.make_node("Gather", [joined.input[0], "order"], ["turned"], axis=2)
    model.graph.node.insert(list(model.graph.node).index(joined), turned)
    joined.input[0] = "turned"
    assert told(model) == told(choosing("by_topk"))
