"""Products of floats with quantised weights: computed with the floats in every session, whatever its options."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from compare import agree
from nets import Net, run
from onnx import TensorProto, helper, numpy_helper
from test_compile import explained
from test_quantised import STEP, straight

import relcam_onnx as rc
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.weights import whole

X = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
TARGETS = [[0, -1], [1, 2]]
OPTIONS: dict[str, Any] = {"layers": ("stages", "fused", "input"), "preset": "epsilon-plus"}
KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int4": TensorProto.INT4, "uint4": TensorProto.UINT4}
SPREADS = {"one": ((), {}), "columns": ((160,), {"axis": 1}), "blocks": ((2, 160), {"axis": 0, "block_size": 16})}


def tokens(kind: str = "", spread: str = "one", op: str = "MatMul", *, shared: bool = False) -> onnx.ModelProto:
    """A dense layer over tokens, whose weights are stored as integers or, without a kind, as the floats they mean."""
    net = Net("N", 3, 16, 16, opset=21)
    x = net("Transpose", net("Reshape", net.conv(net.x, 3, 32), np.array([0, 32, 256])), perm=[0, 2, 1])
    rng = np.random.default_rng(1)
    sizes, attributes = SPREADS[spread]
    integers, middle = rng.integers(0, 16, (32, 160)), 0 if kind.startswith("int") else 8
    scales = rng.uniform(0.02, 0.06, sizes).astype(np.float32)
    if kind:
        parts = [("stored", integers - 8 + middle), ("zeros", np.full(sizes, middle))]
        types = [helper.tensor_dtype_to_np_dtype(KINDS[kind])] * 2
        net.weights.extend(numpy_helper.from_array(v.astype(t), n) for (n, v), t in zip(parts, types, strict=True))
        weight = net("DequantizeLinear", "stored", scales, "zeros", **attributes)
    else:
        weight = net.constant((integers - 8) * (np.repeat(scales, 16, 0) if spread == "blocks" else scales))
    if op == "Gemm":
        rows = net("Gemm", net("Reshape", x, np.array([-1, 32])), weight, np.zeros(160, np.float32))
        x = net("Reshape", rows, np.array([-1, 256, 160]))
    elif op == "Transpose":
        turned = net("Transpose", net("Transpose", weight, perm=[1, 0]), perm=[1, 0])
        x = net("MatMul", x, turned)
    else:
        x = net("MatMul", x, weight)
    x = net("Relu", x)
    if shared:
        back = straight(net, net("MatMul", x, net.normal(160, 32, scale=0.1)), STEP, 128)
        x = net("Add", x, straight(net, net("MatMul", back, weight), STEP, 128))
    return net.model(net.dense(net("ReduceMean", x, np.array([1]), keepdims=0), 160, 5, name="scores"))


def plain(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    """The scores that a session without any option gives."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["scores"], inputs)[0])


CASES = [
    *((kind, spread, "MatMul", False) for kind in KINDS for spread in SPREADS),
    ("int8", "columns", "Gemm", False), ("int8", "one", "Transpose", False), ("int8", "columns", "MatMul", True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spread", "op", "shared"), CASES)
def test_a_compiled_file_needs_no_options(kind: str, spread: str, op: str, shared: bool) -> None:
    """Activations in 8 bits would move these scores by a few thousandths of the largest, and some maps by as much."""
    model = tokens(kind, spread, op, shared=shared)
    exact = tokens("", spread, op, shared=shared)
    compiled = rc.compile_model(model, **OPTIONS)
    onnx.checker.check_model(compiled, full_check=True)
    assert compiled.ByteSize() < rc.compile_model(exact, **OPTIONS).ByteSize()
    wanted = explained(exact, X, TARGETS, **OPTIONS)
    atol = 1e-5 * np.abs(wanted.scores).max()
    classes = wanted.targets[:, :1]
    np.testing.assert_allclose(plain(compiled, x=X, relcam_targets=classes), run(exact, x=X)[0], atol=atol)
    for backend in ("eager", "compiled"):
        with rc.Explainer(model, backend=backend, session_options=onnxruntime.SessionOptions(), **OPTIONS) as explainer:
            got = explainer(X, TARGETS)
        np.testing.assert_allclose(got.outputs["scores"], run(exact, x=X)[0], atol=atol)
        for name, value in wanted.maps.items():
            agree(got.maps[name], value)


def test_products_of_integers_stay_so() -> None:
    """Where activations are dequantised too, DequantizeLinear is onnxruntime's to fuse."""
    kept = load(tokens("int8", "columns", shared=True)).proto.graph.node
    assert sum(node.op_type == "DequantizeLinear" for node in kept) == 3
    gone = load(tokens("int8", "columns")).proto.graph.node
    assert not [node for node in gone if node.op_type == "DequantizeLinear"]


def test_blocks_that_do_not_come_out_even_are_left_alone() -> None:
    model = tokens("int8", "blocks")
    (node,) = (node for node in model.graph.node if node.op_type == "DequantizeLinear")
    next(attribute for attribute in node.attribute if attribute.name == "block_size").i = 24
    loaded = load(model)
    assert "DequantizeLinear" in {node.op_type for node in loaded.proto.graph.node}
    assert whole(loaded.proto, loaded.weights).ByteSize() > 0
