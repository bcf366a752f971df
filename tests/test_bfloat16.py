"""Files in bfloat16 are explained as what they are in float32, weight by weight."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture
from onnx import TensorProto, helper, numpy_helper
from test_compile import TARGETS

import relcam_onnx as rc

BRIEF, FLOAT = TensorProto.BFLOAT16, TensorProto.FLOAT
X = picture(3, 3, 16, 16)


def rounded(values: np.ndarray) -> np.ndarray:
    """To the nearest bfloat16, as float32."""
    brief = helper.make_tensor("t", BRIEF, values.shape, values.ravel().tolist())
    return np.asarray(numpy_helper.to_array(brief), np.float32)


def network(*, casts: bool) -> onnx.ModelProto:
    """A network whose weights are bfloat16 numbers, in float32; perhaps its middle is between two casts."""
    net = Net("N", 3, 16, 16)
    x = net("Cast", net.x, to=FLOAT) if casts else net.x
    x = net("Relu", net.conv(x, 3, 8), name="first")
    x = net("Mul", x, net("ConstantOfShape", np.array([1, 8, 1, 1]), value=numpy_helper.from_array(np.float32([0.75]))))
    x = net("Relu", net.conv(x, 8, 8, stride=2), name="second")
    x = net("Cast", x, to=FLOAT) if casts else x
    model = net.model(net.head(x, 8))
    for tensor in model.graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(tensor)), tensor.name))
    return model


def brief(model: onnx.ModelProto, *, whole: bool) -> onnx.ModelProto:
    """The same file in bfloat16: all of it, or what lies between its casts."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in model.graph.initializer:
        outer = not whole and tensor.dims[-1:] == [5]
        if tensor.data_type == FLOAT and not outer:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(helper.make_tensor(tensor.name, BRIEF, values.shape, values.ravel().tolist()))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info) if whole else ():
        value.type.tensor_type.elem_type = BRIEF
    first = next((node for node in model.graph.node if node.op_type == "Cast"), None)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "ConstantOfShape":
                attribute.t.CopyFrom(helper.make_tensor("value", BRIEF, [1], [0.75]))
            if node.op_type == "Cast" and (whole or node is first):
                attribute.i = BRIEF
    return model


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_file_in_bfloat16_has_the_maps_of_its_float32_form(whole: bool, backend: str) -> None:
    wide = network(casts=not whole)
    models = wide, brief(wide, whole=whole)
    wanted, got = (rc.Explainer(m, ["stages", "fused", "input"], backend=backend)(X, TARGETS) for m in models)
    np.testing.assert_array_equal(got.scores, wanted.scores)
    same_maps(got, wanted, 1e-6)


def test_the_compiled_file_is_in_float32() -> None:
    compiled = rc.compile_model(brief(network(casts=False), whole=True))
    kinds = {v.type.tensor_type.elem_type for v in (*compiled.graph.input, *compiled.graph.output)}
    assert BRIEF not in kinds
    assert not [t.name for t in compiled.graph.initializer if t.data_type == BRIEF]
