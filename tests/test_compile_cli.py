"""``relcam compile``, and what ``relcam explain`` does with compiled models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from nets import picture, plain, run
from test_cli import noise, refused, relcam, stored

import relcam_onnx as rc
from relcam_onnx.onnx_file import store

X, TARGETS = picture(2, 3, 32, 32), np.array([[1, -1], [0, 2]])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path: Path = stored(tmp_path / "model.onnx", plain())
    return path


def results(path: Path) -> dict[str, np.ndarray]:
    compiled = onnx.load(path)
    names = [output.name for output in compiled.graph.output]
    return dict(zip(names, run(compiled, *names, x=X, relcam_targets=TARGETS), strict=True))


def same(got: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(got[name], value)


def test_the_file_is_what_python_makes(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.onnx"
    options: dict[str, Any] = {
        "layers": ("stage1", "last"),
        "preset": "paper",
        "seed": "logit",
        "method": "lrp",
        "heatmap": True,
    }
    result = relcam(
        "compile", model, "-o", out, "--layer", "stage1", "--layer", "last", "--preset", "paper", "--seed", "logit",
        "--method", "lrp", "--output", "scores", "--heatmap",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    names = "scores, relcam_classes, relevance/stage1, relevance/stride4, heatmap/stage1, heatmap/stride4"
    assert result.stdout == f"{out}: {out.stat().st_size / 1e6:.1f} MB, outputs {names}\n"
    assert [path.name for path in out.parent.iterdir()] == ["out.onnx"]
    wanted = rc.compile_model(model, **options)
    onnx.save(wanted, tmp_path / "wanted.onnx")
    same(results(out), results(tmp_path / "wanted.onnx"))
    metadata = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert metadata == {p.key: p.value for p in wanted.metadata_props}
    assert metadata["relcam.labels"].startswith('["cat"')


def test_size_and_preprocess(tmp_path: Path) -> None:
    path = stored(tmp_path / "free.onnx", plain(size="size"))
    out = tmp_path / "out.onnx"
    assert relcam("compile", path, "-o", out, "--size", 32, 48, "--preprocess", "torchvision").exit_code == 0
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims][2:] == [32, 48]


def test_above_protobufs_limit_weights_lie_beside(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "one.onnx"
    assert relcam("compile", model, "-o", out).exit_code == 0
    monkeypatch.setattr(store, "PROTOBUF_LIMIT", 1000)
    apart = tmp_path / "apart" / "two.onnx"
    result = relcam("compile", model, "-o", apart)
    assert result.stdout.startswith(f"{apart} and {apart.with_suffix('.data')}: ")
    assert sorted(path.name for path in apart.parent.iterdir()) == ["two.data", "two.onnx"]
    same(results(apart), results(out))
    session = onnxruntime.InferenceSession(str(apart), providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == ["x", "relcam_targets"]


@pytest.mark.parametrize("limit", [2**31 - 1, 1000], ids=["one file", "with data"])
def test_a_full_disk_leaves_nothing(limit: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "PROTOBUF_LIMIT", limit)
    monkeypatch.setattr(os, "replace", full)
    folder = tmp_path / "new"
    assert "No space left on device): make room" in refused("compile", model, "-o", folder / "out.onnx")
    assert not list(folder.iterdir())


def test_what_cannot_be_written_or_read(model: Path, tmp_path: Path) -> None:
    assert "is the model itself" in refused("compile", model, "-o", model)
    assert "Is a directory" in refused("compile", model, "-o", tmp_path)
    assert "there is no such file" in refused("compile", tmp_path / "none.onnx", "-o", tmp_path / "out.onnx")
    assert "did you mean 'stages' or 'stage4' or 'stage2'?" in refused(
        "compile", model, "-o", tmp_path / "out.onnx", "--layer", "stage9"
    )
    assert "requires 2 arguments" in refused("compile", model, "-o", tmp_path / "out.onnx", "--size", 32)
    assert not (tmp_path / "out.onnx").exists()


def test_explain_keeps_compiled_models(model: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    image = noise(tmp_path / "a.png")
    for folder in ("one", "two"):
        assert relcam("explain", model, image, "-o", tmp_path / folder, "--cache", cache).exit_code == 0
    (kept,) = cache.iterdir()
    assert "cam/stride1" in {output.name for output in onnx.load(kept).graph.output}
