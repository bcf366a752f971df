"""Which weights are drawn anew, however a file holds them, and as what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from audits import folder, saved, seeing
from onnx import helper, numpy_helper
from test_audit_cli import figure, relcam, report
from test_qoperators import FORMS, quantised, residual

from relcam_onnx.audit import metrics


def as_constants(model: onnx.ModelProto, *kinds: str) -> onnx.ModelProto:
    """Every weight of several axes as a node that holds it, behind nodes of these kinds."""
    graph = model.graph
    weights = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    front = []
    for tensor in weights:
        value, name = numpy_helper.to_array(tensor), f"{tensor.name} held"
        if "Transpose" in kinds:
            value = value.T
        names = [name, *(f"{tensor.name} {kind}" for kind in kinds[:-1]), tensor.name]
        front.append(helper.make_node("Constant", [], names[:1] if kinds else [tensor.name],
                                      value=numpy_helper.from_array(np.ascontiguousarray(value), "w")))  # fmt: skip
        front += [
            helper.make_node(kind, [names[k]], [names[k + 1]], **({"to": 1} if kind == "Cast" else {}))
            for k, kind in enumerate(kinds)
        ]
        graph.initializer.remove(tensor)
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("kinds", [(), ("Identity",), ("Transpose",), ("Cast", "Identity")], ids=str)
def test_weights_behind_nodes_are_found(kinds: tuple[str, ...]) -> None:
    model = as_constants(seeing(), *kinds)
    assert len(metrics.weights_from_the_top(model)) == len(metrics.weights_from_the_top(seeing())) == 3
    outputs = [run(each) for each in (model, metrics.randomised(model, 1), metrics.randomised(model, 3))]
    np.testing.assert_allclose(outputs[0], run(seeing()), rtol=1e-5)
    assert len({output.tobytes() for output in outputs}) == 3


def run(model: onnx.ModelProto, side: int = 32) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.random.default_rng(0).standard_normal((1, 3, side, side), np.float32)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.mark.parametrize("form", FORMS)
def test_quantised_weights_are_drawn_in_their_own_numbers(form: str) -> None:
    """All of them, in whatever form; scales and zero points stay."""
    model = quantised(residual(), **FORMS[form])
    names = metrics.weights_from_the_top(model)
    assert len(names) == len(metrics.weights_from_the_top(residual()))
    anew = metrics.randomised(model, len(names))
    before, after = (metrics.sensitivity.stored(each.graph) for each in (model, anew))
    for name, tensor in before.items():
        assert after[name].data_type == tensor.data_type
        assert (after[name] == tensor) == (name not in names)
    whole = [name for name in names if before[name].data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)]
    assert whole
    for name in whole:
        old, new = (numpy_helper.to_array(each[name]).astype(float) for each in (before, after))
        assert new.std() == pytest.approx(old.std(), rel=0.3)
    assert not np.array_equal(run(model, 16), run(anew, 16))


@pytest.mark.parametrize("scale", [3e-4, 1, 300])
def test_half_precision_keeps_its_deviation(scale: float) -> None:
    """In half precision the squares of small weights are 0, and those of large ones infinite."""
    value = np.random.default_rng(0).normal(0, scale, (64, 64, 3, 3)).astype(np.float16)
    found = metrics.sensitivity.drawn(value, np.random.default_rng(1))
    assert found.dtype == np.float16
    assert np.isfinite(found).all()
    assert found.astype(float).std() == pytest.approx(scale, rel=0.02)


def test_what_a_type_does_not_hold_is_its_end() -> None:
    value = np.array([[-128, 127] * 50], np.int8)
    found = metrics.sensitivity.drawn(value, np.random.default_rng(0))
    assert (found.min(), found.max()) == (-128, 127)
    packed = numpy_helper.to_array(helper.make_tensor("w", onnx.TensorProto.INT4, [2, 8], [*range(-8, 8)]))
    tensor = numpy_helper.from_array(metrics.sensitivity.drawn(packed, np.random.default_rng(0)), "w")
    assert tensor.data_type == onnx.TensorProto.INT4


def test_a_file_whose_weights_are_not_known_says_so(tmp_path: Path) -> None:
    """Those that it computes are no weights that could be drawn."""
    model = seeing()
    for node in [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]:
        name = node.input[1]
        node.input[1] = f"{name} times one"
        model.graph.node.insert(0, helper.make_node("Mul", [name, "one"], [f"{name} times one"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    folder(tmp_path / "in", 1)
    assert relcam("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    said = "not measured: sanity.weights: no convolution and no dense layer reads a weight that the file holds as it is"
    assert said in report(tmp_path / "out")["notes"]


def test_weights_in_functions_are_drawn(tmp_path: Path) -> None:
    model = seeing()
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    body = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    imports = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("own", "Dense", ["x", "w"], ["y"], [body], imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    gemm.op_type, gemm.domain = "Dense", "own"
    del gemm.attribute[:]
    folder(tmp_path / "in", 1)
    assert relcam("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert figure(report(tmp_path / "out"), "sanity.weights", "fused, 3 of 3")["size"] > 0
