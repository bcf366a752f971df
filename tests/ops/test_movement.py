"""Ops that move values: relevance comes back the way they came."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st

from relcam_onnx.ops import lookup

Draw = Any


def ints(*values: int) -> Any:
    return fixed(np.array(values, np.int64))


@st.composite
def plain(draw: Draw, op: str, *inputs: Any, **attrs: Any) -> Case:
    """One form of an op on (N, 4, 6, 1) values."""
    return case(op, noise(draw(SEED), draw(BATCH), 4, 6, 1), *inputs, **attrs)


@st.composite
def transpose(draw: Draw) -> Case:
    perm = [0, *draw(st.permutations([1, 2, 3]))]
    return case("Transpose", noise(draw(SEED), draw(BATCH), 4, 6, 1), perm=perm)


@st.composite
def concat(draw: Draw) -> Case:
    seed, batch, axis = draw(SEED), draw(BATCH), draw(st.sampled_from([1, 2, -1]))
    parts: list[Any] = []
    for i in range(draw(st.integers(1, 3))):
        shape = [batch, 2, 3, 4]
        shape[axis] = draw(st.integers(1, 3))
        parts.append(noise(seed + i, *shape))
    if batch == 1 and len(parts) > 1 and draw(st.booleans()):
        parts[0] = fixed(parts[0])
    return case("Concat", *parts, axis=axis)


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
def gather(draw: Draw) -> Case:
    x, axis = noise(draw(SEED), draw(BATCH), 4, 3, 5), draw(st.sampled_from([1, 2, 3, -1]))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    size = x.shape[axis]
    count = int(np.prod(shape))
    picked = [draw(st.integers(-size, size - 1)) for _ in range(count)]
    return case("Gather", x, fixed(np.array(picked, np.int64).reshape(shape)), axis=axis)


@st.composite
def pad(draw: Draw) -> Case:
    x, mode = noise(draw(SEED), draw(BATCH), 3, 5, 6), draw(st.sampled_from(["constant", "reflect", "edge", "wrap"]))
    amounts = draw(st.lists(st.integers(-2, 2), min_size=4, max_size=4))
    if mode == "constant" and draw(st.booleans()):
        # Only two axes named; what is written there is 0, so that padding has no part in the inner product.
        return case("Pad", x, ints(*amounts), fixed(np.float32(0)), ints(2, -1), mode=mode)
    return case("Pad", x, ints(0, 0, *amounts[:2], 0, 0, *amounts[2:]), mode=mode)


@st.composite
def expand(draw: Draw) -> Case:
    seed, batch = draw(SEED), draw(BATCH)
    shape = draw(st.sampled_from([(3, 1, 1), (1, 2, 1), (3, 2, 4), (1, 1, 4)]))
    return case("Expand", noise(seed, batch, *shape), ints(1, 3, 2, 4))


@st.composite
def tile(draw: Draw) -> Case:
    repeats = draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    return case("Tile", noise(draw(SEED), draw(BATCH), 2, 3, 2), ints(1, *repeats))


@st.composite
def blocks(draw: Draw, op: str) -> Case:
    seed, batch, size = draw(SEED), draw(BATCH), draw(st.integers(2, 3))
    attrs: dict[str, Any] = {"blocksize": size}
    if op == "SpaceToDepth":
        return case(op, noise(seed, batch, 2, 2 * size, 3 * size), **attrs)
    attrs["mode"] = draw(st.sampled_from(["DCR", "CRD"]))
    return case(op, noise(seed, batch, 2 * size**2, 2, 3), **attrs)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Identity": plain("Identity"),
    "Dropout": plain("Dropout"),
    "Cast": plain("Cast", to=onnx.TensorProto.FLOAT),
    "Reshape": st.sampled_from([(0, 24), (0, -1, 3), (-1, 2, 2, 6)]).flatmap(
        lambda shape: plain("Reshape", ints(*shape))
    ),
    "Flatten": plain("Flatten"),
    "Squeeze": plain("Squeeze", ints(-1)),
    "Unsqueeze": plain("Unsqueeze", ints(1, -1)),
    "Transpose": transpose(),
    "Concat": concat(),
    "Slice": slice_(),
    "Gather": gather(),
    "Pad": pad(),
    "Expand": expand(),
    "Tile": tile(),
    "DepthToSpace": blocks("DepthToSpace"),
    "SpaceToDepth": blocks("SpaceToDepth"),
}


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (case("Transpose", noise(0, 2, 3, 4), perm=[1, 0, 2]), "batch"),
        (case("Concat", noise(0, 2, 3), noise(1, 2, 3), axis=0), "batch"),
        (case("Gather", noise(0, 2, 3), ints(0), axis=0), "batch"),
        (case("Gather", noise(0, 2, 3), np.array([0]), axis=1), "computed"),
    ],
    ids=repr,
)
def test_what_mixes_images_or_reads_by_value_is_refused(refused: Case, why: str) -> None:
    assert why in str(lookup(refused.node).refuses(refused.node))
