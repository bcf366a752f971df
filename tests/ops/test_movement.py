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
def expand(draw: Draw) -> Case:
    seed, batch = draw(SEED), draw(BATCH)
    shape = draw(st.sampled_from([(3, 1, 1), (1, 2, 1), (3, 2, 4), (1, 1, 4)]))
    return case("Expand", noise(seed, batch, *shape), ints(1, 3, 2, 4))


@st.composite
def tile(draw: Draw) -> Case:
    repeats = draw(st.lists(st.integers(1, 3), min_size=4, max_size=4))  # of the batch too: a token for many windows
    return case("Tile", noise(draw(SEED), draw(BATCH), 2, 3, 2), ints(*repeats))


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
    ],
    ids=repr,
)
def test_what_mixes_images_is_refused(refused: Case, why: str) -> None:
    assert why in str(lookup(refused.node).refuses(refused.node))
