"""The region that a map marks: known maps, and large pictures against the same told pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import plain

import relcam_onnx as rc
from relcam_onnx.results.regions import FINEST, Region, told_at


def test_nothing_and_everything() -> None:
    nothing, everything = Region(np.zeros((4, 4), bool), (9, 9)), Region(np.ones((4, 6), bool), (40, 50))
    assert (nothing.box, nothing.area) == (None, 0)
    assert (everything.box, everything.area) == ((0, 0, 50, 40), 2000)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_box_and_area_are_the_masks_own(down: int, across: int, more: int, further: int, seed: int) -> None:
    cells = np.random.default_rng(seed).random((down, across)) > 0.6
    region = Region(cells, (down + more, across + further))
    rows, columns = np.nonzero(region.mask)
    assert region.mask.shape == region.size
    assert region.area == len(rows)
    wanted = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
    assert region.box == wanted


def test_a_pixel_belongs_to_the_cell_that_its_centre_lies_in() -> None:
    cells = np.eye(3, dtype=bool)
    centres = (np.arange(7) + 0.5) / 7 * 3
    wanted = cells[np.floor(centres).astype(int)][:, np.floor(centres).astype(int)]
    np.testing.assert_array_equal(Region(cells, (7, 7)).mask, wanted)


@pytest.mark.parametrize("size", [(1, 1), (40, 60), (FINEST, 3), (3, FINEST), (3000, 4000), (20000, 2)])
def test_the_grid_is_the_picture_or_no_finer_than_needed(size: tuple[int, int]) -> None:
    grid = told_at(size)
    assert max(grid) <= FINEST
    assert min(grid) >= 1
    assert grid == size or max(size) > FINEST
    assert grid[0] / grid[1] == pytest.approx(size[0] / size[1], rel=0.01) or min(grid) == 1


def test_a_large_picture_has_the_region_that_all_its_pixels_have() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8).repeat(50, 0).repeat(70, 1)
    found = rc.explain(plain(), pixels, preprocess="unit")
    for layer in found.maps:
        region, wanted = Region.of(found, layer, 0), rc.segment(found.heat(layer))
        assert region.cells.shape == (round(1600 / 2240 * FINEST), FINEST)
        # The border of a region lies within the pixels that a cell is wide.
        assert (region.mask != wanted).mean() < 0.01
        assert region.area == pytest.approx(wanted.sum(), rel=0.02)
        rows, columns = np.nonzero(wanted)
        np.testing.assert_allclose(
            region.box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], rtol=0, atol=4
        )
