"""Models of quantised weights and activations: what stands for a float network is explained as that network is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from compare import agree
from nets import Net, run
from test_compile import explained, results

import relcam_onnx as rc
from relcam_onnx.ahead import session_options

STEP = np.float32(1 / 32)
# Multiples of the step, so that quantising the picture does not change it.
X = (np.random.default_rng(0).integers(-100, 100, (2, 3, 16, 16)) * STEP).astype(np.float32)
TARGETS = [[0, -1], [1, 2]]
OPTIONS: dict[str, Any] = {"layers": ("stages", "fused", "input")}
BACKENDS = ["eager", "compiled"]


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values, and a scale for each output channel.

    In 7 bits: where a processor has no dot product of bytes, onnxruntime's kernels saturate sums of two full products.
    """
    scales = np.abs(weight).max(axis=tuple(range(1, weight.ndim))) / 63
    values = np.round(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return values.astype(np.int8), scales.astype(np.float32)


def weights(net: Net, form: str, *shape: int) -> str:
    """The same weights as floats, as DequantizeLinear of int8, or as both ops on floats."""
    exact = net.normal(*shape, scale=0.3)
    values, scales = rounded(exact)
    if form == "float":
        return net.constant(values * scales.reshape(-1, *[1] * (len(shape) - 1)))
    zeros = np.zeros(len(scales), np.int8)
    source = net("QuantizeLinear", exact, scales, zeros, axis=0) if form == "both" else values
    return net("DequantizeLinear", source, scales, zeros, axis=0)


def straight(net: Net, x: str, scale: np.float32, zero: int, name: str | None = None) -> str:
    """QuantizeLinear and DequantizeLinear of an activation."""
    middle = np.uint8(zero)
    return net("DequantizeLinear", net("QuantizeLinear", x, scale, middle), scale, middle, name=name)


def network(form: str, *, picture: bool = False, activations: bool = False) -> onnx.ModelProto:
    """Two convolutions and a dense layer; perhaps the picture and the activations go through 8 bits."""
    net = Net("N", 3, 16, 16)
    x = straight(net, net.x, STEP, 128) if picture else net.x
    for name, before, stride in (("fine", 3, 1), ("coarse", 8, 2)):
        x = net("Conv", x, weights(net, form, 8, before, 3, 3), pads=[1] * 4, strides=[stride] * 2)
        x = net("Relu", x, name=None if activations else name)
        if activations:
            x = straight(net, x, 2 * STEP, 0, name)
    flat = net("Flatten", net("GlobalAveragePool", x))
    return net.model(net("Gemm", flat, weights(net, form, 5, 8), transB=1, name="scores"))


def same(got: rc.Explanation, wanted: rc.Explanation) -> None:
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-5)
    assert [value.shape for value in got.maps.values()] == [value.shape for value in wanted.maps.values()]
    for ours, value in zip(got.maps.values(), wanted.maps.values(), strict=True):
        assert np.abs(value).max() > 0
        agree(ours, value)


@pytest.mark.parametrize("form", ["stored", "both"])
@pytest.mark.parametrize("preset", ["default", "paper", "gradient"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.filterwarnings("ignore:seed 'one-hot'")
def test_weights_by_output_channel(backend: str, preset: str, form: str) -> None:
    wanted = explained(network("float"), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(network(form), preset=preset, backend=backend, **OPTIONS) as explainer:
        assert list(wanted.maps) == ["stride1", "stride2", "input", "fused"]
        same(explainer(X, TARGETS), wanted)


@pytest.mark.parametrize("preset", ["default", "gradient"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_activations_pass_straight_through(backend: str, preset: str) -> None:
    """The picture's values are what 8 bits hold, so that only the way back could make a difference."""
    wanted = explained(network("float"), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(network("float", picture=True), preset=preset, backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def tokens(form: str) -> onnx.ModelProto:
    """Two dense layers over tokens, whose weights are of 8 bits, and whose activations are not."""
    net = Net("N", 3, 16, 16)
    x = net("Transpose", net("Reshape", net.conv(net.x, 3, 32), np.array([0, 32, 256])), perm=[0, 2, 1])
    for before, after in ((32, 64), (64, 32)):
        weight = net("Transpose", weights(net, form, after, before), perm=[1, 0])
        x = net("Relu", net("MatMul", x, weight))
    return net.model(net.dense(net("ReduceMean", x, np.array([1]), keepdims=0), 32, 5, name="scores"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
def test_activations_that_no_file_rounds_are_not_rounded(backend: str, preset: str) -> None:
    wanted = explained(tokens("float"), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(tokens("stored"), preset=preset, backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def moved(move: str) -> onnx.ModelProto:
    """A dense layer over rounded tokens, with or without what only moves values before the rounding."""
    net = Net("N", 3, 16, 16)
    x = net("Reshape", net.conv(net.x, 3, 32), np.array([0, 32, 256]))
    x = net("Relu", net("Transpose", x, perm=[0, 2, 1]))
    if move in ("rows", "twice"):
        x = net("Reshape", x, np.array([-1, 32]))
    if move == "planes":
        x = net("Reshape", net("Transpose", x, perm=[0, 2, 1]), np.array([0, 32, 16, 16]))
    if move in ("same", "twice"):
        x = net("Identity", net("Reshape", x, np.array([-1, 256, 32])))
    x = straight(net, x, 2 * STEP, 0)
    if move == "planes":
        x = net("Transpose", net("Reshape", x, np.array([0, 32, 256])), perm=[0, 2, 1])
    weight, bias = net.normal(32, 32, scale=0.3), net.normal(32)
    if move == "rows":
        x = net("Reshape", net("Gemm", x, weight, bias), np.array([-1, 256, 32]))
    else:
        x = net("Add", net("MatMul", x, weight), bias)
    x = net("ReduceMean", net("Relu", x), np.array([1]), keepdims=0)
    return net.model(net.dense(x, 32, 5, name="scores"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
@pytest.mark.parametrize("move", ["rows", "planes", "twice", "same"])
def test_what_is_moved_before_it_is_rounded_is_read_rounded(backend: str, preset: str, move: str) -> None:
    wanted = explained(moved(""), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(moved(move), preset=preset, backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def whole() -> onnx.ModelProto:
    return network("stored", picture=True, activations=True)


def test_a_whole_quantised_model() -> None:
    """8 bits of every activation move the maps a little: a cosine of at least 0.99 to the float network's."""
    reference = explained(network("float"), X, TARGETS, **OPTIONS)
    wanted = explained(whole(), X, TARGETS, **OPTIONS)
    assert list(wanted.maps) == list(reference.maps)
    for name, value in reference.maps.items():
        a, b = wanted.maps[name].ravel(), value.ravel()
        assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)
    with rc.Explainer(whole(), backend="compiled", **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def test_a_compiled_quantised_model_stays_one() -> None:
    """The file's own outputs come from the same integers; nothing is dequantised for good."""
    compiled = rc.compile_model(whole(), **OPTIONS)
    onnx.checker.check_model(compiled, full_check=True)
    kept = [tensor for tensor in compiled.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) > 1 for tensor in kept) == 3
    wanted = explained(whole(), X, TARGETS, **OPTIONS)
    got = results(compiled, x=X, relcam_targets=wanted.targets)
    np.testing.assert_allclose(got["scores"], run(whole(), x=X)[0], atol=1e-5)
    for name, value in wanted.maps.items():
        agree(got["relevance/input" if name == "input" else f"cam/{name}"], value)


def wide(*, zero: int = 0, per_channel: bool = True, transposed: bool = False) -> onnx.ModelProto:
    """Weights too large to be stored again, in 8 bits: around a zero point, per channel, or put in order first."""
    net = Net("N", 3, 12, 12)

    def dequantised(*shape: int) -> str:
        values, scales = rounded(net.normal(*shape, scale=0.1))
        if not per_channel:
            scales = np.float32(np.abs(scales).max())
        zeros = np.full(np.shape(scales), zero, np.int8 if zero == 0 else np.uint8)
        stored = values if zero == 0 else (values.astype(np.int16) // 2 + zero).astype(np.uint8)
        axis = {"axis": 0} if per_channel else {}
        if transposed:
            order = list(range(len(shape)))[::-1]
            stored = net("Transpose", np.ascontiguousarray(stored.transpose(order)), perm=order)
        return net("DequantizeLinear", stored, scales, zeros, **axis)

    x = net("Relu", net.conv(net.x, 3, 32), name="fine")
    x = net("Relu", net("Conv", x, dequantised(32, 32, 3, 3), pads=[1] * 4, strides=[2, 2]), name="coarse")
    x = net("Relu", net("MatMul", net("Flatten", x), dequantised(1152, 8) if not per_channel else net.normal(1152, 8)))
    return net.model(net.dense(x, 8, 5, name="scores"))


FORMS: list[dict[str, Any]] = [
    {}, {"per_channel": False}, {"zero": 128}, {"zero": 3, "per_channel": False}, {"transposed": True},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_is_made_of_quantised_weights_is_made_when_a_file_is_loaded(form: dict[str, Any]) -> None:
    """onnxruntime folds no DequantizeLinear, nor what stands behind one: behind the walk's weights there is none.

    Of its optimised graph every node that reads only constants is a DequantizeLinear of the forward pass.
    """
    model = wide(**form)
    x = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
    wanted = explained(model, x, TARGETS, **OPTIONS)
    compiled = rc.compile_model(model, **OPTIONS)
    onnx.checker.check_model(compiled, full_check=True)
    got = results(compiled, x=x, relcam_targets=wanted.targets)
    for name, value in wanted.maps.items():
        agree(got["relevance/input" if name == "input" else f"cam/{name}"], value)
    graph = optimised(compiled).graph
    stored = {tensor.name for tensor in graph.initializer}
    each_run = [node.op_type for node in graph.node if all(name in stored for name in node.input if name)]
    assert set(each_run) <= {"DequantizeLinear"}
    assert len(each_run) <= sum(node.op_type == "DequantizeLinear" for node in model.graph.node)
    if not form.get("transposed"):
        assert large(compiled) == large(model)


def large(model: onnx.ModelProto) -> set[str]:
    """The stored tensors that are not small."""
    return {tensor.name for tensor in model.graph.initializer if np.prod(tensor.dims) > 4096}


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """What onnxruntime makes of a model before it chooses kernels."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def sharing(*, shared: bool, operators: bool) -> onnx.ModelProto:
    """Two int8 convolutions between int8 activations, whose weights may have one zero point."""
    net = Net(1, 3, 16, 16)
    one, zero = net.constant(STEP, "step"), net.constant(np.int8(0), "zero")
    x = net("QuantizeLinear", net.x, one, zero)
    for place, before in enumerate((3, 8)):
        values, scales = rounded(net.normal(8, before, 3, 3, scale=0.3))
        values, scales = values * np.int8(2), scales / 2  # onnxruntime rewrites weights that use all 8 bits
        name = "zeros" if shared else f"zeros{place}"
        zeros = name if shared and place else net.constant(np.zeros(8, np.int8), name)
        sides, parts = [net.constant(v, f"{n}{place}") for n, v in (("w", values), ("s", scales))], (one, zero)
        if operators:
            x = net("QLinearConv", x, *parts, *sides, zeros, *parts, pads=[1] * 4)
        else:
            weight = net("DequantizeLinear", *sides, zeros, axis=0)
            x = net("Conv", net("DequantizeLinear", x, *parts), weight, pads=[1] * 4)
            x = net("QuantizeLinear", x, *parts)
    return net.model(net.head(net("DequantizeLinear", x, *parts), 8))


@pytest.mark.parametrize("options", [None, session_options(1, 1, log=4)], ids=["python", "command line"])
@pytest.mark.parametrize("operators", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_share_a_zero_point(backend: str, operators: bool, options: onnxruntime.SessionOptions) -> None:
    model = sharing(shared=True, operators=operators)
    before = model.SerializeToString()
    wanted = explained(sharing(shared=False, operators=operators), X[:1], TARGETS[:1], **OPTIONS)
    with rc.Explainer(model, backend=backend, session_options=options, **OPTIONS) as explainer:
        same(explainer(X[:1], TARGETS[:1]), wanted)
    assert model.SerializeToString() == before


def turned(net: Net, x: str, zero: Any) -> str:
    return net("Reshape", net("Transpose", x, perm=[0, 2, 3, 1]), np.array([-1, 128]))


def padded(net: Net, x: str, zero: Any) -> str:
    """Room around windows, of which the largest counts: what is put there means 0."""
    x = net("Pad", x, np.array([0, 0, 1, 1, 0, 0, 1, 1]), zero)
    return net("Flatten", net("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1]))


def on_integers(moves: Callable[[Net, str, Any], str], *, integers: bool) -> onnx.ModelProto:
    """What is pooled and rounded is moved as integers, as TensorFlow Lite's files have it, or as what those mean."""
    net = Net("N", 3, 16, 16)
    parts = (2 * STEP, np.uint8(0))
    x = straight(net, net("Relu", net.conv(net.x, 3, 8)), *parts)
    x = net("QuantizeLinear", net("MaxPool", x, kernel_shape=[4, 4], strides=[4, 4]), *parts)
    if integers:
        x = net("DequantizeLinear", moves(net, x, np.uint8(0)), *parts)
    else:
        x = moves(net, net("DequantizeLinear", x, *parts), np.float32(0))
    return net.model(net.dense(x, 128 if moves is turned else 200, 5, name="scores"))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", ["default", "gradient"])
@pytest.mark.parametrize("moves", [turned, padded])
@pytest.mark.filterwarnings("ignore:the map of")
def test_what_moves_integers_moves_what_those_mean(moves: Any, backend: str, preset: str) -> None:
    wanted = explained(on_integers(moves, integers=False), X, TARGETS, preset=preset, **OPTIONS)
    with rc.Explainer(on_integers(moves, integers=True), preset=preset, backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


def rounded_by_a_run(net: Net, x: str) -> str:
    """DynamicQuantizeLinear, and what it made dequantised."""
    names = [f"{len(net.nodes)} {part}" for part in ("whole", "scale", "zero")]
    net.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [x], names))
    return net("DequantizeLinear", *names)


def rounding_bias(*, dynamic: bool) -> onnx.ModelProto:
    """A dense layer whose bias a run rounds, or which has it rounded."""
    net = Net("N", 3, 16, 16)
    bias = net.constant(np.array([0, 51, 102, 204, 255]) * STEP)  # what 8 bits hold
    x = net("ReduceMean", net("Relu", net.conv(net.x, 3, 8), name="stage"), np.array([2, 3]), keepdims=0)
    made = rounded_by_a_run(net, bias) if dynamic else bias
    return net.model(net("Add", net("MatMul", x, net.normal(8, 5)), made, name="scores"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_constant_that_a_run_would_round_is_one(backend: str) -> None:
    wanted = explained(rounding_bias(dynamic=False), X, TARGETS, **OPTIONS)
    with rc.Explainer(rounding_bias(dynamic=True), backend=backend, **OPTIONS) as explainer:
        same(explainer(X, TARGETS), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_activations_that_a_run_rounds_pass_straight_through(backend: str) -> None:
    """As files of dynamic range have them, whose weights are integers and whose sums are floats."""
    maps = {}
    for dynamic in (False, True):
        net = Net("N", 3, 16, 16)
        x = net("Relu", net.conv(net.x, 3, 8), name="stage")
        x = net("Flatten", net("MaxPool", x, kernel_shape=[4, 4], strides=[4, 4]))
        x = rounded_by_a_run(net, x) if dynamic else x
        with rc.Explainer(net.model(net.dense(x, 128, 5, name="scores")), backend=backend, **OPTIONS) as explainer:
            maps[dynamic] = explainer(X[:1], [[0]]).maps
    for name, value in maps[False].items():
        agree(maps[True][name], value, share=0.02)
