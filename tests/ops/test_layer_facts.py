"""The facts of layers hold in onnxruntime: bias slots and channel axes, scales in and out, shifts, positions."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from case import Case, case, fixed, noise
from hypothesis import assume, given
from hypothesis import strategies as st
from test_laws import CASES

from relcam_onnx.ops import TABLE, Layer, lookup

LAYERS = sorted(op for op in CASES if TABLE[op].layer is not None)


def fact(one: Case) -> Layer:
    layer = lookup(one.node).layer_of(one.node)
    assume(layer is not None)
    assert layer is not None
    return layer


def vector(seed: int, size: int) -> np.ndarray:
    return np.asarray(noise(seed, size), np.float64)


def along(values: np.ndarray, rank: int, axis: int) -> np.ndarray:
    return values.reshape([-1 if place == axis else 1 for place in range(rank)])


def forward(one: Case, values: dict[str, np.ndarray]) -> np.ndarray:
    """By onnxruntime; a bias in the engine's own third input of MatMul or Einsum is added here."""
    node = one.node
    if node.op in ("MatMul", "Einsum") and len(node.inputs) > 2:
        bias, rank = node.inputs[2].values, len(node.outputs[0].shape)
        bare = Case(gs.Node(node.op, "node", dict(node.attrs), node.inputs[:2], node.outputs), values, one.opset)
        axis = fact(one).channels(node, rank)
        assert axis is not None
        return np.asarray(bare.forward() + along(bias, rank, axis))
    return Case(node, values, one.opset).forward()


def near(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * max(1.0, float(np.abs(wanted).max(initial=0))))


@pytest.mark.parametrize("op", LAYERS)
@given(data=st.data(), seed=st.integers(0, 99))
def test_a_scale_and_a_shift_of_the_output_go_into_the_layer(op: str, data: st.DataObject, seed: int) -> None:
    """So weight, bias and channel axis are what the entry says."""
    one = data.draw(CASES[op])
    layer, node, y = fact(one), one.node, one.forward()
    axis, (_, outputs) = layer.channels(node, y.ndim), layer.counts(node)
    assume(axis is not None)
    assert y.shape[axis] == outputs
    scale, shift, old = vector(seed, outputs), vector(seed + 1, outputs), layer.offset(node)
    assert old is not None
    weight = layer.values(node) * layer.per_output(node, scale)
    assert weight.shape == layer.values(node).shape
    layer.put(node, *(gs.Constant(n, v.astype(np.float32)) for n, v in (("w", weight), ("b", old * scale + shift))))
    near(forward(one, one.values), y * along(scale, y.ndim, axis) + along(shift, y.ndim, axis))


@pytest.mark.parametrize("op", LAYERS)
@given(data=st.data(), seed=st.integers(0, 99))
def test_a_scale_and_a_shift_of_the_input_go_into_the_layer(op: str, data: st.DataObject, seed: int) -> None:
    one = data.draw(CASES[op])
    layer, node, y = fact(one), one.node, one.forward()
    ((name, x),) = one.values.items()
    axis, (inputs, _), made = layer.reads(node, x.ndim), layer.counts(node), layer.channels(node, y.ndim)
    assume(axis is not None and made is not None)
    assert x.shape[axis] == inputs
    scale, shift = vector(seed, inputs), vector(seed + 1, inputs)
    moved = layer.carried(node, shift)
    if moved is not None:
        near(one.forward({name: x + along(shift, x.ndim, axis).astype(np.float32)}), y + along(moved, y.ndim, made))
    factor = layer.per_input(node, scale)
    if factor is not None:
        wanted = one.forward({name: x * along(scale, x.ndim, axis).astype(np.float32)})
        old = layer.offset(node)
        assert old is not None
        weight = layer.values(node) * factor
        layer.put(node, *(gs.Constant(n, v.astype(np.float32)) for n, v in (("w", weight), ("b", old))))
        near(forward(one, one.values), wanted)


@pytest.mark.parametrize("op", LAYERS)
@given(data=st.data())
def test_positions_are_what_is_neither_batch_nor_channels(op: str, data: st.DataObject) -> None:
    one = data.draw(CASES[op])
    layer, rank = fact(one), len(one.node.outputs[0].shape)
    positions, channels = layer.positions(one.node, rank), layer.channels(one.node, rank)
    if channels is not None:
        assert sorted((0, channels, *positions)) == list(range(rank))
    assert layer.is_dense(one.node) == all(one.node.outputs[0].shape[axis] == 1 for axis in positions)


X = noise(0, 1, 4, 3, 3)
DENSE = {
    "a convolution as large as its input": (case("Conv", X, fixed(noise(1, 5, 4, 3, 3))), True),
    "a convolution over one position": (case("Conv", X[:, :, :1, :1], fixed(noise(1, 5, 4, 1, 1))), True),
    "a convolution": (case("Conv", X, fixed(noise(1, 5, 4, 1, 1))), False),
    "Gemm": (case("Gemm", X[:, :, 0, 0], fixed(noise(1, 4, 5))), True),
    "MatMul": (case("MatMul", X[:, :, 0, 0], fixed(noise(1, 4, 5))), True),
    "MatMul over tokens": (case("MatMul", X[:, :, 0], fixed(noise(1, 3, 5))), False),
    "Einsum": (case("Einsum", X[:, :, 0, 0], fixed(noise(1, 4, 5)), equation="bc,cd->bd"), True),
    "Einsum over tokens": (case("Einsum", X[:, :, 0], fixed(noise(1, 3, 5)), equation="bpc,cd->bpd"), False),
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_is_one_output_position(name: str) -> None:
    one, dense = DENSE[name]
    assert fact(one).is_dense(one.node) == dense


def test_without_sizes_a_product_by_a_matrix_is_dense_and_a_convolution_is_not() -> None:
    for one, dense in (DENSE["MatMul"], DENSE["a convolution"]):
        one.node.outputs[0].shape = None
        assert fact(one).is_dense(one.node) == dense


@pytest.mark.parametrize(
    "attrs", [{"pads": [1, 0, 0, 0]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}], ids=str
)
def test_a_shift_is_not_carried_through_padding(attrs: dict[str, object]) -> None:
    one = case("Conv", X, fixed(noise(1, 5, 4, 2, 2)), **attrs)
    assert fact(one).carried(one.node, np.ones(4)) is None


def test_a_bias_that_is_computed_or_varies_is_no_offset() -> None:
    w = fixed(noise(1, 4, 5))
    table = Case(case("Gemm", noise(0, 2, 4), w, fixed(noise(2, 2, 5))).node, {})
    computed = case("Gemm", noise(0, 2, 4), w, noise(2, 5))
    assert fact(table).offset(table.node) is None
    assert fact(computed).offset(computed.node) is None
