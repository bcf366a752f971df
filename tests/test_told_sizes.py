"""Inputs that say how large the picture is: filled in where a picture is given, and those that nothing reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from choosing_nets import SIDE, Choosing, column, joined_rows, squares, suppressed
from PIL import Image
from test_heads import street
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.cli import app

OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["input"]}
WANTED = {("red", (0, 16, 16, 32)), ("red", (48, 32, 64, 48)), ("green", (32, 0, 48, 16))}


def detector(form: str) -> onnx.ModelProto:
    """Rows of class, score and box, in the pixels that an input says."""
    net = Choosing(1, 3, SIDE, SIDE, name="image")
    logits, boxes = squares(net)
    if form == "paddle":
        scale = net.input("scale_factor", 1, 2)
        net.input("im_shape", 1, 2)  # which nothing reads
        boxes = net("Div", boxes, turned_twice(net, scale))
    else:
        size = net.input("orig_target_sizes", 1, 2)
        twice = net("Reshape", net("Concat", size, size, axis=1), net.whole(1, 1, 4))
        boxes = net("Mul", net("Div", boxes, np.float32(SIDE)), twice)
    scores = net("Transpose", net("Sigmoid", logits), perm=[0, 2, 1])
    kept = suppressed(net, boxes, scores)
    kind, place = column(net, kept, 1), column(net, kept, 2)
    parts = [net("Unsqueeze", part, net.whole(1)) for part in (net("Cast", kind, to=1), net("GatherND", scores, kept))]
    chosen = net("Gather", net("Squeeze", boxes, net.whole(0)), place)
    return net.model(joined_rows(net, *parts, chosen, axis=1))


def turned_twice(net: Choosing, scale: str) -> str:
    """Height and width as x, y, x, y."""
    both = net("Gather", net("Concat", scale, scale, axis=1), net.whole(1, 0, 3, 2), axis=1)
    return net("Reshape", both, net.whole(1, 1, 4))


def found(explanation: rc.Explanation) -> set[tuple[Any, ...]]:
    return {(each.label, tuple(map(round, each.box or ()))) for each in explanation.detections[0]}


@pytest.mark.parametrize("form", ["paddle", "rt-detr"])
def test_the_picture_says_how_large_it_is(form: str, tmp_path: Path) -> None:
    model, picture = detector(form), street(64, 64)
    assert found(rc.explain(model, picture, **OPTIONS)) == WANTED
    onnx.save(model, tmp_path / "detector.onnx")
    Image.fromarray(picture).save(tmp_path / "street.png")
    arguments = ["explain", "detector.onnx", "street.png", "-o", "out", "--preprocess", "unit", "--format", "json"]
    ran = CliRunner().invoke(app, [str(tmp_path / a) if "." in a or a == "out" else a for a in arguments])
    assert ran.exit_code == 0, ran.output


def test_what_is_given_counts_and_what_nothing_reads_may_be_given() -> None:
    given = {"image": street(64, 64), "scale_factor": [[2, 2]], "im_shape": [[SIDE, SIDE]]}
    halves = {(label, tuple(side // 2 for side in box)) for label, box in WANTED}
    assert found(rc.explain(detector("paddle"), given, **OPTIONS)) == halves
    with pytest.raises(rc.InputError, match="no input is called 'im_shpe'"):
        rc.explain(detector("paddle"), {"image": street(), "im_shpe": [[1, 1]]}, **OPTIONS)
