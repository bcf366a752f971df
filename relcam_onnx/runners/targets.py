"""Which classes are explained: what the caller wrote, and what it means once the scores are known."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from relcam_onnx.analysis.choices import Choices
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import TargetError
from relcam_onnx.lrp.seeds import class_scores
from relcam_onnx.runners import Result

NONE = np.iinfo(np.int64).min
"""Where an image has fewer targets than another."""


def asked(targets: Any, seed: Any, images: int, choices: Choices) -> tuple[np.ndarray, np.ndarray | None]:
    """Targets as int64 (N, K), ranks not resolved yet, and seeds of one's own, float32 (N, K, scores), or None.

    A detector's targets are numbers, place · classes + class.

    Raises
    ------
    TargetError
        They are none, or no such targets or seeds of the model.
    """
    if choices.head.kind == "detector" and (array := as_array(targets)).ndim == 3:
        targets = numbered(array, images, choices)
    wanted = read_targets(targets, images)
    if choices.count is not None:
        check_range(wanted, choices.count, "places times classes" if choices.head.kind == "detector" else "classes")
    if seed is None:
        return wanted, None
    if choices.head.kind != "classifier":
        raise TargetError(f"a seed of one's own is for classifiers; this model is a {choices.head.kind}: name targets")
    seeds = read_seed(seed, images, choices.columns)
    if targets is None:
        by_class: Any = class_scores(Eager(), cast(Any, seeds), paired=choices.paired)
        wanted = by_class.argmax(axis=2)
    if wanted.shape[1] != seeds.shape[1]:
        raise TargetError(
            f"there are {wanted.shape[1]} targets for {seeds.shape[1]} seeds of each image; leave targets out"
        )
    return wanted, seeds


def numbered(targets: np.ndarray, images: int, choices: Choices) -> np.ndarray:
    """A detector's targets (N, K, 2), place and class, as numbers (N, K); (-1, -1) is `NONE`.

    Raises
    ------
    TargetError
        Another shape, or a class that the model does not have.
    """
    if targets.shape != (images, targets.shape[1], 2) or not np.issubdtype(targets.dtype, np.integer):
        raise TargetError(
            f"a detector's targets are whole numbers (N, K, 2), place and class, here ({images}, K, 2), not "
            f"{targets.shape}"
        )
    if choices.classes is None:
        raise TargetError("this file does not tell its number of classes: give targets as place · classes + class")
    place, index, none = targets[..., 0], targets[..., 1], (targets == -1).all(axis=2)
    places = None if choices.count is None else choices.count // choices.classes
    for what, many, values, count in (("class", "classes", index, choices.classes), ("place", "places", place, places)):
        wrong = values[((values < 0) | (values >= (np.inf if count is None else count))) & ~none]
        if wrong.size:
            known = "they are from 0 on" if count is None else f"this model has {count} {many}"
            raise TargetError(f"{what} {int(wrong[0])} is out of range: {known}")
    return np.where(none, NONE, place * choices.classes + index).astype(np.int64)


def as_array(targets: Any) -> np.ndarray:
    """What a caller wrote, as an array; `TargetError` where images have different numbers of targets."""
    try:
        return np.asarray(targets)
    except ValueError as error:
        raise TargetError(
            f"targets must be as many for each image, not {targets!r}: repeat some, or explain the images one by one"
        ) from error
    except (TypeError, RuntimeError) as error:  # a tensor of PyTorch's that shares no values
        raise TargetError(f"targets cannot be read as an array ({error}); give whole numbers") from error


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
    array = as_array(targets)
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
    """Ranks become classes by each image's scores (N, classes), `NONE` -1; equal scores rank by lower index.

    Raises
    ------
    TargetError
        A class or rank that the model does not have.
    """
    check_range(targets, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")
    there = targets != NONE
    ranked = np.take_along_axis(order, np.where(there & (targets < 0), -targets - 1, 0), axis=1)
    return np.where(there, np.where(targets < 0, ranked, targets), -1).astype(np.int64)


def check_range(targets: np.ndarray, count: int, what: str = "classes") -> None:
    """Every target is one, or a rank, of the model's ``count``."""
    wrong = targets[((targets >= count) | (targets < -count)) & (targets != NONE)]
    if wrong.size:
        raise TargetError(
            f"target {int(wrong[0])} is out of range: this model has {count} {what}, 0 to {count - 1}, or ranks "
            f"-1 (the top one) to -{count} (--top {count} asks for all)"
        )


def read_seed(seed: Any, images: int, classes: int | None) -> np.ndarray:
    """A given seed as float32 (N, K, classes).

    Raises
    ------
    TargetError
        Another shape, values that are not finite, or no array.
    """
    try:
        array = np.asarray(seed, np.float32)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TargetError(f"the seed cannot be read as an array ({error}); give float32 numbers") from error
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


def as_told(result: Result, targets: np.ndarray, choices: Choices, *, given: bool) -> np.ndarray:
    """Targets as an explanation tells them: a detector's as place and class, (N, K, 2), -1 for none.

    Raises
    ------
    TargetError
        The picture has no such place.
    """
    if given and choices.head.kind != "classifier":  # nothing is left to be told of them
        return targets
    if given:  # a file takes the largest entry of a seed for its target
        scores: Any = class_scores(Eager(), cast(Any, result.scores), paired=choices.paired, middle=choices.middle)
        return resolve_ranks(targets, scores)
    if choices.head.kind != "detector":
        return result.targets
    if (lost := targets[(targets != NONE) & (result.targets < 0)]).size:  # a file of free sizes tells only in a run
        place = int(lost[0]) // result.scores.shape[2]
        raise TargetError(f"place {place} is out of range: a picture of this size has fewer places")
    pairs = np.stack(np.divmod(result.targets, result.scores.shape[2]), axis=-1)
    return np.where(result.targets[..., None] < 0, -1, pairs)
