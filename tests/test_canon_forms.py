"""What each rewrite makes of a spelling, and what it leaves alone: a near miss beside each, values kept in both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from nets import Net, ops, picture
from test_canon_values import values_stay


class Drawn(Net):
    """A network that may return tensors inside."""

    def __init__(self, *shape: int) -> None:
        super().__init__(*shape)
        self.shown: list[str] = []


Write = Callable[[Drawn], str]


def conv(net: Drawn, x: str = "x", before: int = 3, after: int = 4, kernel: int = 3, **options: bool) -> str:
    return net.conv(x, before, after, kernel, **options)


def relu(net: Drawn) -> str:
    return net("Relu", conv(net))


def per_channel(net: Drawn, x: str, *shape: int) -> str:
    """A scale and a shift."""
    return net("Add", net("Mul", x, np.exp(net.normal(*shape))), net.normal(*shape))


def tokens(net: Drawn, x: str) -> str:
    """Positions as rows."""
    return net("Transpose", net("Reshape", x, np.array([1, 4, 64])), perm=[0, 2, 1])


def rowed(net: Drawn) -> str:
    """Each channel as a row."""
    return net("Reshape", relu(net), np.array([1, 4, 64]))


def shares(net: Drawn, x: str) -> str:
    """How much each position counts."""
    return net("Softmax", net("MatMul", x, net.normal(4, 1)), axis=1)


def shown(net: Drawn, x: str) -> str:
    """A tensor that the file returns too."""
    net.shown.append(x)
    return x


def nested(net: Drawn, *, inner: Callable[[Drawn, str], str] = lambda net, x: x) -> str:
    a, b, c = (conv(net, kernel=k) for k in (1, 3, 5))
    return net("Add", inner(net, net("Add", a, b)), c)


def halves_normed(net: Drawn, x: str, spans: list[tuple[int, int]]) -> str:
    """Parts of a tensor's channels, each with a scale and a shift of its own."""
    parts = [net("Slice", x, np.array([a]), np.array([b]), np.array([1])) for a, b in spans]
    return net("Concat", *(per_channel(net, p, b - a, 1, 1) for p, (a, b) in zip(parts, spans, strict=True)), axis=1)


def pad_once(net: Drawn, x: str) -> str:
    return net("Pad", x, np.array([0, 0, 1, 0, 0, 0, 0, 1]))


def padded_again(net: Drawn, x: str) -> str:
    return net("Pad", x, np.array([0, 0, 0, 1, 0, 0, 1, 0]))


def largest_behind(net: Drawn, width: int, value: float, last: bool = False) -> str:
    """A maximum of 3×3 windows behind padding by one number, so many positions wide."""
    axes = [0, width, width, 0] if last else [0, 0, width, width]
    x = net("Transpose", conv(net), perm=[0, 2, 3, 1]) if last else conv(net)
    x = net("Pad", x, np.array(axes * 2), np.float32(value))
    x = net("Transpose", x, perm=[0, 3, 1, 2]) if last else x
    return net("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])


def integers(net: Drawn, between: Callable[[str], str]) -> str:
    """What is done to quantised values before they are dequantised."""
    scale, zero = np.float32(0.05), np.int8(0)
    return net("DequantizeLinear", between(net("QuantizeLinear", conv(net), scale, zero)), scale, zero)


def padded(net: Drawn, value: float = 0.0, **options: str) -> str:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    y = net("Pad", relu(net), pads, np.float32(value), **options)
    return net("Conv", y, net.normal(4, 4, 3, 3), pads=[0] * 4)


def biased(net: Drawn, x: str, shape: tuple[int, ...]) -> str:
    return net("Add", x, net.normal(*shape))


def twice(net: Drawn, one: str, other: str) -> str:
    y = conv(net)
    return net("Add", net(one, y), net(other, y))


def there_and_back(net: Drawn, between: Callable[[Drawn, str], str] = lambda net, x: x) -> str:
    y = between(net, net("Transpose", conv(net), perm=[0, 2, 3, 1]))
    return net("Relu", net("Transpose", y, perm=[0, 3, 1, 2]))


def rows(net: Drawn, x: str, layer: Callable[[str], str]) -> str:
    """Positions in rows, a layer, and back."""
    table = net("Reshape", net("Transpose", x, perm=[0, 2, 3, 1]), np.array([-1, 4]))
    return net("Reshape", layer(table), np.array([1, 8, 8, -1]))


def normed(net: Drawn, x: str, channels: int) -> str:
    return net("LayerNormalization", x, np.exp(net.normal(channels)), net.normal(channels), axis=-1)


def two_layers(net: Drawn, table: str) -> str:
    return net("MatMul", net("Relu", normed(net, net("MatMul", table, net.normal(4, 8)), 8)), net.normal(8, 6))


def mean_first(net: Drawn) -> str:
    y, axes = relu(net), np.array([3])
    x = net("Transpose", y, perm=[0, 2, 3, 1])
    mean = net("Transpose", net("ReduceMean", y, np.array([1]), keepdims=1), perm=[0, 2, 3, 1])
    rest = net("Sub", x, mean)
    variance = net("ReduceMean", net("Mul", rest, rest), axes, keepdims=1)
    return net("Div", rest, net("Sqrt", net("Add", variance, np.float32(1e-5))))


def holds(write: Write, wanted: list[str]) -> None:
    """A network that begins so has these ops in its canonical form, and all its values are those of the file."""
    net = Drawn(1, 3, 8, 8)
    y = net("Sigmoid", write(net))
    model = values_stay(net.model(y, *net.shown), picture(1, 3, 8, 8))
    assert sorted(ops(model)) == sorted([*wanted, "Sigmoid"])


def weighed(net: Drawn, divisor: str, axis: int = -1, *, seen: bool = False) -> str:
    """Rows of values by exponentials, and the product divided."""
    values = conv(net)
    weights = net("Exp", net("MatMul", values, net.normal(8, 8)))
    factors = (weights, values) if axis == -1 else (values, weights)
    product = net("MatMul", *factors)
    product = shown(net, product) if seen else product
    match divisor:
        case "sum":
            below = net("ReduceSum", weights, np.array([axis]))
        case "apart":
            below = net("Unsqueeze", net("ReduceSum", weights, np.array([axis]), keepdims=0), np.array([axis]))
        case "product":
            below = net("MatMul", weights, np.ones((8, 1), np.float32))
        case "reciprocal":
            return net("Mul", net("Reciprocal", net("ReduceSum", weights, np.array([axis]))), product)
        case _:
            below = net("ReduceSum", net("Exp", values), np.array([axis]))
    return net("Div", product, below)


GRN = ["Conv", "Relu", "ReduceL2", "ReduceMean", "Add", "Div", "Mul", "Mul", "Add", "Add"]
"""Global response normalisation (ConvNeXt V2): x + γ (x n) + β."""


def responses(net: Drawn, written: str) -> str:
    x = relu(net)
    size = net("ReduceL2", x, np.array([2, 3]))
    n = net("Div", size, net("Add", net("ReduceMean", size, np.array([1])), np.float32(1e-6)))
    gain, shift = net.normal(4, 1, 1), net.normal(4, 1, 1)
    match written:
        case "gain behind":
            y = net("Add", x, net("Add", net("Mul", gain, net("Mul", x, n)), shift))
        case "gain before":
            y = net("Add", x, net("Add", net("Mul", net("Mul", gain, n), x), shift))
        case "one more":
            y = net("Add", net("Mul", x, net("Add", net("Mul", gain, n), np.float32(1))), shift)
        case _:
            y = net("Add", net("Mul", x, net("Add", net("Mul", gain, n), np.float32(2))), shift)
    return net("Relu", y)


FORMS: dict[str, tuple[Write, list[str]]] = {
    "bias behind a Reshape": (
        lambda n: biased(n, n("Reshape", conv(n, bias=False), np.array([1, 4, 64])), (4, 1)), ["Conv", "Reshape"],
    ),
    "bias behind tokens": (lambda n: biased(n, tokens(n, conv(n)), (4,)), ["Conv", "Reshape", "Transpose"]),
    "- bias behind a Reshape that the file returns the input of": (
        lambda n: biased(n, n("Reshape", shown(n, conv(n)), np.array([1, 4, 64])), (4, 1)),
        ["Conv", "Reshape", "Add"],
    ),
    "- bias that varies over positions": (lambda n: biased(n, conv(n), (4, 8, 8)), ["Conv", "Add"]),
    "scale behind a layer": (lambda n: per_channel(n, conv(n), 4, 1, 1), ["Conv"]),
    "- scale behind a layer that the file returns": (
        lambda n: per_channel(n, shown(n, conv(n)), 4, 1, 1), ["Conv", "BatchNormalization"],
    ),
    "scale before a layer without padding": (
        lambda n: conv(n, per_channel(n, relu(n), 4, 1, 1), 4, kernel=1), ["Conv", "Relu", "Conv"],
    ),
    "- shift before a layer with padding": (
        lambda n: conv(n, per_channel(n, relu(n), 4, 1, 1), 4), ["Conv", "Relu", "BatchNormalization", "Conv"],
    ),
    "scale before two moves and a product": (
        lambda n: n("MatMul", tokens(n, per_channel(n, relu(n), 4, 1, 1)), n.normal(4, 6)),
        ["Conv", "Relu", "Reshape", "Transpose", "MatMul"],
    ),
    "scale before a product, which the file returns too": (
        lambda n: n("MatMul", tokens(n, shown(n, per_channel(n, relu(n), 4, 1, 1))), n.normal(4, 6)),
        ["Conv", "Relu", "Reshape", "Transpose", "MatMul"],
    ),
    "constant among the terms of a sum": (
        lambda n: n("Add", biased(n, relu(n), (4, 1, 1)), conv(n)), ["Conv", "Relu", "Conv", "Add"],
    ),
    "a batch norm behind a cut": (
        lambda n: per_channel(n, n("Slice", conv(n), np.array([1, 1]), np.array([7, 9]), np.array([2, 3])), 4, 1, 1),
        ["Conv", "Slice"],
    ),
    "a batch norm behind a Pad that cuts": (
        lambda n: per_channel(n, n("Pad", conv(n), np.array([0, 0, -1, 0, 0, 0, 0, -2])), 4, 1, 1), ["Conv", "Pad"],
    ),
    "a batch norm behind channels in another order": (
        lambda n: per_channel(n, n("Gather", conv(n), np.array([2, 0, 3, 1]), axis=1), 4, 1, 1), ["Conv", "Gather"],
    ),
    "- a batch norm behind channels that are picked twice": (
        lambda n: per_channel(n, n("Gather", conv(n), np.array([2, 2]), axis=1), 2, 1, 1),
        ["Conv", "Gather", "BatchNormalization"],
    ),
    "a batch norm on each half of one layer": (
        lambda n: halves_normed(n, conv(n), [(0, 2), (2, 4)]), ["Conv", "Slice", "Slice", "Concat"],
    ),
    "- a batch norm on parts that overlap": (
        lambda n: halves_normed(n, conv(n), [(0, 3), (2, 4)]),
        ["Conv", "Slice", "Slice", "BatchNormalization", "Concat"],
    ),
    "a scale before channels in another order": (
        lambda n: conv(n, n("Gather", per_channel(n, relu(n), 4, 1, 1), np.array([2, 0, 3, 1]), axis=1), 4, kernel=1),
        ["Conv", "Relu", "Gather", "Conv"],
    ),
    "- a layer of one number for each channel between activations": (
        lambda n: n("Conv", relu(n), np.eye(4, dtype=np.float32)[:, :, None, None]), ["Conv", "Relu", "Conv"],
    ),
    "pads of pads": (
        lambda n: n("Conv", padded_again(n, pad_once(n, relu(n))), n.normal(4, 4, 3, 3)), ["Conv", "Relu", "Conv"],
    ),
    "nested sums": (lambda n: n("Add", n("Add", relu(n), relu(n)), relu(n)), [*["Conv", "Relu"] * 3, "Sum"]),
    "nested sums of layers": (nested, ["Conv"]),
    "a scale and a shift of two layers, one term of a sum": (
        lambda n: n("Add", per_channel(n, n("Add", conv(n), conv(n, kernel=1)), 4, 1, 1), relu(n)),
        ["Conv", "Conv", "Relu", "Add"],
    ),
    "- nested sums of layers, one returned": (lambda n: nested(n, inner=shown), ["Conv", "Conv", "Add"]),
    "- nested sums of layers, an activation between": (
        lambda n: nested(n, inner=lambda net, x: net("Relu", x)), ["Conv", "Relu", "Conv", "Add"],
    ),
    "a layer taken off": (lambda n: n("Sub", relu(n), conv(n)), ["Conv", "Relu", "Conv", "Add"]),
    "a negated layer taken off": (lambda n: n("Sub", relu(n), n("Neg", conv(n))), ["Conv", "Relu", "Conv", "Add"]),
    "- what is no layer taken off": (
        lambda n: n("Sub", conv(n), relu(n)), ["Conv", "Relu", "Conv", "Mul", "Add"],
    ),
    "zeros around a layer": (padded, ["Conv", "Relu", "Conv"]),
    "the lowest number around a maximum": (
        lambda n: largest_behind(n, 1, np.finfo(np.float32).min), ["Conv", "MaxPool"],
    ),
    "less than any number around a maximum, channels last": (
        lambda n: largest_behind(n, 1, -np.inf, last=True), ["Conv", "MaxPool"],
    ),
    "- a number around a maximum that may be the largest": (
        lambda n: largest_behind(n, 1, -1.0), ["Conv", "Pad", "MaxPool"],
    ),
    "- more around a maximum than its window": (
        lambda n: largest_behind(n, 3, -np.inf), ["Conv", "Pad", "MaxPool"],
    ),
    "a maximum of all, with a stride": (
        lambda n: n("MaxPool", relu(n), kernel_shape=[8, 8], strides=[8, 8]), ["Conv", "Relu", "MaxPool"],
    ),
    "- a sigmoid of positions before a mean": (
        lambda n: n("GlobalAveragePool", n("Mul", y := relu(n), n("Sigmoid", conv(n, y, 4, 1, 1)))),
        ["Conv", "Relu", "Conv", "Sigmoid", "Mul", "GlobalAveragePool"],
    ),
    "a softmax of positions before a sum": (
        lambda n: n("ReduceSum", n("Mul", y := tokens(n, relu(n)), shares(n, y)), np.array([1])),
        ["Conv", "Relu", "Reshape", "Transpose", "MatMul", "Softmax", "Transpose", "MatMul"],
    ),
    "a mean by an Einsum with equal numbers": (
        lambda n: n("Einsum", relu(n), np.full((8, 8), 1 / 64, np.float32), equation="nchw,hw->nc"),
        ["Conv", "Relu", "ReduceMean"],
    ),
    "a mean by a product with ones and a share": (
        lambda n: n("Mul", n("MatMul", rowed(n), np.ones((64, 1), np.float32)), 1 / 64),
        ["Conv", "Relu", "Reshape", "ReduceMean"],
    ),
    "- a mean of unequal numbers": (
        lambda n: n("MatMul", rowed(n), n.normal(64, 1)), ["Conv", "Relu", "Reshape", "MatMul"],
    ),
    "centred by a matrix": (
        lambda n: n("MatMul", tokens(n, relu(n)), (np.eye(4) - 1 / 4).astype(np.float32)),
        ["Conv", "Relu", "Reshape", "Transpose", "ReduceMean", "Mul", "Add"],
    ),
    "- turned by a matrix": (
        lambda n: n("MatMul", tokens(n, relu(n)), n.normal(4, 4)), ["Conv", "Relu", "Reshape", "Transpose", "MatMul"],
    ),
    "a choice that is made": (
        lambda n: n("Where", np.array(True), n("Pow", relu(n), np.float32(1)), np.float32(0)), ["Conv", "Relu"],
    ),
    "- a choice by place": (
        lambda n: n("Where", np.eye(8, dtype=bool), relu(n), np.float32(0)), ["Conv", "Relu", "Where"],
    ),
    "a place counted from the end": (
        lambda n: n("Unsqueeze", n("Gather", relu(n), np.array(-8), axis=2), np.array([2])),
        ["Conv", "Relu", "Slice"],
    ),
    "- ones around a layer": (lambda n: padded(n, 1.0), ["Conv", "Relu", "Pad", "Conv"]),
    "- a mirror around a layer": (lambda n: padded(n, mode="reflect"), ["Conv", "Relu", "Pad", "Conv"]),
    "twins": (lambda n: twice(n, "Relu", "Relu"), ["Conv", "Relu", "Add"]),
    "- two that differ": (lambda n: twice(n, "Relu", "Sigmoid"), ["Conv", "Relu", "Sigmoid", "Add"]),
    "a dense layer over rows of positions": (
        lambda n: rows(n, relu(n), lambda t: n("Gemm", t, n.normal(6, 4), n.normal(6), transB=1, alpha=0.5)),
        ["Conv", "Relu", "Transpose", "MatMul"],
    ),
    "two layers and a norm over rows": (
        lambda n: rows(n, relu(n), lambda t: two_layers(n, t)),
        ["Conv", "Relu", "Transpose", "MatMul", "LayerNormalization", "Relu", "MatMul"],
    ),
    "- a product over rows that mixes them": (
        lambda n: rows(n, relu(n), lambda t: n("MatMul", n.normal(64, 64), t)),
        ["Conv", "Relu", "Transpose", "Reshape", "MatMul", "Reshape"],
    ),
    "a shift behind a layer norm without one": (
        lambda n: biased(n, n("LayerNormalization", tokens(n, relu(n)), np.exp(n.normal(4))), (4,)),
        ["Conv", "Relu", "Reshape", "Transpose", "LayerNormalization"],
    ),
    "a mean before the Transpose that the rest is behind": (
        mean_first, ["Conv", "Relu", "Transpose", "LayerNormalization"],
    ),
    "an Einsum that turns": (
        lambda n: n("Einsum", n("Reshape", conv(n), np.array([1, 4, 64])), equation="...ij->...ji"),
        ["Conv", "Reshape", "Transpose"],
    ),
    "scales and shifts of parts of a Concat": (
        lambda n: conv(n, n("Concat", per_channel(n, relu(n), 4, 1, 1), relu(n), axis=1), 8, kernel=1),
        ["Conv", "Relu", "Conv", "Relu", "Concat", "Conv"],
    ),
    "parts of a Concat, one returned too": (
        lambda n: conv(n, n("Concat", shown(n, per_channel(n, relu(n), 4, 1, 1)), relu(n), axis=1), 8, kernel=1),
        ["Conv", "Relu", "Conv", "Relu", "Concat", "Conv"],
    ),
    "a scale and a shift behind a Concat of layers": (
        lambda n: per_channel(n, n("Concat", conv(n), conv(n, kernel=1), axis=1), 8, 1, 1), ["Conv", "Conv", "Concat"],
    ),
    "a shift behind a Concat of layers, before another layer": (
        lambda n: conv(n, biased(n, n("Concat", conv(n), conv(n, kernel=5), axis=1), (8, 1, 1)), 8, kernel=1),
        ["Conv", "Conv", "Concat", "Conv"],
    ),
    "- one scaled part twice in a Concat": (
        lambda n: n("Concat", y := per_channel(n, relu(n), 4, 1, 1), y, axis=1),
        ["Conv", "Relu", "BatchNormalization", "Concat"],
    ),
    "- behind a Concat of a layer and another thing": (
        lambda n: per_channel(n, n("Concat", conv(n), relu(n), axis=1), 8, 1, 1),
        ["Conv", "Conv", "Relu", "Concat", "BatchNormalization"],
    ),
    "a leak as a choice": (
        lambda n: n("Where", n("Greater", y := conv(n), np.float32(0)), y, n("Mul", y, np.float32(0.1))),
        ["Conv", "LeakyRelu"],
    ),
    "a sigmoid by tanh": (
        lambda n: n("Add", n("Mul", n("Tanh", n("Mul", conv(n), np.float32(0.5))), np.float32(0.5)), np.float32(0.5)),
        ["Conv", "Sigmoid"],
    ),
    "the one image picked by its place": (
        lambda n: n("Relu", n("Unsqueeze", n("GatherND", conv(n), np.array([0])), np.array([0]))), ["Conv", "Relu"],
    ),
    "two Transposes that undo each other": (there_and_back, ["Conv", "Relu"]),
    "two Transposes that undo each other, the first returned": (
        lambda n: there_and_back(n, shown), ["Conv", "Transpose", "Relu"],
    ),
    **{
        f"a softmax divided behind the product, by {how}": (
            lambda n, how=how: weighed(n, how), ["Conv", "MatMul", "Softmax", "MatMul"],
        )
        for how in ("sum", "apart", "product", "reciprocal")
    },
    "a softmax of columns divided behind the product": (
        lambda n: weighed(n, "sum", -2), ["Conv", "MatMul", "Softmax", "MatMul"],
    ),
    "- a product divided by the sum of others": (
        lambda n: weighed(n, "others"), ["Conv", "MatMul", "Exp", "MatMul", "Exp", "ReduceSum", "Div"],
    ),
    "- a product divided that the file returns": (
        lambda n: weighed(n, "sum", seen=True), ["Conv", "MatMul", "Exp", "MatMul", "ReduceSum", "Div"],
    ),
    **{
        f"global response normalisation, {written}": (lambda n, written=written: responses(n, written), [*GRN, "Relu"])
        for written in ("gain behind", "gain before", "one more")
    },
    "- two more than a gate": (
        lambda n: responses(n, "two more"),
        ["Conv", "Relu", "ReduceL2", "ReduceMean", "Add", "Div", "BatchNormalization", "Mul", "Add", "Relu"],
    ),
}  # fmt: skip
"""How a network begins, and the ops of its canonical form; "-" marks what looks like another and is none."""


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_spelling(name: str) -> None:
    holds(*FORMS[name])
