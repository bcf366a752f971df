"""Weights that onnxruntime rounds by itself, between activations that a file rounds: explained as they ran."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from compare import agree
from nets import Net, run
from test_quantised import STEP, straight, weights

import relcam_onnx as rc
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.weights import whole

X = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
TARGETS = [[0, -1], [1, 2]]
OPTIONS: dict[str, Any] = {"layers": ("stages", "fused", "input")}


def partly(form: str, after: str = "Relu", *, large: bool = False) -> onnx.ModelProto:
    """Layers between rounded activations whose weights, or whose biases alone, the file leaves as floats.

    In ``form`` "biases" weights are dequantised by channel, as tools for training in 8 bits write them; "none" are
    those of "weights" where the activations are not rounded.
    """
    net = Net("N", 3, 16, 16)
    kind, channels = "both" if form == "biases" else "float", 96 if large else 8
    rounds = form != "none"
    x = straight(net, net.x, STEP, 128) if rounds else net.x
    for before, stride in ((3, 1), (channels, 2)):
        bias = net.constant(net.normal(channels))
        x = net("Conv", x, weights(net, kind, channels, before, 3, 3), bias, pads=[1] * 4, strides=[stride] * 2)
        x = net("Clip", x, np.float32(0), np.float32(6)) if after == "Clip" else net(after, x) if after else x
        x = straight(net, x, 4 * STEP, 0) if rounds else x
    x = net("Flatten", net("GlobalAveragePool", x))
    x = straight(net, x, STEP, 0) if rounds else x
    x = net("Gemm", x, weights(net, kind, 5, channels), net.constant(net.normal(5)), transB=1)
    return net.model(straight(net, x, STEP, 128, "scores") if rounds else x)


def unoptimised(model: onnx.ModelProto) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], {session.get_inputs()[0].name: X})[0])


FORMS = [("weights", "Relu"), ("weights", "Clip"), ("weights", ""), ("biases", "Relu"), ("biases", "")]


@pytest.mark.parametrize(("form", "after"), FORMS)
def test_the_file_is_rounded_as_its_session_rounds_it(form: str, after: str) -> None:
    """Without any optimiser what is loaded gives the scores that onnxruntime's gives of the file."""
    model = partly(form, after)
    loaded = load(model)
    np.testing.assert_array_equal(unoptimised(whole(loaded.proto, loaded.weights)), run(model, x=X)[0])


@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
@pytest.mark.parametrize(("form", "after"), FORMS)
def test_the_compiled_file_tells_the_scores_of_the_file(form: str, after: str, preset: str) -> None:
    """A step of 1/32 of the scores is what a weight rounded here and not there would make."""
    model = partly(form, after)
    with rc.Explainer(model, backend="eager", preset=preset, **OPTIONS) as explainer:
        wanted = explainer(X, TARGETS)
    with rc.Explainer(model, backend="compiled", preset=preset, **OPTIONS) as explainer:
        got = explainer(X, TARGETS)
    for answer in (wanted, got):
        np.testing.assert_array_equal(answer.outputs["scores"], run(model, x=X)[0])
    for name, value in wanted.maps.items():
        agree(got.maps[name], value)


def test_a_large_weight_is_stored_once_as_integers() -> None:
    model = partly("weights", large=True)
    loaded = load(model)
    assert [value.dtype for value in loaded.weights.values()] == [np.int8]  # the floats, four times as many, are gone
    kinds = [tensor.data_type for tensor in loaded.proto.graph.initializer if len(tensor.dims) == 4]
    assert kinds == [onnx.TensorProto.INT8] * 2
    compiled = rc.compile_model(model)
    onnx.checker.check_model(compiled, full_check=True)
    assert compiled.ByteSize() < model.ByteSize()
    np.testing.assert_array_equal(run(model, x=X)[0], run(compiled, x=X, relcam_targets=np.array([[0], [0]]))[0])


def near_misses() -> dict[str, onnx.ModelProto]:
    """Files whose floats onnxruntime leaves alone: nothing rounds the activations, or another node reads the result."""
    net = Net("N", 3, 16, 16)
    x = net("Conv", straight(net, net.x, STEP, 128), net.normal(8, 3, 3, 3, scale=0.3), net.normal(8))
    x = net("Add", straight(net, x, STEP, 128), x)
    return {"nothing rounded": partly("none"), "another reader": net.model(net.head(net("Relu", x), 8))}


@pytest.mark.parametrize("case", near_misses())
def test_what_it_leaves_alone_stays(case: str) -> None:
    model = near_misses()[case]
    stored = {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}
    kept = {tensor.name: tensor.SerializeToString() for tensor in load(model).proto.graph.initializer}
    assert stored == {name: kept[name] for name in stored}
