"""Which classes are explained: what the caller wrote, and what it means once the scores are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from relcam_onnx.errors import TargetError


def read_targets(targets: Any, images: int) -> np.ndarray:
    """Targets as int64 (N, K), ranks not resolved yet.

    Parameters
    ----------
    targets
        None (the top class), an int, a sequence of N ints, or an (N, K) array. Negative numbers are ranks.
    images
        N.

    Raises
    ------
    TargetError
        It is none of these.
    """
    if targets is None:
        targets = -1
    array = np.asarray(targets)
    if array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise TargetError(
            f"targets must be whole numbers, not {targets!r}: an index, or -1 for the top class, -2 for the second"
        )
    if array.ndim == 0:
        return np.full((images, 1), int(array), np.int64)
    if array.ndim == 1 and len(array) == images:
        return array.astype(np.int64).reshape(images, 1)
    if array.ndim == 2 and len(array) == images:
        return array.astype(np.int64)
    hint = f"; for {array.size} classes of one image write [{array.tolist()}]" if array.ndim == 1 else ""
    raise TargetError(
        f"targets of shape {array.shape} do not fit {images} image(s): give one number, N, or (N, K){hint}"
    )


def resolve_ranks(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Ranks become classes by each image's scores (N, classes); equal scores rank by lower index.

    Raises
    ------
    TargetError
        A class or rank that the model does not have.
    """
    classes = scores.shape[1]
    check_range(targets, classes)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(order, np.where(targets < 0, -targets - 1, 0), axis=1)
    return np.where(targets < 0, ranked, targets).astype(np.int64)


def check_range(targets: np.ndarray, classes: int) -> None:
    """Every target is a class, or a rank, of the model."""
    wrong = targets[(targets >= classes) | (targets < -classes)]
    if wrong.size:
        raise TargetError(
            f"target {int(wrong[0])} is out of range: this model has {classes} classes, 0 to {classes - 1}, or ranks "
            f"-1 (the top class) to -{classes}"
        )


def read_seed(seed: Any, images: int, classes: int | None) -> np.ndarray:
    """A given seed as float32 (N, K, classes).

    Raises
    ------
    TargetError
        Another shape, or values that are not finite.
    """
    array = np.asarray(seed, np.float32)
    if array.ndim == 2:
        array = array[:, None]
    wide = array.ndim == 3 and (classes is None or array.shape[2] == classes)
    if not wide or array.shape[0] != images or not array.shape[1]:
        raise TargetError(
            f"a seed must be (N, classes) or (N, K, classes), here ({images}, {classes}) or ({images}, K, {classes}), "
            f"not {np.shape(seed)}"
        )
    if not np.isfinite(array).all():
        raise TargetError("the seed holds NaN or infinite values")
    return array
