"""Exports of real architectures, held against PyTorch itself."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from relcam_exporters import export, export_named
from relcam_exporters._torchvision import torchvision

import relcam_onnx as rc

ACTIVATIONS = ["conv1", "layer1.0.bn2", "layer1", "layer4"]


def scatter(module, seed=0):
    """Give batch norms statistics that matter, some scales negative: folding has something to get wrong."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            layer.weight.data.uniform_(-0.2, 1.5, generator=generator)
            layer.bias.data.normal_(0, 0.1, generator=generator)
    return module.eval()


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return scatter(torchvision().models.resnet18())


@pytest.fixture(scope="module")
def weights(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def unfused(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("unfused") / "resnet18.onnx"
    report = export_named("resnet18", path, weights=weights, batch_norm="unfused", activations=ACTIVATIONS)
    return report, onnx.load(path)


@pytest.fixture(scope="module")
def fused(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("fused") / "resnet18.onnx"
    return export_named("resnet18", path, weights=weights), onnx.load(path)


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    module = torchvision().models.vgg11_bn(init_weights=False)
    module.classifier = torch.nn.Sequential(torch.nn.Linear(512 * 7 * 7, 10))  # the real one has 120 million weights
    return scatter(module)


def metadata(model):
    return {entry.key: entry.value for entry in model.metadata_props}


def ops(model):
    return Counter(node.op_type for node in model.graph.node)


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


def reference(module, x, paths):
    """What PyTorch computes: the scores, and the last output of each module."""
    seen = {}
    # Cloned: the ReLU after a batch norm works in place.
    hooks = [
        module.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, path=path: seen.__setitem__(path, output.clone())
        )
        for path in paths
    ]
    with torch.inference_mode():
        seen["logits"] = module(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return {name: tensor.numpy() for name, tensor in seen.items()}


def assert_close(actual, expected, share=1e-4):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=share * np.abs(value).max(), err_msg=name)


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_unfused_keeps_every_batch_norm_and_the_raw_weights(unfused, resnet):
    _, model = unfused
    assert ops(model)["BatchNormalization"] == 20
    stored = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for name, value in resnet.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(stored[name], value.numpy(), err_msg=name)


def test_fused_has_no_batch_norm_and_no_leftovers(fused):
    _, model = fused
    kinds = ["Add", "Conv", "Gemm", "MaxPool", "ReduceMean", "Relu", "Reshape"]
    assert ops(model) == dict(zip(kinds, [8, 20, 1, 1, 1, 17, 1], strict=True))


def test_scores_and_activations_are_pytorchs_at_another_batch_and_size(unfused, resnet):
    x = images(3, 3, 160, 192)
    assert_close(run(unfused[1], x), reference(resnet, x, ACTIVATIONS))


def test_fused_scores_are_pytorchs(fused, resnet):
    x = images(1, 3, 224, 224)
    assert_close(run(fused[1], x), reference(resnet, x, []))


def test_scopes_name_the_modules(fused, unfused, resnet):
    known = {name for name, _ in resnet.named_modules()}
    for _, model in (fused, unfused):
        scopes = json.loads(metadata(model)["relcam.scopes"])
        made = {node.output[0] for node in model.graph.node}
        assert set(scopes) <= made
        assert set(scopes.values()) <= known
        recorded = [entry.key for node in model.graph.node for entry in node.metadata_props]
        assert set(recorded) == {"namespace", "pkg.torch.onnx.name_scopes"}
    every = set(json.loads(metadata(unfused[1])["relcam.scopes"]).values())
    assert {"conv1", "bn1", "layer1.0.relu", "layer1.0", "layer2.0.downsample.1", "fc"} <= every
    folded = set(json.loads(metadata(fused[1])["relcam.scopes"]).values())
    assert every - folded == {name for name in every if "conv" in name or name.endswith("downsample.0")}


def test_the_file_says_how_to_prepare_a_picture_and_what_the_classes_are(fused):
    found = metadata(fused[1])
    preprocess = json.loads(found["relcam.preprocess"])
    assert (preprocess["size"], preprocess["resize_size"]) == ([224, 224], 256)
    assert preprocess["mean"] == [0.485, 0.456, 0.406]
    labels = json.loads(found["relcam.labels"])
    assert (len(labels), labels[0], labels[999]) == (1000, "tench", "toilet tissue")


def test_report(unfused):
    report, model = unfused
    assert report.inputs == {"input": ("batch", 3, "height", "width")}
    assert list(report.outputs) == ["logits", *ACTIVATIONS]
    assert report.outputs["logits"] == ("batch", 1000)
    assert report.nodes == len(model.graph.node)
    assert report.size == report.path.stat().st_size
    assert report.difference <= 1e-5 * report.largest
    assert report.sha256 in str(report)
    assert "largest difference from PyTorch on a random batch" in str(report)


def test_another_process_writes_the_same_bytes(fused, weights, tmp_path):
    path = tmp_path / "again.onnx"
    code = "import sys, relcam_exporters as e; e.export_named('resnet18', sys.argv[1], weights=sys.argv[2])"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, path, weights], check=True)
    assert path.read_bytes() == fused[0].path.read_bytes()


def test_nothing_of_this_machine_is_in_the_file(unfused):
    content = unfused[0].path.read_bytes()
    for trace in (
        b"site-packages",
        b"stack_trace",
        b".py",
        b"doc_string",
        str(unfused[0].path.parent).encode(),
    ):
        assert trace not in content


@pytest.mark.parametrize("batch_norm", ["fused", "unfused"])
def test_vgg(vgg, batch_norm, tmp_path):
    path = tmp_path / "vgg11_bn.onnx"
    paths = ["features.10", "features.28"]
    report = export(vgg, torch.zeros(2, 3, 224, 224), path, batch_norm=batch_norm, activations=paths)
    model = onnx.load(path)
    assert ops(model)["BatchNormalization"] == (8 if batch_norm == "unfused" else 0)
    assert report.inputs == {"input": ("batch", 3, 224, 224)}
    x = images(1, 3, 224, 224)
    assert_close(run(model, x), reference(vgg, x, paths))


def test_mobilenet_computes_what_pytorch_does_and_has_its_stages(tmp_path):
    torch.manual_seed(0)
    module = scatter(torchvision().models.mobilenet_v2())
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    export_named("mobilenet_v2", tmp_path / "x.onnx", weights=tmp_path / "weights.pth", exporter="torchscript")
    x = images(2, 3, 224, 224)
    assert_close({"logits": run(onnx.load(tmp_path / "x.onnx"), x)["logits"]}, reference(module, x, []))
    stages = {layer.stage: layer.name for layer in rc.layers(tmp_path / "x.onnx") if layer.stage}
    assert list(stages) == ["stride4", "stride8", "stride16", "stride32"]
    assert all(name.startswith("features.") for name in stages.values())
