"""Files that onnxruntime optimised and saved, whose names it would give once more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
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


def test_products_that_it_reshaped(tmp_path: Path) -> None:
    plain, saved = blocks(), tmp_path / "saved.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(saved)
    onnxruntime.InferenceSession(plain.SerializeToString(), options)
    layers = ["stages", "fused", "input"]
    wanted, got = (rc.Explainer(model, layers)(picture(1, 3, 16, 16)) for model in (plain, saved))
    for name, value in wanted.maps.items():
        agree(got.maps[name], value)
