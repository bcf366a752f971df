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


def less(net: Net, scores: str, number: str) -> str:
    return net("Sub", scores, number)


def logarithm(net: Net, scores: str) -> str:
    return less(net, scores, net("Log", net("ReduceSum", net("Exp", scores), whole(1))))


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
    "without the largest": lambda net, z: soft(net, less(net, z, net("ReduceMax", z, whole(1)))),
    "without the mean": lambda net, z: soft(net, less(net, z, net("ReduceMean", z, whole(1)))),
    "without the first": lambda net, z: soft(net, less(net, z, net("Slice", z, whole(0), whole(1), whole(1)))),
    "its logarithm, without the largest": lambda net, z: net(
        "LogSoftmax", less(net, z, net("ReduceMax", z, whole(1))), axis=1
    ),
    "its logarithm in pieces": lambda net, z: logarithm(net, less(net, z, net("ReduceMax", z, whole(1)))),
    "of its logarithm": lambda net, z: net("Exp", net("LogSoftmax", z, axis=1)),
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


def row(tail: Tail) -> Tail:
    """The same on scores (N, 1, classes), which stay so."""

    def squashed(net: Net, z: str) -> str:
        scores = net("MatMul", net("Relu", net("Unsqueeze", z, whole(1))), net.normal(5, 5))
        return tail(net, net("MatMul", net("Relu", scores), net.normal(5, 5)))

    return squashed


@pytest.mark.parametrize("tail", [
    lambda net, z: net("Softmax", less(net, z, net("ReduceMax", z, whole(2))), axis=2),
    lambda net, z: net("Mean", *[net("Softmax", z, axis=2)] * 2),
], ids=["without the largest", "shares"])  # fmt: skip
def test_scores_in_rows_of_one(tail: Tail) -> None:
    wanted, found = (
        rc.Explainer(network(row(each)), ["stages", "input"])(X, [[-1, 0]] * 2)
        for each in (lambda net, z: net("Softmax", z, axis=2), tail)
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    if found.squashed_by == "Softmax":
        same_maps(wanted, found)
    else:
        assert found.squashed_by == "Shares"


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


def test_the_logarithm_with_its_sign_turned() -> None:
    """As a loss tells it: the least of it is the most likely class."""
    wanted, found = (
        rc.Explainer(network(tail), ["stages", "input"])(X, [[-1, 0]] * 2)
        for tail in (soft, lambda net, z: net("Neg", net("LogSoftmax", z, axis=1)))
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    same_maps(wanted, found)


def part(net: Net, values: str, first: int, end: int) -> str:
    return net("Slice", values, whole(first), whole(end), whole(1))


def ahead(net: Net, scores: str) -> str:
    return less(net, part(net, scores, 1, 2), part(net, scores, 0, 1))


ONE_OF_TWO: dict[str, Tail] = {
    "a part": lambda net, z: part(net, soft(net, z), 1, 2),
    "one of them, without an axis": lambda net, z: net("Gather", soft(net, z), np.int64(1), axis=1),
    "what the other leaves": lambda net, z: net("Sub", 1.0, part(net, soft(net, z), 0, 1)),
    "clipped": lambda net, z: net("Clip", part(net, soft(net, z), 1, 2), 1e-6, 1 - 1e-6),
    "its logarithm": lambda net, z: part(net, net("LogSoftmax", z, axis=1), 1, 2),
    "a part of a stack": lambda net, z: net(
        "Squeeze",
        net("Slice", soft(net, net("Unsqueeze", z, whole(2))), whole(1, 0), whole(2, 1), whole(1, 2)),
        whole(2),
    ),
}


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("labels", [None, ["real", "fake"]])
@pytest.mark.parametrize("name", ONE_OF_TWO)
def test_the_share_of_one_of_two_classes(name: str, labels: list[str] | None, backend: str) -> None:
    """A softmax of two that is told by one of them is a sigmoid of how far that is ahead."""
    targets = [[0, 1]] * 2 if labels else [[0]] * 2
    wanted, found = (
        rc.Explainer(network(tail, 2), ["stages", "input"], labels=labels, backend=backend)(X, targets)
        for tail in (lambda net, z: net("Sigmoid", ahead(net, z)), ONE_OF_TWO[name])
    )
    assert found.squashed_by == "Sigmoid"
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    same_maps(wanted, found)


def test_sigmoids_of_several_heads_side_by_side() -> None:
    def heads(net: Net, scores: str) -> list[str]:
        return [net.dense(scores, 5, count) for count in (1, 3)]

    wanted, found = (
        rc.Explainer(network(tail), ["stages", "input"])(X, [[-1, 0]] * 2)
        for tail in (
            lambda net, z: net("Sigmoid", net("Concat", *heads(net, z), axis=1)),
            lambda net, z: net("Concat", *(net("Sigmoid", head) for head in heads(net, z)), axis=1),
        )
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    same_maps(wanted, found)


def test_the_shares_of_the_only_picture_without_its_axis() -> None:
    wanted, found = (
        rc.Explainer(network(tail, batch=1), ["stages", "input"])(X[:1], [[-1, 0]])
        for tail in (soft, lambda net, z: net("Gather", soft(net, z), np.int64(0), axis=0))
    )
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    same_maps(wanted, found)


def other(net: Net, scores: str, classes: int = 5) -> str:
    return net("MatMul", scores, net.normal(5, classes))


def places(net: Net, scores: str) -> str:
    """Sigmoids of five classes at six places."""
    return net("Sigmoid", net("Reshape", net("MatMul", scores, net.normal(5, 30)), whole(0, 5, 6)))


def stack(net: Net, *scores: str) -> str:
    return net("Concat", *(net("Unsqueeze", soft(net, each), whole(1)) for each in scores), axis=1)


def weighed(net: Net, scores: str, weights: str, squash: Callable[[Net, str], str]) -> str:
    """Two experts' shares, each times one of two weights."""
    experts = [squash(net, scores), squash(net, other(net, scores))]
    return net("Sum", *(net("Mul", share, part(net, weights, i, i + 1)) for i, share in enumerate(experts)))


def gate(net: Net, scores: str) -> str:
    return soft(net, other(net, scores, 2))


def in_order_of_size(net: Net, scores: str) -> str:
    """How likely each of five grades is, by how likely it is to be above each of four bounds."""
    above = net("Sigmoid", net("Add", part(net, scores, 0, 1), np.array([[2.0, 1.0, 0.0, -1.0]])))
    one = net("Pow", part(net, above, 0, 1), 0.0)
    return net("Sub", net("Concat", one, above, axis=1), net("Concat", above, net("Sub", one, one), axis=1))


def in_order(net: Net, scores: str) -> tuple[str, str, np.ndarray]:
    """Five scores from the largest on, the sum of all up to each, and how many those are."""
    names = [f"{scores}/values", f"{scores}/places"]
    net.nodes.append(onnx.helper.make_node("TopK", [scores, net.constant(whole(5))], names, axis=1))
    return names[0], net("CumSum", names[0], np.int64(1)), np.arange(1, 6, dtype=np.float32)[None]


def the_last(net: Net, bounds: str, holds: str) -> str:
    """Of five bounds the last one that holds."""
    count = net("ReduceSum", net("Cast", holds, to=onnx.TensorProto.INT64), whole(1), keepdims=1)
    return net("GatherElements", bounds, net("Sub", count, np.int64(1)), axis=1)


def sparse(net: Net, scores: str) -> str:
    """Martins and Astudillo 2016, sparsemax, arXiv:1602.02068, algorithm 1."""
    values, sums, count = in_order(net, scores)
    bounds = net("Div", net("Sub", sums, 1.0), count)
    return net("Relu", net("Sub", scores, the_last(net, bounds, net("Greater", values, bounds))))


def sparser(net: Net, scores: str) -> str:
    """Peters et al. 2019, 1.5-entmax, arXiv:1905.05702, algorithm 2."""
    half = net("Mul", scores, 0.5)
    values, sums, count = in_order(net, half)
    squares = net("CumSum", net("Mul", values, values), np.int64(1))
    mean = net("Div", sums, count)
    spread = net("Sub", squares, net("Mul", net("Mul", mean, mean), count))
    root = net("Sqrt", net("Relu", net("Div", net("Sub", 1.0, spread), count)))
    bounds = net("Sub", mean, root)
    above = net("Relu", net("Sub", half, the_last(net, bounds, net("GreaterOrEqual", values, bounds))))
    return net("Mul", above, above)


SHARES: dict[str, Tail] = {
    "sparsemax": sparse,
    "entmax": sparser,
    "rectified over their sum": lambda net, z: by_sum(net, net("Add", net("Relu", z), 1.0)),
    "evidence over its sum": lambda net, z: by_sum(net, net("Add", net("Softplus", z), 1.0)),
    "squares over their sum": lambda net, z: by_sum(net, net("Mul", z, z)),
    "by likeness": lambda net, z: by_sum(net, net("Div", 1.0, net("Add", net("Mul", z, z), 1.0))),
    "of grades": in_order_of_size,
    "of experts": lambda net, z: weighed(net, z, gate(net, z), soft),
    "of stacked experts": lambda net, z: net(
        "ReduceSum", net("Mul", net("Unsqueeze", gate(net, z), whole(2)), stack(net, z, other(net, z))), whole(1),
        keepdims=0,
    ),
    "of experts by a product": lambda net, z: net("Squeeze", net(
        "MatMul", net("Unsqueeze", gate(net, z), whole(1)), stack(net, z, other(net, z))), whole(1)
    ),
    "the mean of two": lambda net, z: net("Mean", soft(net, z), soft(net, other(net, z))),
    "half of their sum": lambda net, z: net("Mul", net("Add", soft(net, z), soft(net, other(net, z))), 0.5),
    "the mean of a stack": lambda net, z: net("ReduceMean", stack(net, z, other(net, z)), whole(1), keepdims=0),
    "some classes": lambda net, z: part(net, soft(net, z), 1, 4),
    "smoothed": lambda net, z: net("Add", net("Mul", soft(net, z), 0.9), 0.02),
    "weighed by what is usual": lambda net, z: by_sum(net, net("Mul", soft(net, z), np.linspace(0.5, 2, 5))),
    "sharpened": lambda net, z: by_sum(net, net("Pow", soft(net, z), 2.0)),
    "merged": lambda net, z: net("MatMul", soft(net, z), np.float32([[1, 0], [0, 1], [1, 0], [1, 0], [0, 1]])),
    "of a class and its kinds": lambda net, z: net(
        "Mul", soft(net, other(net, z)), part(net, soft(net, other(net, z, 2)), 0, 1)
    ),
}  # fmt: skip


def logistic(net: Net, scores: str) -> str:
    return net("Sigmoid", scores)


EACH: dict[str, Tail] = {
    "of experts": lambda net, z: weighed(net, z, gate(net, z), logistic),
    "the mean of places by what is seen there": lambda net, z: net(
        "ReduceSum",
        net(
            "Mul",
            places(net, z),
            net("Softmax", net("Unsqueeze", net("MatMul", z, net.normal(5, 6)), whole(1)), axis=2),
        ),
        whole(2),
        keepdims=0,
    ),
    "the mean of two": lambda net, z: net("Mean", net("Sigmoid", z), net("Sigmoid", other(net, z))),
    "the largest of places": lambda net, z: net("ReduceMax", places(net, z), whole(2), keepdims=0),
    "the mean of places": lambda net, z: net("ReduceMean", places(net, z), whole(2), keepdims=0),
    "of two questions": lambda net, z: net("Concat", soft(net, z), soft(net, other(net, z, 3)), axis=1),
    "one class of many": lambda net, z: part(net, soft(net, z), 2, 3),
    "one class of many, without an axis": lambda net, z: net("Gather", soft(net, z), np.int64(2), axis=1),
}


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize(("tail", "mark"), [
    *((tail, "Shares") for tail in SHARES.values()), *((tail, "EachItsShare") for tail in EACH.values())
], ids=[*SHARES, *(f"each: {name}" for name in EACH)])  # fmt: skip
def test_shares_that_no_squashing_made_last_are_told_as_they_are(tail: Tail, mark: str, backend: str) -> None:
    model = network(tail)
    found = rc.Explainer(model, ["stages", "input"], backend=backend)(X)
    told = run(model, "told", x=X)[0].reshape(2, -1)
    assert found.squashed_by == mark
    np.testing.assert_array_equal(found.targets[:, 0], told.argmax(axis=1))
    np.testing.assert_allclose(found.probabilities, told, atol=1e-6)
    others = rc.Explainer(model, ["stages", "input"], backend="eager")(X)
    same_maps(others, found)
    assert all(np.abs(each).max() > 0 for each in found.maps.values())


@pytest.mark.parametrize("squash", ["Softmax", "Sigmoid"])
def test_how_far_shares_are_ahead_is_told_in_logits(squash: str) -> None:
    def squashed(net: Net, scores: str) -> str:
        return net("Sigmoid", scores) if squash == "Sigmoid" else soft(net, scores)

    wanted, found = (
        rc.Explainer(network(tail), "input")(X, [[-1, 0]] * 2)
        for tail in (squashed, lambda net, z: net("Mean", squashed(net, z), squashed(net, z)))
    )
    np.testing.assert_allclose(found.margin, wanted.margin, atol=1e-4)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_two_labels_share_one_share(backend: str) -> None:
    model = network(EACH["one class of many"])
    found = rc.Explainer(model, "input", labels=["no", "yes"], backend=backend)(X, [[-1, -2]] * 2)
    share = run(model, "told", x=X)[0][:, 0]
    top = (share > 0.5).astype(int)
    np.testing.assert_array_equal(found.targets, np.stack([top, 1 - top], axis=1))
    np.testing.assert_allclose(found.probabilities, np.stack([1 - share, share], axis=1), atol=1e-6)


OUTPUTS: dict[str, Callable[[Net, str], list[str]]] = {
    "quantised": lambda net, z: [net("QuantizeLinear", soft(net, z), np.float32(1 / 256), np.uint8(0))],
    "of 255": lambda net, z: [net("Cast", net("Round", net("Mul", soft(net, z), 255.0)), to=onnx.TensorProto.UINT8)],
    "of 255, cut off": lambda net, z: [net("Cast", net("Mul", soft(net, z), 255.0), to=onnx.TensorProto.UINT8)],
    "beside features": lambda net, z: [soft(net, z), net.nodes[-3].output[0]],
    "behind features and scores": lambda net, z: [net.nodes[-2].output[0], z, soft(net, z)],
    "the class and its share": lambda net, z: class_and_share(net, soft(net, z)),
    "the class alone is 1": lambda net, z: [net("Hardmax", z, axis=1)],
    "those above a number": lambda net, z: [masked(net, soft(net, z), 0.1)],
    "those above half": lambda net, z: [masked(net, soft(net, z), 0.5)],
}


def class_and_share(net: Net, shares: str) -> list[str]:
    best = net("ArgMax", shares, axis=1)
    return [net("Squeeze", best, whole(1)), net("GatherElements", shares, best, axis=1)]


def masked(net: Net, values: str, bound: float) -> str:
    return net("Mul", values, net("Cast", net("Greater", values, bound), to=onnx.TensorProto.FLOAT))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_what_outputs_make_of_shares(name: str, backend: str) -> None:
    """The scores are the same where a file tells their shares as whole numbers, or besides what they are made of."""
    net = Net("N", 3, 16, 16)
    y = net("Relu", net.conv(net.x, 3, 4, stride=2))
    scores = net.head(net("Relu", net.conv(y, 4, 6, stride=2)), 6, 5)
    model = net.model(*OUTPUTS[name](net, scores))
    wanted = rc.Explainer(network(soft), ["stages", "input"], backend=backend)(X, [[-1, 0]] * 2)
    found = rc.Explainer(model, ["stages", "input"], backend=backend)(X, [[-1, 0]] * 2)
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-6)
    same_maps(wanted, found)


def segmenter(tail: Tail, classes: int = 4) -> onnx.ModelProto:
    """Scores of each pixel, and what a file does with them."""
    net = Net("N", 3, 16, 16)
    y = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 4)), 4, 6, stride=2))
    return net.model(net("Identity", tail(net, net.conv(y, 6, classes, 1)), name="told"))


PIXELS: dict[str, tuple[int, Tail, Tail]] = {
    "without the largest": (4, soft, SOFTMAX["without the largest"]),
    "a part of two": (2, lambda net, z: net("Sigmoid", ahead(net, z)), ONE_OF_TWO["a part"]),
    "one of two, without an axis": (
        2, lambda net, z: net("Sigmoid", ahead(net, z)), ONE_OF_TWO["one of them, without an axis"]
    ),
    "as bytes": (
        4, soft, lambda net, z: net("Cast", net("Round", net("Mul", soft(net, z), 255.0)), to=onnx.TensorProto.UINT8)
    ),
    "the first of two, as bytes": (
        2, lambda net, z: net("Sigmoid", net("Neg", ahead(net, z))),
        lambda net, z: net("Cast", net("Mul", part(net, soft(net, z), 0, 1), 255.0), to=onnx.TensorProto.UINT8),
    ),
    "those above half": (4, soft, lambda net, z: masked(net, soft(net, z), 0.5)),
    "peaks": (
        4, lambda net, z: net("Sigmoid", z), lambda net, z: peaks(net, net("Sigmoid", z))
    ),
}  # fmt: skip


def peaks(net: Net, values: str) -> str:
    around = net("MaxPool", values, kernel_shape=[3, 3], pads=[1] * 4)
    return net("Mul", values, net("Cast", net("Equal", around, values), to=onnx.TensorProto.FLOAT))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", PIXELS)
def test_what_is_made_of_the_shares_of_pixels(name: str, backend: str) -> None:
    classes, *tails = PIXELS[name]
    wanted, found = (
        rc.Explainer(segmenter(tail, classes), ["stages", "input"], backend=backend)(X, [[-1]] * 2) for tail in tails
    )
    assert found.squashed_by == wanted.squashed_by
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    same_maps(wanted, found)


PIXELS_TOLD: dict[str, Tail] = {
    "rectified over their sum": lambda net, z: by_sum(net, net("Add", net("Relu", z), 1e-2)),
    "one class of many": lambda net, z: part(net, soft(net, z), 1, 2),
    "the mean of two": lambda net, z: net("Mean", soft(net, z), soft(net, net("Mul", z, -1.0))),
}


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("name", PIXELS_TOLD)
def test_shares_of_pixels_are_told_as_they_are(name: str, backend: str) -> None:
    """The mean of what the file says where a class wins; one alone wins above one half."""
    model = segmenter(PIXELS_TOLD[name])
    found = rc.Explainer(model, ["stages", "input"], backend=backend)(X)
    told = run(model, "told", x=X)[0]
    for image, (shares, kind) in enumerate(zip(told, found.targets[:, 0], strict=True)):
        won = shares[0] > 0.5 if len(shares) == 1 else shares.argmax(axis=0) == kind
        won = won if won.any() else shares[kind] == shares[kind].max()
        np.testing.assert_allclose(found.probability[image, 0], shares[kind][won].mean(), atol=1e-5)


@pytest.mark.parametrize("tail", [
    lambda net, z: net("Add", net("Sigmoid", z), net("Sigmoid", other(net, z))),
    lambda net, z: net("Sub", soft(net, z), soft(net, other(net, z))),
    lambda net, z: net("Mul", net("Mean", soft(net, z), soft(net, other(net, z))), 2.0),
    lambda net, z: net("Mul", net("Sigmoid", z), other(net, z)),
    by_sum,
    lambda net, z: weighed(net, z, net("Sigmoid", other(net, z, 2)), soft),
    lambda net, z: net("Mul", logistic(net, z), net("Add", logistic(net, other(net, z, 1)), 0.5)),
], ids=[
    "a sum", "a difference", "twice a mean", "weighed scores", "either sign by its sum", "weights of their own", "more",
])  # fmt: skip
def test_what_may_lie_beyond_0_and_1_is_no_share(tail: Tail) -> None:
    assert rc.Explainer(network(tail), "input")(X).squashed_by is None


def test_vectors_that_scores_are_made_of_are_explained_where_they_are_named() -> None:
    model = network(lambda net, z: net("Softmax", other(net, net("Relu", z, name="features"), 3), axis=1))
    model.graph.output.append(onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", 5]))
    assert rc.Explainer(model, "input")(X).scores.shape == (2, 3)
    assert rc.Explainer(model, "input", output="features")(X).scores.shape == (2, 5)
    with pytest.raises(rc.OptionError, match="several outputs"):
        rc.Explainer(model, "input", head="embedding")
