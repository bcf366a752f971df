"""Resize, axis by axis: along each one it is a matrix that depends on the sizes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relcam_onnx.backends._arrays import Array, as_array, integers
from relcam_onnx.backends._reference import reference
from relcam_onnx.errors import OptionError

Floats = NDArray[np.float32]

_MATRIX_OPTIONS = ("coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside")

# Where output position o lies in the input: (o, n_in, n_out, scale) -> coordinate. In float32, as runtimes
# compute it: nearest rounds at ties, where the last bit decides.
_COORDINATES: dict[str, Callable[[Floats, int, int, np.float32], Array]] = {
    "half_pixel": lambda o, n_in, n_out, scale: (o + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda o, n_in, n_out, scale: (
        np.float32(n_in / 2) * (1 - n_out / (scale * np.float32(n_in))) + (o + 0.5) / scale - 0.5
    ),
    "pytorch_half_pixel": lambda o, n_in, n_out, scale: (o + 0.5) / scale - 0.5 if n_out > 1 else o * 0,
    "asymmetric": lambda o, n_in, n_out, scale: o / scale,
    "align_corners": lambda o, n_in, n_out, scale: o * (n_in - 1) / max(n_out - 1, 1),
}
_ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "round_prefer_floor": lambda c: np.ceil(c - 0.5),
    "round_prefer_ceil": lambda c: np.floor(c + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@lru_cache(maxsize=256)
def resize_matrix(
    n_in: int,
    n_out: int,
    scale: float,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
) -> Floats:
    """Give the interpolation along one axis as a matrix.

    Parameters
    ----------
    n_in, n_out
        Positions before and after.
    scale
        Output over input positions: the node's own scale, or ``n_out / n_in`` where it has sizes.
    mode, coordinate_transformation_mode, nearest_mode, cubic_coeff_a, exclude_outside
        Resize's attributes under ONNX's names.

    Returns
    -------
    ndarray
        float32 (n_out, n_in), read-only; each row holds the weights of one output position and sums to 1.

    Raises
    ------
    OptionError
        One of the three modes is none that a matrix of sizes alone can express.
    """
    modes: dict[str, tuple[str, Sequence[str]]] = {
        "mode": (mode, ("nearest", "linear", "cubic")),
        "coordinate_transformation_mode": (coordinate_transformation_mode, list(_COORDINATES)),
        "nearest_mode": (nearest_mode, list(_ROUNDINGS)),
    }
    for name, (value, possible) in modes.items():
        if value not in possible:
            raise OptionError(f"Resize has no matrix for {name} {value!r}; use {', '.join(possible)}")
    outputs = np.arange(n_out, dtype=np.float32)
    at = _COORDINATES[coordinate_transformation_mode](outputs, n_in, n_out, np.float32(scale))
    if mode == "nearest":
        base, weights = _ROUNDINGS[nearest_mode](at), np.ones((n_out, 1), np.float32)
        neighbours = np.array([0])
    elif mode == "linear":
        base = np.floor(at)
        weights = np.stack([1 - (at - base), at - base], axis=1)
        neighbours = np.array([0, 1])
    else:
        base = np.floor(at)
        neighbours = np.array([-1, 0, 1, 2])
        weights = _cubic(np.abs(at[:, None] - base[:, None] - neighbours), cubic_coeff_a)
    positions = base.astype(np.int64)[:, None] + neighbours
    if exclude_outside:
        weights = weights * ((positions >= 0) & (positions < n_in))
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((n_out, n_in), np.float32)
    np.add.at(matrix, (np.arange(n_out)[:, None], positions.clip(0, n_in - 1)), weights)
    matrix.flags.writeable = False
    return matrix


def _cubic(distance: Floats, a: float) -> Floats:
    """Keys' cubic convolution kernel at distances of up to 2."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, far)


def resize(
    x: ArrayLike,
    roi: ArrayLike | None = None,
    scales: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    *,
    mode: str = "nearest",
    axes: Sequence[int] | None = None,
    **attributes: Any,
) -> Array:
    """Change the size of some axes (ONNX Resize).

    Parameters
    ----------
    x
        Any shape.
    roi, scales, sizes
        As in ONNX: of ``scales`` (float32) and ``sizes`` (int64) exactly one is given.
    mode, axes, **attributes
        As in ONNX. ``antialias``, ``tf_crop_and_resize`` and a kept aspect ratio go to ONNX's reference
        implementation.

    Returns
    -------
    ndarray
        The dtype of ``x``.
    """
    x = as_array(x)
    if (
        attributes.get("antialias")
        or attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        return np.asarray(reference("Resize", x, roi, scales, sizes, mode=mode, axes=axes, **attributes))
    options = {name: attributes[name] for name in _MATRIX_OPTIONS if name in attributes}
    wanted = list(axes) if axes is not None else list(range(x.ndim))
    before = np.array([x.shape[axis] for axis in wanted], np.float32)
    if sizes is not None and np.size(sizes):
        counts = integers(sizes)
        factors = np.asarray(counts, np.float32) / before
    else:
        factors = np.asarray(scales, np.float32).reshape(-1)
        counts = integers(np.floor(before * factors))
    y = x
    for axis, count, factor in zip(wanted, counts, factors, strict=True):
        if factor == 1:
            continue
        matrix = resize_matrix(x.shape[axis], count, float(factor), mode=mode, **options)
        if mode == "nearest":
            y = np.take(y, matrix.argmax(axis=1), axis=axis)
        else:
            y = np.moveaxis(np.tensordot(y, matrix, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(y, x.dtype)
