"""Regions as COCO's run lengths."""

import numpy as np
import pytest
from batches import mask_of

from relcam_onnx.results.regions import Region, told_at
from relcam_onnx.results.run_lengths import Runs, compressed, uncompressed


@pytest.mark.parametrize(("rows", "counts"), [
    ("0110 0100 1001", "231N30"),
    ("0000 0000 0000", "<"),
    ("1111 1111 1111", "0<"),
    ("1000 0000 0000", "01;"),
])  # fmt: skip
def test_texts_are_those_of_pycocotools(rows: str, counts: str) -> None:
    """What `pycocotools.mask.encode` 2.0.11 gave for them."""
    cells = np.array([list(map(int, row)) for row in rows.split()], bool)
    assert compressed(Region(cells, cells.shape)) == {"size": [3, 4], "counts": counts}


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (700, 451), (300, 2100)])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_a_mask_comes_back_in_the_pictures_pixels(size: tuple[int, int], share: float) -> None:
    cells = np.random.default_rng(0).uniform(size=told_at(size)) < share
    region = Region(cells, size)
    np.testing.assert_array_equal(mask_of(compressed(region)), region.mask)
    for told in (compressed(region), uncompressed(region.mask)):
        np.testing.assert_array_equal(Runs.read(told).mask, region.mask)


@pytest.mark.parametrize("counts", [[3, 4], [20, -8], "<<", [[12]], None])
def test_what_are_no_run_lengths_of_the_size(counts: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        Runs.read({"size": [3, 4], "counts": counts})
