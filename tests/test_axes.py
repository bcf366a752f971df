"""Axes of two shapes of the same elements, matched: a law over shapes of known, named and unknown sizes."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from relcam_onnx.canon.axes import groups

SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 6, "N", "4*N", None]), max_size=5)


@given(SIZES, SIZES)
def test_groups_hold_each_axis_once_and_in_order(before: list[int | str | None], after: list[int | str | None]) -> None:
    pairs = groups(before, after)
    for place, shape in enumerate((before, after)):
        assert [axis for pair in pairs for axis in pair[place]] == list(range(len(shape)))


@given(SIZES, SIZES)
@example(["N", 4, 3], ["4*N", 3])
def test_axes_that_stand_apart_are_of_one_known_size(
    before: list[int | str | None], after: list[int | str | None]
) -> None:
    """All groups but the one that is left over; an unknown size is never taken for another."""
    odd = 0
    for left, right in groups(before, after):
        old, new = [before[i] for i in left], [after[i] for i in right]
        known = all(isinstance(size, int) for size in old + new)
        odd += not (math.prod(old) == math.prod(new) if known else old == new and None not in old)  # type: ignore[arg-type]
    assert odd <= 1
