"""Drawn shapes: where they are is known, and their files say so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.shapes import LABELS, SIZE, draw, outline, pictures


@pytest.mark.parametrize("seed", range(20))
def test_a_shape_is_where_its_corners_are(seed: int) -> None:
    """Inside, the picture is one colour but for the noise; drawing is the same each time."""
    drawing = draw(seed)
    mask = Image.new("1", (SIZE, SIZE))
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in drawing.corners], fill=1)
    inside = np.asarray(mask)
    assert 0.01 < inside.mean() < 0.25
    assert drawing.corners.min() > -1
    assert drawing.corners.max() < SIZE + 1
    assert drawing.pixels[inside].std(axis=0).max() < 14
    np.testing.assert_array_equal(drawing.pixels, draw(seed).pixels)


def test_all_shapes_differ_and_have_their_size() -> None:
    for label in LABELS:
        assert 0.8 < np.hypot(*outline(label).T).max() <= 1
    assert len({len(outline(label)) for label in LABELS}) == len(LABELS)


def test_pictures_come_with_labels_and_outlines(tmp_path: Path) -> None:
    pictures(tmp_path, 8)
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    outlines = json.loads((tmp_path / "outlines.json").read_text())
    assert len(rows) == len(outlines) == 8
    for row in rows:
        assert LABELS[int(row["index"])] in row["file"]
        assert Image.open(tmp_path / row["file"]).size == (SIZE, SIZE)
        assert np.max(outlines[row["file"]]) <= 1.1
