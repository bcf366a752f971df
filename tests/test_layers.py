"""Layers by name, from both of PyTorch's exporters; the table; and what cannot be named."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from nets import Net, canonical, picture, plain, residual
from torch_exports import exported

from relcam_onnx.analysis.layers import Layers
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.errors import LayerError
from relcam_onnx.explainer import Explainer
from relcam_onnx.listing import layer_table


def layers_of(model: onnx.ModelProto, *, batch_norm: bool = True) -> Layers:
    loaded = canonical(model, batch_norm=batch_norm)
    return Layers(loaded, Paths(loaded, find_scores(loaded).tensor))


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
        self.relu = torch.nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The Relu is called twice: its output is its last call's."""
        y: torch.Tensor = self.relu(self.bn(self.conv(self.relu(x))) + x)
        return y


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.layer1 = torch.nn.Sequential(Block(), Block())
        self.pool, self.fc = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(torch.flatten(self.pool(self.layer1(self.stem(x))), 1))
        return y


@pytest.fixture(scope="module", params=[True, False], ids=["newer exporter", "older exporter"])
def small(request: pytest.FixtureRequest) -> onnx.ModelProto:
    torch.manual_seed(0)
    return exported(Small().eval(), torch.zeros(1, 3, 8, 8), dynamo=request.param)


def test_module_paths_mean_their_last_output(small: onnx.ModelProto) -> None:
    layers = layers_of(small)
    (block,), (relu,) = (layers.resolve(name) for name in ("layer1.0", "layer1.0.relu"))
    assert block.tensor is relu.tensor
    assert block.tensor.inputs[0].op == "Relu"
    (outer,), (last,) = layers.resolve("layer1"), layers.resolve("layer1.1")
    assert outer.tensor is last.tensor
    assert layers.resolve("stem")[0].tensor.inputs[0].op == "Conv"
    assert outer.stride == 1


def test_a_stage_is_called_by_its_stride_and_has_its_other_names(small: onnx.ModelProto) -> None:
    layers = layers_of(small)
    (stage,) = layers.stages
    assert stage.name == "stride1"
    assert layers.resolve("stride1") == (stage,)
    assert {"stride1", "layer1", "layer1.1", stage.tensor.name} <= set(layers.names_of(stage.tensor))


def test_words_tensors_and_nodes_are_names_too() -> None:
    layers = layers_of(residual())
    assert layers.resolve("input")[0].tensor.name == "x"
    assert [layer.name for layer in layers.resolve("stages")] == ["stride1", "stride2", "stride4"]
    assert [layer.tensor.name for layer in layers.resolve("stages")] == ["stem", "block1b", "block2b"]
    assert [layer.tensor.name for layer in layers.resolve("last")] == ["block2b"]
    assert layers.resolve("fused") == ()
    assert layers.resolve("sum1")[0].tensor.name == "sum1"
    net = Net("N", 3, 8, 8)
    y = net("Relu", net.conv(net.x, 3, 4), name="tensor")
    model = net.model(net.head(y, 4))
    next(node for node in model.graph.node if node.op_type == "Relu").name = "node"
    assert layers_of(model).resolve("node")[0].tensor.name == "tensor"


def test_a_removed_dropout_means_its_input() -> None:
    """PyTorch's exporters drop it themselves; ``relcam.scopes`` tells of one that was kept."""
    net = Net("N", 3, 8, 8)
    y = net("Dropout", net("Relu", net.conv(net.x, 3, 4), name="relu"), name="dropped")
    scopes = json.dumps({"relu": "block.relu", "dropped": "block.drop"})
    layers = layers_of(net.model(net.head(y, 4), **{"relcam.scopes": scopes}))
    for name in ("block", "block.drop", "dropped"):
        assert layers.resolve(name)[0].tensor.name == "relu"


def test_a_folded_layer_names_what_it_was_folded_into() -> None:
    model = residual()
    with pytest.raises(LayerError, match=r"'conv0' was folded into 'batchnormalization1'.*'official'"):
        layers_of(model).resolve("conv0")
    assert layers_of(model, batch_norm=False).resolve("conv0")[0].tensor.name == "conv0"


def test_an_unknown_layer_gets_the_nearest_names() -> None:
    with pytest.raises(LayerError, match=r"no layer is called 'stage44' \(did you mean 'stage4'"):
        layers_of(plain()).resolve("stage44")


def test_a_layer_off_the_path_says_so() -> None:
    net = Net("N", 3, 8, 8)
    y = net("Relu", net.conv(net.x, 3, 4))
    beside = net("Sigmoid", net.conv(y, 4, 4), name="gate")
    model = net.model(net.head(net("Mul", y, beside), 4))
    with pytest.raises(LayerError, match=r"'gate'.*lies on no path"):
        layers_of(model).resolve("gate")


def test_without_a_stage_lrp_remains() -> None:
    net = Net("N", 6)
    model = net.model(net.dense(net("Relu", net.dense(net.x, 6, 8)), 8, 3))
    with pytest.raises(LayerError, match=r"no stage.*method 'lrp' with layers='input' remains"):
        Explainer(model)


def test_layers_without_positions_take_method_lrp_alone() -> None:
    with pytest.raises(LayerError, match="'scores' has no positions"):
        Explainer(plain(), layers="scores")
    Explainer(plain(), layers="scores", method="lrp").close()


def test_several_inputs_have_names_of_their_own() -> None:
    net = Net("N", 3, 8, 8)
    other = net.input("other", "N", 3, 8, 8)
    y = net("Add", net.conv(net.x, 3, 4), net.conv(other, 3, 4))
    layers = layers_of(net.model(net.head(net("Relu", y), 4)))
    assert [layer.name for layer in layers.resolve("input")] == ["input/x", "input/other"]
    assert layers.resolve("other")[0].stride == 1


def test_the_table_lists_what_can_be_named(small: onnx.ModelProto) -> None:
    rows = {row.name: row for row in layer_table(small)}
    assert {"x", "stem", "layer1", "layer1.0", "layer1.0.relu", "pool", "fc"} <= set(rows)
    stage = rows["layer1"]
    assert (stage.op, stage.stride, stage.stage, tuple(stage.shape)) == ("Relu", 1.0, "stride1", (1, 4, 8, 8))
    assert stage.share == 1
    assert (rows["fc"].stride, rows["fc"].stage, rows["fc"].op) == (None, "", "Gemm")


def test_the_table_goes_by_the_preset() -> None:
    """Batch norm is folded into conv0 by default; preset official keeps both."""
    assert "conv0" not in {row.name for row in layer_table(residual())}
    assert "conv0" in {row.name for row in layer_table(residual(), preset="official")}


def test_the_table_tells_of_products_without_a_gate() -> None:
    net = Net("N", 3, 8, 8)
    y = net.conv(net.x, 3, 4)
    model = net.model(net.head(net("Mul", y, net("Relu", net.conv(y, 4, 4)), name="product"), 4))
    notes = {row.name: row.note for row in layer_table(model)}
    assert "half" in notes["product"]
    assert not any(note for name, note in notes.items() if name != "product")


@pytest.mark.parametrize("op", ["Transpose", "none"])
def test_every_name_in_the_table_is_a_layer(op):
    """Also of tensors that only rewriting made."""
    net = Net("N", 32, 32, 3)
    x = net("Div", net.x, np.float32(255))
    x = net("Relu", net.conv(net("Transpose", x, perm=[0, 3, 1, 2]), 3, 8, stride=2), name="stage")
    model = net.model(net.head(x, 8)) if op == "Transpose" else residual()
    with Explainer(model, preset="gradient") as explainer:
        for row in layer_table(model, preset="gradient"):
            explainer.prepared.layers.resolve(row.name)


def test_windows_that_are_undone_make_nothing_coarser() -> None:
    """(N, windows, within, C) for a dense layer, as MaxViT has them, and back: the positions are those before."""
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="before")
    apart = net("Transpose", net("Reshape", x, np.array([0, 8, 4, 4, 4, 4])), perm=[0, 2, 4, 3, 5, 1])
    inside = net("MatMul", net("Reshape", apart, np.array([0, 16, 16, 8])), net.normal(8, 8), name="inside")
    rows = net("Reshape", net("Relu", inside), np.array([0, 4, 4, 4, 4, 8]))
    back = net("Reshape", net("Transpose", rows, perm=[0, 5, 1, 3, 2, 4]), np.array([0, 8, 16, 16]))
    model = net.model(net.head(net("Relu", net.conv(back, 8, 8, stride=2), name="behind"), 8))
    assert list(Explainer(model)(picture(1, 3, 32, 32)).maps) == ["stride2", "stride4", "fused"]


@pytest.mark.parametrize("steps", [1, 8])
def test_a_slice_of_one_row_has_the_stride_of_what_it_is_of(steps: int) -> None:
    """The rest of a roll, as windows are shifted: its step leads nowhere."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    ends = np.array([1 if steps == 1 else 2**31 - 1])
    parts = [net("Slice", x, np.array([1]), np.array([8]), np.array([2]))]
    parts.append(net("Slice", x, np.array([0]), ends, np.array([2]), np.array([steps])))
    x = net("Relu", net.conv(net("Concat", *parts, axis=2), 8, 8))
    stages = layers_of(net.model(net.head(x, 8))).resolve("stages")
    assert [layer.name for layer in stages] == ["stride2"]
