"""How much of a score is left where only what a map marks is shown; the rest is ``nothing``, the mean colour.

A score is a function of pictures, (N, C, H, W) to (N,): the probability of the class that the map is of.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from relcam_onnx.audit.metrics.deletion import NOTHING, Floats, Score, order_of
from relcam_onnx.audit.metrics.places import Map
from relcam_onnx.results.render import resize_map

HALF = 0.5
"""Of the pixels: those that the map puts first."""


class Left(NamedTuple):
    """What is left of a score: how much of it falls, in percent, and whether it grows."""

    drop: float
    increase: float


def times_map(x: Floats, heat: Map, nothing: Floats = NOTHING) -> Floats:
    """The picture times the map's positive part over its maximum: the usual protocol.

    Chattopadhay et al. 2018 (Grad-CAM++), arXiv:1710.11063.
    """
    shown = np.maximum(resize_map(np.asarray(heat, np.float32), (x.shape[1], x.shape[2])), np.float32(0))
    share = shown / max(float(shown.max()), float(np.finfo(np.float32).tiny))
    return np.asarray(nothing + (x - nothing) * share, np.float32)


def first_half(x: Floats, heat: Map, nothing: Floats = NOTHING) -> Floats:
    """The picture where the map is highest, half of its pixels: Score-CAM's protocol and Relevance-CAM's.

    Wang et al. 2020, arXiv:1910.01279, section 4.2: no map gains by how its values are spread.
    """
    place = order_of(heat, (x.shape[1], x.shape[2]))
    return np.where(place < HALF * place.size, x, nothing)


def left(score: Score, before: float, shown: Floats) -> Left:
    """Average drop and increase, for one picture: of what it scored ``before``, what is gone of it as ``shown``."""
    after = float(score(shown[None])[0])
    drop = max(0.0, before - after) / max(before, float(np.finfo(np.float32).tiny))
    return Left(100 * drop, 100.0 * (after > before))
