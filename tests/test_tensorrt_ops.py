"""The ops of whole compiled files against TensorRT's published table: what it lacks is named here, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from choosing_nets import choosing
from nets import plain, residual
from test_attention import small
from torch_exports import exported

import relcam_onnx as rc

TABLE = Path(__file__).with_name("tensorrt_ops.txt")
LITE = Path(__file__).parents[1] / "models" / "efficientnet-lite0.onnx"
SUPPORTED = {line for line in TABLE.read_text().splitlines() if not line.startswith("#")}


def transformer() -> onnx.ModelProto:
    return exported(small("ViT of torchvision"), torch.zeros(1, 3, 32, 32), dynamo=True)


NETWORKS: dict[str, Any] = {
    "lite0": LITE,
    "residual": residual,
    "transformer": transformer,
    "detector": lambda: choosing("by_topk"),
    "max pool": plain,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorrt_lists_every_op(name: str) -> None:
    made = NETWORKS[name]
    compiled = rc.compile_model(made() if callable(made) else made)
    assert {node.domain for node in compiled.graph.node} == {""}
    assert {node.op_type for node in compiled.graph.node} <= SUPPORTED
    indices = [node.name for node in compiled.graph.node if node.op_type == "MaxPool" and any(node.output[1:])]
    # The winners of a MaxPool, which TensorRT does not tell: onnxruntime runs this node on CUDA or CPU beside it.
    assert bool(indices) == (name == "max pool")
