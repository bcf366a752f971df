"""Detectors whose levels are outputs of their own: the planted one finds the same in every arrangement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from level_nets import (
    ARRANGEMENTS,
    CELLS,
    FORMS,
    SIDE,
    SQUARES,
    TOGETHER,
    arranged,
    level_detector,
    level_street,
    levels_in_one,
    levels_in_rows,
    levels_with_masks,
    planted_levels,
    squashed,
)
from nets import Net

import relcam_onnx as rc

OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "input"]}


def check(model: onnx.ModelProto, *, boxes: bool = True, **options: Any) -> None:
    with rc.Explainer(model, **OPTIONS, **options) as explainer:
        assert explainer.settings.head == "detector"
        found = rc.explain(explainer, level_street())
    if boxes:
        told = {(each.index, tuple(map(round, each.box or ()))) for each in found.detections[0]}
        assert told == set(SQUARES)
    assert sorted(each.index for each in found.detections[0]) == [0, 0, 1]
    for k, each in enumerate(found.detections[0]):
        assert each.score > 0.8
        heat = np.maximum(found.heat("input", 0, k), 0)
        inside = [heat[box[1] : box[3], box[0] : box[2]].sum() for kind, box in SQUARES if kind == each.index]
        assert max(inside) >= 0.9 * heat.sum() > 0


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_arrangement_tells_the_same(form: str, arrangement: str) -> None:
    check(level_detector(form, arrangement))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", ["sigmoids, distances", "objectness, offsets"])
def test_in_any_order_of_outputs(form: str, arrangement: str) -> None:
    check(level_detector(form, arrangement, by_level=True), backend="eager")
    check(level_detector(form, arrangement, by_level=True, coarse_first=True))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", ["sigmoids, distances", "objectness, offsets"])
def test_sizes_that_only_a_run_knows(form: str, arrangement: str) -> None:
    size = {"size": [SIDE, SIDE], "resize": "squash", "scale": 1 / 255}
    model = level_detector(form, arrangement, "side")
    del model.graph.value_info[:]
    with rc.Explainer(model, **{**OPTIONS, "preprocess": size}) as explainer:
        found = rc.explain(explainer, level_street())
    assert {tuple(map(round, each.box or ())) for each in found.detections[0]} == {box for _, box in SQUARES}


@pytest.mark.parametrize("arrangement", ARRANGEMENTS[:4])
@pytest.mark.parametrize("form", TOGETHER)
def test_all_of_a_level_in_one_output(form: str, arrangement: str) -> None:
    check(levels_in_one(form, arrangement))


@pytest.mark.parametrize("form", ["together, as NanoDet has it", "apart"])
def test_all_levels_in_rows(form: str) -> None:
    check(levels_in_rows(form))


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_anchors_of_a_grid(named: bool, shares: bool) -> None:
    """(N, 3 · (5 + C), h, w), which is a detector's where that is said, or (N, 3, h, w, 5 + C)."""
    net = Net("N", 3, SIDE, SIDE)
    outputs = []
    for part in planted_levels(net, "offsets"):
        one = net("Concat", *(part[kind] for kind in ("sides", "objectness", "classes")), axis=1)
        none = net("Sub", net("Mul", one, np.float32(0)), np.float32(9))
        grid = net("Concat", none, one, none, axis=1)
        if not named:
            cells = int(SIDE / CELLS[len(outputs)])
            apart = net("Reshape", grid, np.array([0, 3, 7, cells, cells]))
            grid = net("Transpose", apart, perm=[0, 1, 3, 4, 2])
        outputs.append(net("Sigmoid", grid) if shares else net("Identity", grid))
    check(net.model(*outputs), boxes=False, head="detector" if named else None)


def test_key_points_beside_are_left_alone() -> None:
    model = level_detector("sigmoids, distances", "tables")
    net = Net("N", 3, SIDE, SIDE)
    parts = squashed(net, planted_levels(net, "distances"), "classes")
    for part in parts:
        part["points"] = net("Concat", *[part["sides"]] * 2, part["objectness"], part["objectness"], axis=1)
    outputs = [arranged(net, part[kind], "tables") for kind in ("classes", "sides", "points") for part in parts]
    assert rc.Explainer(net.model(*outputs)).prepared.choices.count == rc.Explainer(model).prepared.choices.count
    check(net.model(*outputs))


@pytest.mark.parametrize("arrangement", ARRANGEMENTS[:2])
@pytest.mark.parametrize("form", ["sigmoids apart", "logits apart", "logits together"])
def test_masks_beside_are_left_alone(form: str, arrangement: str) -> None:
    """Their prototypes are finer than all levels, and as many as the numbers that weigh them at each place."""
    check(levels_with_masks(form, arrangement))


@pytest.mark.parametrize("twice", [True, False])
def test_features_of_a_pyramid_are_no_detector(twice: bool) -> None:
    net = Net("N", 3, SIDE, SIDE)
    fine = net("Relu", net.conv(net.x, 3, 64, stride=2))
    levels = [fine, net("Relu", net.conv(fine, 64, 64, stride=2))]
    outputs = [net.conv(x, 64, 64) for _ in range(1 + twice) for x in levels]
    assert rc.Explainer(net.model(*outputs)).settings.head == "segmenter"  # any grid is taken for that


def lookalike(form: str) -> tuple[onnx.ModelProto, str | None]:
    """Files that have something of levels, and what they are; None: refused."""
    net = Net("N", 3, SIDE, SIDE)
    x = net("Relu", net.conv(net.x, 3, 16, stride=2))
    grids = [x := net("Relu", net.conv(x, 16, 16, stride=2)), net("Relu", net.conv(x, 16, 16, stride=2))]

    def rows(grid: str, numbers: int) -> str:
        table = net("Reshape", net.conv(grid, 16, numbers, 1), np.array([0, numbers, -1]))
        return net("Transpose", table, perm=[0, 2, 1])

    def both(first: int, second: int) -> list[str]:
        return [net.conv(grid, 16, numbers, 1) for numbers in (first, second) for grid in grids]

    if form == "DETR of 32 classes":
        return net.model(rows(grids[0], 32), net("Sigmoid", rows(grids[0], 4))), "detector"
    if form == "DETR with what its decoder made":
        parts = rows(grids[0], 6), net("Sigmoid", rows(grids[0], 4)), rows(grids[0], 64)
        return net.model(*parts), "detector"
    if form == "tokens with what made them":
        return net.model(rows(grids[0], 5), rows(grids[0], 64)), None
    if form == "joined features":
        features = [[net("Relu", net.conv(grid, 16, n, 1)) for n in (64, 128)] for grid in grids]
        return net.model(*(net("Concat", *pair, axis=1) for pair in features)), "segmenter"
    if form == "softmax beside":
        told = both(5, 4)
        return net.model(*(net("Softmax", part, axis=1) for part in told[:2]), *told[2:]), "segmenter"
    return net.model(*both(19, 20)), "segmenter"


@pytest.mark.parametrize(
    "form",
    ["DETR of 32 classes", "DETR with what its decoder made", "tokens with what made them", "joined features",
     "softmax beside", "two segmentations"],
)  # fmt: skip
def test_what_only_looks_like_levels(form: str) -> None:
    model, head = lookalike(form)
    if head is None:
        with pytest.raises(rc.UnsupportedModelError, match="no output is a table"):
            rc.Explainer(model)
        return
    with rc.Explainer(model) as explainer:
        assert explainer.settings.head == head
        assert explainer.prepared.choices.head.levels == ()


@pytest.mark.parametrize("together", [True, False])
def test_four_classes_beside_distributions(together: bool) -> None:
    net = Net("N", 3, SIDE, SIDE)
    x = net("Relu", net.conv(net.x, 3, 16, stride=8, kernel=3))
    outputs = []
    for _ in range(2):
        parts = [net.conv(x, 16, numbers, 1) for numbers in (64, 4)]
        outputs += [net("Concat", *parts, axis=1)] if together else parts
        x = net("Relu", net.conv(x, 16, 16, stride=2))
    assert rc.Explainer(net.model(*outputs)).settings.classes == 4


def test_distances_and_centreness() -> None:
    """As FCOS tells them: lengths are no offsets."""
    net = Net("N", 3, SIDE, SIDE)
    outputs, base = [], net("Relu", net.conv(net.x, 3, 3))
    for cell in CELLS:
        x = net("AveragePool", base, kernel_shape=[cell] * 2, strides=[cell] * 2)
        sides = net("Mul", net("Relu", net.conv(x, 3, 4, 1)), np.float32(1.5))
        outputs += [net.conv(x, 3, 5, 1), sides, net.conv(x, 3, 1, 1)]
    head = rc.Explainer(net.model(*outputs)).prepared.choices.head
    assert head.boxes is not None
    assert head.boxes.form == "distances"


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("how", ["exponentials", "rectified", "layers"])
def test_distances_in_pixels(how: str, arrangement: str) -> None:
    """Each level times its stride, as RTMDet and mmdetection's FCOS have it: boxes were that much too large."""
    net = Net(1 if arrangement == "no batch" else "N", 3, SIDE, SIDE)
    parts = squashed(net, planted_levels(net, "distances"), "classes")
    told = []
    for cell, each in zip(CELLS, parts, strict=True):
        sides = net("Mul", each["sides"], np.float32(2))
        if how == "exponentials":
            sides = net("Exp", net("Add", net("Mul", sides, np.float32(0)), np.float32(np.log(0.5))))
        else:
            same = net("Conv", sides, np.eye(4, dtype=np.float32)[:, :, None, None])
            sides = net("Mul", net("Relu", same) if how == "rectified" else same, np.float32(0.5))  # a learned scale
        told.append(net("Mul", sides, np.float32(cell)))
    grids = [each["classes"] for each in parts] + told
    model = net.model(*(arranged(net, grid, arrangement) for grid in grids))
    with rc.Explainer(model, **OPTIONS) as explainer:
        (found,) = rc.explain(explainer, level_street()).detections
    assert {(each.index, each.box and tuple(map(round, each.box))) for each in found} == set(SQUARES)


@pytest.mark.parametrize("peaks", [False, True])
@pytest.mark.parametrize(("names", "shares"), [(("wh", "reg"), True), (("wh", "reg"), False), (("a", "b"), True)])
def test_middles_of_boxes_and_their_sizes(names: tuple[str, str], *, shares: bool, peaks: bool) -> None:
    """As CenterNet tells them; two numbers each that bear other names are no boxes. A file may keep peaks alone."""
    net = Net("N", 3, SIDE, SIDE)
    (part, _) = squashed(net, planted_levels(net, "distances"), *(["classes"] if shares else []))
    if peaks and shares:
        around = net("MaxPool", part["classes"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        kept = net("Cast", net("Equal", around, part["classes"]), to=onnx.TensorProto.FLOAT)
        part["classes"] = net("Mul", part["classes"], kept)
    nothing = net("Mul", net("Slice", part["sides"], np.array([0]), np.array([2]), np.array([1])), np.float32(0))
    pair = [net("Add", nothing, np.float32(told), name=name) for name, told in zip(names, (1, 0.5), strict=True)]
    with rc.Explainer(net.model(part["classes"], *pair), head="detector", **OPTIONS) as explainer:
        (found,) = rc.explain(explainer, level_street()).detections
    wanted = {(kind, box if names[0] == "wh" else None) for kind, box in SQUARES[:2]}
    assert {(each.index, each.box and tuple(map(round, each.box))) for each in found} == wanted


def test_several_sizes_of_a_segmentation_are_no_detector() -> None:
    net = Net("N", 3, SIDE, SIDE)
    parts = planted_levels(net, "distances")
    model = net.model(*(net("Sigmoid", part["classes"]) for part in parts))
    assert rc.Explainer(model).settings.head == "segmenter"


@pytest.mark.parametrize("kinds", [[5, 4], [4, 5], [5]], ids=["scores first", "boxes first", "scores alone"])
@pytest.mark.parametrize("anchors", [(4, 6), (4, 6, 6), (4, 6, 6, 4)], ids=["two", "three", "to one position"])
def test_levels_with_anchors_of_their_own_are_nothing_else(anchors: Sequence[int], kinds: Sequence[int]) -> None:
    """SSD cut off before its decoder: its finest level was a segmenter's, its last one a table of scores."""
    net = Net(1, 3, 64, 64)
    x, outputs = net("Relu", net.conv(net.x, 3, 8, stride=8)), []
    for several in anchors:
        outputs += [net.conv(x, 8, several * numbers) for numbers in kinds]
        x = net("Relu", net.conv(x, 8, 8, stride=2))
    model = net.model(*outputs)
    for head in (None, "detector"):
        with pytest.raises(rc.UnsupportedModelError, match="levels of a detector with anchors of their own number"):
            rc.Explainer(model, head=head)
    assert rc.Explainer(model, output=outputs[0]).settings.head == "segmenter"  # where it is named


def test_features_beside_a_segmenter_s_scores_are_no_levels() -> None:
    net = Net(1, 3, 64, 64)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    deep = net("Relu", net.conv(x, 8, 16, stride=2))
    model = net.model(net.conv(x, 8, 4, name="scores"), deep)
    assert rc.Explainer(model).settings.head == "segmenter"
