"""What goes in and comes out besides float32 pictures: bytes, numbers for all images, doubles, small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree, same_maps
from nets import Net, picture, run
from onnx import TensorProto
from test_compile import explained, results

import relcam_onnx as rc

LITE = Path(__file__).parents[1] / "models" / "efficientnet-lite0.onnx"
LAYERS = ("stages", "fused", "input")
BACKENDS = ["eager", "compiled"]
X = picture(2, 3, 16, 16)
TARGETS = np.array([[0, -1], [1, 2]])


def of_type(kind: int, cast: bool) -> onnx.ModelProto:
    """A network whose input has that type; its stages lie at strides 1 and 2."""
    net = Net("N", 3, 16, 16)
    net.inputs[0].type.tensor_type.elem_type = kind
    x = net("Cast", net.x, to=TensorProto.FLOAT) if cast else net.x
    x = net("Relu", net.conv(x, 3, 8), name="fine")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], name="coarse")
    return net.model(net.head(x, 8))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bytes_that_are_cast(backend: str) -> None:
    model = of_type(TensorProto.UINT8, cast=True)
    named = {row.name: (row.stride, row.stage) for row in rc.layers(model)}
    assert named["x"] == (1.0, "")
    assert named["fine"] == (1.0, "stride1")
    assert named["coarse"] == (2.0, "stride2")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), np.uint8)
    wanted = explained(of_type(TensorProto.FLOAT, cast=False), pixels.astype(np.float32), TARGETS, layers=LAYERS)
    with rc.Explainer(model, LAYERS, backend=backend) as explainer:
        got = explainer(pixels, TARGETS)
        assert list(got.maps) == ["stride1", "stride2", "input", "fused"]
        same_maps(got, wanted)
        with pytest.raises(rc.InputError, match=r"float32 .* the model takes uint8"):
            explainer(pixels.astype(np.float32))


def with_number(op: str, *, given: bool, first: bool = False) -> onnx.ModelProto:
    """A network whose activations meet a 2, an input of one number or a constant; it gives a number, too."""
    net = Net("N", 3, 16, 16)
    two = net.input("two") if given else net.constant(np.float32(2), "two")
    if first:
        net.inputs.reverse()
    x = net("Relu", net(op, net.conv(net.x, 3, 8), two), name="fine")
    scores = net.head(net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], name="coarse"), 8)
    return net.model(scores, net("ReduceMax", scores, keepdims=0, name="highest"))


FEEDS = {"x": X, "two": np.array(2, np.float32)}


@pytest.mark.parametrize("first", [False, True], ids=["behind the picture", "before it"])
@pytest.mark.parametrize("op", ["Mul", "Add"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_and_outputs_of_one_number(backend: str, op: str, first: bool) -> None:
    """A number is no picture: no layer reads it by the picture's rule, and what it scales keeps its relevance."""
    options: dict[str, Any] = {"layers": LAYERS, "output": "scores"}
    wanted = explained(with_number(op, given=False), X, TARGETS, **options)
    with rc.Explainer(with_number(op, given=True, first=first), backend=backend, **options) as explainer:
        got = explainer(FEEDS, TARGETS)
    assert np.ndim(got.outputs["highest"]) == 0
    np.testing.assert_allclose(got.scores, wanted.scores, atol=1e-6)
    # Below it a number that is added takes its share, where a constant is a bias of the convolution.
    for name in wanted.maps if op == "Mul" else ("fine", "coarse", "fused"):
        agree(got.maps[name], wanted.maps[name], 1e-5)


@pytest.mark.parametrize("op", ["Mul", "Add"])
def test_numbers_for_all_images_in_the_bare_file(op: str) -> None:
    """With several images and targets the file repeats its images, but neither a number that goes in nor one out."""
    model = with_number(op, given=True)
    compiled = rc.compile_model(model, LAYERS, output="scores")
    onnx.checker.check_model(compiled, full_check=True)
    got = results(compiled, **FEEDS, relcam_targets=TARGETS)
    scores, highest = run(model, "scores", "highest", **FEEDS)
    assert got["highest"].shape == ()
    np.testing.assert_allclose(got["highest"], highest, rtol=1e-6)
    np.testing.assert_allclose(got["scores"], scores, atol=1e-6)
    wanted = explained(model, FEEDS, TARGETS, layers=LAYERS, output="scores")
    for name, value in wanted.maps.items():
        agree(got["relevance/input" if name == "input" else f"cam/{name}"], value)


def test_the_smallest_picture_of_the_committed_model() -> None:
    """At 32x32 its last layers see a single position: rules and layers are those of a file of that size."""
    x, fixed = picture(1, 3, 32, 32) * 0.5, onnx.load(LITE)
    for dim, size in zip(fixed.graph.input[0].type.tensor_type.shape.dim[2:], (32, 32), strict=True):
        dim.dim_value = size
    del fixed.graph.value_info[:]
    wanted = explained(fixed, x, [[281]], layers=LAYERS)
    for backend in BACKENDS:
        with rc.Explainer(LITE, LAYERS, backend=backend) as explainer:
            same_maps(explainer(x, [[281]]), wanted, 1e-3)


def channels_last(size: int | None) -> onnx.ModelProto:
    """A picture in channels-last order, and a layer in that order behind the convolution."""
    free = ("h", "w") if size is None else (size, size)
    net = Net("N", *free, 3)
    x = net("Transpose", net.x, perm=[0, 3, 1, 2])
    x = net("Relu", net.conv(x, 3, 8), name="first")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net("Transpose", x, perm=[0, 2, 3, 1])
    x = net("Add", x, net.normal(8, scale=0.1), name="last")
    mean = net("ReduceMean", x, np.array([1, 2], np.int64), keepdims=0)
    return net.model(net.dense(mean, 8, 5, name="scores"))


@pytest.mark.parametrize("method", ["local-relevance-cam", "relevance-cam", "lrp"])
@pytest.mark.parametrize("size", [16, None], ids=["fixed", "free"])
def test_a_layer_with_channels_last(size: int | None, method: str) -> None:
    model, x = channels_last(size), picture(2, 16, 16, 3)
    options: dict[str, Any] = {"layers": ("first", "last", "input"), "method": method}
    wanted = explained(model, x, TARGETS, **options)
    assert wanted.maps["last"].shape == ((2, 2, 8, 8, 8) if method == "lrp" else (2, 2, 8, 8))
    assert wanted.maps["input"].shape == (2, 2, 3, 16, 16)
    with rc.Explainer(model, backend="compiled", **options) as explainer:
        same_maps(explainer(x, TARGETS), wanted)
    got = results(rc.compile_model(model, **options), x=x, relcam_targets=TARGETS)
    for name, value in wanted.maps.items():
        agree(got[f"relevance/{name}" if f"relevance/{name}" in got else f"cam/{name}"], value)
