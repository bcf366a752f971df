"""Where positions lie: an op that averages coordinates gives the coordinates of its own positions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from case import Case, case, fixed
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.ops import Grid, lookup

N = 24
"""Positions along each axis, a multiple of every stride here."""


def ramp(channels: int = 1) -> np.ndarray:
    """(1, C, N, N): every position holds how far down it lies."""
    down = np.arange(N, dtype=np.float32).reshape(1, 1, N, 1)
    return np.broadcast_to(down, (1, channels, N, N)).copy()


def grid_of(made: Case, axes: tuple[int, ...] = (2, 3)) -> Grid:
    grids = lookup(made.node).grids
    assert grids is not None
    return grids(made.node, axes)[0]


def expected(grid: Grid, count: int) -> np.ndarray:
    """Where so many positions lie."""
    return float(grid.stride) * np.arange(count) + float(grid.offset)


def where(made: Case, values: np.ndarray | None = None) -> np.ndarray:
    """How far down the middle column of the output lies on the input."""
    y = made.forward() if values is None else values
    return y[0, 0, :, y.shape[3] // 2].astype(np.float64)


def uniform(k: int) -> Any:
    return fixed(np.full((1, 1, k, 1), 1 / k, np.float32))


@st.composite
def unpadded(draw: Any) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation, and padding too small to make the windows tile."""
    stride, dilation, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(2, 5))
    return kernel, stride, dilation, draw(st.integers(0, max(0, dilation * (kernel - 1) - stride) // 2))


@given(unpadded())
def test_windows_lie_in_their_middle(sizes: tuple[int, int, int, int]) -> None:
    kernel, stride, dilation, pad = sizes
    attrs: dict[str, Any] = {"kernel_shape": [kernel, 1], "strides": [stride, 1], "dilations": [dilation, 1]}
    attrs["pads"] = [pad, 0, pad, 0]
    conv = case("Conv", ramp(), uniform(kernel), **attrs)
    grid = grid_of(conv)
    if dilation * (kernel - 1) - stride < 2 * pad:
        return  # windows that tile: below
    found = where(conv)[3:-3]  # what reads no padding
    np.testing.assert_allclose(found, expected(grid, 3 + len(found))[3:], atol=1e-4)
    assert grid_of(case("MaxPool", ramp(), **attrs)) == grid
    assert grid_of(case("AveragePool", ramp(), **attrs)) == grid


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("how", ["before", "beyond", "both", "SAME_UPPER", "SAME_LOWER"])
def test_padded_windows_tile(kernel: int, stride: int, how: str) -> None:
    attrs: dict[str, Any] = {"kernel_shape": [kernel, kernel], "strides": [stride, stride]}
    total = max(0, kernel - stride)
    if how == "both":
        before = -(-total // 2)
        beyond = min(before, kernel - 1 - before) if total else 0
    else:
        before, beyond = (total, 0) if how == "before" else (0, total)
    attrs |= {"auto_pad": how} if how.startswith("SAME") else {"pads": [before, before, beyond, beyond]}
    if how.startswith("SAME") and kernel < stride:
        return  # onnxruntime refuses a negative padding
    pool = case("MaxPool", ramp(), **attrs)
    assert pool.node.outputs[0].shape[2] == N // stride
    assert grid_of(pool) == Grid(Fraction(stride), Fraction(stride - 1, 2))  # cell o covers stride positions


def test_a_transposed_convolution_writes_around_its_positions() -> None:
    x = np.zeros((1, 1, N, N), np.float32)
    x[0, 0, 10] = 1  # one row, whose output is centred where position 10 lies
    for kernel, stride, pad, more in (
        (2, 2, 0, 0),
        (4, 2, 1, 0),
        (3, 2, 1, 1),
        (3, 1, 1, 0),
        (5, 3, 0, 0),
        (7, 2, 0, 0),
    ):
        made = case(
            "ConvTranspose", x, uniform(kernel), kernel_shape=[kernel, 1], strides=[stride, 1],
            pads=[pad, 0, pad, 0], output_padding=[more, 0],
        )  # fmt: skip
        column = where(made)
        centre = float((column * np.arange(len(column))).sum() / column.sum())
        grid = grid_of(made)
        # The side that odd padding stands on moves the middle by half a position at most, as in a convolution.
        assert abs(float(grid.stride) * centre + float(grid.offset) - 10) <= (0.5 if more else 1e-5) / stride
        assert grid.stride == Fraction(1, stride)


def test_output_shape_tiles() -> None:
    made = case("ConvTranspose", ramp(), uniform(4), kernel_shape=[4, 1], strides=[2, 1], output_shape=[2 * N, N])
    assert grid_of(made) == Grid(Fraction(1, 2), Fraction(-1, 4))


@pytest.mark.parametrize("factor", [2, 3, Fraction(1, 2), Fraction(1, 3), Fraction(3, 2)])
@pytest.mark.parametrize("how", ["asymmetric", "half_pixel", "pytorch_half_pixel"])
@pytest.mark.parametrize("mode", ["linear", "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
def test_resize(factor: Fraction, how: str, mode: str) -> None:
    nearest = {"mode": "linear"} if mode == "linear" else {"mode": "nearest", "nearest_mode": mode}
    scales = np.array([1, 1, float(factor), float(factor)], np.float32)
    made = case("Resize", ramp(), None, fixed(scales), coordinate_transformation_mode=how, **nearest)
    grid, found = grid_of(made), where(made)
    period = grid.stride.denominator if mode != "linear" else 1
    inner = slice(2 * period, len(found) // period * period - 2 * period)  # at the edges positions repeat
    wrong = (found - expected(grid, len(found)))[inner].reshape(-1, period)
    np.testing.assert_allclose(wrong.mean(axis=1), 0, atol=1e-4)


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 24, 2), (1, 24, 2), (5, 20, 1), (-9, 24, 3), (-1, -25, -1)])
def test_slice(start: int, stop: int, step: int) -> None:
    cut = [fixed(np.array([n], np.int64)) for n in (start, stop, 2, step)]
    made = case("Slice", ramp(), *cut)
    grid, found = grid_of(made), where(made)
    np.testing.assert_array_equal(found, expected(grid, len(found)))


@pytest.mark.parametrize("axes", [None, [2, 3], [-2, -1]])
def test_pad(axes: list[int] | None) -> None:
    amounts = [0, 0, 3, 1, 0, 0, 2, 5] if axes is None else [3, 1, 2, 5]
    more = [] if axes is None else [None, fixed(np.array(axes, np.int64))]
    made = case("Pad", ramp(), fixed(np.array(amounts, np.int64)), *more)
    grid, found = grid_of(made), where(made)
    np.testing.assert_array_equal(found[3:-2], expected(grid, len(found))[3:-2])


def test_axes_may_stand_before_the_channels() -> None:
    x = np.moveaxis(ramp(3), 1, -1)
    made = case("Pad", x, fixed(np.array([0, 3, 1, 0, 0, 2, 5, 0], np.int64)))
    grids = lookup(made.node).grids
    assert grids is not None
    assert [g.offset for g in grids(made.node, (1, 2))] == [-3, -1]


def test_blocks() -> None:
    made = case("SpaceToDepth", ramp(), blocksize=3)
    grid = grid_of(made)
    middle = made.forward().mean(axis=1)[0, :, 0]  # over the positions that became channels
    np.testing.assert_allclose(middle, expected(grid, len(middle)), atol=1e-5)
    back = case("DepthToSpace", ramp(9), blocksize=3)
    grid, found = grid_of(back), where(back).reshape(-1, 3)
    np.testing.assert_allclose(found.mean(axis=1), expected(grid, found.size).reshape(-1, 3).mean(axis=1), atol=1e-5)
    assert Grid(Fraction(3), Fraction(1)).inverse() == grid


def test_grids_lie_on_each_other() -> None:
    outer, inner = Grid(Fraction(2), Fraction(1)), Grid(Fraction(3), Fraction(1, 2))
    np.testing.assert_array_equal(expected(inner.on(outer), 4), 2 * expected(inner, 4) + 1)
