"""Maps that lie in a picture's plane, and pictures laid side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.errors import InputError
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.explanation import Explanation

Maps: TypeAlias = dict[str, Floats]
"""Layer -> (K, h, w), of one picture."""


def spread(usual: Iterable[Floats], x: Floats) -> Floats:
    """Pictures (C, H, W) as large as x, (1, C, H, W), which may be a mosaic: repeated side by side.

    Of pictures of several sizes those that fill it count: as large as x, or as its tiles.

    Raises
    ------
    InputError
        There are none, or x alone.
    """
    height, width = x.shape[2:]
    every = list(usual)
    sizes = {each.shape for each in every}
    fitting = [each for each in every if len(sizes) == 1 or not (height % each.shape[1] or width % each.shape[2])]
    found = [np.tile(e, (1, -(-height // e.shape[1]), -(-width // e.shape[2])))[:, :height, :width] for e in fitting]
    if all(np.array_equal(each, x[0]) for each in found):
        raise InputError(
            f"the method needs other pictures of its size, {height} × {width}, to stand for the usual: bring more, or "
            "let the preprocessing make all of them one size"
        )
    return np.stack(found)


def planes(found: Explanation) -> Maps:
    """The maps of an explanation of one picture that lie in its plane, channels summed: layer -> (K, h, w).

    Named as `as_compared` has it.
    """
    kept = {}
    for layer, values in found.maps.items():
        summed = values[0].sum(axis=1) if layer in found.maps.with_channels else values[0]
        if summed.ndim == 3:
            kept[layer] = np.asarray(summed, np.float32)
    return as_compared(kept, list(kept))


def as_compared(maps: Maps, layers: Sequence[str]) -> Maps:
    """Maps by the names that an audit of these layers has: where none is fused, the last one stands for it."""
    if FUSED in layers:
        return maps
    return {FUSED if layer == layers[-1] else layer: values for layer, values in maps.items() if layer != FUSED}
