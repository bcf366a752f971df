"""Maps that lie in a picture's plane, and pictures laid side by side."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.explanation import Explanation

Maps: TypeAlias = dict[str, Floats]
"""Layer -> (K, h, w), of one picture."""


def spread(usual: Floats, x: Floats) -> Floats:
    """Pictures (M, C, H, W) as large as others, which may be mosaics: repeated side by side."""
    height, width = x.shape[2:]
    times = (1, 1, -(-height // usual.shape[2]), -(-width // usual.shape[3]))
    return np.tile(usual, times)[:, :, :height, :width]


def planes(found: Explanation) -> Maps:
    """The maps of an explanation of one picture that lie in its plane, channels summed: layer -> (K, h, w).

    Where none is fused, the last one stands for it under that name.
    """
    kept = {}
    for layer, values in found.maps.items():
        summed = values[0].sum(axis=1) if layer in found.maps.with_channels else values[0]
        if summed.ndim == 3:
            kept[layer] = np.asarray(summed, np.float32)
    if kept and FUSED not in kept:
        kept[FUSED] = kept.pop(list(kept)[-1])
    return kept
