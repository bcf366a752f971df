"""Detectors whose levels are outputs of their own, in every arrangement; what they find is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from nets import Net

SIDE, CELLS = 64, (8, 16)
"""Pixels a side, and of a cell of each level."""
STRONG = 4.0
COLOURS = ((1, -1, -1), (-1, 1, -1))
SQUARES = ((0, (8, 16, 16, 24)), (1, (40, 0, 48, 8)), (0, (32, 32, 48, 48)))
"""Class and box of each; the first two as large as a fine cell, the last one as a coarse one."""

Told = dict[str, str]
"""Of one level: classes (N, 2, h, w) as logits, sides (N, 4, h, w), objectness (N, 1, h, w)."""


def planted_levels(net: Net, sides: str) -> list[Told]:
    """Squares of their colour that fill a cell, by level: a coarse cell's counts only where all of it is filled."""
    colours = np.array(COLOURS, np.float32)[:, :, None, None]
    seen = net("Relu", net("Conv", net.x, colours), name="colours")
    found = []
    for cell, own in zip(CELLS, ((0, 1, 4.0), (1, 2, 12.0)), strict=True):
        mean = net("AveragePool", seen, kernel_shape=[cell] * 2, strides=[cell] * 2, name=f"cells{cell}")
        logits = net("Add", net("Mul", mean, np.float32(own[2] * 2)), np.float32(-own[2]), name=f"logits{cell}")
        if cell == CELLS[0]:  # squares that fill a coarse cell are not its own
            wide = net("AveragePool", seen, kernel_shape=[16] * 2, strides=[16] * 2)
            near = net("Resize", wide, None, np.array([1, 1, 2, 2], np.float32), mode="nearest",
                       coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
            logits = net("Sub", logits, net("Mul", near, np.float32(8)))
        any_ = net("ReduceMax", logits, np.array([1]), keepdims=1)
        nothing = net("Mul", any_, np.float32(0))
        box = {"distances": [0.5] * 4, "offsets": [0.5, 0.5, 0, 0]}
        if sides == "bins":  # shares 0, 1, 0, ... of eight cells are one cell, halves of two are half of one
            bins = np.full((4, 8), -40, np.float32)
            bins[:, :2] = 0
            values = bins.ravel()
        else:
            values = np.array(box[sides], np.float32)
        told = net("Add", nothing, values[None, :, None, None], name=f"sides{cell}")
        found.append({"classes": logits, "sides": told, "objectness": net("Add", nothing, np.float32(6))})
    return found


def squashed(net: Net, parts: list[Told], *kinds: str) -> list[Told]:
    return [{k: net("Sigmoid", v) if k in kinds else v for k, v in part.items()} for part in parts]


def arranged(net: Net, value: str, arrangement: str) -> str:
    """(N, K, h, w) otherwise."""
    if arrangement == "grids":
        return net("Identity", value)
    if arrangement == "turned tables":
        return net("Reshape", value, np.array([0, 0, -1]))
    last = net("Transpose", value, perm=[0, 2, 3, 1])
    if arrangement == "grids, numbers last":
        return last
    shape = net("Shape", value, start=1, end=2)
    rows = {"tables": np.array([0, -1]), "no batch": np.array([-1])}[arrangement]
    return net("Reshape", last, net("Concat", rows, shape, axis=0))


ARRANGEMENTS = ("grids", "grids, numbers last", "tables", "turned tables", "no batch")
FORMS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "sigmoids, distances": ("distances", ("classes", "sides"), ("classes",)),
    "logits, distances": ("distances", ("sides", "classes"), ()),
    "sigmoids, distributions": ("bins", ("classes", "sides"), ("classes",)),
    "objectness, offsets": ("offsets", ("classes", "objectness", "sides"), ("classes", "objectness")),
    "objectness first, offsets": ("offsets", ("objectness", "sides", "classes"), ("classes", "objectness")),
    "logits and objectness": ("offsets", ("sides", "objectness", "classes"), ()),
}
"""What the sides are, what is told in which order, what of it in sigmoids."""
TOGETHER = {
    "sigmoids, distributions": "classes first, as NanoDet has it",
    "logits, distributions": "as YOLO from version 8 on has it",
    "objectness, offsets": "as YOLOX has it",
}


def level_detector(form: str, arrangement: str, size: Any = SIDE, **order: bool) -> onnx.ModelProto:
    """One of those forms, each thing of each level an output; ``by_level``, or ``coarse_first``."""
    sides, kinds, shares = FORMS[form]
    net = Net(1 if arrangement == "no batch" else "N", 3, size, size)
    parts = squashed(net, planted_levels(net, sides), *shares)[:: -1 if order.get("coarse_first") else 1]
    told = [(i, kind) for i in (0, 1) for kind in kinds]
    told = told if order.get("by_level") else sorted(told, key=lambda each: kinds.index(each[1]))
    return net.model(*(arranged(net, parts[i][kind], arrangement) for i, kind in told))


def levels_in_one(form: str, arrangement: str) -> onnx.ModelProto:
    """All of a level in one output."""
    sides, shares = ("offsets", True) if form == "objectness, offsets" else ("bins", form.startswith("sigmoids"))
    kinds = {"sigmoids, distributions": ("classes", "sides"), "logits, distributions": ("sides", "classes")}
    order = kinds.get(form, ("sides", "objectness", "classes"))
    net = Net("N", 3, SIDE, SIDE)
    parts = squashed(net, planted_levels(net, sides), *(("classes", "objectness") if shares else ()))
    return net.model(*(arranged(net, net("Concat", *(p[k] for k in order), axis=1), arrangement) for p in parts))


def levels_with_masks(form: str, arrangement: str) -> onnx.ModelProto:
    """The same with what weighs masks beside each level, and a finer grid of those: YOLO's segmentation, cut off."""
    net = Net("N", 3, SIDE, SIDE)
    order = ("sides", "classes")
    parts = squashed(net, planted_levels(net, "bins"), *(["classes"] if form == "sigmoids apart" else []))
    outputs = []
    for part in parts:
        told = [part[kind] for kind in order]
        outputs += told if form.endswith("apart") else [net("Concat", *told, axis=1)]
        outputs.append(net.conv(part["classes"], 2, 6, 1))
    outputs.append(net("Relu", net.conv(net.x, 3, 6, stride=4)))
    return net.model(*(arranged(net, output, arrangement) for output in outputs))


def levels_in_rows(form: str) -> onnx.ModelProto:
    """All levels in one table with scores and distributions, or in one for each."""
    net = Net("N", 3, SIDE, SIDE)
    parts = squashed(net, planted_levels(net, "bins"), "classes")
    kinds = [["classes"], ["sides"]] if form == "apart" else [["classes", "sides"]]
    outputs = []
    for some in kinds:
        each = [net("Concat", *(arranged(net, part[kind], "tables") for kind in some), axis=2) for part in parts]
        outputs.append(net("Concat", *each, axis=1))
    return net.model(*outputs)


def level_street() -> np.ndarray:
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    for kind, (left, top, right, bottom) in SQUARES:
        picture[top:bottom, left:right] = [(255, 0, 0), (0, 255, 0)][kind]
    return picture
