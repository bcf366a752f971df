"""Arrays of pictures, channels first, as a model takes them; and what stands for nothing in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.model import Scaling
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.pictures.preprocess import Preprocess

COLOUR = {"R": 0.485, "G": 0.456, "B": 0.406, "L": 0.458, "A": 1.0}
"""The mean of ImageNet's pictures, and of their grey, as shares of white."""
WHITE = 255


def channels_first(array: NDArray[Any], how: Preprocess) -> Floats:
    """A picture, (C, H, W)."""
    return np.ascontiguousarray(array.transpose(2, 0, 1) if how.layout == "NHWC" else array, np.float32)


def as_taken(x: Floats, how: Preprocess) -> NDArray[Any]:
    """Pictures, (N, C, H, W), as the model takes them; altered ones are rounded and bounded where it takes integers."""
    placed, dtype = x.transpose(0, 2, 3, 1) if how.layout == "NHWC" else x, np.dtype(how.dtype)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        placed = np.clip(np.rint(placed), bounds.min, bounds.max)
    return np.ascontiguousarray(placed, dtype)


def nothing(how: Preprocess, inside: Scaling | None) -> Floats:
    """What a hidden pixel is, (C, 1, 1): what comes to 0, the mean colour, where preprocessing or the file centres.

    Where neither does it is ImageNet's mean colour: so it is the same wherever colours are centred.
    """
    count = len(how.channels)
    if inside is not None and any(inside.shift):
        scale, shift = (np.broadcast_to(np.array(part), count) for part in inside)
        colour = -shift / scale
    elif any(how.mean):
        colour = np.zeros(count)
    else:
        colour = np.array([COLOUR[each] for each in how.channels]) * WHITE * how.scale / np.array(how.std)
    return np.asarray(colour, np.float32)[:, None, None]
