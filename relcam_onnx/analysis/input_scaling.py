"""What a model does to its picture before the first layer: the normalisation that stands in the graph."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from relcam_onnx.analysis.paths import Paths, receivers
from relcam_onnx.ops import TABLE, key


class Scaling(NamedTuple):
    """``x · scale + shift``, each one number or one a channel, in the order of the file."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]


def input_scaling(paths: Paths) -> Scaling | None:
    """What constants the picture is scaled and shifted by before anything else is done to it.

    None where that is nothing at all, or not the same along every path.
    """
    one, zero = np.ones(1), np.zeros(1)
    scaled = {id(t): (one, zero) for t in paths.images}
    ends: set[tuple[tuple[float, ...], tuple[float, ...]]] = set()
    for node in paths.nodes:
        arriving = [scaled[id(t)] for t in receivers(node) if id(t) in scaled]
        if not arriving:
            continue
        entry = TABLE.get(key(node))
        affine = entry.affine(node) if entry and entry.affine and len(receivers(node)) == 1 else None
        if affine is None:
            ends.update((tuple(scale.tolist()), tuple(shift.tolist())) for scale, shift in arriving)
            continue
        (scale, shift), (factor, more) = arriving[0], map(by_channel, affine)
        if len({scale.size, shift.size, factor.size, more.size} - {1}) > 1:
            return None  # axes of different lengths: no channels
        scaled[id(node.outputs[0])] = (scale * factor, shift * factor + more)
    if len(ends) != 1:
        return None
    found = Scaling(*ends.pop())
    return None if np.allclose(found.scale, 1) and np.allclose(found.shift, 0) else found


def by_channel(values: np.ndarray) -> np.ndarray:
    """A constant as one number, or one a channel; one that varies over positions as its mean."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return flat if flat.size in (1, max(np.shape(values), default=1)) else flat.mean(keepdims=True)
