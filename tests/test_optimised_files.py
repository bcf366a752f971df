"""Files that onnxruntime optimised and saved, whose names it would give once more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from compare import agree
from nets import Net, picture

import relcam_onnx as rc


def blocks() -> onnx.ModelProto:
    """Dense layers over positions, their weights turned in the file, as ConvNeXt has them."""
    net = Net(1, 3, 16, 16)

    def dense(x: str, before: int, after: int) -> str:
        weight = net("Transpose", net.normal(after, before, scale=0.4), perm=[1, 0])
        return net("Add", net.normal(after), net("MatMul", x, weight))

    x = net("Transpose", net.conv(net.x, 3, 8, stride=2), perm=[0, 2, 3, 1])
    for _ in range(2):
        y = net("LayerNormalization", x, np.ones(8), np.zeros(8))
        y = dense(net("HardSwish", dense(y, 8, 32)), 32, 8)
        x = net("Add", x, net("Mul", y, net.normal(8)))
    x = net("LayerNormalization", x, np.ones(8), np.zeros(8))
    return net.model(net.head(net("Transpose", x, perm=[0, 3, 1, 2]), 8))


def save(model: onnx.ModelProto, file: Path, level: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(file)
    onnxruntime.InferenceSession(model.SerializeToString(), options)


def test_products_that_it_reshaped(tmp_path: Path) -> None:
    plain, saved = blocks(), tmp_path / "saved.onnx"
    save(plain, saved, "BASIC")
    layers = ["stages", "fused", "input"]
    wanted, got = (rc.Explainer(model, layers)(picture(1, 3, 16, 16)) for model in (plain, saved))
    for name, value in wanted.maps.items():
        agree(got.maps[name], value)


def test_what_it_saved_for_one_processor_says_so(tmp_path: Path) -> None:
    net, saved = Net(1, 3, 16, 16), tmp_path / "saved.onnx"
    x = net("Relu", net.conv(net.x, 3, 32))
    save(net.model(net.head(net("Relu", net.conv(x, 32, 32)), 32)), saved, "ALL")
    if all(node.domain != "com.microsoft.nchwc" for node in onnx.load(saved).graph.node):
        pytest.skip("onnxruntime has no such ops for this processor")
    with pytest.raises(rc.UnsupportedModelError, match="save it at ORT_ENABLE_EXTENDED"):
        rc.Explainer(saved)
