"""One score: its probability is the sigmoid; two labels for it are a negative and a positive class."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from nets import Net, picture, run

import relcam_onnx as rc
from relcam_onnx.lrp.seeds import SEEDS

BACKENDS = ("compiled", "eager")
PAIR = ["no mask", "mask"]


def binary(
    *, final: str = "", negated: bool = False, batch: Any = "N", bias: float = 0.3, **metadata: str
) -> onnx.ModelProto:
    """A network of one score; ``negated``: the same with the opposite one."""
    net = Net(batch, 3, 16, 16)
    x = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 6)), 6, 8, 3, 2))
    pooled = net("Flatten", net("GlobalAveragePool", x))
    weight, shift = net.normal(8, 1), np.array([bias], np.float32)
    score = net("Gemm", pooled, -weight if negated else weight, -shift if negated else shift, name="score")
    return net.model(net(final, score, name="p") if final else score, **metadata)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z.astype(np.float64)))


X = np.stack([picture(3, 16, 16, seed=s) for s in range(3)])


@pytest.mark.parametrize("final", ["", "Sigmoid"])
def test_the_probability_of_one_score_is_its_sigmoid(final: str) -> None:
    with rc.Explainer(binary(final=final), layers="last") as explainer:
        e = explainer(X)
    np.testing.assert_allclose(e.probabilities, sigmoid(e.scores), atol=1e-6)
    np.testing.assert_array_equal(e.targets, 0)


@pytest.mark.filterwarnings("ignore:seed .* under preset")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", [*sorted(SEEDS), None])
@pytest.mark.parametrize("preset", ["default", "epsilon-plus", "gradient"])
def test_the_negative_class_is_the_opposite_score(backend: str, seed: str | None, preset: str) -> None:
    """The same network with its last weights negated has minus the score, and is asked about that."""
    options = {"preset": preset, "seed": seed, "backend": backend, "layers": ("stages", "fused", "input")}
    with rc.Explainer(binary(), labels=PAIR, **options) as explainer:
        both = explainer(X, [[0, 1]] * 3)
        assert explainer.settings.classes == 2
    with rc.Explainer(binary(negated=True), **options) as opposite, rc.Explainer(binary(), **options) as own:
        others = (opposite(X, 0), own(X, 0))
    for place, other in enumerate(others):
        for name, values in other.maps.items():
            scale = float(np.abs(values).max())
            np.testing.assert_allclose(both.maps[name][:, place], values[:, 0], atol=1e-5 * scale)
    np.testing.assert_allclose(both.probabilities[:, 1], sigmoid(both.scores[:, 0]), atol=1e-6)
    np.testing.assert_allclose(both.probabilities.sum(axis=1), 1, atol=1e-6)
    assert both.scores.shape == (3, 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", ["N", 2])
def test_the_top_class_is_the_likelier_one(backend: str, batch: Any) -> None:
    x = np.concatenate([X, 4 * X, -3 * X])
    middle = float(run(binary(bias=0), x=x)[0].mean())
    with rc.Explainer(binary(batch=batch, bias=-middle), labels=PAIR, backend=backend, layers="last") as explainer:
        e = explainer(x, [[-1, -2]] * len(x))
        with pytest.raises(rc.TargetError, match="2 classes"):
            explainer(x, 2)
    top = (e.scores[:, 0] > 0).astype(int)
    assert set(top) == {0, 1}
    np.testing.assert_array_equal(e.targets, np.stack([top, 1 - top], axis=1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_array_as_seed_has_one_column(backend: str) -> None:
    seeds = np.array([[[1.0], [-1.0]]] * 3, np.float32)
    with rc.Explainer(binary(), labels=PAIR, seed="given", backend=backend, layers="last") as explainer:
        e = explainer(X, seed=seeds)
    np.testing.assert_array_equal(e.targets, [[1, 0]] * 3)
    np.testing.assert_allclose(e.maps["last"][:, 0], -e.maps["last"][:, 1], atol=1e-6)


def test_labels_of_the_file_count_too_and_the_compiled_file_follows() -> None:
    proto = binary(**{"relcam.labels": json.dumps(PAIR)})
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    e = rc.explain(proto, pixels, "no mask", preprocess="unit", layers="last")
    assert e.targets.tolist() == [[0]]
    assert e.label(0) == "no mask"
    compiled = rc.compile_model(proto, layers="last", preprocess="unit")
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(compiled.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = (pixels.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)
    name = next(iter(e.maps))
    cam, classes = session.run([f"cam/{name}", "relcam_classes"], {"x": x, "relcam_targets": np.array([[0, 1, 2, -1]])})
    np.testing.assert_allclose(cam[:, 0], e.maps[name][:, 0], atol=1e-5 * float(np.abs(cam).max()))
    np.testing.assert_allclose(cam[:, 0], -cam[:, 1], atol=1e-6)
    assert classes.tolist() == [[0, 1, -1, int(e.scores[0, 0] > 0)]]
    assert not cam[:, 2].any()


def test_three_labels_fit_no_single_score_and_two_come_early() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(rc.OptionError, match="3 labels for 1 class"):
        rc.explain(binary(), pixels, preprocess="unit", labels=["a", "b", "c"])
    with rc.Explainer(binary(), layers="last") as explainer, pytest.raises(rc.OptionError, match="to the Explainer"):
        rc.explain(explainer, pixels, preprocess="unit", labels=PAIR)
    with rc.Explainer(binary(), layers="last", labels=PAIR) as explainer:
        e = rc.explain(explainer, pixels, "mask", preprocess="unit")
    assert e.targets.tolist() == [[1]]


def log1p(net: Net, z: str) -> str:
    return net("Log", net("Add", net("Relu", z), 1.0), name="y")


def log_of_exponentials(net: Net, z: str) -> str:
    return net("Log", net("ReduceSum", net("Exp", z), np.array([2, 3]), keepdims=0), name="y")


def in_tenths(net: Net, z: str) -> str:
    return net("Div", net("Round", net("Mul", z, 10.0)), 10.0, name="y")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tail", [log1p, log_of_exponentials, in_tenths])
def test_what_is_told_of_numbers_is_what_the_file_says(tail: Any, backend: str) -> None:
    """A logarithm is left out of shares alone; a factor that is taken away again counts for nothing."""
    net = Net("N", 3, 16, 16)
    z = net.conv(net("Relu", net.conv(net.x, 3, 6, stride=2)), 6, 2)
    z = z if tail is log_of_exponentials else net("Flatten", net("GlobalAveragePool", z))
    model = net.model(tail(net, z))
    (wanted,) = run(model, x=X)
    with rc.Explainer(model, layers="input", backend=backend) as explainer:
        np.testing.assert_allclose(explainer(X).scores, wanted, rtol=1e-4, atol=0.06 if tail is in_tenths else 1e-5)


def one_op(net: Net, z: str) -> str:
    return net("ReduceLogSumExp", z, np.array([2, 3]), name="y", keepdims=0)


def shifted_exponentials(net: Net, z: str) -> str:
    axes = np.array([2, 3])
    most = net("ReduceMax", z, axes)
    whole = net("ReduceSum", net("Exp", net("Sub", z, most)), axes)
    return net("Flatten", net("Add", most, net("Log", whole)), name="y")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tail", [one_op, shifted_exponentials])
def test_a_logarithm_of_exponentials_has_one_map_however_it_is_spelled(tail: Any, backend: str) -> None:
    found = []
    for each in (log_of_exponentials, tail):
        net = Net("N", 3, 16, 16)
        z = net.conv(net("Relu", net.conv(net.x, 3, 6, stride=2)), 6, 5)
        found.append(rc.Explainer(net.model(each(net, z)), backend=backend)(X))
    for name, value in found[0].maps.items():
        np.testing.assert_allclose(found[1].maps[name], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("told", ["two distances", "a score and its share"])
def test_several_scores_without_an_axis(told: str) -> None:
    """Which of two distances is meant is asked; the first had been taken. A score beside its sigmoid is one."""
    net = Net(2, 3, 16, 16)
    z = net.head(net("Relu", net.conv(net.x, 3, 6, stride=2)), 6, 2)
    first, second = (net("Gather", z, np.int64(i), axis=1) for i in (0, 1))
    model = net.model(first, second if told == "two distances" else net("Sigmoid", first))
    if told == "two distances":
        with pytest.raises(rc.OptionError, match="several outputs could be the score; name one with output="):
            rc.Explainer(model)
        assert rc.Explainer(model, output=second)(picture(2, 3, 16, 16)).scores.shape == (2, 1)
    else:
        assert rc.Explainer(model)(picture(2, 3, 16, 16)).scores.shape == (2, 1)
