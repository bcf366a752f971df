"""The colour map of overlays, as a table of 256 colours.

It goes through a few anchor colours in Oklab (Ottosson 2020), where equal distances look equally far. Its lightness
rises evenly, so that it shows no edge that is not there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _table(anchors: list[tuple[float, float, float]], count: int) -> NDArray[np.uint8]:
    """(count, 3) sRGB through evenly spaced anchors: lightness 0..1, chroma, hue in degrees."""
    at, nodes = np.linspace(0, 1, count), np.linspace(0, 1, len(anchors))
    lightness, chroma, hue = (np.interp(at, nodes, axis) for axis in np.array(anchors).T)
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    linear = np.clip((lab @ _TO_CONES.T) ** 3 @ _TO_LINEAR.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * srgb), np.uint8)


HEAT = _table(
    [
        (0.22, 0.10, 285),
        (0.37, 0.18, 300),
        (0.52, 0.19, 350),
        (0.67, 0.20, 395),
        (0.82, 0.16, 435),
        (0.97, 0.13, 465),
    ],
    count=256,
)
"""(256, 3) uint8: indigo, violet, magenta, orange, yellow."""
