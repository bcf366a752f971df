"""What is written into a file: ops that every runtime has, nothing twice, and nothing that is not needed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, inverted, plain, residual

import relcam_onnx as rc
from relcam_onnx.backends.emit import LARGE
from relcam_onnx.lrp.presets import PRESETS

NETWORKS: dict[str, Any] = {"plain": plain, "residual": residual, "inverted": inverted}

EVERYWHERE = {
    "Abs", "Add", "And", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "Equal",
    "Erf", "Exp", "Expand", "Gather", "GatherElements", "Greater", "GreaterOrEqual", "Identity", "Less", "Log",
    "MatMul", "Max", "Min", "Mul", "Neg", "Or", "Pad", "Pow", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tanh", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""Ops of the default domain that CUDA, TensorRT and the web's runtime all run.

Sources: docs/OperatorKernels.md of microsoft/onnxruntime (the CPU list, which the WebAssembly build shares, and the
CUDA list); docs/operators.md of onnx/onnx-tensorrt (the support matrix).
"""

BY_MAXIMUM = {"MaxPool", "Mod", "ScatterElements"}
"""What a MaxPool's relevance takes: on CPU, CUDA and the web. TensorRT's MaxPool has no indices and its older parsers
no Mod; onnxruntime runs these nodes on CUDA or CPU beside it."""

FREE_SIZES = {"Mod"}
"""Arithmetic on sizes that only a run knows; ``size=`` leaves none of it."""


def emitted(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that a compilation added."""
    return [node for node in model.graph.node if node.name.startswith("relcam/") or "/" in node.name]


# Preset official says so where a network has no batch norm.
pytestmark = pytest.mark.filterwarnings("ignore:preset 'official':UserWarning")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_emitted_ops_run_everywhere(name: str, preset: str) -> None:
    allowed = EVERYWHERE | BY_MAXIMUM if name == "plain" else EVERYWHERE
    for size in (32, "size"):
        source = NETWORKS[name](size=size)
        compiled = rc.compile_model(source, ("input", "stages", "fused"), preset, weights=True, heatmap=True)
        assert {node.op_type for node in emitted(compiled)} <= (allowed if size == 32 else allowed | FREE_SIZES)
        assert {node.domain for node in compiled.graph.node} == {""}
        assert compiled.opset_import == source.opset_import


def wide() -> onnx.ModelProto:
    """Residual blocks of 64 channels with batch norms: nearly all of the file is weights of convolutions."""
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.batch_norm(net.conv(net.x, 3, 64, bias=False), 64), name="stem")
    for stride in (1, 2, 1, 2):
        branch = net("Relu", net.batch_norm(net.conv(x, 64, 64, stride=stride, bias=False), 64))
        branch = net.batch_norm(net.conv(branch, 64, 64, bias=False), 64)
        skip = x if stride == 1 else net.batch_norm(net.conv(x, 64, 64, 1, stride, bias=False), 64)
        x = net("Relu", net("Add", branch, skip))
    return net.model(net.head(x, 64))


def test_a_file_grows_by_a_seventh_at_most() -> None:
    """By the nodes of the walk to the first stage, and by what batch norms leave of their scales."""
    for preset in ("default", "paper"):
        compiled = rc.compile_model(wide(), ("stem", "stages", "fused"), preset)
        assert compiled.ByteSize() <= 1.15 * wide().ByteSize()


@pytest.mark.parametrize("preset", PRESETS)
def test_no_weight_is_stored_twice(preset: str) -> None:
    """W⁺, W², and what batch norms make of W are nodes over W."""
    source = wide()
    compiled = rc.compile_model(source, ("input", "stages", "fused"), preset)
    own = {tensor.name for tensor in source.graph.initializer}
    added = [tensor for tensor in compiled.graph.initializer if tensor.name not in own]
    assert max(int(np.prod(tensor.dims)) for tensor in added) <= LARGE


def test_a_file_of_one_layer_holds_nothing_of_those_below() -> None:
    source = plain()
    compiled = rc.compile_model(source, "stage4")
    order = [node.name for node in source.graph.node]
    below = set(order[: order.index("stage4")])
    read = {name for node in emitted(compiled) for name in node.input}
    assert "stage4" in read
    assert not read & below
    assert not {"Conv", "ConvTranspose"} & {node.op_type for node in emitted(compiled)}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NETWORKS)
def test_several_layers_share_one_walk(name: str, preset: str) -> None:
    """All layers cost the convolutions of the shallowest alone, and no product is computed twice."""
    source = NETWORKS[name]()
    heavy = {"Conv", "ConvTranspose", "MatMul", "MaxPool", "ScatterElements"}

    def count(*layers: str) -> int:
        compiled = rc.compile_model(source, layers, preset, "lrp")
        found = [node for node in emitted(compiled) if node.op_type in heavy]
        same = Counter((node.op_type, *node.input, *map(str, node.attribute)) for node in found)
        assert max(same.values()) == 1
        return len(found)

    assert count("input", "stages") == count("input")
