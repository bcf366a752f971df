"""Which of the four numbers of boxes is which, told by where all of a table lie: centres or corners, x or y first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.analysis.heads import BOX

REVERSED = 0.05
"""Where more of them end before they begin, they are no boxes yet: offsets from priors, or logarithms."""
FEW_REVERSED = 0.25
"""The same of distances from the middles of cells, which may be anything where nothing is."""
APART = 2
"""Where the first side of a box changes so many times less from place to place than the second one, it is y."""
FEW_PLACES, NOISE = 16, 0.9
"""Fewer places say nothing of that, nor do those with a side that changes by so many deviations each: noise."""


def form_of(table: NDArray[Any], form: str) -> str:
    """The form of boxes (N, places, 4 and more): of those joined with scores corners where they end behind beginnings.

    Else they are told by centre and size, of which places right or below have smaller sizes than centres.
    """
    if form != "joined":
        return form
    return "corners" if reversed_share(table[:, :, :BOX]) <= FEW_REVERSED else "centred"


def tells_y_first(table: NDArray[Any], form: str) -> bool | None:
    """Whether boxes (N, places, 4) tell y before x, by where they lie; None where they do not say.

    Places follow each other row by row, as features do, so that from one to those behind it x changes and y does not:
    of the two the one whose neighbours differ less is y. Each is measured by how far any two places are apart, lest
    objects one above the other count. Of queries, which lie in no order, neither changes less; where one of the two is
    noise, as the height of all places in one row, the other one's order tells nothing.
    """
    if form not in ("corners", "centred"):
        return False
    middles = (table[:, :, :2] + (table[:, :, 2:4] if form == "corners" else 0)).astype(np.float64)
    spread = middles.var(axis=1).sum(axis=0)
    if table.shape[1] < FEW_PLACES or not spread.all():
        return None
    if (np.median(np.abs(np.diff(middles, axis=1)), axis=1) > NOISE * middles.std(axis=1)).any():
        return None
    near = [1 << i for i in range(table.shape[1].bit_length()) if (2 << i) ** 2 <= table.shape[1]]
    first, second = sum(((middles[:, k:] - middles[:, :-k]) ** 2).mean(axis=1).sum(axis=0) for k in near) / spread
    return None if max(first, second) <= APART * min(first, second) else bool(first < second)


def reversed_share(boxes: NDArray[Any]) -> float:
    """How many of those that are any end before they begin."""
    return float((boxes[..., :2] > boxes[..., 2:]).sum() / max(2 * boxes.any(axis=-1).sum(), 1))
