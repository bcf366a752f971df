"""Models that compiled files have to get right against the eager backend, each for something that once went wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture, plain
from test_compile import explained, results

import relcam_onnx as rc
from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.preset_file import resolve
from relcam_onnx.lrp.presets import Preset
from relcam_onnx.ops import TABLE, Backend, Call, Linear, Message, Relay, Value
from relcam_onnx.ops.indexing import place
from relcam_onnx.rules import Rule

X = picture(2, 3, 32, 32)
SEVERAL = np.array([[0, 1, 2], [2, 3, -1]])


def same(model: onnx.ModelProto, targets: np.ndarray = SEVERAL, **options: Any) -> None:
    """The compiled file and `Explainer` give the reference's maps."""
    wanted = explained(model, X, targets, **options).maps
    got = results(rc.compile_model(model, **options), x=X, relcam_targets=targets)
    with rc.Explainer(model, backend="compiled", **options) as explainer:
        maps = explainer(X, targets).maps
    for layer, value in wanted.items():
        agree(got[f"cam/{layer}"], value)
        agree(maps[layer], value)


def windows() -> onnx.ModelProto:
    """Windows cut out of the picture stand in the batch: two leading sizes, N and 16 N."""
    net = Net()
    x = net("Relu", net.conv(net.x, 3, 8), name="stage1")
    gate = net("MaxPool", x, kernel_shape=[4, 4], strides=[4, 4])
    for _ in range(2):
        gate = net("MatMul", gate, net.normal(8, 8, scale=0.3))
    x = net("Mul", x, net("GlobalAveragePool", gate))
    apart = net("Transpose", net("Reshape", x, np.array([-1, 8, 4, 8, 4, 8])), perm=[0, 2, 4, 1, 3, 5])
    x = net("Reshape", apart, np.array([-1, 8, 8, 8]))
    for _ in range(2):
        x = net("MatMul", x, net.normal(8, 8, scale=0.3))
    whole = net("Transpose", net("Reshape", x, np.array([-1, 4, 4, 8, 8, 8])), perm=[0, 3, 1, 4, 2, 5])
    x = net("Relu", net.conv(net("Reshape", whole, np.array([-1, 8, 32, 32])), 8, 8, stride=2), name="stage2")
    x = net("Relu", net.conv(x, 8, 8, stride=2), name="stage4")
    return net.model(net.head(x, 8))


def test_leading_sizes_that_differ_keep_names_that_differ() -> None:
    same(windows(), layers="stage4")
    same(windows(), SEVERAL[:, :1], layers="stage4")


def signed(make: Callable[[Net, str], str]) -> onnx.ModelProto:
    """A layer called ``signed`` behind a ReLU that has values below 0 nonetheless."""
    net = Net()
    x = make(net, net("Relu", net.conv(net.x, 3, 8)))
    return net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2)), 8))


@pytest.mark.parametrize(
    "make",
    [
        lambda net, x: net("Resize", x, None, np.array([1.0, 1, 2, 2]), mode="cubic", name="signed"),
        lambda net, x: net("ThresholdedRelu", net.conv(x, 8, 8), alpha=-1.0, name="signed"),
        lambda net, x: net("Clip", x, None, -0.5, name="signed"),
    ],
    ids=["cubic", "threshold", "ceiling"],
)
def test_a_sign_that_is_not_certain_is_not_relied_on(make: Callable[[Net, str], str]) -> None:
    same(signed(make), layers="signed")


def test_many_indices_are_values() -> None:
    net = Net()
    x = net("Relu", net.conv(net.x, 3, 8), name="stage1")
    flat = net("Reshape", net("Resize", x, None, np.array([1.0, 1, 3, 3])), np.array([0, 8, 9216]))
    shuffled = net("Gather", flat, net.rng.permutation(9216), axis=2)
    x = net("Relu", net.conv(net("Reshape", shuffled, np.array([0, 8, 96, 96])), 8, 8, stride=2))
    same(net.model(net.head(x, 8)), layers="stage1")


@pytest.mark.parametrize("times", [1, 3, 20])
def test_what_is_read_several_times_adds_up(times: int) -> None:
    """Up to a few readers of a position are gathered, more are added one by one."""
    rng = np.random.default_rng(times)
    positions = rng.permutation(np.concatenate([np.repeat([2, 5], times), [0, 7]]))
    s = rng.standard_normal((2, 3, len(positions), 4)).astype(np.float32)
    wanted = np.zeros((2, 3, 9, 4), np.float32)
    np.add.at(wanted, (slice(None), slice(None), positions), s)
    found = place(Eager(), s, wanted.shape, {2: positions})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * times)


@dataclass(frozen=True)
class Reweighed(Rule):
    """A rule of one's own that makes its weights with any op."""

    how: Callable[[Backend, Value], Value]
    name: ClassVar[str] = "reweighed"

    def linear(self, f: Backend, op: Linear, message: Message) -> dict[int, Message]:
        """z⁺ over other weights, for inputs that are ≥ 0."""
        (t,) = op.terms
        x, w = f.Relu(t.x), self.how(f, t.weight)
        s = f.Div(message.relevance(f), f.each(f.Add(t.apply(x, w), 1e-3)))
        return {t.index: Message(f.Mul(t.adjoint(s, w), f.each(x)))}


def wide() -> onnx.ModelProto:
    """A convolution whose weights are too many to be stored twice."""
    net = Net()
    x = net("Relu", net.conv(net.x, 3, 32), name="stage1")
    return net.model(net.head(net("Relu", net.conv(x, 32, 32, stride=2), name="stage2"), 32))


def reweighed(how: Callable[[Backend, Value], Value]) -> Preset:
    """The default, with another rule for the second convolution."""
    usual = resolve(None, None)
    return Preset("own", (("first", usual.rules[1][1]), ("conv", Reweighed(how)), *usual.rules))


@pytest.mark.parametrize(
    "how",
    [
        lambda f, w: f.Relu(w),
        lambda f, w: f.Clip(w, 0.0, 1.0),
        lambda f, w: f.Pow(w, 2.0),
        lambda f, w: f.Max(0.0, w),
        lambda f, w: f.Where(f.Greater(w, 0.0), w, 0.0),
        lambda f, w: f.Transpose(f.Transpose(f.Abs(w), perm=[1, 0, 2, 3]), perm=[1, 0, 2, 3]),
    ],
    ids=["relu", "clip", "square", "maximum", "where", "transposed twice"],
)
def test_rules_of_ones_own_make_weights_with_any_op(how: Callable[[Backend, Value], Value]) -> None:
    same(wide(), layers=("stage1", "stage2"), preset=reweighed(how))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda f, w: np.maximum(w, 0), "computes with the methods of its backend f alone"),
        (lambda f, w: f.Concat(w, axis=0), "the sizes of .* are not tracked"),
    ],
    ids=["numpy", "concat"],
)
def test_weights_without_values_say_so(how: Callable[[Backend, Value], Value], says: str) -> None:
    with pytest.raises(rc.UnsupportedModelError, match=says):
        rc.compile_model(wide(), "stage1", reweighed(how))


def test_transpose_without_perm_reverses_the_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(f: Backend, call: Call) -> Relay:
        return Relay(lambda m: {0: Message(f.Transpose(f.Transpose(m.relevance(f))))}, lambda g: {0: g})

    net = Net()
    x = net("Softsign", net("Relu", net.conv(net.x, 3, 8), name="stage1"))
    model = net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2)), 8))
    monkeypatch.setitem(TABLE, "Softsign", replace(TABLE["Softsign"], build=turned))
    same(model, layers="stage1")


def test_a_graph_without_a_name_gets_one() -> None:
    model = plain()
    model.graph.name = ""
    onnx.checker.check_model(rc.compile_model(model))


def test_a_weight_that_is_an_output_too() -> None:
    model = wide()
    kernel = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    model.graph.output.append(onnx.helper.make_tensor_value_info(kernel.name, kernel.data_type, kernel.dims))
    same(model, layers="stage1", output="scores")
    got = results(rc.compile_model(model, "stage1", output="scores"), x=X, relcam_targets=SEVERAL)
    np.testing.assert_array_equal(got[kernel.name], onnx.numpy_helper.to_array(kernel))


def test_names_of_the_model_may_look_like_ours() -> None:
    net = Net()
    x = net("Relu", net.conv(net.x, 3, 8, name="relcam/Conv_1"), name="relcam/own_1")
    same(net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2), name="relcam/own/scores"), 8)), layers="stages")


@pytest.mark.parametrize("op", ["Mul", "Div"])
def test_a_constant_of_lower_rank_meets_the_gradients_of_several_targets(op: str) -> None:
    net = Net()
    x = net(op, net("Relu", net.conv(net.x, 3, 8), name="stage1"), net.rng.uniform(0.5, 2, (8, 1, 1)))
    model = net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2)), 8))
    same(model, layers="stage1", preset="gradient")
    x = X[:1]
    options = {"layers": "stage1", "preset": "gradient"}
    many = explained(model, x, SEVERAL[:1], **options).maps["stage1"]
    for number, target in enumerate(SEVERAL[0]):
        agree(many[:, number : number + 1], explained(model, x, int(target), **options).maps["stage1"])
