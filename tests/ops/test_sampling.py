"""Resize and GridSample: what they read between positions goes back to those around."""

from __future__ import annotations

from typing import Any

import numpy as np
from case import BATCH, SEED, Case, apart, case, fixed, noise
from hypothesis import assume
from hypothesis import strategies as st
from test_pool import adjoint

from relcam_onnx.ops import lookup

Draw = Any

RESIZES: tuple[dict[str, Any], ...] = (
    {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"},
    {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
    {"mode": "cubic", "coordinate_transformation_mode": "half_pixel", "cubic_coeff_a": -0.75},
    {"mode": "cubic", "coordinate_transformation_mode": "asymmetric", "exclude_outside": 1},
)


@st.composite
def resize(draw: Draw) -> Case:
    x = noise(draw(SEED), draw(BATCH), 2, draw(st.integers(2, 5)), draw(st.integers(2, 5)))
    attrs = draw(st.sampled_from(RESIZES))
    if draw(st.booleans()):
        scales = [draw(st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0])) for _ in range(2)]
        assume(all(int(n * s) > 0 for n, s in zip(x.shape[2:], scales, strict=True)))
        return case("Resize", x, None, fixed(np.array([1, 1, *scales], np.float32)), **attrs)
    sizes = [*x.shape[:2], draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    return case("Resize", x, None, None, fixed(np.array(sizes, np.int64)), **attrs)


@st.composite
def grid_sample(draw: Draw) -> Case:
    """At the same places of each picture, some of them outside."""
    seed, batch = draw(SEED), draw(BATCH)
    grid = 1.2 * noise(seed + 1, 1, draw(st.integers(1, 4)), 3, 2)
    mode = draw(st.sampled_from(["linear", "nearest", "cubic"]))
    opset = draw(st.sampled_from([18, 21]))
    older = {"linear": "bilinear", "cubic": "bicubic"} if opset == 18 else {}
    attrs = {
        "mode": older.get(mode, mode),
        "padding_mode": draw(st.sampled_from(["zeros", "reflection", *(["border"] if mode != "cubic" else [])])),
        "align_corners": draw(st.integers(0, 1)),
    }
    return case("GridSample", noise(seed, batch, 2, 4, 3), fixed(np.repeat(grid, batch, 0)), opset=opset, **attrs)


@st.composite
def grid_sample_anywhere(draw: Draw) -> Case:
    """At places that a run tells, apart from the lines between positions, where slopes jump."""
    seed, batch = draw(SEED), draw(BATCH)
    aligned = draw(st.integers(0, 1))
    places = np.stack([1.3 * apart(seed + i, batch, draw(st.integers(2, 2)), 3) / 0.6 for i in (0, 1)], axis=-1)
    spans = np.array([3, 4], np.float32)
    at = (places + 1) / 2 * (spans - 1) if aligned else ((places + 1) * spans - 1) / 2
    at = np.floor(at) + np.clip(at - np.floor(at), 0.1, 0.9)
    grid = at / (spans - 1) * 2 - 1 if aligned else (2 * at + 1) / spans - 1
    attrs = {"padding_mode": draw(st.sampled_from(["zeros", "border"])), "align_corners": aligned}
    return case("GridSample", noise(seed, batch, 2, 4, 3), grid.astype(np.float32), opset=21, mode="linear", **attrs)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Resize": resize(),
    "GridSample": st.one_of(grid_sample(), grid_sample_anywhere()),
}


def test_resize_nearest_hands_each_copy_back() -> None:
    grown = case("Resize", noise(0, 1, 1, 2, 2), None, fixed(np.array([1, 1, 2, 3], np.float32)), **RESIZES[0])
    np.testing.assert_allclose(adjoint(grown, np.ones((1, 1, 4, 6), np.float32)), np.full((1, 1, 2, 2), 6))


def test_computed_places_that_are_not_linear_are_refused() -> None:
    x, grid = noise(0, 2, 3, 4, 4), np.clip(noise(1, 2, 3, 3, 2), -1, 1)
    for attrs in ({"mode": "nearest"}, {"padding_mode": "reflection"}):
        node = case("GridSample", x, grid, opset=21, **attrs).node
        assert "its grid is computed, or another one" in str(lookup(node).refuses(node))
