"""The compiled model as any runtime sees it: its inputs, outputs, metadata, and what it gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net, picture, plain, residual, run
from onnx import TensorProto, helper
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.lrp.methods import METHODS, Walked
from relcam_onnx.lrp.seeds import SEEDS
from relcam_onnx.pictures.preprocess import Preprocess

X = picture(3, 3, 32, 32)
TARGETS = np.array([[-1, 3], [0, -2], [4, 1]])
Arrays = dict[str, np.ndarray]


def results(compiled: onnx.ModelProto, **inputs: Any) -> Arrays:
    """Every output of a compiled model by name."""
    names = [output.name for output in compiled.graph.output]
    return dict(zip(names, run(compiled, *names, **inputs), strict=True))


def explained(model: onnx.ModelProto, x: Any, targets: Any, **options: Any) -> rc.Explanation:
    """What the reference makes of the same."""
    with rc.Explainer(model, backend="eager", **options) as explainer:
        return explainer(x, targets)


def ports(values: Any) -> dict[str, tuple[int, list[str | int]]]:
    """Name -> element type and sizes."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        found[value.name] = (tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim])
    return found


def test_inputs_and_outputs() -> None:
    source = plain()
    compiled = rc.compile_model(source, ("input", "stages", "fused"), weights=True, heatmap=True)
    onnx.checker.check_model(compiled, full_check=True)
    assert ports(compiled.graph.input) == {
        "x": (TensorProto.FLOAT, ["N", 3, 32, 32]), "relcam_targets": (TensorProto.INT64, ["N", "K"]),
    }  # fmt: skip
    outputs = ports(compiled.graph.output)
    assert {kind for name, (kind, _) in outputs.items() if name != "relcam_classes"} == {TensorProto.FLOAT}
    assert outputs["relcam_classes"][0] == TensorProto.INT64
    shapes = {name: value.shape for name, value in results(compiled, x=X, relcam_targets=TARGETS).items()}
    sizes = {"stride1": (32, 32), "stride2": (16, 16), "stride4": (8, 8), "fused": (32, 32)}
    assert shapes == {
        "scores": (3, 5), "relcam_classes": (3, 2), "relevance/input": (3, 2, 3, 32, 32),
        **{f"cam/{name}": (3, 2, *size) for name, size in sizes.items()},
        **{f"heatmap/{name}": (3, 2, 32, 32) for name in sizes},
        "weights/stride1": (3, 2, 8), "weights/stride2": (3, 2, 12), "weights/stride4": (3, 2, 16),
    }  # fmt: skip
    assert next(iter(outputs)) == source.graph.output[0].name
    assert compiled.opset_import == source.opset_import


@pytest.mark.parametrize("make", [plain, residual])
def test_every_node_is_there_once_and_for_something(make: Callable[[], onnx.ModelProto]) -> None:
    graph = rc.compile_model(make(), ("input", "stages", "fused")).graph
    own = [node for node in graph.node if node.name.startswith("relcam/")]
    calls = [(node.op_type, *node.input, *(a.SerializeToString() for a in node.attribute)) for node in own]
    assert len(set(calls)) == len(calls)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    assert all(used.intersection(node.output) for node in graph.node)
    assert {tensor.name for tensor in graph.initializer} <= used
    assert not any(node.op_type == "Abs" and node.input[0] == "stage1" for node in graph.node)  # it is a ReLU's


def test_outputs_and_ranks_are_the_plain_models() -> None:
    (wanted,) = run(plain(), x=X)
    order = np.argsort(-wanted, axis=1, kind="stable")
    ranks = np.array([[-1, -2, -5]] * 3)
    got = results(rc.compile_model(plain(), "last"), x=X, relcam_targets=ranks)
    np.testing.assert_array_equal(got["relcam_classes"], order[:, [0, 1, 4]])
    np.testing.assert_allclose(got["scores"], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_what_is_out_of_range_gives_zeros_there() -> None:
    layers = ("input", "stages", "fused")
    compiled = rc.compile_model(plain(), layers, heatmap=True, weights=True)
    got = results(compiled, x=X, relcam_targets=np.array([[0, 5], [-6, 1], [2**40, -(2**40)]]))
    np.testing.assert_array_equal(got["relcam_classes"], [[0, -1], [-1, 1], [-1, -1]])
    there = np.array([[True, False], [False, True], [False, False]])
    for name in set(got) - {"scores", "relcam_classes"}:
        assert np.isfinite(got[name]).all()
        assert (got[name].any(axis=tuple(range(2, got[name].ndim))) == there).all(), name


@pytest.mark.parametrize("method", [name for name, how in METHODS.items() if isinstance(how, Walked)])
def test_maps_are_the_references(method: str) -> None:
    """cam/<layer>, with method lrp relevance/<layer>; fused is a cube root at its floor, so it is held to 1e-3."""
    layers = METHODS[method].layers if METHODS[method].explains_input_alone else ("input", "stages", "fused")
    wanted = explained(residual(), X, TARGETS, layers=layers, method=method)
    got = results(rc.compile_model(residual(), layers, method=method, weights=True), x=X, relcam_targets=TARGETS)
    for layer, value in wanted.maps.items():
        whole = layer == "input" or (method == "lrp" and layer != "fused")
        agree(got[f"{'relevance' if whole else 'cam'}/{layer}"], value, 1e-3 if layer == "fused" else 1e-4)
    for layer, value in wanted.weights.items():
        agree(got[f"weights/{layer}"], value)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed(seed: str) -> None:
    """1e-4 of the map's maximum; 1e-3 for the seeds whose sum cancels."""
    share = 1e-4 if seed in ("logit", "one-hot", "contrast", "rivals") else 1e-3
    wanted = explained(residual(), X, TARGETS, layers="stages", preset="paper", seed=seed)
    got = results(rc.compile_model(residual(), "stages", "paper", seed=seed), x=X, relcam_targets=TARGETS)
    for layer, value in wanted.maps.items():
        agree(got[f"cam/{layer}"], value, share)


def test_a_seed_of_ones_own_is_an_input() -> None:
    seed = picture(3, 2, 5, seed=7)
    with rc.Explainer(plain(), "stages", preset="paper", seed="given", backend="eager") as explainer:
        wanted = explainer(X, seed=seed)
    compiled = rc.compile_model(plain(), "stages", "paper", seed="given")
    assert ports(compiled.graph.input)["relcam_seed"] == (TensorProto.FLOAT, ["N", "K", 5])
    got = results(compiled, x=X, relcam_seed=seed)
    np.testing.assert_array_equal(got["relcam_classes"], seed.argmax(axis=2))
    for layer, value in wanted.maps.items():
        agree(got[f"cam/{layer}"], value)


def test_heatmaps_are_the_positive_part_over_its_maximum() -> None:
    for method in ("local-relevance-cam", "lrp"):
        compiled = rc.compile_model(plain(), ("stages", "fused"), method=method, heatmap=True)
        got = results(compiled, x=X, relcam_targets=TARGETS)
        shown = {name: value for name, value in got.items() if name.startswith("heatmap/")}
        assert len(shown) == 4
        for name, value in shown.items():
            assert value.shape == (3, 2, 32, 32)
            assert value.min() >= 0
            source = got[f"{'relevance' if f'relevance/{name[8:]}' in got else 'cam'}/{name[8:]}"]
            whole = source.sum(axis=2) if source.ndim == 5 else source
            positive = whole.max(axis=(2, 3)) > 0
            np.testing.assert_allclose(value.max(axis=(2, 3)), positive, atol=1e-6, err_msg=name)
    whole = np.maximum(got["relevance/stride1"].sum(axis=2), 0)
    np.testing.assert_allclose(got["heatmap/stride1"], whole / whole.max(axis=(2, 3), keepdims=True), atol=1e-5)


def test_heatmaps_are_cut_off_at_zero_before_they_grow() -> None:
    """Torch resizes the positive part; resized first, the negative one would eat into its edges."""
    compiled = rc.compile_model(plain(), "stage4", "paper", heatmap=True)
    got = results(compiled, x=X, relcam_targets=TARGETS)
    assert (got["cam/stage4"] < 0).any()
    positive = torch.from_numpy(got["cam/stage4"]).clamp(min=0)
    grown = torch.nn.functional.interpolate(positive, size=(32, 32), mode="bilinear").numpy()
    highest = grown.max(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(got["heatmap/stage4"], grown / np.where(highest > 0, highest, 1), atol=1e-5)


@pytest.mark.parametrize("given", [True, False], ids=["given", "beside the file"])
def test_the_preprocessing_goes_into_the_file(given: bool, tmp_path: Path) -> None:
    """Whoever has the compiled file alone prepares pictures as before."""
    path = tmp_path / "model.onnx"
    path.write_bytes(plain().SerializeToString())
    values: dict[str, Any] = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": 32}
    if not given:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    option = {"mean": values["image_mean"], "std": values["image_std"]} if given else None
    compiled = rc.compile_model(path, "stage4", preprocess=option)
    metadata = {p.key: p.value for p in compiled.metadata_props}
    told = json.loads(metadata["relcam.preprocess"])
    assert (told["mean"], told["std"], told["size"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [32, 32])
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    wanted = rc.explain(path, pixels, layers="stage4", preprocess=option)
    x = Preprocess.from_json(metadata["relcam.preprocess"]).apply(Image.fromarray(pixels))[0][None]
    got = results(compiled, x=x, relcam_targets=wanted.targets)
    agree(got["cam/stage4"], wanted.maps["stage4"])


def test_metadata_tells_how_the_file_was_made() -> None:
    labels = json.dumps(list("abcde"))
    source = plain()
    helper.set_model_props(source, {"relcam.labels": labels, "relcam.preprocess": '{"size": [32, 32]}', "own": "kept"})
    compiled = rc.compile_model(source, ("stage1", "last"), "paper", "relevance-cam", "logit")
    metadata = {p.key: p.value for p in compiled.metadata_props}
    assert json.loads(metadata.pop("relcam.preprocess"))["size"] == [32, 32]
    assert json.loads(metadata.pop("relcam.layers")) == [
        {"name": "stage1", "tensor": "stage1", "stride": 1.0},
        {"name": "stride4", "tensor": "stage4", "stride": 4.0},
    ]
    assert metadata == {
        "relcam.version": rc.__version__, "relcam.preset": "paper", "relcam.method": "relevance-cam",
        "relcam.seed": "logit",
        "relcam.source_sha256": rc.Explainer(source).settings.sha256,
        "relcam.labels": labels, "own": "kept",
    }  # fmt: skip


def test_module_paths_survive() -> None:
    source = plain()
    helper.set_model_props(source, {"relcam.scopes": json.dumps({"stage1": "features.1", "stage4": "features.6"})})
    compiled = rc.compile_model(source, ("features.1", "features"))
    assert {"cam/features.1", "cam/features"} < {output.name for output in compiled.graph.output}
    for model in (source, compiled):
        named = {row.name: row.tensor for row in rc.layers(model, output="scores")}
        assert {"features.1": "stage1", "features.6": "stage4"}.items() <= named.items()


def test_a_compiled_file_is_not_compiled_again() -> None:
    compiled = rc.compile_model(plain())
    for make in (rc.compile_model, rc.Explainer):
        with pytest.raises(rc.ModelFileError, match="relcam compile wrote it"):
            make(compiled)


@pytest.mark.parametrize("name", ["cam/stage1", "relcam_classes", "relcam_targets"])
def test_names_that_clash(name: str) -> None:
    net = Net()
    stage = net("Relu", net.conv(net.x, 3, 4), name="stage1")
    model = net.model(net.head(net("Relu", stage, name=name), 4))
    with pytest.raises(rc.OptionError, match=f"has a tensor '{name}' already"):
        rc.compile_model(model, "stage1")


def test_a_size_that_only_a_run_knows_asks_for_it() -> None:
    net = Net("N", 3, "h", "w")
    x = net("Relu", net.conv(net.x, 3, 4, stride=2), name="stage")
    grown = net("Resize", x, None, np.array([1, 1, 2, 2], np.float32), mode="cubic")
    model = net.model(net.head(net("Relu", grown), 4))
    with pytest.raises(rc.UnsupportedModelError, match=r"size=\(height, width\), --size H W"):
        rc.compile_model(model, "stage")
    rc.compile_model(model, "stage", size=(16, 16))
