"""Whatever stands behind the scores: of tails that are one function, or tell the same shares otherwise, one map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture, run

import relcam_onnx as rc

X = picture(2, 3, 16, 16)
ORDER = np.array([3, 0, 4, 1, 2])
Tail = Callable[[Net, str], str]


def network(tail: Tail, classes: int = 5, batch: int | str = "N") -> onnx.ModelProto:
    """Two convolutions, some classes, and what a file does with their scores."""
    net = Net(batch, 3, 16, 16)
    y = net("Relu", net.conv(net.x, 3, 4, stride=2))
    scores = net.head(net("Relu", net.conv(y, 4, 6, stride=2)), 6, classes)
    return net.model(net("Identity", tail(net, scores), name="told"))


def same_maps(wanted: rc.Explanation, found: rc.Explanation) -> None:
    for name, value in wanted.maps.items():
        agree(found.maps[name], value)


def soft(net: Net, scores: str) -> str:
    return net("Softmax", scores, axis=1)


def turned(net: Net, values: str, order: np.ndarray) -> str:
    return net("Gather", values, order, axis=1)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def halves(net: Net, values: str) -> str:
    parts = [net("Slice", values, whole(*bounds), whole(bounds[0] + 3), whole(1)) for bounds in ((0,), (3,))]
    return net("Concat", *parts, axis=1)


def by_sum(net: Net, values: str) -> str:
    return net("Div", values, net("ReduceSum", values, whole(1)))


def and_the_rest(net: Net, share: str) -> str:
    return net("Concat", net("Sub", 1.0, share), share, axis=1)


SOFTMAX: dict[str, Tail] = {
    "clipped": lambda net, z: net("Clip", soft(net, z), 1e-7, 1 - 1e-7),
    "between bounds": lambda net, z: net("Min", net("Max", soft(net, z), 1e-7), 1 - 1e-7),
    "its logarithm, clipped": lambda net, z: net("Log", net("Clip", soft(net, z), 1e-7, 1.0)),
    "its logarithm, with a little more": lambda net, z: net("Log", net("Add", soft(net, z), 1e-9)),
    "in order again": lambda net, z: turned(net, soft(net, turned(net, z, ORDER)), np.argsort(ORDER)),
    "by a product": lambda net, z: net("MatMul", soft(net, turned(net, z, ORDER)), np.eye(5)[ORDER]),
    "in two parts": lambda net, z: halves(net, soft(net, z)),
    "of exponentials": lambda net, z: by_sum(net, net("Exp", net("Sub", z, net("ReduceMax", z, whole(1))))),
    "by its sum once more": lambda net, z: by_sum(net, soft(net, z)),
    "what is left of what is left": lambda net, z: net("Sub", 1.0, net("Sub", 1.0, soft(net, z))),
    "of negatives": lambda net, z: soft(net, net("Neg", net("Neg", z))),
}  # fmt: skip
SIGMOID: dict[str, Tail] = {
    "clipped": lambda net, z: net("Clip", net("Sigmoid", z), 1e-6, 1 - 1e-6),
    "in order again": lambda net, z: turned(net, net("Sigmoid", turned(net, z, ORDER)), np.argsort(ORDER)),
    "what is left of the others": lambda net, z: net("Sub", 1.0, net("Sigmoid", net("Neg", z))),
    "spelled out": lambda net, z: net("Div", 1.0, net("Add", net("Exp", net("Neg", z)), 1.0)),
    "scaled for each": lambda net, z: net(
        "Div", 1.0, net("Add", net("Exp", net("Mul", net("Div", z, np.arange(1.0, 6)), -np.arange(1.0, 6))), 1.0)
    ),
}
BOTH: dict[str, Tail] = {
    "what is left, and the share": lambda net, z: and_the_rest(net, net("Sigmoid", z)),
    "of either sign": lambda net, z: net("Concat", net("Sigmoid", net("Neg", z)), net("Sigmoid", z), axis=1),
    "by a product and a sum": lambda net, z: net(
        "Add", net("Mul", net("Sigmoid", z), np.array([[-1.0, 1.0]])), np.array([[1.0, 0.0]])
    ),
}  # fmt: skip


def beside_nothing(net: Net, score: str) -> str:
    return soft(net, net("Concat", net("Mul", score, 0.0), score, axis=1))


CASES = [
    *((soft, tail, 5, name) for name, tail in SOFTMAX.items()),
    *((lambda net, z: net("Sigmoid", z), tail, 5, f"sigmoid {name}") for name, tail in SIGMOID.items()),
    *((beside_nothing, tail, 1, f"both: {name}") for name, tail in BOTH.items()),
]


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize(("plain", "tail", "classes"), [case[:3] for case in CASES], ids=[case[3] for case in CASES])
def test_the_same_scores_behind_any_tail(plain: Tail, tail: Tail, classes: int, batch: int | str) -> None:
    targets = [[-1, 0], [1, -2]]
    models = [network(each, classes, batch) for each in (plain, tail)]
    wanted, found = (rc.Explainer(model, ["stages", "fused", "input"])(X, targets) for model in models)
    told = run(models[1], "told", x=X)[0]
    logarithms = bool((told <= 0).all())
    np.testing.assert_allclose(np.exp(told) if logarithms else told, run(models[0], "told", x=X)[0], atol=2e-6)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)
    same_maps(wanted, found)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_logarithms_of_what_no_squashing_made(backend: str) -> None:
    """The mean of two softmaxes and its logarithm start at the mean: a logarithm is negative where shares are not."""

    def mean(net: Net, scores: str) -> str:
        other = net("MatMul", scores, net.normal(5, 5))
        return net("Mean", soft(net, scores), soft(net, other))

    wanted, found = (
        rc.Explainer(network(tail), backend=backend)(X, [[-1]] * 2)
        for tail in (mean, lambda net, z: net("Log", mean(net, z)))
    )
    same_maps(wanted, found)


def test_shares_of_some_classes_alone_stay_what_they_are() -> None:
    """What is left out took part in the softmax: nothing else makes these shares."""
    model = network(lambda net, z: turned(net, soft(net, z), whole(1, 2, 3)))
    found = rc.Explainer(model)(X)
    np.testing.assert_allclose(found.scores, run(model, "told", x=X)[0], atol=1e-6)


def narrow(tail: Tail) -> Tail:
    """The same on scores (N, classes, 1, 1), flattened behind it."""
    return lambda net, z: net("Flatten", tail(net, net("Unsqueeze", z, whole(2, 3))))


def by_a_product(net: Net, score: str) -> str:
    return net("Add", net("MatMul", net("Sigmoid", score), np.array([[-1.0, 1.0]])), np.array([1.0, 0.0]))


@pytest.mark.parametrize(("plain", "tail", "classes"), [
    (soft, narrow(SOFTMAX["clipped"]), 5), (soft, narrow(SOFTMAX["in order again"]), 5),
    (lambda net, z: net("Sigmoid", z), narrow(SIGMOID["clipped"]), 5),
    (beside_nothing, narrow(BOTH["what is left, and the share"]), 1),
    (beside_nothing, by_a_product, 1),
], ids=["clipped", "in order again", "sigmoid", "both", "both, by a product"])  # fmt: skip
def test_scores_that_have_axes_of_length_one(plain: Tail, tail: Tail, classes: int) -> None:
    wanted, found = (
        rc.Explainer(network(each, classes), ["stages", "input"])(X, [[-1, 0]] * 2) for each in (plain, tail)
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)
    same_maps(wanted, found)


@pytest.mark.parametrize("form", ["bounds", "a soft bound"])
def test_bounded_scores_are_not_the_scores(form: str) -> None:
    """Near 0 they are: whether anything stands behind them is seen further away."""
    forms: dict[str, tuple[Tail, Tail]] = {
        "bounds": (
            lambda net, z: net("Clip", z, -1.0, 1.0), lambda net, z: net("Min", net("Max", z, -1.0), 1.0)
        ),
        "a soft bound": (
            lambda net, z: net("Mul", net("Tanh", net("Div", net("Max", z, net("Neg", z)), 30.0)), 30.0),
            lambda net, z: net("Mul", 30.0, net("Tanh", net("Mul", net("Max", net("Neg", z), z), np.float32(1 / 30)))),
        ),
    }  # fmt: skip
    wanted, found = (rc.Explainer(network(tail), ["stages", "input"])(20 * X, [[-1]] * 2) for tail in forms[form])
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5, atol=1e-5)
    assert np.abs(found.scores).max() <= (1 if form == "bounds" else 30)
    same_maps(wanted, found)


@pytest.mark.parametrize("bound", [3.0, 80.0])
def test_a_softmax_in_pieces_of_bounded_scores(bound: float) -> None:
    def pieces(net: Net, scores: str) -> str:
        return by_sum(net, net("Exp", net("Min", net("Max", scores, -bound), bound)))

    def plain(net: Net, scores: str) -> str:
        return soft(net, net("Min", net("Max", scores, -bound), bound))

    wanted, found = (
        rc.Explainer(network(tail), ["stages", "input"])(200 * X, [[-1, 0]] * 2) for tail in (plain, pieces)
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)
    same_maps(wanted, found)


@pytest.mark.parametrize("form", ["over their sum", "by their length"])
def test_sigmoids_over_their_sum(form: str) -> None:
    """As scikit-learn tells one class against the rest: of the scores before them, with the file's own shares."""

    def tail(net: Net, scores: str) -> str:
        shares = net("Sigmoid", scores)
        return by_sum(net, shares) if form == "over their sum" else net("LpNormalization", shares, axis=1, p=1)

    model = network(tail)
    wanted, found = (rc.Explainer(each, ["stages", "input"])(X, [[-1, 0]] * 2) for each in (network(soft), model))
    told = run(model, "told", x=X)[0]
    np.testing.assert_allclose(found.probability, np.take_along_axis(told, found.targets, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    same_maps(wanted, found)  # the classes compete, as under a softmax
