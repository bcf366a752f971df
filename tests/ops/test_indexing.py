"""Ops that read some positions, or write more around: relevance goes back to what was read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st
from test_movement import ints

from relcam_onnx.ops import lookup

Draw = Any


@st.composite
def slice_(draw: Draw) -> Case:
    x = noise(draw(SEED), draw(BATCH), 4, 5, 6)
    axes = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3, unique=True))
    starts, ends, steps = [], [], []
    for axis in axes:
        size = x.shape[axis]
        step = draw(st.sampled_from([1, 2, 3, -1, -2]))
        start, end = (0, 2**31) if step > 0 else (2**31, -(2**31))
        if draw(st.booleans()):
            low = draw(st.integers(0, size - 2))
            high = draw(st.integers(low + 1, size - 1))
            start, end = (low, high) if step > 0 else (high, low)
        if draw(st.booleans()) and abs(start) < size:
            start -= size
        starts.append(start)
        ends.append(end)
        steps.append(step)
    named = [a - 4 if draw(st.booleans()) else a for a in axes]
    return case("Slice", x, ints(*starts), ints(*ends), ints(*named), ints(*steps))


@st.composite
def gather_elements(draw: Draw) -> Case:
    """Places of their own for each image, some read twice."""
    x, axis = noise(draw(SEED), draw(BATCH), 4, 3), draw(st.sampled_from([1, 2, -1]))
    shape = list(x.shape)
    shape[axis] = draw(st.integers(1, 5))
    picked = np.random.default_rng(draw(SEED)).integers(-x.shape[axis], x.shape[axis], shape)
    return case("GatherElements", x, fixed(picked), axis=axis)


@st.composite
def gather(draw: Draw) -> Case:
    x, axis = noise(draw(SEED), draw(BATCH), 4, 3, 5), draw(st.sampled_from([1, 2, 3, -1]))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    size = x.shape[axis]
    count = int(np.prod(shape))
    picked = [draw(st.integers(-size, size - 1)) for _ in range(count)]
    return case("Gather", x, fixed(np.array(picked, np.int64).reshape(shape)), axis=axis)


@st.composite
def trilu(draw: Draw) -> Case:
    inputs = [fixed(np.int64(draw(st.integers(-2, 2))))] if draw(st.booleans()) else []
    return case("Trilu", noise(draw(SEED), draw(BATCH), 2, 4, 3), *inputs, upper=draw(st.integers(0, 1)))


@st.composite
def pad(draw: Draw) -> Case:
    x, mode = (
        noise(draw(SEED), draw(BATCH), 3, 5, 6),
        draw(st.sampled_from([*["constant"] * 3, "reflect", "edge", "wrap"])),
    )
    least = -2 if mode == "constant" else 0
    amounts = draw(st.lists(st.integers(least, 2), min_size=4, max_size=4))
    if mode == "constant" and draw(st.booleans()):
        value = fixed(np.float32(draw(st.sampled_from([0, -1, 1]))))
        return case("Pad", x, ints(*amounts), value, ints(2, -1), mode=mode)  # only two axes named
    return case("Pad", x, ints(0, 0, *amounts[:2], 0, 0, *amounts[2:]), mode=mode)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Slice": slice_(),
    "Gather": gather(),
    "GatherElements": gather_elements(),
    "Trilu": trilu(),
    "Pad": pad(),
}


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (case("Gather", noise(0, 2, 3), ints(0), axis=0), "batch"),
        (case("Trilu", noise(0, 2, 3)), "batch"),
        (case("Gather", noise(0, 2, 3), np.array([0]), axis=1), "computed"),
    ],
    ids=repr,
)
def test_what_mixes_images_or_reads_by_value_is_refused(refused: Case, why: str) -> None:
    assert why in str(lookup(refused.node).refuses(refused.node))
