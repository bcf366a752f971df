"""One planted detector, its decoder in random spellings: the same detections, and the same maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from level_nets import SQUARES, level_street
from spelling.detecting import written

import relcam_onnx as rc

OPTIONS: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "input"]}
DRAWS, GROUPS = 12, 5
TOLERANCE = 1e-4
"""Of the maximum."""


def maps(number: int) -> tuple[bool, dict[Any, np.ndarray]]:
    """Whether objectness counts, and each detection's map at the input."""
    model, told = written(number)
    with rc.Explainer(model, backend="eager" if number % 4 else "compiled", **OPTIONS) as explainer:
        found = rc.explain(explainer, level_street())
    boxes = [(each.index, tuple(map(round, each.box or ()))) for each in found.detections[0]]
    assert sorted(boxes) == sorted(SQUARES), told
    return not {"objects", "weighed"}.isdisjoint(told), {box: found.maps["input"][0, k] for k, box in enumerate(boxes)}


@pytest.mark.parametrize("group", range(GROUPS))
def test_every_spelling_of_a_decoder_has_the_same_maps(group: int) -> None:
    """With objectness the score is the sum of both, so there are two functions."""
    first: dict[bool, dict[Any, np.ndarray]] = {}
    for number in range(DRAWS * group, DRAWS * (group + 1)):
        with_objectness, own = maps(number)
        for box, wanted in first.setdefault(with_objectness, own).items():
            np.testing.assert_allclose(own[box], wanted, rtol=0, atol=TOLERANCE * np.abs(wanted).max())
