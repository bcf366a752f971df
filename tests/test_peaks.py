"""Detectors that take the peaks of a grid by one TopK of all cells and classes, as CenterNet's exports do."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from choosing_nets import Choosing
from compare import same_maps

import relcam_onnx as rc

HIGH, WIDE, CELL, MOST = 48, 64, 4, 6
DOWN, ACROSS = HIGH // CELL, WIDE // CELL
SQUARES = {(0, (32, 8, 44, 20)), (1, (4, 20, 16, 32)), (1, (48, 24, 60, 36))}
OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "input"]}
UNITS = {"pixels": (CELL, CELL), "cells": (1, 1), "shares": (1 / ACROSS, 1 / DOWN)}


def street() -> np.ndarray:
    """Squares of three cells a side."""
    picture = np.full((HIGH, WIDE, 3), 90, np.uint8)
    for kind, (left, top, right, bottom) in SQUARES:
        picture[top:bottom, left:right] = [(255, 0, 0), (0, 255, 0)][kind]
    return picture


def heads(net: Choosing, *, bounded: bool = False) -> tuple[str, str, str]:
    """The grid of classes, (N, 2, 12, 16), of which peaks alone are left; sizes and offsets, in cells."""
    colours = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    seen = net("Relu", net("Conv", net.x, colours), name="colours")
    means = net("AveragePool", seen, kernel_shape=[CELL] * 2, strides=[CELL] * 2)
    around = net("AveragePool", means, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    shares = net("Sigmoid", net("Add", net("Mul", around, np.float32(16)), np.float32(-11), name="logits"))
    shares = net("Clip", shares, np.float32(1e-4), np.float32(1 - 1e-4)) if bounded else shares
    largest = net("MaxPool", shares, kernel_shape=[3, 3], pads=[1] * 4)
    peaks = net("Mul", shares, net("Cast", net("Equal", largest, shares), to=onnx.TensorProto.FLOAT))
    nothing = net("Mul", net("ReduceSum", means, net.whole(1), keepdims=1), np.float32(0))
    sizes, offsets = (net("Add", nothing, np.full((1, 2, 1, 1), told, np.float32)) for told in (3, 0.5))
    return peaks, sizes, offsets


def chosen(net: Choosing, peaks: str, how: str) -> tuple[str, str, str]:
    """The best peaks: their scores, cells and classes."""
    cells, each = net.whole(DOWN * ACROSS), net.whole(MOST)
    if how == "class by class":
        marks, place = net.several("TopK", net("Reshape", peaks, net.whole(0, 2, -1)), each, count=2, axis=2)
        marks, which = net.several("TopK", net("Reshape", marks, net.whole(0, -1)), each, count=2, axis=1)
        place = net("GatherElements", net("Reshape", place, net.whole(0, -1)), which, axis=1)
        return marks, place, net("Div", which, each)
    last = how == "classes last"
    peaks = net("Transpose", peaks, perm=[0, 2, 3, 1]) if last else peaks
    marks, index = net.several("TopK", net("Reshape", peaks, net.whole(0, -1)), each, count=2, axis=1)
    ops = ("Div", "Mod") if last else ("Mod", "Div")
    place, kind = (net(op, index, net.whole(2) if last else cells) for op in ops)
    return marks, place, kind


def peaked(
    how: str = "at once",
    told: str = "apart",
    units: str = "pixels",
    *,
    batch: int | str = 1,
    y_first: bool = False,
    bounded: bool = False,
) -> onnx.ModelProto:
    """The whole detector: boxes around the cells of the best peaks."""
    net = Choosing(batch, 3, HIGH, WIDE)
    peaks, sizes, offsets = heads(net, bounded=bounded)
    marks, place, kind = chosen(net, peaks, how)
    order, unit = (1, -1) if y_first else (-1, 1), np.array(UNITS[units], np.float32)
    cell = [net("Mod", place, net.whole(ACROSS)), net("Div", place, net.whole(ACROSS))][:: order[1]]
    column = [net("Unsqueeze", net("Cast", part, to=onnx.TensorProto.FLOAT), net.whole(2)) for part in (*cell, kind)]
    index = net("Tile", net("Unsqueeze", place, net.whole(2)), net.whole(1, 1, 2))
    rows = [net("Reshape", net("Transpose", part, perm=[0, 2, 3, 1]), net.whole(0, -1, 2)) for part in (sizes, offsets)]
    size, offset = (net("GatherElements", part, index, axis=1) for part in rows)
    middle = net("Add", net("Concat", *column[:2], axis=2), offset)
    half = net("Mul", size, np.float32(0.5))
    ends = [net(op, middle, half) for op in ("Sub", "Add")]
    if units != "cells":
        ends = [net("Mul", end, unit[:: order[1]].copy()) for end in ends]
    wide = net("Unsqueeze", marks, net.whole(2))
    if told == "in one":
        return net.model(net("Concat", *ends, wide, column[2], axis=2, name="detections"))
    if told == "with scores":
        return net.model(net("Concat", *ends, wide, axis=2, name="detections"), kind)
    return net.model(net("Concat", *ends, axis=2, name="boxes"), marks, kind)


def found(model: onnx.ModelProto, **options: Any) -> rc.Explanation:
    """What is explained of those squares; all of them are detected where they are."""
    explained = rc.explain(model, street(), **OPTIONS, **options)
    told = {(each.index, each.box and tuple(map(round, each.box))) for each in explained.detections[0]}
    assert told == SQUARES
    return explained


@pytest.mark.parametrize("told", ["apart", "in one", "with scores"])
@pytest.mark.parametrize("how", ["at once", "classes last", "class by class"])
def test_peaks_are_detections_however_they_are_taken(how: str, told: str) -> None:
    found(peaked(how, told))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_the_class_at_the_peak_is_explained(backend: str) -> None:
    wanted = found(peaked("class by class"), backend="eager")
    explained = found(peaked(), backend=backend)
    assert [each.place for each in explained.detections[0]] == [each.place for each in wanted.detections[0]]
    assert [each.score for each in explained.detections[0]] == pytest.approx([1 / (1 + np.exp(-5))] * 3, rel=1e-3)
    same_maps(explained, wanted)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("y_first", [False, True])
@pytest.mark.parametrize("how", ["at once", "class by class"])
def test_the_graph_tells_what_numbers_of_a_box_are(how: str, units: str, *, y_first: bool) -> None:
    """No table holds these boxes: in cells they were told as pixels, and y was taken for x."""
    found(peaked(how, "in one", units, y_first=y_first))


def test_shares_kept_from_0_and_1_and_a_free_batch() -> None:
    explained = found(peaked(bounded=True, batch="N"))
    same_maps(explained, found(peaked()))
