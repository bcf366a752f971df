"""Compiled models whose height and width only a run knows, and the ops that ask for them to be fixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture
from onnxruntime.quantization import QuantFormat
from PIL import Image
from test_compile import explained, results
from test_qoperators import quantised
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx import prepare
from relcam_onnx.cli import app
from relcam_onnx.onnx_file.load import with_sizes

Build = Callable[[Net, str], str]

SIZES = [(17, 19), (24, 30)]
TARGETS = np.array([[0, -1]])


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def op(name: str, *inputs: Any, **attrs: Any) -> Build:
    """One node behind the first convolution."""
    return lambda net, x: net(name, x, *inputs, **attrs)


def weighted(name: str, *shape: int, **attrs: Any) -> Build:
    """One node with a weight of that shape."""
    return lambda net, x: net(name, x, net.normal(*shape, scale=0.3), **attrs)


def group_norm(net: Net, x: str) -> str:
    return net("GroupNormalization", x, net.normal(8), net.normal(8), num_groups=2)


def depth_to_space(net: Net, x: str) -> str:
    return net("DepthToSpace", net.conv(x, 8, 32), blocksize=2)


def reduce_max(net: Net, x: str) -> str:
    return net("ReduceMax", x, ints(2, 3), keepdims=1)


def computed_slice(net: Net, x: str) -> str:
    """One row less than the picture has."""
    rows = net("Shape", net.x, start=2, end=3)
    return net("Slice", x, ints(0), net("Sub", rows, ints(1)), ints(2))


def same_padding(net: Net, x: str) -> str:
    """TensorFlow's SAME padding of a window of 2, computed from the height."""
    odd = net("Mod", net("Shape", x, start=2, end=3), ints(2))
    return net("Pad", x, net("Concat", ints(0, 0, 0, 0, 0, 0), odd, ints(0), axis=0))


def by_value(net: Net, x: str) -> str:
    """Every second row up to one that the picture's largest value names."""
    largest = net("Cast", net("ReduceMax", net.x, keepdims=0), to=onnx.TensorProto.INT64)
    end = net("Add", net("Reshape", largest, ints(1)), ints(4))
    return net("Slice", x, ints(0), end, ints(2), ints(2), name="rows")


FREE: dict[str, Build] = {
    "AveragePool": op("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    "Conv": weighted("Conv", 8, 8, 3, 3, strides=[3, 2], dilations=[2, 1], pads=[1, 0, 2, 1]),
    "MaxPool": op("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    "GroupNormalization": group_norm,
    "DepthToSpace": depth_to_space,
    "LRN": op("LRN", size=3),
    "ReduceMax": reduce_max,
    "ConvTranspose": weighted(
        "ConvTranspose", 8, 8, 3, 3, strides=[2, 2], pads=[1, 1, 0, 0], output_padding=[1, 1]
    ),
    "Slice": op("Slice", ints(1, 2), ints(-1, 100), ints(2, 3)),
    "Slice computed": computed_slice,
}  # fmt: skip

FIXED: dict[str, Build] = {
    "Pad": op("Pad", ints(0, 0, 1, 2, 0, 0, 2, 1), mode="reflect"),
    "Pad computed": same_padding,
    "Slice backwards": op("Slice", ints(-1), ints(-100), ints(3), ints(-2)),
    "Slice from behind": op("Slice", ints(-9), ints(-1), ints(2)),
    "Resize": op("Resize", None, np.array([1, 1, 2, 2], np.float32), mode="linear"),
}


def network(build: Build, height: int | str = "h", width: int | str = "w") -> onnx.ModelProto:
    """A convolution, the op, a dense layer; height and width free."""
    net = Net("N", 3, height, width, opset=21)
    x = net("Relu", net.conv(net.x, 3, 8), name="first")
    return net.model(net.head(net("Tanh", build(net, x), name="behind"), 8))


def check(model: onnx.ModelProto, compiled: onnx.ModelProto, preset: str, height: int, width: int) -> None:
    """The compiled model's relevance is the reference's, which is there."""
    x = picture(1, 3, height, width)
    got = results(compiled, x=x, relcam_targets=TARGETS)
    wanted = explained(model, x, TARGETS, layers=("first", "input"), preset=preset, method="lrp")
    for name, value in wanted.maps.items():
        assert np.abs(value).max() > 0
        agree(got[f"relevance/{name}"], value)


@pytest.mark.parametrize("preset", ["default", "gradient"])
@pytest.mark.parametrize("name", FREE)
def test_one_file_serves_every_size(name: str, preset: str) -> None:
    model = network(FREE[name])
    compiled = rc.compile_model(model, ("first", "input"), preset, "lrp")
    onnx.checker.check_model(compiled, full_check=True)
    for height, width in SIZES:
        check(model, compiled, preset, height, width)


@pytest.mark.parametrize("name", FIXED)
def test_what_needs_a_size_asks_for_it_and_is_right_with_it(name: str) -> None:
    model = network(FIXED[name])
    with pytest.raises(rc.UnsupportedModelError, match=r"only a run knows.*size=\(height, width\), --size H W"):
        rc.compile_model(model, ("first", "input"), method="lrp")
    for height, width in SIZES:
        compiled = rc.compile_model(model, ("first", "input"), method="lrp", size=(height, width))
        onnx.checker.check_model(compiled, full_check=True)
        check(model, compiled, "default", height, width)


@pytest.mark.parametrize("name", FIXED)
def test_an_explainer_fixes_sizes_as_pictures_come(name: str) -> None:
    model = network(FIXED[name])
    with rc.Explainer(model, ("stages", "fused", "input"), backend="compiled") as explainer:
        for height, width in SIZES:
            x = picture(2, 3, height, width)
            got = explainer(x, [[0, -1]] * 2)
            wanted = explained(model, x, [[0, -1]] * 2, layers=("stages", "fused", "input"))
            for layer, value in wanted.maps.items():
                agree(got.maps[layer], value)


@pytest.mark.parametrize("end", [2**31 - 1, 1])
def test_a_slice_keeps_the_batch_whole(end: int) -> None:
    model = network(op("Slice", ints(0, 1), ints(end, 9), ints(0, 2)))
    if end == 1:
        with pytest.raises(rc.UnsupportedModelError, match="Slice: it cuts along the batch"):
            rc.compile_model(model, "first")
    else:
        compiled = rc.compile_model(model, ("first", "input"), method="lrp")
        x, targets = picture(3, 3, 17, 19), np.array([[0, 1]] * 3)
        got = results(compiled, x=x, relcam_targets=targets)
        for name, value in explained(model, x, targets, layers=("first", "input"), method="lrp").maps.items():
            agree(got[f"relevance/{name}"], value)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", [*FREE, *FIXED])
def test_a_size_that_comes_with_a_picture_is_as_one_that_the_file_fixes(name: str, backend: str) -> None:
    """All is prepared anew for it: layers, rules and maps are those of the file of that size."""
    build, options = {**FREE, **FIXED}[name], {"layers": ("stages", "fused", "input"), "backend": backend}
    with rc.Explainer(network(build), **options) as explainer:
        for height, width in SIZES:
            x = picture(2, 3, height, width)
            got = explainer(x, [[0, -1]] * 2)
            with rc.Explainer(network(build, height, width), **options) as fixed:
                wanted = fixed(x, [[0, -1]] * 2)
            assert list(got.maps) == list(wanted.maps)
            for layer, value in wanted.maps.items():
                agree(got.maps[layer], value, 1e-5)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("size", [8, 16])
def test_stages_are_those_of_the_size_that_comes(size: int, backend: str) -> None:
    """A pool as large as its input is over everything, which shows when the size is known."""
    pool = op("AveragePool", kernel_shape=[8, 8], strides=[8, 8])
    with rc.Explainer(network(pool), ("stages", "last"), backend=backend) as explainer:
        got = explainer(picture(1, 3, size, size))
    with rc.Explainer(network(pool, size, size), ("stages", "last"), backend=backend) as fixed:
        wanted = fixed(picture(1, 3, size, size))
    assert list(got.maps) == list(wanted.maps)
    np.testing.assert_array_equal(got.maps["last"], list(got.maps.values())[-1])


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_each_size_is_prepared_once_and_a_fixed_one_with_the_file(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(prepare, "with_sizes", lambda *given: calls.append(given) or with_sizes(*given))
    with rc.Explainer(network(FREE["MaxPool"]), "stages", backend=backend) as explainer:
        for size in (16, 24, 16, 24):
            explainer(picture(1, 3, size, size))
    assert len(calls) == 2
    with rc.Explainer(network(FREE["MaxPool"], 16, 16), "stages", backend=backend) as explainer:
        explainer(picture(1, 3, 16, 16))
    rc.compile_model(network(FREE["MaxPool"], 16, 16), "stages")
    assert len(calls) == 2


def test_the_advice_works_where_a_value_of_the_picture_decides() -> None:
    """No size would help: Explainer, compile_model and both commands say what does, and it does."""
    model, x = network(by_value), picture(1, 3, 17, 19)
    told = "at Slice node 'rows', which reads"
    for call in (
        lambda: rc.compile_model(model, "input", method="lrp"),
        lambda: rc.compile_model(model, "input", method="lrp", size=(17, 19)),
        lambda: rc.Explainer(model, "input", method="lrp")(x),
    ):
        with pytest.raises(rc.UnsupportedModelError, match=told) as error:
            call()
        assert "backend='eager'" in str(error.value)
        assert "--backend eager" in str(error.value)
        assert "size=" not in str(error.value)
    assert explained(model, x, [[0]], layers="input", method="lrp").maps["input"].any()


def test_the_commands_advise_what_works(tmp_path: Path) -> None:
    def relcam(*arguments: Any) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    out, files = tmp_path / "out.onnx", {}
    for name, build in (("size", FIXED["Pad"]), ("value", by_value)):
        files[name] = tmp_path / f"{name}.onnx"
        onnx.save(network(build), files[name])
    said = relcam("compile", files["size"], "-o", out, "--layer", "input")
    assert said.exit_code == 2
    assert "--size H W" in said.stderr
    assert relcam("compile", files["size"], "-o", out, "--layer", "input", "--size", 24, 24).exit_code == 0
    Image.fromarray(np.full((24, 24, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    explain = ("explain", files["value"], tmp_path / "grey.png", "-o", tmp_path / "maps", "--layer", "input")
    said = relcam(*explain)
    assert said.exit_code == 2
    assert "--size" not in said.stderr
    assert relcam(*explain, "--backend", "eager").exit_code == 0


def tokens_of(form: str) -> onnx.ModelProto:
    """Attention of one head over as many tokens as there are; dense layers ``as rows`` where the sizes are computed."""
    net = Net("N", 3, "H", "W")
    columns = net.conv(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, 8, stride=2)
    wide = net("Concat", net("Shape", columns, start=0, end=2), ints(-1), axis=0)
    x = net("Transpose", net("Reshape", columns, wide), perm=[0, 2, 1])

    def dense(read: str, before: int, after: int, *, like: str = "") -> str:
        weight, bias = net.normal(before, after, scale=0.3), net.normal(after, scale=0.3)
        if form == "as products":
            return net("Add", net("MatMul", net("Reshape", read, ints(0, -1, before)), weight), bias)
        rows = net("Gemm", net("Reshape", read, ints(-1, before)), weight, bias)
        sizes = net("Concat", net("Slice", net("Shape", like or read), ints(0), ints(2), ints(0)), ints(after), axis=0)
        return net("Reshape", rows, sizes)

    parts = net("Reshape", dense(x, 8, 24), ints(0, -1, 3, 2, 4))
    turned = net("Transpose", parts, perm=[2, 0, 3, 1, 4])
    q, k, v = (net("Squeeze", net("Slice", turned, ints(i), ints(i + 1), ints(0)), ints(0)) for i in range(3))
    weights = net("Softmax", net("MatMul", q, net("Transpose", k, perm=[0, 1, 3, 2])), axis=3)
    heads = net("Transpose", net("MatMul", weights, v), perm=[0, 2, 1, 3])
    joined = net("Reshape", heads, ints(0, -1, 8))
    y = net("Add", x, dense(heads if form == "as rows" else joined, 8, 8, like=joined))
    y = dense(net("Relu", dense(y, 8, 16)), 16, 8)
    return net.model(net.dense(net("ReduceMean", y, ints(1), keepdims=0), 8, 5))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("size", SIZES)
def test_rows_of_so_many_pictures_and_positions_are_positions(size: tuple[int, int], backend: str) -> None:
    """As onnxsim writes dense layers, where neither the batch nor the picture's size is told."""
    x, layers = picture(2, 3, *size), ["stages", "input"]
    found = [rc.Explainer(tokens_of(form), layers, backend=backend)(x, 0) for form in ("as rows", "as products")]
    for layer, value in found[1].maps.items():
        agree(found[0].maps[layer], value, 1e-5)


def test_signals_of_so_many_pictures_and_places_are_read_through_a_row() -> None:
    """As Keras and Paddle write Conv1D: with neither the batch nor the length told, as convolutions of signals are."""

    def signals(form: str) -> onnx.ModelProto:
        net = Net("N", 4, "L")
        weight, bias = net.normal(6, 4, 3, scale=0.3), net.normal(6, scale=0.3)
        if form == "a row":
            row = net("Conv", net("Unsqueeze", net.x, ints(2)), weight[:, :, None], bias, pads=[0, 1, 0, 1])
            x = net("Relu", net("Squeeze", row, ints(2)))
        else:
            x = net("Relu", net("Conv", net.x, weight, bias, pads=[1, 1]))
        return net.model(net.head(x, 6))

    x = picture(2, 4, 12)
    for backend in ("eager", "compiled"):
        found = [rc.Explainer(signals(form), ["stages", "input"], backend=backend)(x, 0) for form in ("a row", "")]
        for layer, value in found[1].maps.items():
            agree(found[0].maps[layer], value, 1e-5)


def test_tokens_of_a_quantised_file_are_compiled_for_any_size() -> None:
    """Where the plane that they are made of is not told apart any more, the stage is the tokens."""
    model = quantised(tokens_of("as products"), quant_format=QuantFormat.QDQ)
    x, layers = picture(1, 3, 17, 19), ["stages", "input"]
    found = results(rc.compile_model(model, layers), x=x, relcam_targets=TARGETS)
    for layer, value in explained(model, x, TARGETS, layers=layers).maps.items():
        agree(found[f"relevance/{layer}" if layer == "input" else f"cam/{layer}"], value, 1e-4)
