"""Maps become the colours, masks and boxes that their definitions say."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from PIL import Image

from relcam_onnx.errors import InputError
from relcam_onnx.results.colormap import HEAT
from relcam_onnx.results.render import ALPHA, FAINT, overlay, resize_map


@pytest.fixture(scope="module")
def onnx_resize() -> ort.InferenceSession:
    """ONNX's Resize, linear with half-pixel centres, to sizes given at run time."""
    attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)],
        "resize",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, None, None]),
            helper.make_tensor_value_info("sizes", onnx.TensorProto.INT64, [4]),
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=50, deadline=None)
@given(before=sizes, after=sizes)
def test_resize_is_onnx_resize(onnx_resize: ort.InferenceSession, before, after) -> None:
    values = np.random.default_rng(0).standard_normal(before).astype(np.float32)
    feeds = {"x": values[None, None], "sizes": np.array([1, 1, *after], np.int64)}
    (expected,) = onnx_resize.run(None, feeds)
    resized = resize_map(values, after)
    assert resized.dtype == np.float32
    # onnxruntime computes positions in float32: a position off by 1e-6 moves a value by that share of a step.
    np.testing.assert_allclose(resized, expected[0, 0], atol=5e-5)


def lightness(table: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours, by the standard's formulas: not the space that the tables are made in."""
    srgb = table / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(luminance) - 16


def test_the_colour_map_grows_evenly_lighter() -> None:
    assert HEAT.shape == (256, 3)
    steps = np.diff(lightness(HEAT)[::5])
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()


def test_an_overlay_is_the_formula_of_its_colours() -> None:
    """Each pixel in float64: the colour of its share of the maximum, laid on with 0.8 · √share, ramped up to 0.15."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
    heat = rng.standard_normal((20, 30)).astype(np.float32)
    share = np.maximum(heat, 0) / heat.max()
    opacity = (0.8 * np.sqrt(share) * np.minimum(share / 0.15, 1))[..., None]
    wanted = pixels + opacity * (HEAT[np.rint(255 * share).astype(int)] - pixels.astype(float))
    # Opacity is of 256 steps. The steepest is at the foot of the ramp: 0.9 of 1/255 for half a step of the share.
    np.testing.assert_allclose(np.asarray(overlay(Image.fromarray(pixels), heat)), wanted, atol=3)


def test_a_faint_overlay_shows_less_of_the_same_map() -> None:
    pixels, heat = np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 2, np.float32)
    full, faint = (np.asarray(overlay(Image.fromarray(pixels), heat, faint=f), int) for f in (False, True))
    np.testing.assert_allclose(faint, full * FAINT / ALPHA, atol=2)


def test_overlay_leaves_the_picture_where_nothing_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (20, 30, 3), np.uint8)
    heat = np.full((20, 30), -1, np.float32)
    np.testing.assert_array_equal(np.asarray(overlay(Image.fromarray(pixels), heat)), pixels)
    heat[5, 6], heat[7, 8] = 1e-3, 2e-3
    marked = overlay(Image.fromarray(pixels), heat)
    changed = (np.asarray(marked) != pixels).any(axis=2)
    assert set(zip(*np.nonzero(changed), strict=True)) == {(5, 6), (7, 8)}
    np.testing.assert_allclose(np.asarray(marked)[7, 8], 0.8 * HEAT[255] + 0.2 * pixels[7, 8], atol=1)


def test_overlay_refuses_another_size() -> None:
    with pytest.raises(InputError, match=r"\(7, 7\).*\(20, 30\)"):
        overlay(Image.new("RGB", (30, 20)), np.zeros((7, 7), np.float32))
