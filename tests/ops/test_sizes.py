"""Cases of ops that tell only sizes: they hand nothing back."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from case import SEED, Case, case, noise
from hypothesis import given
from hypothesis import strategies as st

from relcam_onnx.ops import TABLE, Linear, Message

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@st.composite
def shape(draw: st.DrawFn) -> Case:
    span = draw(st.sampled_from([{}, {"start": 1}, {"start": 0, "end": 1}]))
    return case("Shape", noise(draw(SEED), *draw(SHAPES)), **span)


@st.composite
def size(draw: st.DrawFn) -> Case:
    return case("Size", noise(draw(SEED), *draw(SHAPES)))


@st.composite
def constant_of_shape(draw: st.DrawFn) -> Case:
    value = gs.Constant("filling", np.array([draw(st.sampled_from([-1.0, 0.0, 2.0]))], np.float32))
    return case("ConstantOfShape", np.array(draw(SHAPES), np.int64), value=value)


CASES = {"Shape": shape(), "Size": size(), "ConstantOfShape": constant_of_shape()}


@pytest.mark.parametrize("op", CASES)
@given(data=st.data())
def test_nothing_is_handed_back(op: str, data: st.DataObject) -> None:
    one = data.draw(CASES[op])
    _, call, record = one.describe()
    assert not isinstance(record, Linear)
    assert TABLE[op].receivers(one.node) == ()
    assert not record.relevance(Message(noise(0, *call.output.shape)))
    assert not record.gradient(noise(0, *call.output.shape))


@pytest.mark.parametrize("op", CASES)
@given(data=st.data())
def test_what_is_known_to_be_nonnegative_is(op: str, data: st.DataObject) -> None:
    one = data.draw(CASES[op])
    if TABLE[op].nonnegative(one.node, lambda tensor: False):
        assert (one.forward() >= 0).all()
