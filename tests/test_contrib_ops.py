"""Ops that onnxruntime's optimiser fuses, written back: the file computes what it did, in standard ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, inverted, picture, residual, run
from onnx import helper, numpy_helper

import relcam_onnx as rc
from relcam_onnx.onnx_file.load import load

FUSED: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "conv and relu": ("FusedConv", [(4, 3, 3, 3), (4,)], {"activation": "Relu", "pads": [1] * 4}),
    "conv and a bound": (
        "FusedConv", [(4, 3, 3, 3)], {"activation": "Clip", "activation_params": [0.0, 0.4], "strides": [2, 2]},
    ),
    "conv and a leak": (
        "FusedConv", [(4, 3, 3, 3), (4,)], {"activation": "LeakyRelu", "activation_params": [0.2]},
    ),
    "conv, sum and relu": ("FusedConv", [(3, 3, 1, 1), (3,), "x"], {"activation": "Relu"}),
    "exact gelu": ("Gelu", [], {}),
    "gelu of a biased input": ("BiasGelu", [(8,)], {}),
    "gelu by tanh": ("FastGelu", [], {}),
    "silu": ("QuickGelu", [], {"alpha": 1.0}),
    "quick gelu": ("QuickGelu", [], {}),
    "product with both turned": ("FusedMatMul", [(5, 8)], {"transA": 1, "transB": 1}),
    "product": ("FusedMatMul", [(8, 5)], {"alpha": 0.5}),
    "product with the first axis behind the others": ("FusedMatMul", [(3, 8, 8, 5)], {"transBatchA": 1}),
    "product with all turned": (
        "FusedMatMul", [(5, 3, 8, 8)], {"transBatchA": 1, "transBatchB": 1, "transB": 1},
    ),
    "product with the matrix turned": ("FusedMatMul", [(5, 8)], {"transB": 1, "alpha": 2.0}),
    "attention": ("Attention", [(8, 24), (24,)], {"num_heads": 2}),
    "attention without a bias": ("Attention", [(8, 24)], {"num_heads": 4, "scale": 0.3}),
    "attention whose sizes are spelled out": (
        "Attention", [(8, 24), (24,)], {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 8], "unidirectional": 0},
    ),
    "attention of three tensors": ("MultiHeadAttention", ["x", "x"], {"num_heads": 2}),
    "attention of three tensors and a bias": ("MultiHeadAttention", ["x", "x", (24,)], {"num_heads": 2}),
    "norm of a sum": ("SkipLayerNormalization", ["x", (8,), (8,), (8,)], {"epsilon": 1e-3}),
}  # fmt: skip


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("name", FUSED)
def test_a_fused_op_is_what_it_was(name: str, opset: int) -> None:
    op, inputs, attrs = FUSED[name]
    tokens = op in ("SkipLayerNormalization", "Attention", "MultiHeadAttention")
    net = Net(2, 3, 8, opset=opset) if tokens else Net(2, 3, 8, 8, opset=opset)
    others = [i if isinstance(i, str) else net.normal(*i) for i in inputs]
    net(op, net.x, *others, domain="com.microsoft", name="y", **attrs)
    model = net.model("y", domains=["com.microsoft"])
    x = picture(2, 3, 8) if tokens else picture(2, 3, 8, 8)
    written = load(model).proto
    assert not [node for node in written.graph.node if node.domain]
    np.testing.assert_allclose(run(written, "y", x=x)[0], run(model, "y", x=x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("opset", [14, 18])
@pytest.mark.parametrize("name", [name for name in FUSED if "conv" not in name])
def test_a_fused_op_of_half_precision_is_what_it_was(name: str, opset: int) -> None:
    """onnxruntime has no such convolutions for CPUs; 2^-10 is half precision's step, of which sums leave several."""
    op, inputs, attrs = FUSED[name]
    tokens = op in ("SkipLayerNormalization", "Attention", "MultiHeadAttention")
    shape = (2, 3, 8) if tokens else (2, 3, 8, 8)

    def model(*, half: bool) -> onnx.ModelProto:
        net = Net(*shape, opset=opset)
        x = net("Cast", net.x, to=onnx.TensorProto.FLOAT16) if half else net.x
        others = [x if isinstance(i, str) else net.constant(net.normal(*i)) for i in inputs]
        y = net(op, x, *others, domain="com.microsoft", **attrs)
        net("Cast", y, to=onnx.TensorProto.FLOAT, name="y")
        if half:
            net.constant(np.ones(1), "a weight")
            for tensor in net.weights:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
        return net.model("y", domains=["com.microsoft"])

    x = picture(*shape)
    written = load(model(half=True)).proto
    assert not [node for node in written.graph.node if node.domain]
    wanted = run(model(half=False), "y", x=x)[0]
    np.testing.assert_allclose(run(written, "y", x=x)[0], wanted, rtol=0, atol=4 * 2**-10 * np.abs(wanted).max())


def test_a_fused_op_in_a_function_is_written_back_too() -> None:
    net = Net(2, 3, 8, 8)
    net("Block", net.x, net.normal(4, 3, 3, 3), domain="own", name="y")
    model = net.model("y", domains=["own", "com.microsoft"])
    body = [helper.make_node("FusedConv", ["a", "w"], ["b"], domain="com.microsoft", activation="Relu")]
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model.functions.append(helper.make_function("own", "Block", ["a", "w"], ["b"], body, domains))
    assert [node.op_type for node in load(model).proto.graph.node] == ["Conv", "Relu"]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs"),
    [
        ("Attention", [(8, 24), (24,)], {"unidirectional": 1}),
        ("Attention", [(8, 24), (24,)], {"do_rotary": 1}),
        ("Attention", [(8, 20), (20,)], {"qkv_hidden_sizes": [8, 8, 4]}),
        ("MultiHeadAttention", ["x", "x"], {"unidirectional": 1}),
    ],
)
def test_attention_that_is_another_function_stays(op: str, inputs: list[Any], attrs: dict[str, Any]) -> None:
    net = Net(2, 3, 8)
    others = [i if isinstance(i, str) else net.normal(*i) for i in inputs]
    net(op, net.x, *others, domain="com.microsoft", name="y", num_heads=2, **attrs)
    written = load(net.model("y", domains=["com.microsoft"])).proto
    assert [node.op_type for node in written.graph.node] == [op]


@pytest.mark.parametrize("mask", [None, "added", "truth"])
@pytest.mark.parametrize("heads", [0, 2])
def test_onnxs_own_attention_is_its_pieces(heads: int, mask: str | None) -> None:
    """Opset 23, of four axes or of three; a mask is added, or says where to look."""
    shape = (2, 3, 8) if heads else (2, 4, 3, 8)
    net = Net(*shape, opset=23)
    others = [net("Mul", net.x, np.float32(0.5)), net("Neg", net.x)]
    masks = {"added": net.normal(3, 3), "truth": np.tri(3, dtype=bool), None: None}
    attrs = {"q_num_heads": heads, "kv_num_heads": heads} if heads else {}
    net("Attention", net.x, *others, *([masks[mask]] if mask else []), name="y", **attrs)
    model, x = net.model("y"), picture(*shape)
    written = load(model).proto
    assert not [node for node in written.graph.node if node.op_type == "Attention"]
    np.testing.assert_allclose(run(written, "y", x=x)[0], run(model, "y", x=x)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("build", [residual, inverted])
@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
def test_an_optimised_file_is_explained_as_the_plain_one(build: Any, level: str, tmp_path: Any) -> None:
    """Its stages, their names and its maps are the plain file's, to the 1e-3 of the contract."""
    import onnxruntime  # noqa: PLC0415 - beside what it is used for

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "o.onnx"), 4
    plain = build()
    onnxruntime.InferenceSession(plain.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised, x = onnx.load(tmp_path / "o.onnx"), picture(1, 3, 32, 32)
    layers = ["stages", "fused", "input"]
    with rc.Explainer(plain, layers) as one, rc.Explainer(optimised, layers) as other:
        wanted, got = one(x).maps, other(x).maps
    assert list(wanted) == list(got)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-3 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("opset", [13, 16])
@pytest.mark.parametrize(
    ("op", "count"), [("LayerNormalization", 2), ("LayerNormalization", 1), ("SimplifiedLayerNormalization", 1)]
)
def test_a_norm_in_a_file_older_than_it_is_written_in_its_parts(op: str, count: int, opset: int) -> None:
    net = Net(2, 3, 8, opset=opset)
    net(op, net.x, *(net.normal(8) for _ in range(count)), name="y", axis=-1, epsilon=1e-3)
    model, x = net.model("y"), picture(2, 3, 8)
    written = load(model).proto
    assert not [node for node in written.graph.node if node.op_type == op]
    np.testing.assert_allclose(run(written, "y", x=x)[0], run(model, "y", x=x)[0], rtol=0, atol=1e-5)


def test_what_has_no_standard_spelling_stays_and_is_named() -> None:
    net = Net(1, 3, 8, 8)
    y = net("NhwcMaxPool", net.conv(net.x, 3, 4), domain="com.microsoft", name="pool", kernel_shape=[2, 2])
    model = net.model(net.head(y, 4), domains=["com.microsoft"])
    model.graph.value_info.append(helper.make_tensor_value_info("pool", onnx.TensorProto.FLOAT, [1, 4, 7, 7]))
    with pytest.raises(rc.UnsupportedModelError, match="NhwcMaxPool node 'pool'"):
        rc.Explainer(model, "input")
