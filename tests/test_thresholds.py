"""What a file decides by a threshold, and pixels of one class without an axis for it: the scores are those before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture

import relcam_onnx as rc

Tail = Callable[[Net, str], str]
"""What stands behind the logits."""


def pixels(tail: Tail, classes: int = 1) -> onnx.ModelProto:
    """A segmenter of a few classes, each by itself."""
    net = Net("N", 3, 16, 16)
    fine = net("Relu", net.conv(net.x, 3, 8, stride=2))
    coarse = net("Relu", net.conv(fine, 8, 8, stride=2))
    return net.model(tail(net, net.conv(coarse, 8, classes, 1)))


def table(tail: Tail) -> onnx.ModelProto:
    """A classifier of several classes, each by itself."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, 8, stride=2))
    return net.model(tail(net, net.dense(net("Flatten", net("GlobalAveragePool", x)), 8, 3)))


def sigmoid(net: Net, z: str) -> str:
    return net("Sigmoid", z)


def without_class(net: Net, value: str) -> str:
    return net("Squeeze", value, np.array([1]))


HALF = np.float32(0.5)
DECIDED: dict[str, Tail] = {
    "greater": lambda net, z: net("Greater", sigmoid(net, z), HALF),
    "as floats": lambda net, z: net("Cast", net("GreaterOrEqual", sigmoid(net, z), HALF), to=1),
    "less": lambda net, z: net("Cast", net("Less", HALF, sigmoid(net, z)), to=6),
    "round": lambda net, z: net("Round", sigmoid(net, z)),
    "where": lambda net, z: net("Where", net("Greater", sigmoid(net, z), HALF), np.float32(1), np.float32(0)),
    "as a picture": lambda net, z: net(
        "Cast", net("Mul", net("Cast", net("Greater", sigmoid(net, z), HALF), to=1), np.float32(255)), to=2
    ),
}
BARE: dict[str, Tail] = {
    "squeezed": lambda net, z: without_class(net, sigmoid(net, z)),
    "squeezed before": lambda net, z: sigmoid(net, without_class(net, z)),
    "picked": lambda net, z: net("Gather", sigmoid(net, z), np.array(0), axis=1),
    "squeezed and decided": lambda net, z: net("Cast", net("Greater", without_class(net, sigmoid(net, z)), HALF), to=6),
    "turned": lambda net, z: net("Squeeze", net("Transpose", sigmoid(net, z), perm=[0, 2, 3, 1]), np.array([3])),
}


@pytest.mark.parametrize("labels", [None, ["road"], ["nothing", "road"]])
@pytest.mark.parametrize("form", [*DECIDED, *BARE])
def test_a_mask_of_one_class(form: str, labels: list[str] | None) -> None:
    x = picture(2, 3, 16, 16)
    wanted = rc.Explainer(pixels(sigmoid), labels=labels)(x)
    with rc.Explainer(pixels({**DECIDED, **BARE}[form]), labels=labels) as explainer:
        assert explainer.settings.head == "segmenter"
        found = explainer(x)
    same_maps(found, wanted)
    np.testing.assert_allclose(found.probability, wanted.probability, rtol=1e-5)


@pytest.mark.parametrize("form", DECIDED)
def test_several_classes_each_by_itself(form: str) -> None:
    x = picture(2, 3, 16, 16)
    for make in (lambda tail: pixels(tail, 3), table):
        wanted, found = (rc.Explainer(make(tail))(x, [[-1, 2]] * 2) for tail in (sigmoid, DECIDED[form]))
        same_maps(found, wanted)
        np.testing.assert_allclose(found.probability, wanted.probability, rtol=1e-5)


REFUSED: dict[str, Tail] = {
    "the other way round": lambda net, z: net(
        "Where", net("Greater", sigmoid(net, z), HALF), np.float32(0), np.float32(1)
    ),
    "any class": lambda net, z: net(
        "Cast", net("Greater", net("Cast", net("ArgMax", z, axis=1), to=1), np.float32(0)), to=1
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_is_no_decision_for_a_class(form: str) -> None:
    with pytest.raises((rc.UnsupportedModelError, rc.LayerError)):
        rc.Explainer(pixels(REFUSED[form], 3))


@pytest.mark.parametrize("squeezed", [1, 3])
def test_a_detectors_scores_are_no_mask(squeezed: int) -> None:
    """(N, 1, places, classes) or (N, places, classes, 1) without that axis, and boxes beside."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2))
    scores, boxes = (
        net("Transpose", net("Reshape", net.conv(x, 8, n, 1), np.array([0, n, -1])), perm=[0, 2, 1]) for n in (5, 4)
    )
    wide = net("Unsqueeze", scores, np.array([squeezed]))
    model = net.model(net("Squeeze", net("Sigmoid", wide), np.array([squeezed])), boxes)
    assert rc.Explainer(model).settings.head == "detector"
