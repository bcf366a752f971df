"""Regions as shapes: connected components, polygons; and as the picture's own edges have them.

Needs scikit-image and OpenCV, the extra ``regions``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import InputError
from relcam_onnx.extras import require
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.segment import segment

Mask = NDArray[np.bool_]

SURE, POSSIBLE = "mass=0.5", "mass=0.95"
"""What of a map is inside whatever the picture's colours say, and beyond what nothing is."""
ROUNDS = 5
"""Of GrabCut."""


def check_installed() -> None:
    """What shapes need is there; `OptionError` where it is not."""
    require("shapes of regions need", "regions", "skimage", "cv2")


def _skimage() -> Any:
    check_installed()
    import skimage.measure  # noqa: PLC0415 - an extra, and slow to import

    return skimage


def components(mask: Mask) -> list[Mask]:
    """The connected parts of a region (8 neighbours), the largest first.

    Parameters
    ----------
    mask
        bool (H, W).

    Raises
    ------
    OptionError
        scikit-image is not installed.
    """
    labels = _skimage().measure.label(mask, connectivity=2)
    sizes = np.bincount(labels.reshape(-1))[1:]
    return [labels == number for number in 1 + np.argsort(-sizes, kind="stable")]


def polygons(mask: Mask) -> list[list[float]] | None:
    """The outlines of a region, as COCO has them: x, y, x, y, ... in pixels, one list an outline.

    None where it has holes, which such polygons cannot have. Errors as in `components`.
    """
    # Half-way between a pixel inside and one outside; a frame of nothing closes outlines at the picture's edge.
    outlines = _skimage().measure.find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    found = []
    for outline in outlines:
        row, column = outline[:-1].T
        turning = float(column @ np.roll(row, -1) - row @ np.roll(column, -1))
        if turning < 0:
            return None
        corners = _skimage().measure.approximate_polygon(outline, 0.5) - 0.5
        found.append([float(value) for corner in corners[:-1, ::-1] for value in corner])
    return [outline for outline in found if len(outline) >= 6]


def refined(heat: Floats, region: Mask, picture: NDArray[np.uint8]) -> Mask:
    """A region with the edges that its picture has, by the colours in it and around it.

    GrabCut (Rother et al. 2004, doi:10.1145/1015706.1015720), started from the region; where half of the map lies
    is inside, and beyond 95 % of it nothing is.

    Parameters
    ----------
    heat
        The map, (H, W).
    region
        What was marked in it, bool (H, W).
    picture
        uint8 (H, W, 3).

    Raises
    ------
    InputError
        They differ in size.
    OptionError
        OpenCV is not installed.
    """
    if picture.shape != (*region.shape, 3):
        raise InputError(f"a region {region.shape} takes the edges of a picture of its size, not {picture.shape[:2]}")
    check_installed()
    import cv2  # noqa: PLC0415 - as above

    sure, possible = segment(heat, SURE) & region, segment(heat, POSSIBLE) | region
    if not sure.any() or possible.all():
        return region
    classes = np.where(region, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    classes[sure], classes[~possible] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)  # it draws the first centres of colours
    cv2.grabCut(picture, classes, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((classes == cv2.GC_FGD) | (classes == cv2.GC_PR_FGD))
