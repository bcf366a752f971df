"""Gemm, MatMul and BatchNormalization: every form of their attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case import BATCH, SEED, Case, case, fixed, noise
from hypothesis import strategies as st
from test_product import products

from relcam_onnx.ops import lookup

Draw = Any


@st.composite
def gemm(draw: Draw) -> Case:
    seed, turned = draw(SEED), draw(st.booleans())
    x, weight = noise(seed, draw(BATCH), 4), noise(seed, *((5, 4) if turned else (4, 5)))
    bias = draw(st.sampled_from([(), (5,), (1, 5), (1,)]))
    attrs: dict[str, Any] = {"transB": int(turned)}
    if draw(st.booleans()):
        attrs |= {"alpha": 0.5, "beta": -2.0}
    return case("Gemm", x, fixed(weight), *([fixed(noise(seed, *bias))] if bias else []), **attrs)


@st.composite
def matmul(draw: Draw) -> Case:
    seed, batch = draw(SEED), draw(BATCH)
    x, weight = draw(st.sampled_from([((batch, 4), (4, 5)), ((batch, 3, 4), (4, 5)), ((batch, 2, 3, 4), (2, 4, 5))]))
    if len(x) > 2 and draw(st.booleans()):
        left = (*weight[:-2], 5, x[-2])
        return case("MatMul", fixed(noise(seed, *left)), noise(seed, *x))
    return case("MatMul", noise(seed, *x), fixed(noise(seed, *weight)))


@st.composite
def batch_normalization(draw: Draw) -> Case:
    seed, rank = draw(SEED), draw(st.integers(0, 3))
    x = noise(seed, draw(BATCH), 3, *[2, 3, 4][:rank])
    scale, shift, mean, spread = (fixed(noise(seed + i, 3)) for i in range(4))
    variance = fixed(np.abs(spread.values) + np.float32(0.1))
    return case("BatchNormalization", x, scale, shift, mean, variance, epsilon=draw(st.sampled_from([1e-5, 0.1])))


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Gemm": gemm(),
    "MatMul": matmul() | products(),
    "BatchNormalization": batch_normalization(),
}


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (case("MatMul", fixed(noise(0, 3, 4)), noise(0, 4, 2)), "batch"),
        (case("Gemm", noise(0, 4, 2), fixed(noise(0, 4, 3)), transA=1), "transA"),
    ],
    ids=repr,
)
def test_forms_without_weights_of_the_model_are_refused(refused: Case, why: str) -> None:
    assert why in str(lookup(refused.node).refuses(refused.node))
