"""Detectors that choose their detections themselves, and boxes that files leave to be decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from choosing_nets import CELL, FORMS, PYRAMIDS, ROOTS, SIDE, Choosing, choosing, column, pyramid, squares, suppressed
from nets import Net, run
from test_heads import planted, street

import relcam_onnx as rc
from relcam_onnx.analysis.heads import Columns, Rows
from relcam_onnx.runners.found import Told, detections
from relcam_onnx.runners.matching import matched

OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "input"]}
BACKENDS = ["eager", "compiled"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_what_a_file_chooses_is_what_would_be_chosen_for_it(form: str, backend: str) -> None:
    wanted = rc.explain(planted("corners"), street(64, 64), **OPTIONS)
    found = rc.explain(choosing(form), street(64, 64), backend=backend, **OPTIONS)
    own = {each.place: each for each in wanted.detections[0]}
    assert {each.place for each in found.detections[0]} == own.keys()
    for k, each in enumerate(found.detections[0]):
        there = own[each.place]
        assert (each.label, each.index) == (there.label, there.index)
        assert each.box == pytest.approx(there.box, abs=1e-3)
        assert each.score == pytest.approx(np.sqrt(there.score) if FORMS[form] in ROOTS else there.score, abs=1e-6)
        (at,) = (i for i, other in enumerate(wanted.detections[0]) if other.place == each.place)
        for layer, value in wanted.maps.items():
            # Objectness that nothing in the picture changes is added all the same, and what it is made of shares by ε.
            np.testing.assert_allclose(found.maps[layer][0, k], value[0, at], rtol=0, atol=2e-4 * value.max())


@pytest.mark.parametrize("form", FORMS)
def test_what_can_be_asked_of_a_file_that_chooses(form: str) -> None:
    with rc.Explainer(choosing(form), **OPTIONS) as explainer:
        best = rc.explain(explainer, street()).detections[0][0]
        assert rc.explain(explainer, street(), -1).detections[0] == (best,)
        assert rc.explain(explainer, street(), {"box": best.box}).detections[0] == (best,)
        assert rc.explain(explainer, street(), "green").detections[0][0].place == 2
        assert rc.explain(explainer, street(), np.array([[[best.place, best.index]]])).detections[0] == (best,)
        grey = rc.explain(explainer, np.full((SIDE, SIDE, 3), 90, np.uint8))
        assert grey.detections == ((),)


def test_several_pictures_have_each_their_own() -> None:
    """A free batch in one run, and a fixed one of one picture in several, with as many rows as each has."""
    pictures = [street(), street()[:, ::-1], np.full((SIDE, SIDE, 3), 90, np.uint8)]
    for model in (choosing("by_topk", "N"), choosing("of_best"), choosing("as_three")):
        found = rc.explain(model, pictures, **OPTIONS)
        assert [found.count(i) for i in range(3)] == [3, 3, 0]
        mirrored = {tuple(map(round, (SIDE - b[2], b[1], SIDE - b[0], b[3]))) for b in boxes_of(found, 0)}
        assert {tuple(map(round, box)) for box in boxes_of(found, 1)} == mirrored


def test_one_detection_at_a_time_is_all_of_them() -> None:
    wanted, found = (rc.explain(choosing("of_best"), street(), max_targets=most, **OPTIONS) for most in (None, 1))
    assert found.detections == wanted.detections
    np.testing.assert_array_equal(found.scores, wanted.scores)
    np.testing.assert_allclose(found.maps["input"], wanted.maps["input"], rtol=0, atol=1e-6)


def boxes_of(found: rc.Explanation, index: int) -> list[tuple[float, ...]]:
    return [each.box for each in found.detections[index] if each.box is not None]


def test_rows_whose_scores_are_in_no_table_leave_the_choice_to_us() -> None:
    shares = np.array([[[0.9, 0.1], [0.3, 0.6]]], np.float32)
    rows = Rows(Columns("y", 0, 4), Columns("y", 4, 1), "corners")
    told = lambda *marks: {"y": np.array([[[1, 1, 9, 9, mark] for mark in marks]], np.float32)}  # noqa: E731
    assert matched(shares, None, told(0.8, 0.5), rows, (32, 32))[1] == [None]
    boxes, best = matched(shares, None, told(0.6, 0.9, 0.1), rows, (32, 32))
    assert best == [[(0, 0), (1, 1)]]
    np.testing.assert_array_equal(boxes, [[[1, 1, 9, 9]] * 2])


def test_of_rows_alike_in_score_the_box_tells_the_place() -> None:
    shares = np.full((1, 3, 1), 0.75, np.float32)
    boxes = np.array([[[0, 0, 9, 9], [20, 0, 29, 9], [0, 20, 9, 29]]], np.float32)
    rows = Rows(Columns("y", 0, 4), Columns("y", 4, 1), "corners")
    values = {"y": np.concatenate([boxes[:, [2, 1]], np.full((1, 2, 1), 0.75, np.float32)], axis=2)}
    assert matched(shares, boxes, values, rows, (32, 32))[1] == [[(2, 0), (1, 0)]]


@pytest.mark.parametrize("how", ["bounded", "shares", "shares of each side"])
def test_of_rows_alike_in_score_those_are_told_apart_whose_boxes_were_changed(how: str) -> None:
    """The box of one square stood beside the map of another, and its class."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    scores = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1])
    kept = suppressed(net, boxes, scores)
    chosen = net("Gather", net("Squeeze", boxes, net.whole(0)), column(net, kept, 2))
    if how == "bounded":
        chosen = net("Clip", chosen, np.float32(0), np.float32(SIDE))
    else:
        chosen = net("Div", chosen, np.float32(SIDE) if how == "shares" else np.full(4, SIDE, np.float32))
    found = rc.explain(
        net.model(net("Identity", chosen, name="boxes"), net("GatherND", scores, kept)), street(), **OPTIONS
    )
    wanted = {each.place: each for each in rc.explain(planted("corners"), street(), **OPTIONS).detections[0]}
    assert {each.place for each in found.detections[0]} == wanted.keys()
    for each in found.detections[0]:
        assert (each.label, each.box) == (wanted[each.place].label, pytest.approx(wanted[each.place].box, abs=1e-3))


@pytest.mark.parametrize("places", [[0], [5, 6]])
def test_rows_made_centre_and_size_behind_the_choice(places: list[int]) -> None:
    """Of one square in the corner they looked like corners: the graph tells what they are."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, corners = squares(net)
    marks, at = net.several(
        "TopK", net("Reshape", net("Sigmoid", logits), net.whole(0, -1)), net.whole(6), count=2, axis=1
    )
    place, kind = net("Div", at, net.whole(2)), net("Mod", at, net.whole(2))
    each = net(
        "GatherElements", corners, net("Tile", net("Unsqueeze", place, net.whole(2)), net.whole(1, 1, 4)), axis=1
    )
    turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    model = net.model(net("MatMul", each, turn, name="boxes"), marks, kind)
    seen = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for at_ in places:
        down, across = divmod(at_, 4)
        seen[8 * down : 8 * down + 8, 8 * across : 8 * across + 8] = (255, 0, 0)
    found = rc.explain(model, seen, **OPTIONS).detections[0]
    wanted = {(8 * (at % 4), 8 * (at // 4), 8 * (at % 4) + 8, 8 * (at // 4) + 8) for at in places}
    assert {each.box and tuple(map(round, each.box)) for each in found} == wanted


def test_boxes_told_by_centre_and_size_are_so_in_rows_too() -> None:
    net = Choosing(1, 3, SIDE, SIDE)
    logits, corners = squares(net)
    turn = np.array([[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float32)
    boxes = net("MatMul", corners, turn, name="centred")
    scores = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1])
    kept = net("NonMaxSuppression", boxes, scores, net.whole(50), np.array([0.5]), np.array([0.25]), center_point_box=1)
    place = net("Gather", kept, net.whole(2), axis=1)
    image = net("Mul", place, net.whole(0))
    chosen = net("GatherND", boxes, net("Concat", image, place, axis=1), name="boxes")
    marks = net("GatherND", scores, kept, name="marks")
    found = rc.explain(net.model(chosen, marks), street(), **OPTIONS)
    wanted = rc.explain(planted("corners"), street(), **OPTIONS)
    assert {tuple(map(round, box)) for box in boxes_of(found, 0)} == {tuple(map(round, b)) for b in boxes_of(wanted, 0)}


def undecoded() -> onnx.ModelProto:
    """YOLOX as it is exported: centres and sizes in cells of two levels, objectness, classes."""
    net = Net("N", 3, SIDE, SIDE)
    rows = []
    for stride in (8, 16):
        x = net("Relu", net("Conv", net.x, net.normal(4, 3, stride, stride, scale=0.1), strides=[stride] * 2))
        parts = [net.conv(x, 4, count, 1) for count in (4, 1, 2)]
        parts[1:] = [net("Sigmoid", part) for part in parts[1:]]
        rows.append(net("Reshape", net("Concat", *parts, axis=1), np.array([0, 7, -1])))
    return net.model(net("Transpose", net("Concat", *rows, axis=2), perm=[0, 2, 1], name="y"))


def test_boxes_that_a_file_leaves_to_be_decoded() -> None:
    """Ge et al. 2021: centre = (offset + cell) · stride, size = exp(logarithm) · stride."""
    x = np.random.default_rng(3).random((2, 3, SIDE, SIDE), np.float32)
    found = rc.Explainer(undecoded(), ["input"])(x, np.array([[[3, 0], [17, 1]], [[0, 1], [19, 0]]]))
    for n in range(2):
        for each in found.detections[n]:
            row = found.outputs["y"][n, each.place]
            stride, cell = (8, each.place) if each.place < 16 else (16, each.place - 16)
            down, right = divmod(cell, SIDE // stride)
            middle = (row[0] + right) * stride, (row[1] + down) * stride
            half = np.exp(row[2:4]) * stride / 2
            wanted = (middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1])
            assert each.box == pytest.approx(wanted, rel=1e-4, abs=1e-4)
            assert each.score == pytest.approx(row[4] * row[5 + each.index], rel=1e-5)


@pytest.mark.parametrize("squash", ["Sigmoid", "Softmax"])
@pytest.mark.parametrize("turned", ["scores", "boxes", "both"])
def test_either_axis_may_be_that_of_places(turned: str, squash: str) -> None:
    def net(*, turned: str) -> onnx.ModelProto:
        net = Choosing("N", 3, SIDE, SIDE)
        logits, boxes = squares(net)
        shares = net(squash, logits, **({"axis": 2} if squash == "Softmax" else {}))
        if turned in ("scores", "both"):
            shares = net("Transpose", shares, perm=[0, 2, 1], name="turned/scores")
        if turned in ("boxes", "both"):
            boxes = net("Transpose", boxes, perm=[0, 2, 1], name="turned/boxes")
        return net.model(shares, boxes)

    targets = np.array([[[4, 0], [2, 1]]])
    x = (street() / np.float32(255)).transpose(2, 0, 1)[None].astype(np.float32)
    wanted, found = (rc.Explainer(net(turned=how), ["input"])(x, targets) for how in ("none", turned))
    np.testing.assert_allclose(found.maps["input"], wanted.maps["input"], rtol=0, atol=1e-6)
    assert found.detections == wanted.detections


def test_a_level_that_a_target_does_not_reach_is_left_out_of_its_fused() -> None:
    """Two levels that share no layer behind the first: each place's fused map is of its own stages."""
    net = Choosing("N", 3, SIDE, SIDE)
    fine = net("Relu", net.conv(net.x, 3, 8, stride=8), name="fine")
    coarse = net("Relu", net.conv(net("Relu", net.conv(fine, 8, 8, stride=2)), 8, 8, stride=2), name="coarse")
    rows = [net("Reshape", net.conv(x, 8, 6, 1), net.whole(0, 6, -1)) for x in (fine, coarse)]
    both = net("Transpose", net("Concat", *rows, axis=2), perm=[0, 2, 1])
    boxes, scores = net.several("Split", both, net.whole(4, 2), count=2, axis=2)
    model = net.model(net("Sigmoid", scores, name="shares"), net("Abs", boxes, name="boxes"))
    x = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    for backend in BACKENDS:
        with rc.Explainer(model, backend=backend) as explainer:
            found = explainer(x, np.array([[[5, 0]]]))
        assert list(found.maps) == ["stride8", "stride16", "stride32", "fused"]
        assert found.maps["stride8"].any()
        assert not found.maps["stride32"].any()
        positive = np.maximum(found.maps["stride8"], 0)
        np.testing.assert_allclose(found.maps["fused"], np.maximum(positive / positive.max(), 1e-6), rtol=1e-5)


def test_stages_go_down_to_the_finest_level() -> None:
    """Five levels: what is found in the finest passes none of the four coarsest."""
    net = Choosing("N", 3, 128, 128)
    x = net("Relu", net.conv(net.x, 3, 4, stride=4))
    rows = []
    for _ in range(5):
        x = net("Relu", net.conv(x, 4, 4, stride=2))
        rows.append(net("Reshape", net.conv(x, 4, 6, 1), net.whole(0, 6, -1)))
    boxes, scores = net.several("Split", net("Concat", *rows, axis=2), net.whole(4, 2), count=2, axis=1)
    explainer = rc.Explainer(net.model(net("Sigmoid", scores), boxes), head="detector")
    assert [s.name for s in explainer.layers.stages] == [f"stride{2**i}" for i in range(3, 8)]


def test_indices_beside_all_places_leave_the_choice_to_us() -> None:
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    scores = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1], name="shares")
    found = rc.explain(net.model(suppressed(net, boxes, scores), scores, boxes), street(), **OPTIONS)
    assert found.count(0) == 3


def test_boxes_of_the_last_of_several_decoder_layers() -> None:
    """Sigmoids of all layers in one stack, of which the last is told, as DETR has them."""
    net = Choosing("N", 3, SIDE, SIDE)
    tokens = net(
        "Transpose", net("Reshape", net("Relu", net.conv(net.x, 3, 8, stride=8)), net.whole(0, 8, 16)), perm=[0, 2, 1]
    )
    logits = net("MatMul", tokens, net.normal(8, 3), name="logits")
    layers = [net("Unsqueeze", net("Sigmoid", net("MatMul", tokens, net.normal(8, 4))), net.whole(1)) for _ in range(2)]
    boxes = net("Gather", net("Concat", *layers, axis=1), net.whole(-1).reshape(()), axis=1, name="boxes")
    x = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    found = rc.Explainer(net.model(logits, boxes), ["input"])(x, np.array([[[5, 1]]]))
    across, down, width, height = found.outputs["boxes"][0, 5] * SIDE
    wanted = (across - width / 2, down - height / 2, across + width / 2, down + height / 2)
    assert found.detections[0][0].box == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_that_read_where_they_like(backend: str) -> None:
    """Deformable attention over chosen queries: the gradient is that of small changes of the picture."""
    net = Choosing(1, 3, SIDE, SIDE)
    values = net("Relu", net.conv(net.x, 3, 8, stride=4), name="values")
    tokens = net("Transpose", net("Reshape", values, net.whole(0, 8, 64)), perm=[0, 2, 1])
    best = net("ReduceMax", net("MatMul", tokens, net.normal(8, 3)), net.whole(2), keepdims=0)
    _, place = net.several("TopK", best, net.whole(4), count=2, axis=1)
    wide = net("Tile", net("Unsqueeze", place, net.whole(2)), net.whole(1, 1, 8))
    queries = net("GatherElements", tokens, wide, axis=1)
    where = net("Tanh", net("MatMul", queries, net.normal(8, 6, scale=0.3)))
    grid = net("Reshape", where, net.whole(0, 4, 3, 2))
    read = net("ReduceSum", net("GridSample", values, grid, mode="bilinear"), net.whole(3), keepdims=0)
    logits = net("MatMul", net("Add", net("Transpose", read, perm=[0, 2, 1]), queries), net.normal(8, 3), name="logits")
    boxes = net("Sigmoid", net("MatMul", queries, net.normal(8, 4)), name="boxes")
    model = net.model(logits, boxes)
    x = np.random.default_rng(1).random((1, 3, SIDE, SIDE), np.float32)
    options = {"preset": "gradient", "method": "lrp", "seed": "one-hot", "backend": backend}
    slope = rc.Explainer(model, ["input"], **options)(x, np.array([[[2, 1]]])).maps["input"][0, 0]
    step = 0.02 * slope / np.linalg.norm(slope)
    above, below = (run(model, "logits", x=(x + sign * step).astype(np.float32))[0][0, 2, 1] for sign in (1, -1))
    assert (above - below) / 0.04 == pytest.approx(np.linalg.norm(slope), rel=0.02)  # kinks of ReLUs within the step
    with rc.Explainer(model, ["values", "input"], backend=backend) as explainer:
        found = explainer(x, np.array([[[2, 1]]]))
    assert found.maps["values"].any()


@pytest.mark.parametrize("least", [0.0, 0.25])
@pytest.mark.parametrize("turned_behind", [False, True])
def test_a_turned_box_is_the_upright_one_around_it(least: float, *, turned_behind: bool) -> None:
    """Centre, size, scores and an angle, (N, 4 + classes + 1, places), as Ultralytics' oriented boxes: from -π/4 on."""
    net = Choosing("N", 3, SIDE, SIDE)
    logits, corners = squares(net)
    angle = net("Sub", net("Sigmoid", net("ReduceSum", logits, net.whole(2))), np.float32(least))
    rows = [corners, net("Sigmoid", logits), net("Mul", angle, np.float32(np.pi))]
    if turned_behind:
        y = net("Transpose", net("Concat", *rows, axis=2), perm=[0, 2, 1], name="y")
    else:
        y = net("Concat", *(net("Transpose", part, perm=[0, 2, 1]) for part in rows), axis=1, name="y")
    x = (street() / np.float32(255)).transpose(2, 0, 1)[None].astype(np.float32)
    found = rc.Explainer(net.model(y), ["input"])(x, np.array([[[6, 1]]]))
    across, down, width, height, *_, turn = found.outputs["y"][0, :, 6]
    ends = np.array([[sx * width / 2, sy * height / 2] for sx in (-1, 1) for sy in (-1, 1)])
    ends = ends @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [across, down]
    assert found.detections[0][0].box == pytest.approx((*ends.min(axis=0), *ends.max(axis=0)), rel=1e-4)
    assert found.detections[0][0].score == pytest.approx(found.outputs["y"][0, 5, 6], rel=1e-5)


def test_the_last_columns_of_rows_may_be_anything() -> None:
    """Rows filled up to a fixed number, flat on the way, written among those of all images; masks' numbers behind."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    table = net("Squeeze", net("Concat", boxes, net("Sigmoid", logits), net("Tanh", logits), axis=2), net.whole(0))
    framed, shares, more = net.several("Split", table, net.whole(4, 2, 2), count=3, axis=1)
    marks, kind = net("ReduceMax", shares, net.whole(1)), net("Cast", net("ArgMax", shares, axis=1), to=1)
    sure = net(
        "Squeeze", net("NonZero", net("Greater", net("Squeeze", marks, net.whole(1)), np.float32(0.25))), net.whole(0)
    )
    rows = net("Concat", *(net("Gather", part, sure) for part in (framed, marks, kind, more)), axis=-1)
    flat = net("Reshape", rows, net.whole(-1))
    missing = net("Sub", net.whole(20 * 8), net("Shape", flat))
    padded = net("Pad", flat, net("Concat", net.whole(0), missing, axis=0))
    nothing, first = np.zeros((1, 20, 8), np.float32), net.whole(0).reshape(1, 1)
    every = net("ScatterND", nothing, first, net("Reshape", padded, net.whole(1, 20, 8)))
    found = rc.explain(net.model(every), street(), **OPTIONS)
    wanted = rc.explain(planted("corners"), street(), **OPTIONS)
    assert {(d.place, d.index) for d in found.detections[0]} == {(d.place, d.index) for d in wanted.detections[0]}
    np.testing.assert_allclose(sorted(boxes_of(found, 0)), sorted(boxes_of(wanted, 0)), atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", PYRAMIDS)
def test_each_of_several_sizes_is_explained_in_its_own_box(form: str, backend: str) -> None:
    """Two squares of each size, one class: of each map ≥ .6 lies in its own box, and its like stays dark."""
    picture = np.full((128, 128, 3), 90, np.uint8)
    wanted = set()
    for size, down, across in ((8, 8, 8), (8, 16, 96), (16, 32, 16), (16, 48, 64), (32, 96, 96), (32, 96, 32)):
        picture[down : down + size, across : across + size] = (255, 0, 0)
        wanted.add((across, down, across + size, down + size))
    found = rc.explain(pyramid(form), picture, preprocess="unit", backend=backend, layers=["stages", "fused", "input"])
    boxes = [tuple(map(round, box)) for box in boxes_of(found, 0)]
    assert set(boxes) == wanted
    for k, (left, top, right, bottom) in enumerate(boxes):
        for layer in found.maps:
            heat = np.maximum(found.heat(layer, 0, k), 0)
            if not heat.any():  # a coarser level than the square's own
                continue
            row, column = np.unravel_index(int(heat.argmax()), heat.shape)
            assert top <= row < bottom, (layer, boxes[k])
            assert left <= column < right, (layer, boxes[k])
            if layer in ("fused", "input"):
                assert heat[top:bottom, left:right].sum() >= 0.6 * heat.sum()
                for other in set(boxes) - {boxes[k]}:
                    assert heat[other[1] : other[3], other[0] : other[2]].max() <= 0.05 * heat.max()


def levels_apart(form: str) -> onnx.ModelProto:
    """Shares of two levels, joined behind their sigmoids or told by something that is no sigmoid."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    upper, lower = net.several("Split", logits, net.whole(8, 8), count=2, axis=1)
    shares = net("Concat", net("Sigmoid", upper), net("Sigmoid", lower), axis=1, name="shares")
    if form == "clipped":
        shares = net("Clip", net("Add", shares, np.float32(0)), np.float32(0), np.float32(1), name="clipped")
    if form != "suppressed":
        return net.model(shares, boxes)
    scores = net("Transpose", shares, perm=[0, 2, 1])
    kept = suppressed(net, boxes, scores)
    place = column(net, kept, 2)
    chosen = net("Clip", net("Gather", net("Squeeze", boxes, net.whole(0)), place), np.float32(0), np.float32(SIDE))
    marks = net("GatherND", scores, kept)
    return net.model(chosen, marks)  # boxes that are no table's as they are, so nothing but the table tells its axes


@pytest.mark.parametrize("form", ["joined", "clipped", "suppressed"])
def test_shares_are_not_squashed_again(form: str) -> None:
    found = rc.explain(levels_apart(form), street(), **OPTIONS)
    wanted = rc.explain(planted("corners"), street(), **OPTIONS)
    assert {(d.place, d.index) for d in found.detections[0]} == {(d.place, d.index) for d in wanted.detections[0]}
    for each in found.detections[0]:
        assert each.score == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-5)


@pytest.mark.parametrize("fill", [-1, 0, 1])
def test_what_rows_are_filled_up_with_says_nothing_of_boxes(fill: int) -> None:
    shares = np.array([[[0.9, 0.1], [0.3, 0.6]]], np.float32)
    rows = np.full((1, 20, 5), fill, np.float32)
    rows[..., 4] = -1
    rows[0, 0], rows[0, 1] = (2, 2, 30, 30, 0.9), (4, 4, 9, 9, 0.6)
    boxes, best = matched(shares, None, {"y": rows}, Rows(Columns("y", 0, 4), Columns("y", 4, 1), "corners"), (32, 32))
    assert best == [[(0, 0), (1, 1)]]
    np.testing.assert_array_equal(boxes, [[[2, 2, 30, 30], [4, 4, 9, 9]]])


def test_each_picture_has_its_own_rows_though_they_are_alike() -> None:
    shares = np.array([[[0.9], [0.1]]] * 2, np.float32)
    rows = {"y": np.array([[1, 1, 9, 9, 0.9]] * 2, np.float32)}
    told = Rows(Columns("y", 0, 4), Columns("y", 4, 1), "corners")
    assert matched(shares, None, rows, told, (32, 32))[1] == [[(0, 0)], [(0, 0)]]


def test_a_batch_whose_rows_fit_no_table_does_not_decide_for_others() -> None:
    shares = np.array([[[0.9], [0.1]]], np.float32)
    parts = [Told(shares, None, chosen) for chosen in ([[(1, 0)]], [None], None)]
    together = Told.joined(parts)
    assert [detections(together, index) for index in range(3)] == [[(1, 0)], [(0, 0)], [(0, 0)]]


def test_scores_and_boxes_of_one_row_are_told_apart_by_their_axes() -> None:
    """As many detections as a box has numbers, and one alone."""
    for count in (4, 1):
        net = Choosing("N", 3, SIDE, SIDE)
        logits, boxes = squares(net)
        best = net("ReduceMax", net("Sigmoid", logits), net.whole(2), keepdims=0)
        marks, place = net.several("TopK", best, net.whole(count), count=2, axis=1)
        wide = net("Tile", net("Unsqueeze", place, net.whole(2)), net.whole(1, 1, 4))
        model = net.model(
            net("Identity", marks, name="scores"), net("GatherElements", boxes, wide, axis=1, name="rows")
        )
        found = rc.explain(model, [street(), street()[:, ::-1]], **OPTIONS)
        assert [found.count(i) for i in (0, 1)] == [min(count, 3)] * 2


def beside_none(each: str) -> onnx.ModelProto:
    """Chooses among what a softmax leaves to all classes but the first: as one slice, or class by class."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    nothing = net("Mul", net("ReduceSum", logits, net.whole(2)), np.float32(0))
    shares = net("Softmax", net("Concat", nothing, logits, axis=2, name="table"), axis=2)
    if each == "class by class":
        parts = [net("Gather", shares, net.whole(kind), axis=2) for kind in (1, 2)]
        named = net("Concat", *parts, axis=2)
    else:
        first = net.whole(1) if each == "a slice" else net.whole(0)
        named = net("Slice", shares, first, net.whole(99), net.whole(2))
    kept = suppressed(net, boxes, net("Transpose", named, perm=[0, 2, 1]))
    place, kind = column(net, kept, 2), column(net, kept, 1)
    rows = [net("Gather", net("Squeeze", part, net.whole(0)), place) for part in (boxes, named)]
    best = net("Unsqueeze", net("ReduceMax", rows[1], net.whole(1), keepdims=0), net.whole(1))
    kinds = net("Unsqueeze", net("Cast", kind, to=1), net.whole(1))
    return net.model(net("Concat", rows[0], best, kinds, axis=1, name="detections"))


@pytest.mark.parametrize("each", ["a slice", "class by class"])
def test_a_first_class_that_is_never_chosen_needs_no_name(each: str) -> None:
    names = ["red", "green"]
    told = [rc.explain(beside_none(each), street(), labels=each_named, preprocess="unit").detections[0]
            for each_named in (names, ["background", *names])]  # fmt: skip
    assert told[0] == told[1]
    assert {(one.label, one.index) for one in told[0]} == {("red", 1), ("green", 2)}


@pytest.mark.parametrize("anchored", [True, False])
def test_a_background_without_a_name_is_asked_for_where_boxes_have_anchors(*, anchored: bool) -> None:
    """SSD's stands first and mmdetection's last; that of queries, DETR's "no object", is the last one."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    nothing = net("Mul", net("ReduceSum", logits, net.whole(2)), np.float32(0))
    shares = net("Softmax", net("Concat", nothing, logits, axis=2), axis=2, name="shares")
    if not anchored:
        boxes = net("Sigmoid", net("MatMul", logits, net.normal(2, 4)), name="boxes")
    model = net.model(shares, boxes)
    if anchored:
        with pytest.raises(rc.OptionError, match=r"2 labels for 3 classes.*the background among them"):
            rc.explain(model, street(), labels=["red", "green"], preprocess="unit")
        found = rc.explain(model, street(), labels=["background", "red", "green"], preprocess="unit")
        assert {(each.label, each.index) for each in found.detections[0]} == {("red", 1), ("green", 2)}
    else:
        assert rc.Explainer(model, "input", labels=["red", "green"]).prepared.choices.background == 2


def test_where_all_classes_are_chosen_from_the_last_one_is_the_one_without_a_name() -> None:
    for each, names, background in (("all", 2, 2), ("all", 3, None), ("a slice", 2, 0), ("a slice", 3, None)):
        labels = [f"class {number}" for number in range(names)]
        assert rc.Explainer(beside_none(each), "input", labels=labels).prepared.choices.background == background


def test_four_classes_and_their_best_are_no_boxes() -> None:
    net = Net("N", 3, SIDE, SIDE)
    means = net("GlobalAveragePool", net("Conv", net.x, np.eye(4, 3, dtype=np.float32)[:, :, None, None]))
    shares = net("Softmax", net("Reshape", means, np.array([0, 4, 1])), axis=1)
    classes = net("Squeeze", shares, np.array([2]))
    model = net.model(classes, net("ReduceMax", classes, np.array([1]), keepdims=0))
    assert rc.Explainer(model).settings.head == "classifier"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_suppression_tells_which_columns_of_rows_are_what(backend: str) -> None:
    """Boxes in pieces, key points, a column of ones and the shares of one class: RetinaFace as TensorFlow has it."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    red, places = net("Slice", logits, *map(net.whole, (0, 1, 2))), (SIDE // CELL) ** 2
    two = net("Softmax", net("Concat", net("Mul", red, np.float32(0)), red, axis=2), axis=2)
    share = net("Slice", two, *map(net.whole, (1, 2, 2)))
    corners = [net("Slice", boxes, *map(net.whole, (first, first + 2, 2))) for first in (0, 2)]
    points = net("Add", net("Mul", boxes, np.float32(0.5)), np.float32(3))
    parts = (*corners, points, np.ones((1, places, 1), np.float32), share)
    rows = net("Squeeze", net("Concat", *parts, axis=2), net.whole(0))
    framed, marks = (net("Slice", rows, *map(net.whole, (*cut, 1))) for cut in ((0, 4), (-1, 2**31 - 1)))
    kept = suppressed(net, net("Unsqueeze", framed, net.whole(0)), net("Reshape", marks, net.whole(1, 1, -1)))
    model = net.model(net("Gather", rows, column(net, kept, 2), name="detections"))
    options = {"preprocess": "unit", "layers": ["colours", "input"], "backend": backend}
    found = rc.explain(model, street(), **options).detections[0]
    wanted = [each for each in rc.explain(planted("corners"), street(), **OPTIONS).detections[0] if each.index == 0]
    assert [(each.place, each.index) for each in found] == [(each.place, 0) for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert (one.box, one.score) == (pytest.approx(other.box, abs=1e-3), pytest.approx(other.score, abs=1e-6))


def test_rows_that_a_run_chose_are_no_pictures() -> None:
    """Numbers of what was chosen, none of which says what it is: they had been taken for classes."""
    net = Choosing(1, 3, SIDE, SIDE)
    logits, boxes = squares(net)
    kept = suppressed(net, boxes, net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1]))
    numbers = net("MatMul", net("Squeeze", boxes, net.whole(0)), net.normal(4, 7))
    model = net.model(net("Gather", numbers, column(net, kept, 2), name="y"))
    with pytest.raises(rc.UnsupportedModelError, match="no output is a table of scores"):
        rc.Explainer(model, "input")
