"""Sums that have a tensor several times: the canonical form, and maps of two heads that are mixed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture
from test_canon_forms import Drawn, Write, conv, holds, relu, shown

import relcam_onnx as rc


def mixed(net: Drawn, a: str, b: str, weight: float) -> str:
    return net("Add", b, net("Mul", net("Sub", a, b), np.float32(weight)))


def both(net: Drawn) -> tuple[str, str]:
    """Two tensors of curves that no layer takes into itself."""
    x = relu(net)
    return net("Sigmoid", conv(net, x, 4)), net("Tanh", x)


FORMS: dict[str, tuple[Write, list[str]]] = {
    "a mixture by a difference": (
        lambda n: mixed(n, *both(n), 0.3), ["Conv", "Relu", "Conv", "Sigmoid", "Tanh", "Mul", "Mul", "Add"],
    ),
    "all of one": (lambda n: mixed(n, *both(n), 1.0), ["Conv", "Relu", "Conv", "Sigmoid"]),
    "twice": (lambda n: n("Add", x := relu(n), x), ["Conv", "Relu", "Mul"]),
    "- a difference that the file returns": (
        lambda n: n("Add", (ab := both(n))[1], n("Mul", shown(n, n("Sub", *ab)), np.float32(0.3))),
        ["Conv", "Relu", "Conv", "Sigmoid", "Tanh", "Mul", "Add", "Mul", "Add"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_sum(name: str) -> None:
    holds(*FORMS[name])


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("form", ["by a difference", "by two weights"])
def test_two_heads_that_are_mixed_are_one(form: str, preset: str) -> None:
    """As torch.lerp writes it, which was .3 to .8 of the maximum apart."""

    def network(form: str) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)
        x = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(net.x, 3, 8, stride=2))))
        one, other, weight = net.normal(8, 5), net.normal(8, 5), np.float32(0.3)
        if form == "one head":
            return net.model(net("MatMul", x, weight * one + (1 - weight) * other))
        a, b = net("MatMul", x, one), net("MatMul", x, other)
        if form == "by a difference":
            return net.model(net("Add", b, net("Mul", net("Sub", a, b), weight)))
        return net.model(net("Add", net("Mul", a, weight), net("Mul", b, 1 - weight)))

    x = picture(2, 3, 16, 16)
    made = (rc.Explainer(network(each), ["stages", "input"], preset=preset) for each in (form, "one head"))
    same_maps(*(explainer(x, [[-1, 0]] * 2) for explainer in made))
