"""Compiled models of every shape: free and fixed sizes and batches, final squashing, several ports, halves."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, inverted, picture, plain, residual, run
from onnx import TensorProto
from test_compile import TARGETS, X, explained, ports, results

import relcam_onnx as rc


@pytest.mark.parametrize("targets", [TARGETS[:, :1], TARGETS], ids=["one target", "two"])
def test_dynamic_picture_sizes(targets: np.ndarray) -> None:
    source = inverted(size="size")
    compiled = rc.compile_model(source, ("input", "stages"), heatmap=True)
    onnx.checker.check_model(compiled, full_check=True)
    for size in (32, 45):
        x = picture(3, 3, size, size)
        got = results(compiled, x=x, relcam_targets=targets)
        heat = [value for name, value in got.items() if name.startswith("heatmap/")]
        assert [value.shape[2:] for value in heat] == [(size, size)] * 3
        wanted = explained(source, x, targets, layers=("input", "stages"))
        for layer, value in wanted.maps.items():
            agree(got[f"{'relevance' if layer == 'input' else 'cam'}/{layer}"], value)


def test_size_fixes_height_and_width() -> None:
    compiled = rc.compile_model(residual(size="size"), "stages", size=(32, 48))
    assert ports(compiled.graph.input)["x"][1] == ["N", 3, 32, 48]
    x = picture(2, 3, 32, 48)
    got = results(compiled, x=x, relcam_targets=TARGETS[:2])
    wanted = explained(residual(size="size"), x, TARGETS[:2], layers="stages")
    for layer, value in wanted.maps.items():
        agree(got[f"cam/{layer}"], value)
    with pytest.raises(rc.RelcamError, match="no input of this model has them free"):
        rc.compile_model(residual(), size=(48, 48))


@pytest.mark.parametrize("preset", ["default", "epsilon-plus-flat", "epsilon-gamma-box"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("count", [1, 3])
def test_a_fixed_batch(batch: int, count: int, preset: str) -> None:
    """The number of targets never depends on it; rules whose denominators are constants repeat those too."""
    targets = np.array([[0, -1, 3], [1, 2, -2]])[:batch, :count]
    compiled = rc.compile_model(plain(batch=batch), ("input", "stages"), preset, "lrp")
    onnx.checker.check_model(compiled, full_check=True)
    got = results(compiled, x=X[:batch], relcam_targets=targets)
    wanted = explained(plain(), X[:batch], targets, layers=("input", "stages"), preset=preset, method="lrp")
    np.testing.assert_array_equal(got["relcam_classes"], wanted.targets)
    for layer, value in wanted.maps.items():
        agree(got[f"relevance/{layer}"], value)


@pytest.mark.parametrize(("images", "count"), [(1, 1), (1, 5), (8, 1), (3, 5)])
@pytest.mark.parametrize("network", [plain, residual, inverted])
def test_batches_and_targets(network: Any, images: int, count: int) -> None:
    x, targets = picture(images, 3, 32, 32), np.arange(5)[None, :count].repeat(images, axis=0)
    wanted = explained(network(), x, targets, layers="stages")
    got = results(rc.compile_model(network(), "stages"), x=x, relcam_targets=targets)
    for layer, value in wanted.maps.items():
        agree(got[f"cam/{layer}"], value)


@pytest.mark.parametrize("final", ["Softmax", "Sigmoid"])
def test_a_final_squashing_stays_in_the_file(final: str) -> None:
    model = plain(final=final)
    got = results(rc.compile_model(model, "stages"), x=X, relcam_targets=TARGETS)
    wanted = explained(model, X, TARGETS, layers="stages")
    np.testing.assert_allclose(got["final"], run(model, x=X)[0], atol=1e-5)
    for layer, value in wanted.maps.items():
        agree(got[f"cam/{layer}"], value)


def two_heads() -> onnx.ModelProto:
    """An image in channels-last order beside one in channels-first, and two tables of scores."""
    net = Net("N", 8, 8, 3)
    other = net.input("other", "N", 3, 8, 8)
    first = net("Transpose", net.x, perm=[0, 3, 1, 2])
    both = net("Relu", net("Add", net.conv(first, 3, 4), net.conv(other, 3, 4)), name="both")
    return net.model(net.head(both, 4, name="a"), net.head(both, 4, 7, name="b"), both)


def test_several_inputs_and_outputs_and_channels_last() -> None:
    x = {"x": picture(2, 8, 8, 3), "other": picture(2, 3, 8, 8, seed=1)}
    options: dict[str, Any] = {"layers": ("both", "x", "other"), "method": "lrp", "output": "b"}
    wanted = explained(two_heads(), x, [[6, 2], [0, -1]], **options)
    compiled = rc.compile_model(two_heads(), **options)
    got = results(compiled, **x, relcam_targets=np.array([[6, 2], [0, -1]]))
    assert [output.name for output in compiled.graph.output][:3] == ["a", "b", "both"]
    for layer, value in wanted.maps.items():
        agree(got[f"relevance/{layer}"], value)


def test_halves_are_explained_in_float32() -> None:
    """Measured: 1.3e-3 of the map's maximum off the float32 model, the rounding of its activations; 1e-4 off eager."""
    source, half = residual(batch_norm=False), halved(residual(batch_norm=False))
    compiled = rc.compile_model(half, "stages")
    onnx.checker.check_model(compiled, full_check=True)
    got = results(compiled, x=X.astype(np.float16), relcam_targets=TARGETS)
    assert got["scores"].dtype == np.float16
    wanted = explained(source, X, TARGETS, layers="stages")
    same = explained(half, X.astype(np.float16), TARGETS, layers="stages")
    for layer, value in wanted.maps.items():
        assert got[f"cam/{layer}"].dtype == np.float32
        agree(got[f"cam/{layer}"], same.maps[layer], 1e-3)
        agree(got[f"cam/{layer}"], value, 5e-3)


def test_a_folded_weight_of_halves_is_made_of_the_files() -> None:
    net = Net()
    x = net("Relu", net.batch_norm(net.conv(net.x, 3, 32), 32), name="stage1")
    x = net("Relu", net.batch_norm(net.conv(x, 32, 32, stride=2), 32), name="stage2")
    half = halved(net.model(net.head(x, 32)))
    compiled = rc.compile_model(half, "stages")
    assert compiled.ByteSize() < 2 * half.ByteSize()
    got = results(compiled, x=X.astype(np.float16), relcam_targets=TARGETS)
    for layer, value in explained(half, X.astype(np.float16), TARGETS, layers="stages").maps.items():
        agree(got[f"cam/{layer}"], value, 1e-3)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with weights, inputs and outputs in float16."""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    return model


def counted() -> onnx.ModelProto:
    """A class for each position of the picture, so that only a run knows how many there are."""
    net = Net("N", 3, "h", "w")
    y = net("Relu", net.conv(net.x, 3, 8, stride=2))
    return net.model(net("Flatten", net.conv(y, 8, 1, 1), name="scores"))


@pytest.mark.parametrize("seed", ["rivals", "contrast", "logit", "one-hot", "clrp", "official", "sglrp"])
def test_a_number_of_classes_that_only_a_run_knows(seed: str) -> None:
    """64 and 30 classes, by index and by rank; one that is not there gives zeros."""
    compiled = rc.compile_model(counted(), ("stages", "fused"), seed=seed)
    onnx.checker.check_model(compiled, full_check=True)
    for size in ((16, 16), (12, 10)):
        x, targets = picture(2, 3, *size), np.array([[-1, 7], [-3, 0]])
        got = results(compiled, x=x, relcam_targets=targets)
        wanted = explained(counted(), x, targets, layers=("stages", "fused"), seed=seed)
        np.testing.assert_array_equal(got["relcam_classes"], wanted.targets)
        for layer, value in wanted.maps.items():
            agree(got[f"cam/{layer}"], value, 1e-3 if seed in ("clrp", "official", "sglrp") else 1e-4)
        assert not results(compiled, x=x, relcam_targets=[[64], [-65]])["cam/fused"].any()
