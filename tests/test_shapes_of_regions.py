"""Regions as components, polygons and run lengths, in COCO's form, and with the picture's own edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import blob, saved, seeing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx import extras
from relcam_onnx.cli import app
from relcam_onnx.results.run_lengths import uncompressed
from relcam_onnx.results.shapes import components, polygons, refined

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans())


def relcam(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def from_runs(runs: dict[str, list[int]]) -> np.ndarray:
    """As COCO's tools read them."""
    height, width = runs["size"]
    flat = np.zeros(height * width, bool)
    place = 0
    for number, count in enumerate(runs["counts"]):
        flat[place : place + count] = number % 2
        place += count
    assert place == flat.size
    return flat.reshape(width, height).T


@given(masks)
def test_run_lengths_are_the_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(from_runs(uncompressed(mask)), mask)


@given(masks)
def test_components_are_the_mask_the_largest_first(mask: np.ndarray) -> None:
    found = components(mask)
    np.testing.assert_array_equal(np.sum([np.zeros_like(mask), *found], axis=0), mask)
    sizes = [int(part.sum()) for part in found]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("at_edge", [False, True])
def test_polygons_drawn_again_are_the_mask(at_edge: bool) -> None:
    """To a pixel of its outline: corners are cut half-way."""
    mask = np.zeros((40, 60), bool)
    mask[(0 if at_edge else 5) : 25, 10:50] = True
    mask[25:35, 10:20] = True
    (outline,) = polygons(mask) or []
    drawn = Image.new("1", (60, 40))
    ImageDraw.Draw(drawn).polygon(
        [(x - 0.5, y - 0.5) for x, y in zip(outline[::2], outline[1::2], strict=True)], fill=1
    )
    assert (np.asarray(drawn) ^ mask).sum() <= 60
    assert len(outline) == 12


def test_holes_have_no_polygon() -> None:
    mask = np.ones((9, 9), bool)
    mask[4, 4] = False
    assert polygons(mask) is None


def test_a_refined_region_has_the_edges_of_its_picture() -> None:
    """A square that a bump marks roughly."""
    rng = np.random.default_rng(0)
    picture = rng.integers(30, 60, (60, 80, 3)).astype(np.uint8)
    picture[20:45, 30:60] = rng.integers(190, 230, (25, 30, 3))
    wanted = picture[:, :, 0] > 100
    rows, columns = np.mgrid[:60, :80]
    heat = np.exp(-((rows - 36) ** 2 + (columns - 48) ** 2) / 200).astype(np.float32)
    rough = rc.segment(heat)
    found = refined(heat, rough, picture)
    before, after = ((region & wanted).sum() / (region | wanted).sum() for region in (rough, found))
    assert after > 0.9 > before
    np.testing.assert_array_equal(refined(heat, rough, picture), found)
    assert not refined(0 * heat, rough & False, picture).any()
    with pytest.raises(rc.InputError, match="edges of a picture of its size"):
        refined(heat, rough, picture[:5])


def test_the_best_threshold_is_found() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random((20, 20)).astype(np.float32) for _ in range(4)]
    masks = [heat / heat.max() >= 0.62 for heat in maps]
    found = rc.best_threshold(maps, masks)
    assert found == pytest.approx(0.62)
    for heat, mask in zip(maps, masks, strict=True):
        np.testing.assert_array_equal(rc.segment(heat, found), mask)
    with pytest.raises(rc.InputError, match="for each a mask of its size"):
        rc.best_threshold(maps, [mask[:3] for mask in masks])
    with pytest.raises(rc.InputError, match="at least one map"):
        rc.best_threshold([], [])
    with pytest.raises(rc.InputError, match="a mask for each map, not 1 masks for"):
        rc.best_threshold(maps, masks[:1])


def test_regions_in_cocos_form(tmp_path: Path) -> None:
    model = saved(seeing(), tmp_path / "model.onnx")
    rng = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for place, colour in enumerate(("red", "blue")):
        blob(colour, rng).resize((320, 160)).save(tmp_path / "in" / f"{place}.png")
    asked = ("explain", model, tmp_path / "in", "-o", tmp_path / "out", "--format", "coco", "--top", "2")
    assert relcam(*asked).exit_code == 0
    found = json.loads((tmp_path / "out" / "regions.json").read_text())
    assert [Path(image["file_name"]).name for image in found["images"]] == ["0.png", "1.png"]
    assert {c["name"] for c in found["categories"]} >= {"red", "blue"}
    own = [a for a in found["annotations"] if a["image_id"] == 1 and a["category_id"] == 0]
    assert own
    for annotation in found["annotations"]:
        left, top, width, height = annotation["bbox"]
        assert 0 <= left < left + width <= 320
        assert 0 <= top < top + height <= 160
        assert 0 < annotation["area"] <= width * height
    pixels = np.asarray(Image.open(tmp_path / "in" / "0.png")).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - (220, 30, 30)).sum(axis=2) < 60)
    left, top, width, height = max(own, key=lambda a: a["area"])["bbox"]
    assert left - 25 <= columns.min()
    assert columns.max() <= left + width + 25
    assert top - 25 <= rows.min()
    assert rows.max() <= top + height + 25
    assert relcam(*asked, "--refine", "--mask").exit_code == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["options"]["refine"] is True


@pytest.mark.parametrize("asked", [("--format", "coco"), ("--refine",)])
def test_what_is_not_installed_is_said_at_once(
    asked: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    model = saved(seeing(), tmp_path / "model.onnx")
    blob("red", np.random.default_rng(0)).save(tmp_path / "a.png")
    result = relcam("explain", model, tmp_path / "a.png", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 2
    assert "need skimage and cv2: pip install 'relcam-onnx[regions]'" in result.stderr
    assert not (tmp_path / "out").exists()
