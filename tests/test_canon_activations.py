"""Activations that exporters spell as products become one op."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from nets import Net, canonical, ops
from onnx import TensorProto
from torch_exports import exported


def shifted(net: Net, x: str) -> str:
    return net("Clip", net("Add", x, 3.0), 0.0, 6.0)


def area(net: Net, x: str) -> str:
    return net("Add", net("Erf", net("Div", x, 2**0.5)), 1.0)


def bent(net: Net, x: str) -> str:
    cubic = net("Add", x, net("Mul", net("Pow", x, 3.0), 0.044715))
    return net("Add", net("Tanh", net("Mul", cubic, (2 / np.pi) ** 0.5)), 1.0)


def fallen(net: Net, x: str, height: float) -> str:
    return net("Mul", net("Sub", net("Exp", x), 1.0), height)


def unhidden(net: Net, x: str, zeros: str | np.ndarray) -> str:
    """Exponential units as JAX has them: zeros hide what is large from the exponential."""
    below = net("Where", net("Greater", x, 0.0), zeros, x)
    return net("Where", net("Greater", x, 0.0), x, fallen(net, below, 0.7))


SPELLINGS: dict[str, tuple[str, Callable[[Net, str], str]]] = {
    "silu": ("Swish", lambda n, x: n("Mul", x, n("Sigmoid", x))),
    "silu, turned": ("Swish", lambda n, x: n("Mul", n("Sigmoid", x), x)),
    "hard-swish": ("HardSwish", lambda n, x: n("Mul", x, n("HardSigmoid", x, alpha=1 / 6, beta=0.5))),
    "hard-swish, sixth last": ("HardSwish", lambda n, x: n("Div", n("Mul", x, shifted(n, x)), 6.0)),
    "hard-swish, sixth first": ("HardSwish", lambda n, x: n("Mul", x, n("Div", shifted(n, x), 6.0))),
    "hard-swish, times a sixth": ("HardSwish", lambda n, x: n("Mul", n("Mul", x, shifted(n, x)), 1 / 6)),
    "hard sigmoid, sixth behind": ("HardSigmoid", lambda n, x: n("Div", shifted(n, x), 6.0)),
    "hard sigmoid by a least": (
        "HardSigmoid",
        lambda n, x: n("Mul", n("Min", n("Relu", n("Add", x, 3.0)), 6.0), 1 / 6),
    ),
    "relu6 turned over": ("Clip", lambda n, x: n("Neg", n("Clip", n("Neg", x), -6.0, 0.0))),
    "relu6 in sixths": ("Clip", lambda n, x: n("Mul", n("Clip", n("Div", x, 6.0), 0.0, 1.0), 6.0)),
    "relu turned over": ("Max", lambda n, x: n("Neg", n("Min", n("Neg", x), 0.0))),
    "leaky relu turned over": (
        "LeakyRelu",
        lambda n, x: n("Neg", n("Min", n("Neg", x), n("Mul", x, -0.1))),
    ),
    "mish": ("Mish", lambda n, x: n("Mul", x, n("Tanh", n("Softplus", x)))),
    "sigmoid by a tangent": ("Sigmoid", lambda n, x: n("Div", n("Add", n("Tanh", n("Div", x, 2.0)), 1.0), 2.0)),
    "sigmoid by a tangent, half first": (
        "Sigmoid",
        lambda n, x: n("Add", n("Mul", n("Tanh", n("Mul", x, 0.5)), 0.5), 0.5),
    ),
    "sigmoid by its opposite": ("Sigmoid", lambda n, x: n("Sub", 1.0, n("Sigmoid", n("Neg", x)))),
    "sigmoid by a power": ("Sigmoid", lambda n, x: n("Pow", n("Add", n("Exp", n("Neg", x)), 1.0), -1.0)),
    "tangent by a sigmoid": ("Tanh", lambda n, x: n("Sub", n("Mul", n("Sigmoid", n("Mul", x, 2.0)), 2.0), 1.0)),
    "softplus by a sigmoid": ("Softplus", lambda n, x: n("Neg", n("Log", n("Sigmoid", n("Neg", x))))),
    "elu by a choice": ("Elu", lambda n, x: n("Where", n("Greater", x, 0.0), x, fallen(n, x, 0.7))),
    "elu by a maximum and a minimum": (
        "Elu",
        lambda n, x: n("Add", n("Max", x, 0.0), n("Min", fallen(n, x, 0.7), 0.0)),
    ),
    "elu by rectifiers": ("Elu", lambda n, x: n("Sub", n("Relu", x), n("Relu", fallen(n, x, -0.7)))),
    "elu that zeros hide a part of": (
        "Elu",
        lambda n, x: unhidden(n, x, n("Expand", np.float32(0), n("Shape", x))),
    ),
    "elu that a constant of zeros hides a part of": (
        "Elu",
        lambda n, x: unhidden(n, x, np.zeros((1, 4, 8, 8), np.float32)),
    ),
    "celu by a choice": (
        "Celu",
        lambda n, x: n("Where", n("Less", x, 0.0), fallen(n, n("Div", x, 0.5), 0.5), x),
    ),
    "selu by a choice": (
        "Selu",
        lambda n, x: n("Mul", n("Where", n("Greater", x, 0.0), x, fallen(n, x, 1.6732632)), 1.050701),
    ),
    "gelu": ("Gelu", lambda n, x: n("Mul", n("Mul", x, area(n, x)), 0.5)),
    "gelu, half first": ("Gelu", lambda n, x: n("Mul", n("Mul", x, 0.5), area(n, x))),
    "gelu, half inside": ("Gelu", lambda n, x: n("Mul", x, n("Mul", area(n, x), 0.5))),
    "gelu by tanh": ("Gelu", lambda n, x: n("Mul", n("Mul", x, 0.5), bent(n, x))),
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_spelled_activations_become_one_op(how: str) -> None:
    op, spell = SPELLINGS[how]
    net = Net("N", 3, 8, 8)
    loaded = canonical(net.model(net.head(spell(net, net.conv(net.x, 3, 4)), 4)))
    assert ops(loaded) == ["Conv", op, "GlobalAveragePool", "Flatten", "Gemm"]
    approximate = loaded.graph.nodes[1].attrs.get("approximate", "none")
    assert approximate == ("tanh" if "tanh" in how else "none")


def test_a_gate_by_another_tensor_stays_a_product() -> None:
    net = Net("N", 3, 8, 8)
    y = net.conv(net.x, 3, 4)
    model = net.model(net.head(net("Mul", y, net("Sigmoid", net.conv(y, 4, 4))), 4))
    assert "Mul" in ops(canonical(model))


def test_a_gate_by_bounds_is_a_hard_sigmoid_wherever_its_sixth_stands() -> None:
    """x · ReLU6(y + 3) / 6, the division behind the product."""
    net = Net("N", 3, 8, 8)
    y = net.conv(net.x, 3, 4)
    gate = net("Clip", net("Add", net("GlobalAveragePool", y), 3.0), 0.0, 6.0)
    model = net.model(net.head(net("Div", net("Mul", y, gate), 6.0), 4))
    wanted = ["Conv", "GlobalAveragePool", "HardSigmoid", "Mul", "GlobalAveragePool", "Flatten", "Gemm"]
    assert ops(canonical(model)) == wanted


@pytest.mark.parametrize("turned", [True, False])
def test_the_negative_of_the_least_of_negatives_is_the_largest(turned: bool) -> None:
    net = Net("N", 3, 8, 8)
    a, b = net.conv(net.x, 3, 4), net("Sigmoid", net.conv(net.x, 3, 4))
    least = net("Min", net("Neg", a), net("Neg", b) if turned else b)
    told = ops(canonical(net.model(net.head(net("Neg", least), 4))))
    assert ("Max" in told) == turned
    assert ("Min" in told) != turned


ACTIVATIONS: dict[str, tuple[torch.nn.Module, str]] = {
    "SiLU": (torch.nn.SiLU(), "Swish"),
    "Hardswish": (torch.nn.Hardswish(), "HardSwish"),
    "Mish": (torch.nn.Mish(), "Mish"),
    "GELU": (torch.nn.GELU(), "Gelu"),
    "GELU by tanh": (torch.nn.GELU(approximate="tanh"), "Gelu"),
}


@pytest.mark.parametrize("dynamo", [True, False], ids=["newer exporter", "older exporter"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_as_pytorch_writes_them(name: str, dynamo: bool) -> None:
    activation, op = ACTIVATIONS[name]
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), activation, torch.nn.Flatten(), torch.nn.Linear(16, 5))
    loaded = canonical(exported(module.eval(), torch.zeros(1, 3, 2, 2), dynamo=dynamo))
    assert [o for o in ops(loaded) if o not in ("Flatten", "Reshape")] == ["Conv", op, "Gemm"]


@pytest.mark.parametrize("bound", [0.0, 0.05, 1.0])
def test_what_lies_above_a_number_times_itself(bound: float) -> None:
    """Above 0 it is a rectifier; above another number, however near, a choice."""
    net = Net("N", 3, 8, 8)
    x = net.conv(net.x, 3, 4)
    masked = net("Mul", x, net("Cast", net("Greater", x, bound), to=TensorProto.FLOAT))
    told = ops(canonical(net.model(net.head(masked, 4))))
    assert ("LeakyRelu" in told) == (bound == 0)
    assert ("Where" in told) == (bound > 0)
    assert "Mul" not in told


@pytest.mark.parametrize("bounded", [False, True])
def test_a_number_by_its_sign_and_its_size_is_the_number(bounded: bool) -> None:
    """As PyTorch writes what its `lp_pool2d` takes the root of; a bound far from 0 makes it another."""
    net = Net("N", 3, 8, 8)
    x = net.conv(net.x, 3, 4)
    y = net("Mul", net("Sign", x), net("Relu", net("Abs", x)))
    y = net("Clip", y, -100.0, 100.0) if bounded else y
    between = ["Clip"] * bounded
    assert ops(canonical(net.model(net.head(y, 4)))) == ["Conv", *between, "GlobalAveragePool", "Flatten", "Gemm"]
