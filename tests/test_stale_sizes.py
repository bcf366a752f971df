"""Files whose inputs were edited after export: the sizes told of tensors inside, and of outputs, are from before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import agree, same_maps
from nets import Net, picture, run
from onnx import helper

import relcam_onnx as rc
from relcam_onnx.onnx_file.opset import raise_opset

LAYERS = ("stages", "fused", "input")
EDITS = {
    "batch freed": {0: "N"},
    "size freed": {2: "H", 3: "W"},
    "both freed": {0: "", 2: "", 3: ""},
    "another size": {2: 48, 3: 40},
}
SIZES = {"batch freed": (3, 3, 32, 32), "size freed": (1, 3, 48, 40), "both freed": (3, 3, 48, 40)}


def edited(edit: str, *, outputs: bool) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A file exported for one picture of 32 pixels and edited; and one that tells nothing of before."""
    net = Net(1, 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    x = net("Relu", net.batch_norm(net.conv(x, 8, 8, stride=2), 8))
    model = net.model(net.dense(net("Flatten", net("GlobalAveragePool", x)), 8, 5, name="scores"))
    model = onnx.shape_inference.infer_shapes(model)
    for value in (*model.graph.input, *(model.graph.output if outputs else [])):
        dims = value.type.tensor_type.shape.dim
        for axis, size in EDITS[edit].items():
            if axis < len(dims):
                dims[axis].Clear()
                if isinstance(size, int):
                    dims[axis].dim_value = size
                elif size:
                    dims[axis].dim_param = size
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    del clean.graph.value_info[:]
    clean.graph.output[0].type.tensor_type.ClearField("shape")
    return model, clean


@pytest.mark.parametrize("outputs", [True, False])
@pytest.mark.parametrize("edit", EDITS)
def test_sizes_from_before_are_not_believed(edit: str, outputs: bool) -> None:
    model, clean = edited(edit, outputs=outputs)
    x = picture(*SIZES.get(edit, (1, 3, 48, 40)))
    wanted = rc.Explainer(clean, LAYERS)(x, 1)
    for backend in ("eager", "compiled"):
        same_maps(rc.Explainer(model, LAYERS, backend=backend)(x, 1), wanted)
    compiled = rc.compile_model(model, LAYERS)
    for layer, name in (("fused", "cam/fused"), ("input", "relevance/input")):
        (got,) = run(compiled, name, x=x, relcam_targets=np.ones((len(x), 1), np.int64))
        agree(got, wanted.maps[layer])


def test_sizes_that_hold_are_kept() -> None:
    """What no inference knows, a custom op's result, is as the file tells it."""
    nodes = [helper.make_node("Mystery", ["x"], ["told"], domain="own"), helper.make_node("Relu", ["told"], ["y"])]
    x, told, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", 3, 8, 8]), ("told", ["N", 4, 2, 2]), ("y", ["N", 4, 2, 2]))
    )
    graph = helper.make_graph(nodes, "small", [x], [y], value_info=[told])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("own", 1)])
    raise_opset(model)
    assert list(model.graph.value_info) == [told]


def test_outputs_that_are_no_tensors_stay() -> None:
    """ZipMap's sequence of maps, as scikit-learn's converters have it, where the batch was freed."""
    net = Net(1, 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    shares = net("Softmax", net.dense(net("Flatten", net("GlobalAveragePool", x)), 8, 3), name="shares")
    model = onnx.shape_inference.infer_shapes(net.model(shares))
    model.graph.node.append(
        helper.make_node("ZipMap", ["shares"], ["named"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    )
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    map_type = helper.make_map_type_proto(
        onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    )
    model.graph.output.append(helper.make_value_info("named", helper.make_sequence_type_proto(map_type)))
    for value in (model.graph.input[0],):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    found = rc.Explainer(model, "stages")(picture(2, 3, 16, 16), 1)
    assert len(found.outputs["named"]) == 2
