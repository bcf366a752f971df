"""Of an explanation, which image, target and size are meant: as Python counts, and in words where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nets import picture, plain

import relcam_onnx as rc

X = picture(3, 3, 16, 16)


@pytest.fixture(scope="module")
def explanation() -> rc.Explanation:
    return rc.Explainer(plain(size=16), "stages")(X, [[0, 1]] * 3)


def test_negative_places_are_counted_from_the_end(explanation: rc.Explanation) -> None:
    last = explanation.single(-1)
    assert last.targets.tolist() == [[0, 1]]
    np.testing.assert_array_equal(last.heat(), explanation.heat(index=2))
    np.testing.assert_array_equal(last.scores, explanation.single(2).scores)


WRONG: dict[str, tuple[Callable[[rc.Explanation], object], str]] = {
    "single": (lambda e: e.single(7), "there is no image 7: 3 were explained"),
    "single, from the end": (lambda e: e.single(-4), "there is no image -4"),
    "single, no number": (lambda e: e.single(0.5), "there is no image 0.5"),  # type: ignore[arg-type]
    "heat": (lambda e: e.heat(index="a"), "there is no image 'a'"),  # type: ignore[arg-type]
    "target": (lambda e: e.heat(target="a"), "there is no target 'a'"),  # type: ignore[arg-type]
    "size": (lambda e: e.heat(size=10), r"\(height, width\), both at least 1, not at 10"),  # type: ignore[arg-type]
    "size, texts": (lambda e: e.heat(size="ab"), "not at 'ab'"),  # type: ignore[arg-type]
    "size, three": (lambda e: e.heat(size=(3, 8, 8)), r"not at \(3, 8, 8\)"),  # type: ignore[arg-type]
    "picture": (lambda e: e.heat(picture="foo"), "not of an input 'foo'"),
    "count": (lambda e: e.count(7), "there is no image 7"),
    "sheet": (lambda e: e.sheet(7), "there is no image 7"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_there_is_said_in_words(case: str, explanation: rc.Explanation) -> None:
    ask, says = WRONG[case]
    with pytest.raises(rc.RelcamError, match=says):
        ask(explanation)
