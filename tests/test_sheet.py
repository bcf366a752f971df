"""Sheets, figures and notebooks show every map of every target, whatever the picture and the labels are."""

from __future__ import annotations

import base64
import io
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import plain
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.lrp.maps import MapSource
from relcam_onnx.results import render, sheet, words

LABELS = ["cat", "dog", "crane", "ship", "东北虎"]


def noise(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def explained(picture: np.ndarray | None = None, **options):
    picture = noise() if picture is None else picture
    return rc.explain(plain(), picture, **{"preprocess": "unit", "labels": LABELS} | options)


def test_a_sheet_has_the_picture_and_every_map_a_row_a_target() -> None:
    e = explained(targets=[[4, 1, 3]])
    content = sheet.panels(e)
    assert content[0].titles == ["image 0", "stride 1", "stride 2", "stride 4", "fused"]
    assert [row.caption for row in content] == [words.caption(e, 0, place) for place in range(3)]
    assert [row.caption.split(" %")[0].rsplit(" ", 1)[0] for row in content] == ["4 东北虎", "1 dog", "3 ship"]
    assert all(f", margin {m:.1f}: no evidence" in row.caption for m, row in zip(e.margin[0], content, strict=True))
    width, height = content[0].panels[0].size
    assert width / height == pytest.approx(60 / 40, rel=0.01)
    drawn = e.sheet()
    for number, row in enumerate(content):
        assert len(row.panels) == len(content[0].titles)
        for column, panel in enumerate(row.panels):
            left = sheet.MARGIN + column * (width + sheet.GAP)
            top = sheet.MARGIN + 2 * sheet.LINE + number * (sheet.LINE + height + sheet.GAP)
            place = drawn.crop((left, top, left + width, top + height))
            np.testing.assert_array_equal(np.asarray(place), np.asarray(panel))


def test_a_panel_is_the_overlay_seen_smaller() -> None:
    """Of a smooth picture: drawn at a panel's size, or drawn in full and then made smaller."""
    pixels = np.asarray(Image.fromarray(noise(5, 8)).resize((1200, 750), Image.Resampling.BICUBIC))
    e = explained(pixels)
    (row,) = sheet.panels(e)
    for layer, panel in zip(e.maps, row.panels[1:], strict=True):
        full = e.overlay(layer).resize(panel.size, Image.Resampling.BOX)
        difference = np.abs(np.asarray(full, float) - np.asarray(panel))
        # Where a map of 32 cells bends, the middle of a panel's pixel and the mean of what it covers differ: by far at
        # a single bright cell, hardly anywhere else.
        assert difference.mean() < 1.5, layer
        assert np.quantile(difference, 0.99) < 10, layer


def test_a_map_finer_than_its_panel_is_averaged() -> None:
    e = explained(noise(64, 64), layers=["stage1"])
    e.maps["stage1"] = np.random.default_rng(0).standard_normal((1, 1, 640, 640), np.float32)
    content = sheet.panels(e)
    size = content[0].panels[0].size
    assert size == (220, 220)
    # 640 cells for 220 pixels: three places are read for each pixel of a side.
    fine = e.heat("stage1", size=(660, 660)).reshape(220, 3, 220, 3).mean(axis=(1, 3))
    wanted = render.overlay(content[0].panels[0], fine, faint=e.doubt() is not None)
    np.testing.assert_allclose(np.asarray(content[0].panels[1], int), np.asarray(wanted, int), atol=2)


@given(st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)))
def test_panels_are_of_one_area_and_never_too_long(size: tuple[int, int]) -> None:
    height, width = sheet.fitted(size)
    assert 1 <= min(height, width) <= max(height, width) <= sheet.LONGEST
    if max(size) <= 4 * min(size):
        assert height * width == pytest.approx(sheet.AREA, rel=0.02)
        assert width / height == pytest.approx(size[1] / size[0], rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2), (700, 900)])
def test_pictures_of_any_shape_have_a_sheet(size: tuple[int, int]) -> None:
    drawn = explained(noise(*size), preprocess={"size": [32, 32], "resize": "squash"}).sheet()
    assert drawn.width <= 2 * sheet.MARGIN + 5 * (sheet.LONGEST + sheet.GAP)
    assert drawn.height <= 2 * sheet.MARGIN + 2 * sheet.LINE + sheet.LONGEST


@given(st.text(max_size=60) | st.text(st.characters(), max_size=60))
def test_any_text_can_be_written(text: str) -> None:
    sheet.line(text, 200)
    assert "\n" not in sheet.legible(text)


def test_letters_that_the_font_lacks_show_as_boxes_and_accents_are_left_off() -> None:
    assert sheet.legible("Löwe,\tžába\u202e ×2") == "Lowe, zaba ×2"
    assert sheet.legible("东北虎") == "东北虎"
    box = np.asarray(sheet.line("东", 100))
    assert box.any()
    np.testing.assert_array_equal(box, np.asarray(sheet.line("北", 100)))


def test_long_texts_keep_both_ends() -> None:
    long = np.asarray(sheet.line("begin " + "and on " * 100 + "end", 150))
    assert long.shape == (sheet.LINE, 150)
    assert not long[:, -3:].any()
    start = np.asarray(sheet.line("beg", 150))
    columns = np.flatnonzero(start.any(axis=0))[-1] - 2
    np.testing.assert_array_equal(long[:, :columns], start[:, :columns])


def test_arrays_have_a_sheet_of_maps_alone() -> None:
    with rc.Explainer(plain()) as explainer:
        e = explainer(np.full((2, 3, 32, 32), 0.5, np.float32), targets=1)
    content = sheet.panels(e, 1)
    assert content[0].titles == ["stride 1", "stride 2", "stride 4", "fused"]
    assert content[0].caption.startswith("class 1 ")
    assert e.sheet(1).width == 2 * sheet.MARGIN + 4 * (220 + sheet.GAP) - sheet.GAP


def test_layers_without_positions_are_left_out() -> None:
    e = explained(layers=["scores", "stage4", "input"], method="lrp")
    assert e.maps.drawable == ["stage4", "input"]
    assert sheet.panels(e)[0].titles == ["image 0", "stage4, stride 4", "input"]
    bare = explained(layers="scores", method="lrp")
    with pytest.raises(rc.LayerError, match=r"scores.*two axes of positions"):
        bare.sheet()
    assert "scores" in bare._repr_html_()
    assert "<img" not in bare._repr_html_()


def test_an_image_that_is_not_there() -> None:
    with pytest.raises(rc.InputError, match="no image 2"):
        explained([noise(), noise()]).sheet(2)


@pytest.mark.parametrize(
    ("source", "title"),
    [
        (MapSource("stride8", "x", 8.0), "stride 8"),
        (MapSource("depth3", "x", 16.0), "depth 3"),
        (MapSource("layer4", "x", 32.0), "layer4, stride 32"),
        (MapSource("fused"), "fused"),
        (MapSource("input", "x", 1.0), "input"),
        (MapSource("strides", "x", 2.0), "strides, stride 2"),
    ],
)
def test_titles(source: MapSource, title: str) -> None:
    assert words.title(source) == title


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, "0 %"),
        (-0.003, "0 %"),
        (-0.2, "-20 %"),
        (1e-5, "< 0.1 %"),
        (0.0042, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.376, "38 %"),
        (1, "100 %"),
    ],
)
def test_probabilities_in_words(share: float, said: str) -> None:
    assert words.percent(share) == said


def test_an_explanation_prints_in_a_few_lines() -> None:
    e = explained([noise()] * 12, targets=[[1, 4]] * 12)
    lines = repr(e).splitlines()
    assert len(lines) == 13
    assert lines[0].startswith("Explanation of a model without a file: local-relevance-cam, preset default, seed")
    assert lines[1] == f"  image 0, 60×40: {words.target(e, 0, 0)}, {words.target(e, 0, 1)}"
    assert lines[-2] == "  and 2 more images"
    assert lines[-1] == "  maps: stride 1 (32×32); stride 2 (16×16); stride 4 (8×8); fused (32×32)"


def test_a_notebook_shows_one_sheet_a_picture() -> None:
    e = explained([noise(), noise(20, 20)], labels=["<script>", '"x"', "&", "b", "c"], targets=[[0, 1]] * 2)
    html = e._repr_html_()
    images = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]*)"', html)
    assert len(images) == 2
    for index, (data, alt) in enumerate(images):
        shown = Image.open(io.BytesIO(base64.b64decode(data)))
        assert shown.size == e.sheet(index).size
        assert np.abs(np.asarray(shown, float) - np.asarray(e.sheet(index))).mean() < 8
        assert "&lt;script&gt;" in alt
    assert "<script>" not in html


def test_the_figure_has_the_panels_of_the_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    e = explained(labels=["$a^2_", "$\\frac$", "<c>", "d", "e"], targets=[[0, 1]])
    figure, content = e.plot(), sheet.panels(e)
    figure.canvas.draw()
    assert [part.get_suptitle().replace("\n", " ") for part in figure.subfigs] == [row.caption for row in content]
    for part, row in zip(figure.subfigs, content, strict=True):
        assert [axes.get_title() for axes in part.axes] == row.titles
        for axes, panel in zip(part.axes, row.panels, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), np.asarray(panel))
    pyplot.close(figure)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    with pytest.raises(rc.OptionError, match="pip install matplotlib"):
        e.plot()


def test_the_palette_is_the_colour_map() -> None:
    assert render.OPACITY[0] == 0
    assert render.OPACITY[-1] == round(255 * render.ALPHA)
    assert sorted(render.OPACITY) == render.OPACITY
