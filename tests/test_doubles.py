"""float64 within a file: onnxruntime computes in it what the file says, the walk is in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture, run
from onnx import TensorProto, numpy_helper
from test_compile import TARGETS, explained, results

import relcam_onnx as rc

DOUBLE, FLOAT = TensorProto.DOUBLE, TensorProto.FLOAT
X = picture(3, 3, 16, 16)
LAYERS = ("stages", "fused", "input")
Middle = Callable[[Net, str, Callable[[Any], str]], str]


def stored(net: Net, value: Any, *, wide: bool) -> str:
    """A constant of the file in float64 or float32."""
    name = f"c{len(net.weights)}"
    net.weights.append(numpy_helper.from_array(np.asarray(value, np.float64 if wide else np.float32), name))
    return name


MIDDLES: dict[str, Middle] = {
    "factor": lambda net, x, c: net("Mul", x, c(2.5)),
    "quotient": lambda net, x, c: net("Div", x, net("Add", net("ReduceMean", x, np.array([2, 3])), c(1.5))),
    "sum": lambda net, x, c: net("Add", x, net("Mul", x, c(0.3))),
    "gate": lambda net, x, c: net("Mul", x, net("Sigmoid", net("ReduceMean", x, np.array([2, 3])))),
    "shift": lambda net, x, c: net("Sub", x, c(np.arange(8).reshape(1, 8, 1, 1) / 10)),
    "mean": lambda net, x, c: net("Add", x, net("ReduceMean", x, np.array([1]))),
    "large weight": lambda net, x, c: net("MatMul", net("Reshape", x, np.array([0, 8, 256])),
                                          c(np.random.default_rng(0).standard_normal((256, 32)) / 16)),
}  # fmt: skip


def network(middle: Middle, *, wide: bool, picture_too: bool = False, scores_too: bool = False) -> onnx.ModelProto:
    """A network of which a part is computed in float64, or not."""
    net = Net("N", 3, 16, 16)

    def cast(x: str, to: int) -> str:
        return net("Cast", x, to=to) if wide else x

    x = net.x
    if picture_too and wide:
        net.inputs[0].type.tensor_type.elem_type = DOUBLE
        x = cast(x, FLOAT)
    x = net("Relu", net.conv(x, 3, 8), name="first")
    x = cast(middle(net, cast(x, DOUBLE), lambda value: stored(net, value, wide=wide)), FLOAT)
    flat = net("Flatten", net("Relu", x, name="second"))
    width = 8 * (32 if middle is MIDDLES["large weight"] else 256)
    scores = net.dense(flat, width, 5, name="dense")
    return net.model(cast(scores, DOUBLE) if scores_too else scores)


@pytest.mark.parametrize("preset", ["default", "paper", "gradient"])
@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.filterwarnings("ignore:seed 'one-hot'")
def test_a_part_in_float64_changes_nothing(name: str, backend: str, preset: str) -> None:
    """To 1e-4 of the maximum, rounding: the constants of both files are the same to float32."""
    wanted = explained(
        network(MIDDLES[name], wide=False), X, TARGETS, layers=("first", "input"), preset=preset, method="lrp"
    )
    model = network(MIDDLES[name], wide=True)
    with rc.Explainer(model, ("first", "input"), preset=preset, method="lrp", backend=backend) as explainer:
        got = explainer(X, TARGETS)
    for layer, value in wanted.maps.items():
        assert got.maps[layer].dtype == np.float32
        agree(got.maps[layer], value)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_pictures_and_scores_in_float64(backend: str) -> None:
    wide = network(MIDDLES["factor"], wide=True, picture_too=True, scores_too=True)
    wanted = explained(network(MIDDLES["factor"], wide=False), X, TARGETS, layers=LAYERS)
    with rc.Explainer(wide, LAYERS, backend=backend) as explainer:
        got = explainer(X.astype(np.float64), TARGETS)
        with pytest.raises(rc.InputError, match=r"float32 .* the model takes float64"):
            explainer(X)
    (output,) = got.outputs.values()
    assert output.dtype == np.float64
    assert got.scores.dtype == np.float32
    for layer, value in wanted.maps.items():
        agree(got.maps[layer], value)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert rc.explain(wide, pixels, preprocess="imagenet", backend=backend).overlay().size == (16, 16)


def test_a_compiled_file_stores_no_weight_twice() -> None:
    model = network(MIDDLES["large weight"], wide=True, scores_too=True)
    compiled = rc.compile_model(model, ("first", "input"), method="lrp")
    onnx.checker.check_model(compiled, full_check=True)
    assert compiled.ByteSize() < 1.3 * model.ByteSize()
    got = results(compiled, x=X, relcam_targets=TARGETS)
    assert got[model.graph.output[0].name].dtype == np.float64
    np.testing.assert_array_equal(got[model.graph.output[0].name], run(model, x=X)[0])
    for layer, value in explained(model, X, TARGETS, layers=("first", "input"), method="lrp").maps.items():
        agree(got[f"relevance/{layer}"], value)
