"""Convolution, pools and Resize against onnxruntime over generated shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relcam_onnx.backends import _conv
from relcam_onnx.backends._resize import resize_matrix
from relcam_onnx.backends.eager import Eager
from relcam_onnx.errors import OptionError

f = Eager()
few = settings(max_examples=60, deadline=None)
AUTO_PADS = ["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]


def array(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@st.composite
def windows(draw: st.DrawFn, most_axes: int = 3) -> tuple[tuple[int, ...], list[int], dict[str, Any]]:
    """A spatial shape, a kernel, and attributes that place the one over the other."""
    rank = draw(st.integers(1, most_axes))

    def sizes(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    kernel = sizes(1, 3)
    attributes: dict[str, Any] = {"strides": sizes(1, 3), "dilations": sizes(1, 2)}
    attributes["auto_pad"] = draw(st.sampled_from(AUTO_PADS))
    if attributes["auto_pad"] == "NOTSET":
        attributes["pads"] = [min(p, k - 1) for p, k in zip(sizes(0, 2, 2 * rank), kernel * 2, strict=True)]
    if attributes["auto_pad"].startswith("SAME"):
        # Where runtimes agree: they differ on dilated windows there, and on strides that leave gaps.
        attributes["dilations"] = [1] * rank
        attributes["strides"] = [min(s, k) for s, k in zip(attributes["strides"], kernel, strict=True)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, attributes["dilations"], strict=True)]
    shape = tuple(e + more for e, more in zip(extents, sizes(0, 5), strict=True))
    return shape, kernel, attributes


groups = st.sampled_from([(1, 2, 3), (2, 2, 1), (3, 1, 1), (3, 1, 2)])  # group, inputs and outputs of each


@few
@given(windows=windows(), groups=groups, batch=st.integers(1, 3), bias=st.booleans())
def test_conv(check: Any, windows: Any, groups: Any, batch: int, bias: bool) -> None:
    shape, kernel, attributes = windows
    group, ins, outs = groups
    w = array((group * outs, ins, *kernel), 1)
    b = (array((group * outs,), 2),) if bias else ()
    check("Conv", array((batch, group * ins, *shape)), w, *b, group=group, **attributes)


@few
@given(windows=windows(), groups=groups, batch=st.integers(1, 3), data=st.data())
def test_conv_transpose(check: Any, windows: Any, groups: Any, batch: int, data: Any) -> None:
    shape, kernel, attributes = windows
    group, ins, outs = groups
    strides = attributes["strides"]
    attributes["output_padding"] = [data.draw(st.integers(0, s - 1)) for s in strides]
    if attributes["auto_pad"] == "NOTSET" and data.draw(st.booleans()):
        attributes["output_shape"] = [
            (n - 1) * s + (k - 1) * d + 1 - data.draw(st.integers(0, k - 1))
            for n, s, k, d in zip(shape, strides, kernel, attributes["dilations"], strict=True)
        ]
        del attributes["output_padding"], attributes["pads"]
    w = array((group * ins, outs, *kernel), 1)
    check(
        "ConvTranspose",
        array((batch, group * ins, *shape)),
        w,
        array((group * outs,), 2),
        group=group,
        **attributes,
    )


@few
@given(windows=windows(), groups=groups)
def test_conv_transpose_is_the_adjoint(windows: Any, groups: Any) -> None:
    shape, kernel, attributes = windows
    group, ins, outs = groups
    x, w = array((2, group * ins, *shape)), array((group * outs, ins, *kernel), 1)
    y = f.Conv(x, w, group=group, **attributes)
    r = array(y.shape, 2)
    if attributes["auto_pad"].startswith("SAME"):
        remainder = {"output_shape": shape}
    else:
        full = f.ConvTranspose(r, w, group=group, **attributes).shape[2:]
        remainder = {"output_padding": [n - m for n, m in zip(shape, full, strict=True)]}
    back = f.ConvTranspose(r, w, group=group, **attributes, **remainder)
    # Summed in float64, so that only the convolutions are judged.
    left, right = (np.vdot(a.astype(np.float64), b.astype(np.float64)) for a, b in ((y, r), (x, back)))
    assert abs(left - right) <= 1e-5 * np.linalg.norm(y) * np.linalg.norm(r)


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_large_tensors_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch, kernel: tuple[int, int]) -> None:
    x, w = array((2, 4, 12, 9)), array((6, 2, *kernel), 1)
    options = {"group": 2, "strides": [2, 1], "pads": [1, 0, 0, 1]}
    whole = f.Conv(x, w, **options)
    back = f.ConvTranspose(whole, w, **options)
    monkeypatch.setattr(_conv, "_BLOCK_BYTES", 1)
    np.testing.assert_allclose(f.Conv(x, w, **options), whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    np.testing.assert_allclose(f.ConvTranspose(whole, w, **options), back, rtol=0, atol=1e-5 * np.abs(back).max())


@few
@given(windows=windows(), ceil_mode=st.sampled_from([0, 1]), storage_order=st.sampled_from([0, 1]))
def test_max_pool(check: Any, windows: Any, ceil_mode: int, storage_order: int) -> None:
    shape, kernel, attributes = windows
    # Rounded, so that windows have ties: the first largest wins.
    x = np.round(array((2, 2, *shape)))
    options = {"kernel_shape": kernel, "ceil_mode": ceil_mode, "storage_order": storage_order}
    check("MaxPool", x, outputs=2, **options, **attributes)


def test_max_pool_of_nothing_but_the_lowest_value_points_inside() -> None:
    x = np.full((1, 1, 2, 2), -np.inf, np.float32)
    values, index = f.MaxPool(x, kernel_shape=[2, 2], pads=[1, 1, 1, 1], strides=[2, 2])
    assert (values == -np.inf).all()
    np.testing.assert_array_equal(index, [[[[0, 1], [2, 3]]]])


@few
@given(windows=windows(), ceil_mode=st.sampled_from([0, 1]), count_include_pad=st.sampled_from([0, 1]))
def test_average_pool(check: Any, windows: Any, ceil_mode: int, count_include_pad: int) -> None:
    shape, kernel, attributes = windows
    options = {"kernel_shape": kernel, "ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    check("AveragePool", array((2, 2, *shape)), **options, **attributes)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 4, 5)])
def test_global_pools(check: Any, shape: tuple[int, ...]) -> None:
    check("GlobalAveragePool", array(shape))
    check("GlobalMaxPool", array(shape))


COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric", "align_corners"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@few
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    nearest_mode=st.sampled_from(NEAREST),
)
def test_resize_to_sizes(check: Any, *, shape: Any, sizes: Any, mode: str, coordinates: str, nearest_mode: str) -> None:
    assume(mode != "nearest" or coordinates != "half_pixel_symmetric")  # see the test of that pair
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest_mode}
    wanted = np.array([2, 3, *sizes], np.int64)
    check("Resize", array((2, 3, *shape)), None, None, wanted, **attributes)


@few
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    scales=st.tuples(*[st.sampled_from([0.5, 0.6, 1.0, 1.5, 2.0, 2.3, 4.0])] * 2),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    coordinates=st.sampled_from(COORDINATES),
    exclude_outside=st.sampled_from([0, 1]),
)
def test_resize_by_scales(
    check: Any, *, shape: Any, scales: Any, mode: str, coordinates: str, exclude_outside: int
) -> None:
    assume(mode != "nearest" or coordinates != "half_pixel_symmetric")  # see the test of that pair
    assume(all(np.floor(n * np.float32(s)) >= 1 for n, s in zip(shape, scales, strict=True)))
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates, "cubic_coeff_a": -0.5}
    if mode == "cubic":
        attributes["exclude_outside"] = exclude_outside
    check("Resize", array((2, 3, *shape)), None, np.array([1, 1, *scales], np.float32), **attributes)


@pytest.mark.parametrize("nearest_mode", NEAREST)
def test_resize_to_the_nearest_half_pixel_symmetric(check: Any, nearest_mode: str) -> None:
    # Between binary sizes only, where no last bit decides: runtimes fuse this long formula differently.
    attributes = {"coordinate_transformation_mode": "half_pixel_symmetric", "nearest_mode": nearest_mode}
    check("Resize", array((2, 3, 4, 8)), None, np.array([1, 1, 2, 0.5], np.float32), **attributes)


def test_resize_in_three_dimensions_and_by_reference(check: Any) -> None:
    x = array((1, 2, 3, 4, 5))
    check("Resize", x, None, np.array([1, 1, 2, 1.5, 2], np.float32), mode="linear")
    check("Resize", x[0], None, None, np.array([6, 8], np.int64), mode="linear", axes=[1, 2])
    check("Resize", x[0], None, np.array([1, 1, 0.6, 0.6], np.float32), mode="linear", antialias=1)


def test_resize_matrix_is_shared_and_read_only() -> None:
    matrix = resize_matrix(3, 6, 2.0, mode="linear")
    assert matrix is resize_matrix(3, 6, 2.0, mode="linear")
    assert matrix.dtype == np.float32
    assert not matrix.flags.writeable
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)


def test_resize_matrix_refuses_what_it_cannot_express() -> None:
    with pytest.raises(OptionError, match=r"coordinate_transformation_mode 'tf_crop_and_resize'; use half_pixel"):
        resize_matrix(3, 6, 2.0, coordinate_transformation_mode="tf_crop_and_resize")
