"""Module paths: what both of PyTorch's exporters write, against hooks on the modules themselves."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from relcam_exporters._torchvision import torchvision
from torch import nn

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.load import load
from relcam_onnx.onnx_file.module_paths import read_scopes
from relcam_onnx.onnx_file.weights import whole


class Block(nn.Module):
    """Modules called twice, names that end in a number, a list, a functional call, a Dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.conv_1 = nn.Conv2d(4, 4, 1)
        self.pair = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.bn = nn.BatchNorm2d(4)
        self.steps = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Sigmoid()])
        self.relu = nn.ReLU()
        self.drop = nn.Dropout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv(x))
        x = self.relu(self.conv(x)) + self.conv_1(x)
        x = self.bn(self.pair(self.pair(x)))
        for step in self.steps:
            x = step(x)
        y: torch.Tensor = self.drop(self.relu(torch.tanh(x)))
        return y


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Block()
        self.body = nn.Sequential(Block(), Block())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.body(self.stem(x)).mean((2, 3)))
        return scores


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def export(module: nn.Module, x: torch.Tensor, path: Path, newer: bool) -> None:
    options: dict[str, Any] = {"external_data": False, "verbose": False} if newer else {}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), dynamo=newer, opset_version=18 if newer else 17, **options)


def hooked(module: nn.Module, x: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """The output of every module's last call."""
    seen: dict[str, NDArray[np.float32]] = {}
    for name, child in module.named_modules():
        child.register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y.detach().numpy().copy()}))
    with torch.no_grad():
        module(x)
    return seen


def last_tensors(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The loaded model, and for each module the last tensor that it or a module inside it makes."""
    model = load(path)
    last: dict[str, str] = {}
    for node in model.graph.nodes:
        parts = model.scopes.get(node.outputs[0].name, "").split(".")
        for depth in range(1, len(parts) + 1):
            last[".".join(parts[:depth])] = node.outputs[0].name
    last.pop("", None)
    return whole(model.proto, model.weights), last


def exposed(proto: onnx.ModelProto, names: set[str], x: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    missing = names - {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(missing))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(None, {session.get_inputs()[0].name: x})
    return dict(zip([value.name for value in session.get_outputs()], values, strict=True))


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "own": (Net, (1, 4, 8, 8)),
    "resnet18": (lambda: torchvision().models.resnet18(num_classes=10), (1, 3, 64, 64)),
    "mobilenet_v2": (
        lambda: torchvision().models.mobilenet_v2(width_mult=0.35, num_classes=10),
        (1, 3, 64, 64),
    ),
    "efficientnet_b0": (lambda: torchvision().models.efficientnet_b0(num_classes=10), (1, 3, 64, 64)),
}
# Modules that leave no tensor of their own: folded into a neighbour, or without effect at inference.
GONE = (nn.Conv2d, nn.BatchNorm2d, nn.Dropout)


@pytest.mark.parametrize(
    ("architecture", "newer"),
    [*((name, False) for name in ARCHITECTURES), ("own", True), ("resnet18", True)],
)
def test_paths_name_the_modules_outputs(architecture: str, newer: bool, tmp_path: Path) -> None:
    make, shape = ARCHITECTURES[architecture]
    module, x = seeded(make), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    export(module, x, tmp_path / "model.onnx", newer)
    expected = hooked(module, x)
    proto, last = last_tensors(tmp_path / "model.onnx")
    actual = exposed(proto, set(last.values()), x.numpy())
    assert last.keys() <= dict(module.named_modules()).keys()
    for path in last.keys() & expected.keys():  # a ModuleList is never called itself
        scale = float(np.abs(expected[path]).max())
        np.testing.assert_allclose(actual[last[path]], expected[path], atol=1e-4 * scale, err_msg=path)
    lost = {path for path in expected.keys() - last.keys() if path}
    kinds = (*GONE, torchvision().ops.StochasticDepth)
    assert all(isinstance(module.get_submodule(path), kinds) for path in lost)


def graph_of(*nodes: onnx.NodeProto, parameters: tuple[str, ...] = ()) -> onnx.GraphProto:
    stored = [helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0]) for name in parameters]
    return helper.make_graph(list(nodes), "g", [], [], stored)


def named(op: str, name: str, *inputs: str, **metadata: str) -> onnx.NodeProto:
    node = helper.make_node(op, list(inputs), [f"of {name}"], name)
    for key, value in metadata.items():
        node.metadata_props.add(key=key, value=value)
    return node


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/layer1/layer1.2/relu/Relu", "layer1.2.relu"),
        ("/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"),
        ("/model.0/conv/Conv", "model.0.conv"),
        ("/layer1/layer10/Relu", "layer1.layer10"),
        ("/Flatten", None),
        ("Relu_12", None),
        ("//Relu", None),
        ("", None),
    ],
)
def test_older_exporters_names(name: str, path: str | None) -> None:
    assert read_scopes(graph_of(named("Relu", name)), {}) == ({f"of {name}": path} if path else {})


def test_second_call_of_a_module_is_told_from_a_sibling_by_its_parameters() -> None:
    graph = graph_of(
        named("PRelu", "/act/PRelu", "x", "act.weight"),
        named("PRelu", "/act_1/PRelu", "a", "act.weight"),
        named("PRelu", "/act_2/PRelu", "b", "act_2.weight"),
        named("Relu", "/other_1/Relu", "c"),
        parameters=("act.weight", "act_2.weight"),
    )
    assert list(read_scopes(graph, {}).values()) == ["act", "act", "act_2", "other_1"]


def test_folded_convolution_belongs_to_its_parent() -> None:
    graph = graph_of(named("Conv", "/stem/conv/Conv", "x", "onnx::Conv_12"), parameters=("onnx::Conv_12",))
    assert list(read_scopes(graph, {}).values()) == ["stem"]


@pytest.mark.parametrize("prefix", ["backbone_", "backbone/", "a/b/", "net"])
def test_what_stands_before_all_names_is_no_part_of_a_path(prefix: str) -> None:
    """As `onnx.compose.add_prefix` puts it there; what is merged with such a file has names of its own."""
    stem = helper.make_node("Conv", ["x", "onnx::Conv_12"], ["/stem/conv/Conv_output_0"], "/stem/conv/Conv")
    relu = helper.make_node("Relu", ["/stem/conv/Conv_output_0"], ["/relu/Relu_output_0"], "/relu/Relu")
    last = helper.make_node("Relu", ["/relu/Relu_output_0"], ["y"], "/relu_1/Relu")
    graph = graph_of(stem, relu, last, parameters=("onnx::Conv_12",))
    wanted = read_scopes(graph, {})
    assert list(wanted.values()) == ["stem", "relu", "relu"]
    merged = onnx.compose.add_prefix_graph(graph, prefix)
    merged.node.append(helper.make_node("Softmax", [f"{prefix}y"], ["shares"], "tail/Softmax"))
    assert read_scopes(merged, {}) == {f"{prefix}{tensor}": path for tensor, path in wanted.items()}


def test_names_that_other_tools_join_by_slashes_are_no_paths() -> None:
    nodes = [helper.make_node("Relu", ["x"], [f"model/{name}/Relu:0"], f"model/{name}/Relu") for name in ("a", "b")]
    assert read_scopes(graph_of(*nodes), {}) == {}


NAME_SCOPES, NAMESPACE = "pkg.torch.onnx.name_scopes", "namespace"


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({NAME_SCOPES: "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d']"}, "layer1.0.conv1"),
        ({NAME_SCOPES: "['', 'relu@1', 'relu']"}, "relu"),
        ({NAME_SCOPES: "['', 'add']"}, None),
        ({NAMESPACE: ": m.Net/layer1: nn.Sequential/layer1.0: nn.Conv2d/conv2d: aten.conv2d"}, "layer1.0"),
        ({NAME_SCOPES: "__import__('os')"}, None),
        ({NAME_SCOPES: "[" * 9999}, None),
        ({NAME_SCOPES: "[1, 2]"}, None),
        ({NAME_SCOPES: "{'a': 1}"}, None),
        ({NAMESPACE: "no/scope"}, None),
    ],
)
def test_newer_exporters_metadata(metadata: dict[str, str], path: str | None) -> None:
    scopes = read_scopes(graph_of(named("Conv", "node_conv", **metadata)), {})
    assert scopes == ({"of node_conv": path} if path else {})


def test_declared_scopes_win() -> None:
    graph = graph_of(named("Relu", "/a/Relu", **{NAME_SCOPES: "['', 'b', 'relu']"}), named("Relu", "/c/Relu"))
    declared = {"relcam.scopes": json.dumps({"of /a/Relu": "d.0"})}
    assert read_scopes(graph, {}) == {"of /a/Relu": "b", "of /c/Relu": "c"}
    assert read_scopes(graph, declared) == {"of /a/Relu": "d.0", "of /c/Relu": "c"}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', "[" * 99999])
def test_malformed_declaration_is_an_error(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"relcam\.scopes.*write it again or remove it"):
        read_scopes(graph_of(), {"relcam.scopes": text})
