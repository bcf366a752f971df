"""Every form of an export: both of PyTorch's exporters, in memory, halves, int8, by a function's name, with stages."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from relcam_exporters import export, export_named, to_onnx
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.cli import app
from relcam_onnx.errors import OptionError, UnsupportedModelError

EXAMPLE = torch.zeros(2, 3, 32, 32)
PREPROCESS = {"size": [32, 32], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn, self.act = nn.BatchNorm2d(width), nn.ReLU()

    def forward(self, x):
        return self.act(x + self.bn(self.conv(x)))


class Network(nn.Module):
    """Two resolutions, a batch norm in each."""

    def __init__(self):
        super().__init__()
        self.stem, self.fine = nn.Conv2d(3, 8, 3, 2, 1), Block(8)
        self.down, self.coarse = nn.Conv2d(8, 16, 3, 2, 1), Block(16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.fine(torch.relu(self.stem(x)))
        return self.fc(self.coarse(torch.relu(self.down(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    module = Network()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


def picture():
    return np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)


def maps(model, layers=("stages", "fused", "input")):
    with rc.Explainer(model, layers) as explainer:
        return explainer(picture(), [[-1, 2]] * 2).maps


@pytest.mark.parametrize("batch_norm", ["fused", "unfused"])
def test_both_exporters_and_any_opset_give_the_same_maps_under_the_same_names(network, batch_norm):
    names = ["stages", "fused", "input", "fine", "coarse.act"]
    files = [
        to_onnx(network, EXAMPLE, batch_norm=batch_norm, exporter=exporter, opset=opset)
        for exporter, opset in (("dynamo", 18), ("dynamo", 21), ("torchscript", 11), ("torchscript", 17))
    ]
    wanted, *others = (maps(file, names) for file in files)
    for got in others:
        assert list(got) == list(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-3 * np.abs(value).max(), err_msg=name)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_batch_norms_are_kept_or_folded_by_either_exporter(network, exporter):
    files = (to_onnx(network, EXAMPLE, batch_norm=how, exporter=exporter) for how in ("unfused", "fused"))
    kept, folded = ([node.op_type for node in file.graph.node].count("BatchNormalization") for file in files)
    assert (kept, folded) == (2, 0)


def test_in_memory_all_that_a_user_of_pytorch_writes(network):
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    explanation = rc.explain(to_onnx(network, EXAMPLE, preprocess=PREPROCESS), picture)
    assert explanation.overlay().size == (50, 40)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_stages_and_modules_as_outputs(network, exporter, tmp_path):
    path = tmp_path / "x.onnx"
    report = export(network, EXAMPLE, path, activations=["stages", "fine.bn"], batch_norm="unfused", exporter=exporter)
    assert list(report.outputs) == ["logits", "fine.bn", "stride2", "stride4"]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["stride4"], {"input": picture()})
    with torch.inference_mode():
        x = network.fine(torch.relu(network.stem(torch.from_numpy(picture()))))
        np.testing.assert_allclose(found, network.coarse(torch.relu(network.down(x))).numpy(), rtol=0, atol=1e-4)


def test_half(network):
    file = to_onnx(network, EXAMPLE, half=True)
    assert {tensor.data_type for tensor in file.graph.initializer if tensor.dims} >= {onnx.TensorProto.FLOAT16}
    assert file.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    wanted, got = maps(to_onnx(network, EXAMPLE)), maps(file)
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=0.02 * np.abs(value).max(), err_msg=name)


def test_int8_calibrated_on_pictures(network, tmp_path):
    from PIL import Image  # noqa: PLC0415 - beside what it is used for

    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    path = tmp_path / "x.onnx"
    export(network, EXAMPLE, path, preprocess=PREPROCESS, quantize=[str(tmp_path)])
    model = onnx.load(path)
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert "relcam.preprocess" in {entry.key for entry in model.metadata_props}
    assert list(maps(model)) == list(maps(to_onnx(network, EXAMPLE)))


class Fickle(Network):
    """What its second half does hangs on the picture, which a trace does not see."""

    def forward(self, x):
        x = self.fine(torch.relu(self.stem(x)))
        x = self.coarse(torch.relu(self.down(x))) if x.shape[0] == 2 else self.coarse(torch.tanh(self.down(x)) - 1)
        return self.fc(x.mean((2, 3)))


def test_an_export_that_departs_is_not_written_and_the_first_layer_is_named(tmp_path):
    torch.manual_seed(0)
    said = "nothing was written; the first module whose output does is 'coarse"
    with pytest.raises(UnsupportedModelError, match=said) as raised:
        export(Fickle(), EXAMPLE, tmp_path / "x.onnx", exporter="torchscript")
    assert "differ from PyTorch's by" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_function_of_ones_own_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    layers = nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)\n"
        "    return nn.Sequential(*layers)\n"
        "def wrong(): return 3\n"
    )
    command = [
        sys.executable,
        "-m",
        "relcam_onnx",
        "export",
        "-o",
        "x.onnx",
        "--size",
        "40",
        "48",
        "--weights",
        "random",
    ]
    done = subprocess.run([*command, "mine:make"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert json.loads(told["relcam.source"])["model"] == "mine:make"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, said in (
        ("mine:wrong", "returns a int"),
        ("mine:none", "cannot be imported"),
        ("nowhere:f", "No module named"),
    ):
        refused = CliRunner().invoke(app, [*command[3:], name])  # PyTorch is imported here already
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_weights_in_safetensors_and_as_training_scripts_wrap_them(tmp_path):
    torch.manual_seed(1)
    export_named("resnet18", tmp_path / "a.onnx", weights=None, seed=3, size=64, exporter="torchscript")
    from relcam_exporters.zoo import architecture  # noqa: PLC0415

    state = architecture("resnet18").module(None, 3).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth"
    )
    for number, file in enumerate(("w.safetensors", "w.pth")):
        made = tmp_path / f"{number}.onnx"
        export_named("resnet18", made, weights=tmp_path / file, size=64, exporter="torchscript")
        assert made.read_bytes() == (tmp_path / "a.onnx").read_bytes()


def test_timm_by_name(tmp_path):
    pytest.importorskip("timm", reason="timm comes with make test, without its dependencies")
    report = export_named("timm:resnet10t", tmp_path / "x.onnx", weights=None, size=64)
    assert report.inputs == {"input": ("batch", 3, "height", "width")}
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert json.loads(told["relcam.preprocess"])["size"] == [64, 64]
    assert len(json.loads(told["relcam.labels"])) == 1000
    with pytest.raises(OptionError, match="timm has no network 'resnet10x' \\(did you mean"):
        export_named("timm:resnet10x", tmp_path / "y.onnx")


def test_expose_adds_outputs_to_any_file(network, tmp_path):
    path = tmp_path / "x.onnx"
    export(network, EXAMPLE, path)
    made = rc.expose(path, ["stages", "fine"])
    assert [value.name for value in made.graph.output] == ["logits", "stride2", "stride4", "fine"]
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    plain = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    scores, fine, same = session.run(["logits", "fine", "stride2"], {"input": picture()})
    np.testing.assert_allclose(scores, plain.run(None, {"input": picture()})[0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(fine, same)
    done = subprocess.run(
        [sys.executable, "-m", "relcam_onnx", "expose", path, "-o", tmp_path / "y.onnx"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "outputs logits, stride2, stride4" in done.stdout
    with pytest.raises(rc.LayerError, match="did you mean 'fine'"):
        rc.expose(path, ["fin"])
    with pytest.raises(rc.LayerError, match="'fused' is a map of several layers"):
        rc.expose(path, ["fused"])
