"""The symbolic zero leaves a sum as it is and makes a product itself, on either side of numbers and arrays."""

from __future__ import annotations

import numpy as np
import pytest

from relcam_onnx.ops import ZERO


@pytest.mark.parametrize("other", [2.0, np.float32(2), np.ones((2, 3), np.float32)], ids=["number", "scalar", "array"])
def test_nothing_is_computed(other: object) -> None:
    assert other + ZERO is other  # type: ignore[operator]
    assert ZERO + other is other
    assert other - ZERO is other  # type: ignore[operator]
    np.testing.assert_array_equal(ZERO - other, -other)  # type: ignore[operator]
    assert all(result is ZERO for result in (ZERO * other, other * ZERO, ZERO / other, -ZERO))  # type: ignore[operator]


def test_it_sums_with_itself_and_divides_nothing() -> None:
    assert ZERO + ZERO is ZERO
    assert ZERO - ZERO is ZERO
    with pytest.raises(ZeroDivisionError):
        np.ones(2) / ZERO
