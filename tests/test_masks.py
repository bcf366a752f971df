"""Segmenters whose outputs are no scores of pixels any more: they are explained by the scores before that."""

from __future__ import annotations

import numpy as np
import pytest
from compare import same_maps
from nets import Net, picture
from test_thresholds import HALF, Tail, pixels, sigmoid, without_class

import relcam_onnx as rc

X = picture(2, 3, 16, 16)
TWICE = np.array([1, 1, 2, 2], np.float32)


def softmax(net: Net, z: str) -> str:
    return net("Softmax", z, axis=1)


def last(net: Net, value: str) -> str:
    return net("Transpose", value, perm=[0, 2, 3, 1])


def painted(net: Net, shares: str) -> str:
    """Grey values, 0 to 255."""
    return net("Cast", net("Clip", net("Mul", shares, np.float32(255)), 0.0, 255.0), to=2)


def larger(net: Net, value: str) -> str:
    return net("Resize", value, None, TWICE, mode="linear")


CHANNEL: dict[str, Tail] = {
    "painted": lambda net, z: painted(net, sigmoid(net, z)),
    "painted without an axis": lambda net, z: without_class(net, painted(net, sigmoid(net, z))),
    "bounded": lambda net, z: net("Clip", sigmoid(net, z), 1e-4, 1 - 1e-4),
    "enlarged": lambda net, z: larger(net, sigmoid(net, z)),
    "enlarged and decided": lambda net, z: net("Greater", larger(net, sigmoid(net, z)), HALF),
}
RIVALS: dict[str, Tail] = {
    "enlarged": lambda net, z: larger(net, softmax(net, z)),
    "enlarged and chosen": lambda net, z: net("ArgMax", larger(net, softmax(net, z)), axis=1),
    "chosen and turned": lambda net, z: last(net, net("ArgMax", z, axis=1)),
    "channels last in rows, squashed": lambda net, z: net(
        "Softmax", net("Reshape", last(net, z), np.array([0, -1, 3])), axis=2
    ),
    "squashed, in rows": lambda net, z: net(
        "Transpose", net("Reshape", softmax(net, z), np.array([0, 3, -1])), perm=[0, 2, 1]
    ),
}


@pytest.mark.parametrize("form", CHANNEL)
def test_one_class(form: str) -> None:
    wanted, found = (rc.Explainer(pixels(tail))(X) for tail in (sigmoid, CHANNEL[form]))
    assert found.settings.head == "segmenter"
    same_maps(found, wanted)
    np.testing.assert_allclose(found.probability, wanted.probability, rtol=1e-5)


@pytest.mark.parametrize("form", RIVALS)
def test_several_classes(form: str) -> None:
    wanted, found = (rc.Explainer(pixels(tail, 3))(X, [[-1, 2]] * 2) for tail in (softmax, RIVALS[form]))
    np.testing.assert_array_equal(found.targets, wanted.targets)
    same_maps(found, wanted)
    np.testing.assert_allclose(found.probability, wanted.probability, rtol=1e-5)


def first(net: Net, value: str) -> str:
    return net("Gather", value, np.array(0), axis=1)


PICKED: dict[str, tuple[Tail, str | None]] = {  # and whether the head has to be named
    "before its sigmoid": (lambda net, z: sigmoid(net, first(net, z)), None),
    "behind its sigmoid": (lambda net, z: first(net, sigmoid(net, z)), None),
    "without any": (first, "segmenter"),
}


@pytest.mark.parametrize("form", PICKED)
def test_one_channel_of_several(form: str) -> None:
    tail, head = PICKED[form]
    cut = [np.array([number]) for number in (0, 1, 1)]
    wanted = rc.Explainer(pixels(lambda net, z: sigmoid(net, net("Slice", z, *cut)), 3), seed="logit")(X)
    found = rc.Explainer(pixels(tail, 3), seed="logit", head=head)(X)
    same_maps(found, wanted)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5)
    if head is not None:
        with pytest.raises(rc.UnsupportedModelError):
            rc.Explainer(pixels(tail, 3))


REFUSED: dict[str, Tail] = {
    "one of the classes that were chosen": lambda net, z: net("Equal", net("ArgMax", z, axis=1, keepdims=0), 1),
    "a share of a softmax": lambda net, z: first(net, net("Softmax", net("Identity", z, name="told"), axis=1)),
    "without a batch": lambda net, z: net("Gather", softmax(net, z), np.array(0), axis=0),
}


@pytest.mark.parametrize("head", [None, "segmenter"])
@pytest.mark.parametrize("form", REFUSED)
def test_what_is_refused_says_which_tensor_to_name(form: str, head: str | None) -> None:
    model = pixels(REFUSED[form], 3)
    with pytest.raises(rc.UnsupportedModelError, match="inside that it is made of, output='") as said:
        rc.Explainer(model, head=head)
    name = str(said.value).rpartition("output='")[2].partition("'")[0]
    wanted = rc.Explainer(pixels(softmax, 3))(X, [[-1, 2]] * 2)
    same_maps(rc.Explainer(model, output=name)(X, [[-1, 2]] * 2), wanted)


def test_features_in_rows_are_no_pixels() -> None:
    """(N, places, channels) without a softmax may be anything, unless it is called a segmenter's."""
    rows = pixels(lambda net, z: net("Reshape", last(net, z), np.array([0, -1, 3])), 3)
    with pytest.raises(rc.UnsupportedModelError):
        rc.Explainer(rows)
    same_maps(rc.Explainer(rows, head="segmenter")(X, 1), rc.Explainer(pixels(lambda net, z: z, 3))(X, 1))


@pytest.mark.parametrize("end", ["Softmax", "Sigmoid", "ArgMax"])
def test_scores_of_pixels_stand_beside_other_numbers_of_theirs(end: str) -> None:
    """MTCNN's first network tells boxes before shares: those had been taken for four classes."""
    net = Net("N", 3, 16, 16)
    features = net("Relu", net.conv(net.x, 3, 8, stride=2))
    boxes, scores = net.conv(features, 8, 4), net.conv(features, 8, 3)
    told = net(end, scores, axis=1) if end != "Sigmoid" else net(end, scores)
    explainer = rc.Explainer(net.model(boxes, told), "input")
    e = explainer(picture(1, 3, 16, 16), 2)
    assert explainer.prepared.scores.tensor.name == scores
    assert e.maps["input"].any()
