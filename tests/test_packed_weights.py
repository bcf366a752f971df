"""Weights of few bits, several to a byte (onnxruntime's MatMulNBits), are read as the numbers that they stand for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from nets import Net, picture, run
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

import relcam_onnx as rc
from relcam_onnx.onnx_file.load import load


def quantised(bits: int, *, symmetric: bool) -> onnx.ModelProto:
    """Two layers over tokens, whose rows do not fill their blocks, by onnxruntime's own quantiser."""
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 50))
    x = net("Transpose", net("Reshape", x, np.array([0, 50, -1])), perm=[0, 2, 1])
    for size in (50, 24):
        x = net("Relu", net("Add", net("MatMul", x, net.constant(net.normal(size, 24))), net.normal(24)))
    model = net.model(net.dense(net("ReduceMean", x, np.array([1]), keepdims=0), 24, 5, name="scores"))
    quantiser = MatMulNBitsQuantizer(model, bits=bits, block_size=32, is_symmetric=symmetric)
    quantiser.process()
    return quantiser.model.model


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_of_few_bits_are_the_numbers_that_they_stand_for(bits: int, symmetric: bool) -> None:
    """Scores are onnxruntime's own, from its own op."""
    model, x = quantised(bits, symmetric=symmetric), picture(2, 3, 8, 8)
    assert [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    assert not [node for node in load(model).proto.graph.node if node.domain]
    told = run(model, "scores", x=x)[0]
    maps = []
    for backend in ("eager", "compiled"):
        e = rc.Explainer(model, ("stages", "fused", "input"), backend=backend)(x, [[0, 1]] * 2)
        np.testing.assert_allclose(e.scores, told, rtol=0, atol=1e-4 * np.abs(told).max())
        maps.append(e.maps)
    for name, values in maps[0].items():
        np.testing.assert_allclose(maps[1][name], values, rtol=0, atol=1e-3 * np.abs(values).max())


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_product_of_half_precision_is_what_it_was(symmetric: bool) -> None:
    """2^-10 is half precision's step, of which sums leave several."""
    net = Net(2, 6, 50)
    x = net("Cast", net.x, to=onnx.TensorProto.FLOAT16)
    y = net("MatMul", x, net.constant(net.normal(50, 24)))
    net("Cast", y, to=onnx.TensorProto.FLOAT, name="y")
    for tensor in net.weights:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    quantiser = MatMulNBitsQuantizer(net.model("y"), block_size=32, is_symmetric=symmetric)
    quantiser.process()
    model, x = quantiser.model.model, picture(2, 6, 50)
    written = load(model).proto
    assert not [node for node in written.graph.node if node.domain]
    told = run(model, "y", x=x)[0]
    np.testing.assert_allclose(run(written, "y", x=x)[0], told, rtol=0, atol=2**-8 * np.abs(told).max())
