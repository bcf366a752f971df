"""``relcam compile --triton``: held against Triton's own message, and against what onnxruntime tells of the file."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from nets import Net, picture, plain
from onnx import helper
from siamese import with_vector
from test_cli import refused, relcam, stored
from test_clips import folded

import relcam_onnx as rc
from relcam_onnx.compiling.triton import write_triton

FILES = ["1", "1/model.onnx", "config.pbtxt", "configs", "configs/cpu.pbtxt", "configs/gpu.pbtxt"]


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """Triton's messages, from its client, whose package asks for an RPC library that they do without."""
    client = importlib.util.find_spec("tritonclient")
    if client is None or not client.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    file = Path(client.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def served(schema: ModuleType, folder: Path, config: str = "config.pbtxt") -> Any:
    """A config as Triton parses it, its sizes held to those that its backend compares with."""
    found = text_format.Parse((folder / config).read_text(encoding="utf-8"), schema.ModelConfig())
    assert found.name == folder.name
    assert found.backend == "onnxruntime"
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = [-1] if found.max_batch_size else []
    for listed, theirs in ((found.input, session.get_inputs()), (found.output, session.get_outputs())):
        tensors = [port for port in theirs if port.type.startswith("tensor(")]
        assert [port.name for port in listed] == [port.name for port in tensors]
        for port, value in zip(listed, tensors, strict=True):
            sizes = port.reshape.shape if port.HasField("reshape") else port.dims
            assert [*batch, *sizes] == [size if isinstance(size, int) else -1 for size in value.shape]
            names = {"float": schema.TYPE_FP32, "int64": schema.TYPE_INT64, "double": schema.TYPE_FP64}
            assert port.data_type == names[value.type[7:-1]]
            assert len(port.dims)
    return found


def written(model: onnx.ModelProto, folder: Path, **options: Any) -> Path:
    return write_triton(rc.compile_model(model, **options), folder, "net")


def test_the_command_line(schema: ModuleType, tmp_path: Path) -> None:
    model = stored(tmp_path / "my net.onnx", plain())
    folder = tmp_path / "repo" / "my_net"
    result = relcam("compile", model, "-o", tmp_path / "out.onnx", "--triton", folder.parent, "--heatmap")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1] == f"{folder}: a model for Triton"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == FILES
    assert (folder / "1" / "model.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()
    assert "exists, and a model that may be served is not replaced" in refused(
        "compile", model, "--triton", folder.parent
    )
    other = stored(tmp_path / "other.onnx", plain())
    assert relcam("compile", other, "--triton", folder.parent).exit_code == 0
    assert [path.name for path in sorted(folder.parent.iterdir())] == ["my_net", "other"]
    assert "give -o FILE, --triton REPO, or both" in refused("compile", model)
    assert served(schema, folder).max_batch_size == 8


def test_images_and_targets_are_joined(schema: ModuleType, tmp_path: Path) -> None:
    """What the server does with a batch: rows of several requests beside each other, each as if alone."""
    folder = written(plain(), tmp_path)
    config = served(schema, folder)
    assert config.HasField("dynamic_batching")
    assert {port.name: list(port.dims) for port in config.input} == {"x": [3, 32, 32], "relcam_targets": [-1]}
    assert {port.name: list(port.dims) for port in config.output}["cam/fused"] == [-1, 32, 32]
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    x, targets = picture(3, 3, 32, 32), np.array([[-1], [0], [2]])
    both = session.run(None, {"x": x, "relcam_targets": targets})
    for row in range(3):
        alone = session.run(None, {"x": x[row : row + 1], "relcam_targets": targets[row : row + 1]})
        for got, wanted in zip(both, alone, strict=True):
            assert len(got) == 3
            np.testing.assert_allclose(got[row], wanted[0], rtol=0, atol=1e-3 * max(1e-9, np.abs(wanted).max()))


def test_the_variants_say_where_it_runs(schema: ModuleType, tmp_path: Path) -> None:
    folder = written(plain(), tmp_path)
    for config, kind in (("config.pbtxt", "AUTO"), ("configs/cpu.pbtxt", "CPU"), ("configs/gpu.pbtxt", "GPU")):
        found = served(schema, folder, config)
        (group,) = found.instance_group
        assert group.kind == getattr(schema.ModelInstanceGroup, f"KIND_{kind}")
        options = [
            dict(each.parameters) for each in found.optimization.execution_accelerators.gpu_execution_accelerator
        ]
        assert options == ([] if kind == "CPU" else [{"use_tf32": "0"}])


def fixed() -> onnx.ModelProto:
    return plain(batch=2)


def with_anchors() -> onnx.ModelProto:
    """An output that is the file's own, whatever the images."""
    net = Net("N", 3, 32, 32)
    scores = net.head(net("Relu", net.conv(net.x, 3, 8)), 8)
    return net.model(scores, net("Identity", net.normal(4, 4), name="anchors"))


def with_a_number() -> onnx.ModelProto:
    """An input and an output without sizes."""
    net = Net("N", 3, 32, 32)
    factor = net.input("factor")
    scores = net.head(net("Mul", net("Relu", net.conv(net.x, 3, 8)), factor), 8)
    return net.model(scores, net("ReduceMax", net.x, keepdims=0, name="peak"))


def with_lists() -> onnx.ModelProto:
    """Lists of maps, which no client gets."""
    net = Net("N", 3, 32, 32)
    scores = net("Softmax", net.head(net("Relu", net.conv(net.x, 3, 8)), 8), name="probabilities")
    net("ZipMap", scores, name="named", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3, 4])
    model = net.model(scores, domains=["ai.onnx.ml"])
    kind = helper.make_map_type_proto(onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, []))
    model.graph.output.append(helper.make_value_info("named", helper.make_sequence_type_proto(kind)))
    return model


def of_frames() -> onnx.ModelProto:
    """Clips whose frames are rows of the batch, and the scores of each frame."""
    return folded("N")


@pytest.mark.parametrize("made", [fixed, with_anchors, with_a_number, of_frames])
def test_what_cannot_be_joined_is_not(made: Any, schema: ModuleType, tmp_path: Path) -> None:
    found = served(schema, written(made(), tmp_path, output="scores"))
    assert found.max_batch_size == 0
    assert not found.HasField("dynamic_batching")


@pytest.mark.parametrize("made", [with_vector, with_lists])
def test_other_inputs_and_outputs(made: Any, schema: ModuleType, tmp_path: Path) -> None:
    assert served(schema, written(made(), tmp_path)).max_batch_size == 8


def test_names_are_quoted(schema: ModuleType, tmp_path: Path) -> None:
    net = Net("N", 3, 32, 32, name='a"b\\c\nd é')
    folder = written(net.model(net.head(net("Relu", net.conv(net.x, 3, 8)), 8)), tmp_path)
    assert served(schema, folder).input[0].name == net.x


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(rc.RelcamError, match="No space left on device"):
        written(plain(), tmp_path / "repo")
    assert not list((tmp_path / "repo").iterdir())
