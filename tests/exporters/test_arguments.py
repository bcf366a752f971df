"""What the exporter refuses, and small networks that show one thing each."""

import json
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from relcam_exporters import architectures, export, export_named
from relcam_exporters.cli import run_export
from relcam_exporters.zoo import architecture
from torch import nn

from relcam_onnx.errors import LayerError, OptionError, UnsupportedModelError
from relcam_onnx.pictures.preprocess import Preprocess


class Small(nn.Module):
    """PyTorch names the tensor of ``torch.relu`` "relu", as a module here is called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu, self.drop = nn.ReLU(), nn.Dropout()
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.relu(torch.relu(self.conv(x)) - 0.1)
        return self.fc(self.drop(self.block(x).mean((2, 3))))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small()


EXAMPLE = torch.zeros(2, 3, 16, 16)


def export_small(module, path, **options):
    return export(module, EXAMPLE, path, **options)


def test_a_tensor_of_the_same_name_gives_way_to_an_activation(small, tmp_path):
    path = tmp_path / "small.onnx"
    export_small(small, path, activations=["relu", "block"], dynamic=("batch", "height", "width"))
    x = torch.randn(1, 3, 9, 12)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    relu, block = session.run(["relu", "block"], {"input": x.numpy()})
    with torch.inference_mode():
        expected = torch.relu(torch.relu(small.conv(x)) - 0.1)
        np.testing.assert_allclose(relu, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(block, small.block(expected), rtol=0, atol=1e-5)


class Clashing(nn.Module):
    """Modules that share a name with the input, the output and another tensor, and one that is called twice."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()

        def forward(self, x):
            return self.act(x + self.act(self.conv(x)))

    def __init__(self):
        super().__init__()
        self.input, self.logits = nn.Conv2d(3, 4, 1), self.Block()
        self.relu, self.fc = nn.Sigmoid(), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.relu(self.logits(torch.relu(self.input(x)))).mean((2, 3)))


def test_tensors_are_named_by_their_modules_and_a_bare_path_is_the_modules_output(tmp_path):
    path = tmp_path / "clashing.onnx"
    export_small(Clashing(), path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [name for node in model.graph.node for name in node.output] == [
        "input#1",  # "input" is the graph's
        "relu_",  # torch.relu belongs to no module
        "logits.conv",
        "logits.act#1",
        "logits#1",  # the sum is not what the block hands on
        "logits.act#2",
        "relu",
        "mean",
        "logits",
    ]
    scopes = json.loads({entry.key: entry.value for entry in model.metadata_props}["relcam.scopes"])
    assert scopes["logits.act#2"] == "logits.act"
    assert scopes["logits"] == "fc"


def test_the_modules_mode_is_put_back(small, tmp_path):
    export_small(small.train(), tmp_path / "small.onnx")
    assert small.training
    assert small.drop.training


def test_nothing_left_open(small, tmp_path):
    report = export_small(small, tmp_path / "small.onnx", dynamic=())
    assert report.inputs == {"input": (2, 3, 16, 16)}
    assert report.outputs == {"logits": (2, 5)}


def test_preprocessing_by_its_fields(small, tmp_path):
    path = tmp_path / "small.onnx"
    export_small(small, path, preprocess={"size": [16, 16], "scale": 1.0}, labels=list("abcde"))
    found = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert Preprocess.from_json(found["relcam.preprocess"]) == Preprocess(size=(16, 16), scale=1.0)
    assert found["relcam.labels"] == '["a", "b", "c", "d", "e"]'


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"activations": ["blok"]},
            LayerError,
            "no module 'blok' leaves a tensor in the graph \\(did you mean 'block'",
        ),
        ({"activations": ["drop"]}, LayerError, "no module 'drop'"),
        ({"activations": ["block", "block.1"]}, LayerError, "'block.1' is already the output 'block'"),
        ({"activations": ["fc"]}, LayerError, "'fc' is already the output 'logits'"),
        ({"batch_norm": "fuse"}, OptionError, "batch_norm: 'fuse' is none of fused, unfused \\(did you mean"),
        (
            {"dynamic": ["heigth"]},
            OptionError,
            "dynamic: 'heigth' is none of batch, height, width \\(did you mean",
        ),
        ({"opset": 11}, OptionError, "opset: 11 is none of 18, "),
        ({"preprocess": {"sise": 3}}, OptionError, "no field 'sise'"),
    ],
)
def test_refused(small, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        export_small(small, tmp_path / "small.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_a_module_that_pytorch_cannot_export_names_the_reason(tmp_path, capfd):
    class Branching(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with pytest.raises(UnsupportedModelError, match="PyTorch cannot export Branching for pictures of shape"):
        export_small(Branching(), tmp_path / "branching.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_module_that_returns_more_than_scores(tmp_path):
    class Pair(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)), x.amax((2, 3))

    with pytest.raises(UnsupportedModelError, match="Pair returns a tuple, no tensor of scores"):
        export_small(Pair(), tmp_path / "pair.onnx")


def test_a_size_that_the_module_reads_as_a_number(tmp_path):
    class Counting(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)).expand(len(x), 3)

    path = tmp_path / "counting.onnx"
    for exporter in ("dynamo", "torchscript"):
        with pytest.raises(UnsupportedModelError, match=r"\(3, 3, 16, 16\)\. Where Counting reads a size as a number"):
            export_small(Counting(), path, exporter=exporter)
        assert not list(tmp_path.iterdir())
        assert export_small(Counting(), path, exporter=exporter, dynamic=()).outputs == {"logits": (2, 3)}
        path.unlink()


def test_a_file_that_differs_from_pytorch_is_not_written(tmp_path):
    class Restless(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x.mean((2, 3)) + self.calls

    with pytest.raises(UnsupportedModelError, match="differ from PyTorch's by"):
        export_small(Restless(), tmp_path / "restless.onnx")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist(small, tmp_path):
    with pytest.raises(OptionError, match=r"small\.onnx cannot be written: No such file or directory"):
        export_small(small, tmp_path / "missing" / "small.onnx")


def test_an_unknown_architecture_gets_the_nearest_names(tmp_path):
    with pytest.raises(OptionError, match="no architecture 'resnet5' \\(did you mean 'resnet50'"):
        run_export("resnet5", tmp_path / "x.onnx")


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), (b"no weights", ""), (b"", "")])
def test_weights_that_cannot_be_read(tmp_path, content, reason):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionError, match=rf"weights .*weights\.pth' are no state dict of resnet18: .*{reason}"):
        export_named("resnet18", tmp_path / "x.onnx", weights=path)


def test_weights_of_another_network(small, tmp_path):
    torch.save(small.state_dict(), tmp_path / "small.pth")
    said = r"resnet18: it lacks conv1.weight, .* and 95 more; the network has no conv.weight, .*; another shape have fc"
    with pytest.raises(OptionError, match=said):
        export_named("resnet18", tmp_path / "x.onnx", weights=tmp_path / "small.pth")


def test_weights_that_cannot_be_downloaded(tmp_path, monkeypatch, capfd):
    def unreachable(*_args, **_options):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(OptionError, match=r"cannot be downloaded \(no route to host\): give the path"):
        run_export("resnet18", tmp_path / "x.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_size_that_the_padding_does_not_fit(tmp_path):
    with pytest.raises(OptionError, match=r"no pictures of 100×224 pixels: .* multiples of 32"):
        export_named("efficientnet-lite0", tmp_path / "x.onnx", size=(100, 224))


def test_another_size_keeps_the_crops_share():
    sized = architecture("efficientnet-lite0").sized((320, 448))
    assert (sized.size, sized.resize_size) == ((320, 448), 512)


def test_the_architectures():
    names = architectures()
    assert {"resnet18", "resnet152", "resnext50_32x4d", "wide_resnet101_2", "vgg11", "vgg19_bn", "mobilenet_v2"} <= set(
        names
    )
    assert "efficientnet-lite0" in names
    assert not [name for name in names if name.startswith("quantized")]
    assert not architecture("vgg11").any_size
    assert not architecture("vit_b_16").any_size
    assert architecture("convnext_tiny").any_size


def test_without_torch_the_error_names_the_extra():
    code = "import sys; sys.modules['torch'] = None; import relcam_exporters"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "relcam_onnx.errors.OptionError: exporting needs" in done.stderr
    assert 'pip install "relcam-onnx[export,cpu]"' in done.stderr


def test_the_command_prints_the_report_and_nothing_else(tmp_path, capfd, recwarn):
    run_export("resnet18", tmp_path / "x.onnx", size=64, dynamic=False, weights="random")
    out, err = capfd.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [
        f"{tmp_path / 'x.onnx'}:",
        "input",
        "output",
        "largest",
        "sha256",
    ]
    assert "input input (1, 3, 64, 64)" in " ".join(out.split())
    assert err == ""
    assert not recwarn.list
