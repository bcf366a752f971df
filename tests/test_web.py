"""The site that ``relcam web`` writes: its files, what the page is told, and what is refused. Browsers: tests/web."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from choosing_nets import choosing
from compare import agree
from nets import Net, picture, plain
from test_heads import pixels, planted
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.cli import app
from relcam_onnx.web import runtime

PAGE = Path(rc.__file__).parent / "web" / "page"
LABELS = ["cat", "<img src=x onerror=alert(1)>", "crane", "ship", "dog"]


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """Something in the place of onnxruntime-web."""
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    for name in (*runtime.FILES, *runtime.WEBGPU):
        (folder / name).write_text(f"// {name}")
    return tmp_path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served as npm's registry, and an empty cache."""
    folder = tmp_path / "registry"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()


def made(model: Any, tmp_path: Path, stubs: Path, **options: Any) -> tuple[Path, dict[str, Any]]:
    """A site, and what its page is told."""
    rc.make_site(model, tmp_path / "site", runtime=stubs, **options)
    return tmp_path / "site", json.loads((tmp_path / "site" / "model.json").read_text(encoding="utf-8"))


def test_a_site_is_the_page_the_runtime_and_the_compiled_file(tmp_path: Path, stubs: Path) -> None:
    site, told = made(plain(), tmp_path, stubs, labels=LABELS, preprocess="unit", title="Mine & <yours>")
    assert {file.name for file in PAGE.iterdir()} < {file.name for file in site.iterdir()}
    assert {file.name for file in (site / "runtime").iterdir()} == set(runtime.FILES.values())
    assert "MIT License" in (site / "LICENSE-onnxruntime.txt").read_text()
    assert (told["title"], told["labels"], told["head"]["kind"]) == ("Mine & <yours>", LABELS, "classifier")
    assert told["bytes"] == (site / "model.onnx").stat().st_size
    assert len(told["palette"]) == len(told["veil"]) == 256
    assert told["veil"][0] == 0
    assert told["veil"][-1] == 1
    x = picture(1, 3, 32, 32)
    session = onnxruntime.InferenceSession(site / "model.onnx", providers=["CPUExecutionProvider"])
    names = [one["output"] for one in told["maps"]]
    feeds = {told["input"]["name"]: x, told["outputs"]["targets"]: np.array([[-1]])}
    *maps, target, scores = session.run([*names, told["outputs"]["target"], told["outputs"]["scores"]], feeds)
    wanted = rc.Explainer(plain(), preprocess="unit", backend="eager")(x)
    np.testing.assert_array_equal(target, wanted.targets)
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)
    for one, value in zip(told["maps"], maps, strict=True):
        agree(value, wanted.maps[one["name"]])
        field = wanted.fields[one["name"]]
        assert one["cells"] == {"stride": list(field.stride), "offset": list(field.offset)}


def test_a_site_is_written_over_the_one_that_stands_there(tmp_path: Path, stubs: Path) -> None:
    made(plain(), tmp_path, stubs, preprocess="unit", title="first")
    _, told = made(plain(), tmp_path, stubs, preprocess="unit", title="second")
    assert told["title"] == "second"
    assert not list((tmp_path / "site").rglob("*.part"))


def test_the_runtime_for_webgpu_is_there_where_it_is_asked_for(tmp_path: Path, stubs: Path) -> None:
    site, told = made(plain(), tmp_path, stubs, preprocess="unit", webgpu=True)
    names = {*runtime.FILES.values(), *runtime.WEBGPU.values()}
    assert {file.name for file in (site / "runtime").iterdir()} == names
    assert told["webgpu"]
    worker = (PAGE / "worker.js").read_text()
    assert all(f'"{name}"' in worker for name in names)


@pytest.mark.parametrize(("model", "form"), [("joined", "centred"), ("corners", "corners")])
def test_a_detectors_page_is_told_where_boxes_are(model: str, form: str, tmp_path: Path, stubs: Path) -> None:
    _, told = made(planted(model), tmp_path, stubs, preprocess="unit", layers=["colours"])
    head = told["head"]
    assert (head["kind"], head["boxes"]["form"], head["boxes"]["y_first"]) == ("detector", form, False)
    assert told["reading"] == {
        "confidence": 0.25, "overlap": 0.5, "most": 20, "reversed": 0.05, "fewReversed": 0.25, "normalised": 1.5,
        "mostInCell": 9, "strides": [4, 8, 16, 32, 64, 128], "same": 2e-3, "alike": 1e-6, "apart": 2,
        "fewPlaces": 16, "noise": 0.9,
    }  # fmt: skip


@pytest.mark.parametrize("model", [choosing("by_topk"), pixels()], ids=["chosen", "inside"])
def test_tensors_that_the_page_reads_are_outputs(model: onnx.ModelProto, tmp_path: Path, stubs: Path) -> None:
    """What detections were chosen from, and scores that `output=` names inside the file."""
    chosen = len(model.graph.output[0].type.tensor_type.shape.dim) == 3
    options: dict[str, Any] = {} if chosen else {"output": "small"}
    site, told = made(model, tmp_path, stubs, preprocess="unit", **options)
    head, outputs = told["head"], {output.name for output in onnx.load(site / "model.onnx").graph.output}
    assert head["output"].startswith("told/")
    assert outputs >= {head["output"], *(head["boxes"] or {}).get("outputs", []), *head["levels"]}
    if chosen:
        assert head["rows"]["boxes"] == {"output": "detections", "first": 0, "width": 4}


@pytest.mark.parametrize("model", [choosing("by_topk"), pixels()], ids=["rows", "pixels"])
def test_what_is_in_half_precision_is_told_in_float32(model: onnx.ModelProto, tmp_path: Path, stubs: Path) -> None:
    model = onnx.ModelProto.FromString(model.SerializeToString())
    (value,) = model.graph.output[:1]
    cast = onnx.helper.make_node("Cast", [value.name], ["half"], to=onnx.TensorProto.FLOAT16)
    model.graph.node.append(cast)
    value.name, value.type.tensor_type.elem_type = "half", onnx.TensorProto.FLOAT16
    site, told = made(model, tmp_path, stubs, preprocess="unit")
    kinds = {o.name: o.type.tensor_type.elem_type for o in onnx.load(site / "model.onnx").graph.output}
    rows = told["head"]["rows"] or {"boxes": {}, "scores": {}}
    read = {told["head"]["output"], *(rows[part].get("output") for part in ("boxes", "scores"))} - {None}
    assert {kinds[name] for name in read} == {onnx.TensorProto.FLOAT}


def test_a_picture_size_that_the_file_leaves_open_is_fixed(tmp_path: Path, stubs: Path) -> None:
    net = Net("N", 3, "H", "W")
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    x = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 8, 8, stride=2))))
    model = net.model(net.dense(x, 8, 5))
    site, told = made(model, tmp_path, stubs, preprocess="imagenet", size=(40, 56))
    assert told["preprocess"]["size"] == [40, 56]
    shape = onnx.load(site / "model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [side.dim_value for side in shape[1:]] == [3, 40, 56]
    with pytest.raises(rc.OptionError, match="nothing tells the size"):
        rc.make_site(model, tmp_path, preprocess={"size": None}, runtime=stubs)


def test_what_the_page_cannot_ask_is_refused(tmp_path: Path, stubs: Path) -> None:
    two = Net("N", 3, 32, 32)
    pair = [two("GlobalAveragePool", two.conv(x, 3, 8)) for x in (two.x, two.input("y", "N", 3, 32, 32))]
    both = two.model(two.dense(two("Flatten", two("Add", *pair)), 8, 5))
    half = onnx.ModelProto.FromString(plain().SerializeToString())
    cast = onnx.helper.make_node("Cast", ["half"], [half.graph.input[0].name], to=onnx.TensorProto.FLOAT)
    half.graph.input[0].name, half.graph.input[0].type.tensor_type.elem_type = "half", onnx.TensorProto.FLOAT16
    half.graph.node.insert(0, cast)
    for model, options, said in (
        (plain(), {"head": "embedding"}, "--like"),
        (plain(), {"seed": "given"}, "seed 'given' does not fit"),
        (plain(), {"method": "rise"}, "method 'rise' does not fit"),
        (plain(), {"size": (64, 64)}, "does not fit input"),
        (half, {}, "float16, which browsers have no arrays for"),
        (both, {}, "'x', 'y'"),
    ):
        with pytest.raises(rc.RelcamError, match=re.escape(said)):
            rc.make_site(model, tmp_path / "site", preprocess="unit", runtime=stubs, **options)
        assert not (tmp_path / "site").exists()


def test_the_runtime_is_asked_of_the_registry_that_npm_is_set_to(registry: Path, tmp_path: Path) -> None:
    """A registry that has it not, and one that has something else."""
    with pytest.raises(rc.OptionError, match=r"cannot be downloaded .*404.*NPM_CONFIG_REGISTRY.*--runtime"):
        runtime.runtime_files()
    archive = registry / runtime.PACKAGE / "-" / f"{runtime.PACKAGE}-{runtime.VERSION}.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    with pytest.raises(rc.OptionError, match="SHA-512 differs"):
        runtime.runtime_files()
    assert not (tmp_path / "cache").exists()


def test_a_registry_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(rc.OptionError, match="set NPM_CONFIG_REGISTRY to one that is within reach"):
        runtime.runtime_files()


def test_npm_is_asked_where_its_registry_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtime.registry() == runtime.REGISTRY
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho https://npm.example/\n")
    npm.chmod(0o755)
    assert runtime.registry() == "https://npm.example/"


def test_what_was_downloaded_is_kept(registry: Path, stubs: Path) -> None:
    found = {name: (stubs / "package" / "dist" / name).read_bytes() for name in runtime.FILES}
    runtime.keep(found, runtime.cache_folder())
    assert set(runtime.runtime_files()) == set(runtime.FILES.values())


def test_a_runtime_folder_without_it(tmp_path: Path) -> None:
    with pytest.raises(rc.OptionError, match=r"lacks ort\.wasm\.min\.mjs.*npm pack onnxruntime-web@"):
        runtime.runtime_files(tmp_path)


def test_the_page_holds_to_its_policy() -> None:
    """Nothing inline, nothing from elsewhere, and names from files only ever as text."""
    html = (PAGE / "index.html").read_text()
    assert "default-src 'none'" in html
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", html)
    for file in PAGE.iterdir():
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            file
        )
        hosts = set(re.findall(r"https?://[\w.-]+", text)) - {"http://www.w3.org", "http://localhost"}
        assert not hosts, file


def test_the_command(tmp_path: Path, stubs: Path) -> None:
    model, labels = tmp_path / "model.onnx", tmp_path / "labels.txt"
    onnx.save(plain(), model)
    labels.write_text("\n".join(LABELS))
    asked = ["web", str(model), "-o", str(tmp_path / "site"), "--labels", str(labels), "--preprocess", "unit"]
    asked += ["--layer", "last", "--runtime"]
    done = CliRunner().invoke(app, [*asked, str(stubs)])
    assert done.exit_code == 0, done.stderr
    assert "python -m http.server" in done.stdout
    told = json.loads((tmp_path / "site" / "model.json").read_text(encoding="utf-8"))
    assert (told["title"], told["labels"], len(told["maps"])) == ("model", LABELS, 1)
    failed = CliRunner().invoke(app, [*asked, str(tmp_path / "nothing")])
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert failed.stderr.startswith("relcam: error: runtime folder")
