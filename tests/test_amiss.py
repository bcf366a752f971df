"""What is amiss is told where it is, in one message that helps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nets import Net, picture, plain, run
from onnx import TensorProto, helper
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.runners.session import RunError

BACKENDS = ["eager", "compiled"]


# Outputs


def chosen(*outputs: str) -> onnx.ModelProto:
    """Scores, and whole numbers (N, 1) that look like a chosen class and choose among no scores."""
    net = Net("N", 3, 8, 8)
    scores = net.head(net("Relu", net.conv(net.x, 3, 4)), 4)
    net("Cast", net("ReduceSum", scores, np.array([1]), keepdims=1), name="label", to=TensorProto.INT64)
    return net.model(*outputs)


def test_a_chosen_class_is_no_score() -> None:
    with rc.Explainer(chosen("label", "scores"), layers="last") as explainer:
        assert explainer(picture(1, 3, 8, 8)).scores.shape == (1, 5)
    with pytest.raises(rc.UnsupportedModelError, match=r"whole numbers are classes that are chosen.*output=: 'scores'"):
        rc.Explainer(chosen("label", "scores"), output="label")
    with pytest.raises(rc.UnsupportedModelError, match=r"no output is a table of.*'label'.*Explain a classifier"):
        rc.Explainer(chosen("label"))


def unknown(*, heads: int = 1) -> onnx.ModelProto:
    """An op that nobody knows stands before the heads."""
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 4))
    x = net("Strange", x, name="strange", domain="com.acme")
    names = [net.dense(net("Reshape", x, np.array([-1, 256])), 256, 5 + i, name=f"head{i}") for i in range(heads)]
    return net.model(*names, domains=["com.acme"])


def test_an_unknown_op_is_named_where_it_hides_the_stages() -> None:
    with pytest.raises(rc.UnsupportedModelError, match=r"com\.acme::Strange node 'strange'"):
        rc.Explainer(unknown())
    with pytest.raises(rc.UnsupportedModelError, match=r"com\.acme::Strange node 'strange'"):
        rc.Explainer(unknown(), layers="last")


def test_outputs_are_not_offered_where_none_would_do() -> None:
    with pytest.raises(rc.UnsupportedModelError, match=r"^relevance cannot pass com\.acme::Strange") as caught:
        rc.Explainer(unknown(heads=2))
    assert "output=" not in str(caught.value)


# Inputs


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_with_a_history_is_taken_as_it_is(backend: str) -> None:
    x = picture(1, 3, 32, 32)
    with rc.Explainer(plain(), layers="last", backend=backend) as explainer:
        wanted = explainer(x).maps["last"]
        got = explainer(torch.from_numpy(x.copy()).requires_grad_(True)).maps["last"]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("shape", [("N", 4), (1,), (), ("N", "k", 2)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_input_that_nothing_reads_may_be_left_out(backend: str, shape: tuple[int | str, ...]) -> None:
    net = Net("N", 3, 16, 16)
    net.input("unread", *shape)
    proto = net.model(net.head(net("Relu", net.conv(net.x, 3, 4)), 4))
    x = picture(2, 3, 16, 16)
    with rc.Explainer(proto, layers="last", backend=backend) as explainer:
        alone = explainer(x)
        sizes = [n if isinstance(n, int) else 2 for n in shape]
        full = explainer({"x": x, "unread": np.ones(sizes, np.float32)})
        np.testing.assert_array_equal(alone.maps["last"], full.maps["last"])
        assert rc.explain(explainer, np.zeros((16, 16, 3), np.uint8), preprocess="unit").targets.shape == (1, 1)
    assert rc.layers(proto)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("output", ["scores", "flat"])
def test_a_file_for_one_picture_is_one_for_a_batch_of_one(output: str, backend: str) -> None:
    def net(*shape: int) -> onnx.ModelProto:
        net = Net(*shape)
        batch = net.x if len(shape) == 4 else net("Unsqueeze", net.x, np.array([0]))
        net.head(net("Relu", net.conv(batch, 3, 4), name="r"), 4)
        net("Squeeze", "scores", np.array([0]), name="flat")
        return net.model(output if len(shape) == 3 else "scores")

    x, layers = picture(1, 3, 16, 16), ["r", "input"]
    wanted = rc.Explainer(net(1, 3, 16, 16), layers, backend=backend)(x)
    explainer = rc.Explainer(net(3, 16, 16), layers, backend=backend)
    for array in (x, x[0]):
        found = explainer(array)
        for layer, value in wanted.maps.items():
            np.testing.assert_allclose(found.maps[layer], value, rtol=0, atol=1e-6)
    assert rc.explain(explainer, np.zeros((20, 30, 3), np.uint8), preprocess="unit").overlay("r").size == (30, 20)


def test_a_batch_of_three_without_channels_is_none_of_colours() -> None:
    """(N, T, features) whose scores have as many rows: the first axis is the batch."""
    net = Net(3, 8, 6)
    x = net("Relu", net.dense(net("Flatten", net.x), 48, 8), name="r")
    explainer = rc.Explainer(net.model(net.dense(x, 8, 5)), ["r"], method="lrp")
    assert explainer(picture(2, 8, 6)).maps["r"].shape[0] == 2


# Versions


@pytest.mark.parametrize("ir", [3, onnx.IR_VERSION, onnx.IR_VERSION + 6])
def test_any_ir_version_will_do(ir: int) -> None:
    """What a file says of itself need not be what its opset needs, and that is what runs."""
    proto = plain(size=16)
    proto.ir_version = ir
    x = picture(1, 3, 16, 16)
    with rc.Explainer(proto, layers="last") as explainer:
        got = explainer(x).outputs["scores"]
    np.testing.assert_allclose(got, run(plain(size=16), x=x)[0], atol=1e-5)
    assert rc.layers(proto)
    compiled = rc.compile_model(proto, layers="last")
    assert compiled.ir_version == helper.find_min_ir_version_for(compiled.opset_import)


# Maps of nothing


def dead() -> onnx.ModelProto:
    """The second layer's ReLU never opens; a bias alone makes the scores."""
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 4), name="open")
    shut = net("Relu", net("Conv", x, net.normal(4, 4, 1, 1), np.full(4, -1e3, np.float32)), name="shut")
    return net.model(net.head(shut, 4))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dead_layer_is_noticed_once(backend: str) -> None:
    with rc.Explainer(dead(), layers=("open", "shut", "input"), backend=backend) as explainer:
        with pytest.warns(UserWarning, match="the map of 'open', 'shut', 'input' is zero all over.*never open") as told:
            explainer(picture(2, 3, 8, 8))
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            explainer(picture(2, 3, 8, 8))


# What onnxruntime says and writes


def refusing() -> onnx.ModelProto:
    """A model that onnxruntime loads and then fails on, whatever the picture: a Reshape to a wrong size."""
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 4))
    wrong = net("Shape", net("Concat", net.x, net.x, axis=1))
    flat = net("Reshape", net("Reshape", x, net("Add", wrong, np.array([0, 1, 0, 0]))), np.array([0, -1]))
    net.dense(flat, 448, 5, name="scores")
    proto = net.model("scores")
    del proto.graph.value_info[:]
    shape = proto.graph.output[0].type.tensor_type.shape
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    shape.ClearField("dim")
    for size in ("N", 5):
        shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})
    return proto


def test_a_failing_run_is_told_apart() -> None:
    with rc.Explainer(refusing(), layers="input", method="lrp", backend="eager") as explainer, pytest.raises(RunError):
        explainer(picture(1, 3, 8, 8))


def relcam(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, so that what onnxruntime writes to the terminal is seen."""
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    command = [sys.executable, "-m", "relcam_onnx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_model_that_never_runs_is_no_pictures_fault(tmp_path: Path) -> None:
    onnx.save(refusing(), tmp_path / "model.onnx")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    command = ["explain", tmp_path / "model.onnx", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out",
               "--preprocess", "unit", "--layer", "input", "--method", "lrp", "--backend", "eager"]  # fmt: skip
    result = relcam(*command, home=tmp_path)
    lines = result.stderr.splitlines()
    assert result.returncode == 2
    assert lines[-1].startswith("relcam: error: the model runs on none of the 2 pictures; onnxruntime could not run")
    assert all(line.startswith("relcam: ") for line in lines)  # nothing of onnxruntime's own
    shown = relcam(*command, "--debug", home=tmp_path).stderr
    assert re.search(r"\[E:onnxruntime", shown)


def test_nothing_is_collected(tmp_path: Path) -> None:
    onnx.save(plain(size=8), tmp_path / "model.onnx")
    home = tmp_path / "home"
    home.mkdir()
    assert relcam("layers", tmp_path / "model.onnx", home=home).returncode == 0
    compiled = relcam("compile", tmp_path / "model.onnx", "-o", tmp_path / "compiled.onnx", home=home)
    assert compiled.returncode == 0
    assert not list(home.rglob("*"))


def test_the_users_word_on_telemetry_stands() -> None:
    code = "import os, relcam_onnx; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, wanted in ((None, "1"), ("0", "0")):
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        environment |= {} if given is None else {"ORT_DISABLE_TELEMETRY": given}
        run_ = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert run_.stdout.split() == [wanted]
