"""Maps into pictures: colours and overlays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.errors import InputError
from relcam_onnx.pictures.geometry import Floats, centres, sample
from relcam_onnx.results.colormap import HEAT

ALPHA, FAINT = 0.8, 0.3
"""The opacity of a map's maximum, and of one that there is no evidence for."""


def resize_map(values: Floats, size: tuple[int, int]) -> Floats:
    """Resize a map bilinearly with half-pixel centres, as ONNX's Resize does (no smoothing where it shrinks).

    Parameters
    ----------
    values
        (h, w).
    size
        The new height and width.

    Returns
    -------
    NDArray
        (H, W), float32.
    """
    height, width = values.shape
    return sample(np.asarray(values, np.float32), centres(size[0], height), centres(size[1], width))


def _opacity(most: float) -> list[int]:
    """0..255 for each of 256 levels of a map, ``most`` at the last one."""
    share = np.linspace(0, 1, 256)
    # The square root lets the middle of the map show, the ramp keeps a faint floor from veiling the picture.
    values: list[int] = np.rint(255 * most * np.sqrt(share) * np.clip(share / 0.15, 0, 1)).astype(int).tolist()
    return values


OPACITY, FAINTLY, PALETTE = _opacity(ALPHA), _opacity(FAINT), HEAT.tobytes()


def overlay(image: Image.Image, heat: Floats, *, faint: bool = False, most: float | None = None) -> Image.Image:
    """Lay the positive part of a map over its picture.

    Opacity grows with the value: where nothing is relevant the picture stays as it is.

    Parameters
    ----------
    image
        The picture.
    heat
        (H, W), raw, at the picture's size.
    faint
        For a map of a class that the model has no evidence for.
    most
        The value that has the last colour; None: the map's maximum.

    Returns
    -------
    Image.Image
        Mode RGB, the picture's size.

    Raises
    ------
    InputError
        The map has another size than the picture.
    """
    if heat.shape != (image.height, image.width):
        raise InputError(
            f"a map of {heat.shape} does not fit a picture of {(image.height, image.width)}; use resize_map"
        )
    levels = Image.fromarray(to_levels(heat, most))
    veil = levels.point(FAINTLY if faint else OPACITY)
    levels.putpalette(PALETTE)
    return Image.composite(levels.convert("RGB"), image.convert("RGB"), veil)


def to_levels(heat: Floats, most: float | None = None) -> NDArray[np.uint8]:
    """The positive part of a map over its maximum, or ``most``, in 0..255; 0 where nothing is positive."""
    share = _positive(heat)
    share /= max(share.max() if most is None else most, np.finfo(np.float32).tiny)
    share *= 255
    return np.rint(np.minimum(share, 255)).astype(np.uint8)


def _positive(heat: Floats) -> Floats:
    return np.maximum(heat, np.float32(0))
