"""Coarse planes at the picture's size, bilinear, in plain NumPy.

Not by matrix products, nor are sums over masks: BLAS's threads would go on spinning beside onnxruntime's, which runs
after each few of them, and take half of its time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.probing.subject import Floats


def grown(planes: Floats, size: tuple[int, int], *, aligned: bool) -> Floats:
    """(M, h, w) to (M, H, W): corners on corners where ``aligned``, else half-pixel centres, as ONNX's Resize."""
    for axis, wanted in ((1, size[0]), (2, size[1])):
        low, high, share = between(planes.shape[axis], wanted, aligned=aligned)
        weight = share[:, None] if axis == 1 else share
        planes = planes.take(low, axis) * (1 - weight) + planes.take(high, axis) * weight
    return planes


def between(before: int, after: int, *, aligned: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """For each of ``after`` positions the two that it lies between, and how near it is to the second."""
    places = np.arange(after)
    at = places * (before - 1) / max(after - 1, 1) if aligned else (places + 0.5) * before / after - 0.5
    at = np.clip(at, 0, before - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, before - 1), (at - low).astype(np.float32)


def spread(values: Floats, masks: Floats) -> NDArray[np.float64]:
    """Σ_m values (m, k) · masks (m, h, w), (K, H, W), float64."""
    total: NDArray[np.float64] = np.einsum("mk,mhw->khw", values, masks, dtype=np.float64, casting="same_kind")
    return total
