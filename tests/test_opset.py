"""Raising old models: each op form, run by onnxruntime before and after."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.load import load

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))
RNG = np.random.default_rng(0)
PICTURE = RNG.standard_normal((2, 4, 6, 6)).astype(np.float32)


def floats(*shape: int) -> NDArray[np.float32]:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    op: str
    opset: int
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: tuple[Any, ...] = ()
    outputs: tuple[int, ...] = (TensorProto.FLOAT,)
    x: NDArray[Any] = field(default_factory=PICTURE.view)


def scales(*values: float) -> NDArray[np.float32]:
    return np.array([1, 1, *values], np.float32)


NO_ROI = np.zeros(0, np.float32)


def statistics(*shape: int) -> tuple[NDArray[np.float32], ...]:
    return tuple(floats(*shape) for _ in range(4))


CASES = [
    Case("Upsample", 7, {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 2.0]}),
    Case("Upsample", 7, {"mode": "linear", "scales": [1.0, 1.0, 2.0, 3.0]}),
    Case("Upsample", 9, {"mode": "nearest"}, (scales(1.5, 2),)),
    Case("Upsample", 9, {"mode": "linear"}, (scales(2, 3),)),
    Case("Resize", 10, {"mode": "nearest"}, (scales(1.5, 1.7),)),
    Case("Resize", 10, {"mode": "nearest"}, (scales(0.5, 0.7),)),
    Case("Resize", 10, {"mode": "linear"}, (scales(2, 2),)),
    Case("Resize", 10, {"mode": "linear"}, (scales(0.5, 0.7),)),
    Case(
        "Resize",
        11,
        {"coordinate_transformation_mode": "align_corners", "mode": "linear"},
        (NO_ROI, scales(2, 2)),
    ),
    Case(
        "Resize",
        11,
        {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"},
        (NO_ROI, scales(1.5, 1.7)),
    ),
    Case("Resize", 13, {"mode": "cubic"}, (NO_ROI, scales(2, 2))),
    Case("BatchNormalization", 7, {"spatial": 1}, statistics(4)),
    Case("BatchNormalization", 7, {"spatial": 0, "epsilon": 1e-3}, statistics(4, 6, 6)),
    Case("BatchNormalization", 9, {"momentum": 0.8, "epsilon": 1e-3}, statistics(4)),
    Case("Dropout", 7, {"ratio": 0.3}),
    Case("Dropout", 12, {}, (np.float32(0.3),)),
    Case("Pad", 7, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 1.5}),
    Case("Pad", 7, {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": "reflect"}),
    Case("Slice", 7, {"starts": [0, 1], "ends": [2, -1], "axes": [1, 2]}),
    Case("Slice", 9, {"starts": [0, 1], "ends": [2, 2**40]}),
    Case("Clip", 7, {"min": -0.5, "max": 0.5}),
    Case("Clip", 7, {"max": 0.2}),
    Case("Clip", 10),
    *(Case(op, 11, {"axis": axis}) for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (1, 2, 3)),
    Case("Softmax", 7),
    Case("Squeeze", 7, {"axes": [0]}, x=PICTURE[:1]),
    Case("Unsqueeze", 11, {"axes": [0, 3]}),
    *(Case(f"Reduce{kind}", 11, {"axes": [2, -1], "keepdims": 0}) for kind in ("Mean", "Sum", "Max", "Min", "L2")),
    Case("ReduceMean", 13, {"axes": [1]}),
    Case("ReduceSum", 7),
    Case("Split", 7, {"axis": 1, "split": [1, 3]}, outputs=(1, 1)),
    Case("Split", 13, {"axis": 1}, outputs=(1, 1)),
    Case("Reshape", 7, {}, (np.array([0, -1]),)),
    Case("TopK", 7, {"k": 2, "axis": 1}, outputs=(TensorProto.FLOAT, TensorProto.INT64)),
    Case("TopK", 10, {"axis": 1}, (np.array([2]),), (TensorProto.FLOAT, TensorProto.INT64)),
    Case("Scatter", 9, {"axis": 1}, (np.zeros((1, 1, 1, 1), np.int64), floats(1, 1, 1, 1))),
    Case("MaxPool", 8, {"kernel_shape": [2, 2]}, outputs=(TensorProto.FLOAT, TensorProto.INT64)),
    Case("AveragePool", 7, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}),
    Case("Conv", 7, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, (floats(5, 4, 3, 3), floats(5))),
    Case("Gemm", 7, {"transB": 1}, (floats(3, 4), floats(3)), x=PICTURE[0, 0, :, :4].copy()),
    Case("PRelu", 7, {}, (floats(4, 1, 1),)),
    Case("GroupNormalization", 18, {"num_groups": 2}, (floats(2), floats(2))),
]


def build(case: Case) -> onnx.ModelProto:
    names = [f"c{index}" for index in range(len(case.constants))]
    outputs = [f"y{index}" for index in range(len(case.outputs))]
    node = helper.make_node(case.op, ["x", *names], outputs, "the node", **case.attributes)
    constants = [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names, case.constants, strict=True)]
    graph = helper.make_graph(
        [node],
        "one op",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *case.x.shape[1:]])],
        [helper.make_tensor_value_info(n, t, None) for n, t in zip(outputs, case.outputs, strict=True)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


def run(proto: onnx.ModelProto, x: NDArray[Any]) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: x})
    return outputs


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.opset}")
def test_raised_model_computes_what_the_old_one_did(case: Case) -> None:
    old = build(case)
    model = load(old)
    assert model.opset == (21 if case.op == "GroupNormalization" else 18)
    assert [value.name for value in model.proto.graph.output] == [value.name for value in old.graph.output]
    for before, after in zip(run(old, case.x), run(model.proto, case.x), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


def small_model(*nodes: onnx.NodeProto, opset: int = 11, **imports: int) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    domains = {"": opset, **imports}
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*item) for item in domains.items()])


@pytest.mark.parametrize("opset", [18, 20, onnx.defs.onnx_opset_version()])
def test_newer_opset_stays(opset: int) -> None:
    assert load(small_model(helper.make_node("Relu", ["x"], ["y"]), opset=opset)).opset == opset


def test_unused_dropout_mask_goes() -> None:
    model = small_model(
        helper.make_node("Dropout", ["x"], ["a", "mask"]), helper.make_node("Relu", ["a"], ["y"]), opset=7
    )
    [y] = run(load(model).proto, PICTURE)
    np.testing.assert_array_equal(y, np.maximum(PICTURE, 0))


def test_custom_domain_and_unspelled_ai_onnx_survive() -> None:
    model = small_model(
        helper.make_node("Twist", ["x"], ["a"], domain="my.ops"),
        helper.make_node("Clip", ["a"], ["y"], domain="ai.onnx", min=0.0),
        opset=9,
        **{"my.ops": 3},
    )
    raised = load(model).proto
    assert {(entry.domain, entry.version) for entry in raised.opset_import} == {("", 18), ("my.ops", 3)}
    assert [(node.domain, node.op_type) for node in raised.graph.node if node.op_type != "Constant"] == [
        ("my.ops", "Twist"),
        ("", "Clip"),
    ]


def test_branches_are_raised_too() -> None:
    def branch(op: str, **attributes: Any) -> onnx.GraphProto:
        y = helper.make_tensor_value_info(f"of {op}", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(op, ["x"], [y.name], **attributes)], op, [], [y])

    for flag, op in ((True, "Hardmax"), (False, "Softmax")):
        model = small_model(
            helper.make_node("Constant", [], ["flag"], value=numpy_helper.from_array(np.array(flag))),
            helper.make_node(
                "If",
                ["flag"],
                ["y"],
                then_branch=branch("Hardmax", axis=1),
                else_branch=branch("Softmax", axis=1),
            ),
        )
        [expected] = run(build(Case(op, 11, {"axis": 1})), PICTURE)
        np.testing.assert_allclose(run(load(model).proto, PICTURE)[0], expected, atol=1e-6)


def test_names_weights_and_shapes_survive_raising() -> None:
    weight = floats(8, 4, 3, 3)
    model = small_model(
        helper.make_node("Conv", ["x", "w"], ["7"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["7"], ["8"], "second", min=0.0, max=6.0),
        helper.make_node("Relu", ["8"], ["y"], "third"),
        opset=9,
    )
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.shape))
    loaded = load(model)
    assert [value.name for value in loaded.proto.graph.input] == ["x"]
    named = {node.name: list(node.output) for node in loaded.proto.graph.node if node.name}
    assert named == {"first": ["7"], "second": ["8"], "third": ["y"]}
    tensors = loaded.graph.tensors()
    np.testing.assert_array_equal(tensors["w"].values, weight)
    assert tensors["8"].shape[:2] == ["n", 8]


def test_an_op_that_cannot_be_raised_is_named_with_its_remedy() -> None:
    model = small_model(helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1), opset=6)
    model.graph.initializer.append(numpy_helper.from_array(floats(3), "b"))
    with pytest.raises(ModelFileError, match=r"opset 6 cannot be raised to 18 .*opset_version=18"):
        load(model)


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_model_zoo_skeletons_load_with_names_and_shapes(path: Path) -> None:
    model, original = load(path), onnx.load(path)
    assert model.opset == 18
    assert [value.name for value in model.proto.graph.output] == [value.name for value in original.graph.output]
    tensors = model.graph.tensors()
    assert {name for node in original.graph.node for name in node.input} <= tensors.keys()
    assert all(tensor.shape is not None for tensor in tensors.values())


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_model_zoo_skeletons_compute_what_they_did(name: str) -> None:
    path = next(path for path in LIGHT if path.stem == f"light_{name}")
    x = RNG.standard_normal((1, 3, 224, 224)).astype(np.float32)
    [expected], [actual] = (run(proto, x) for proto in (onnx.load(path), load(path).proto))
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [2, -1])
def test_a_softmax_over_the_last_axis_stays_one(op: str, axis: int) -> None:
    """As paddle2onnx has it behind a Reshape to computed sizes, whose rank the converter does not see."""
    whole = {"ends": [2], "starts": [0], "axes": [0]}
    proto = small_model(
        helper.make_node("Shape", ["x"], ["sizes"]),
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))
            for name, value in (whole | {"rest": [-1]}).items()
        ),
        helper.make_node("Slice", ["sizes", "starts", "ends", "axes"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["rows"]),
        helper.make_node(op, ["rows"], ["y"], "the op", axis=axis),
    )
    written = load(proto).proto
    (node,) = (node for node in written.graph.node if node.output[0] == "y")
    assert (node.op_type, list(node.input), node.name) == (op, ["rows"], "the op")
    x = floats(2, 4, 3, 5)
    np.testing.assert_allclose(run(written, x)[0], run(proto, x)[0], rtol=1e-6, atol=1e-6)
