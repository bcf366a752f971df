"""Networks with several inputs: two pictures through one encoder, in several spellings; numbers beside a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from nets import Dim, Net
from onnx import helper

Parts = Callable[[Net, str], tuple[str, str]]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def weights(net: Net, *, bias: bool) -> list[str]:
    """Of one encoder."""
    shapes = ((8, 3, 3, 3), 0.3), ((8,), 0.05), ((12, 8, 3, 3), 0.17), ((12,), 0.05)
    return [net.constant(net.normal(*shape, scale=scale)) for shape, scale in shapes if bias or len(shape) > 1]


def encoded(net: Net, x: str, layers: Sequence[str]) -> str:
    """Two convolutions of stride 2, pooled: (N, 12)."""
    half = len(layers) // 2
    for first in (0, half):
        x = net("Relu", net("Conv", x, *layers[first : first + half], pads=[1] * 4, strides=[2, 2]))
    return net("Flatten", net("GlobalAveragePool", x))


def pair(net: Net, batch: Dim, size: int = 16) -> None:
    net.input("right", batch, 3, size, size)


def towers(*, shared: bool = True, head: str = "classes", bias: bool = True, size: int = 16) -> onnx.ModelProto:
    """An encoder for each picture."""
    net = Net("N", 3, size, size, name="left")
    pair(net, "N", size)
    own = weights(net, bias=bias)
    other = own if shared else weights(net, bias=bias)
    return net.model(compared(net, encoded(net, "left", own), encoded(net, "right", other), head, bias=bias))


def compared(net: Net, left: str, right: str, head: str, *, bias: bool = True) -> str:
    """What becomes of two embeddings (N, 12)."""
    if head == "classes":
        return net.dense(net("Concat", left, right, axis=1), 24, 5, bias=bias, name="scores")
    apart = net("Sub", left, right)
    if head == "one":
        return net("Sigmoid", net.dense(net("Abs", apart), 12, 1), name="scores")
    return net("Sqrt", net("ReduceSum", net("Mul", apart, apart), ints(1), keepdims=1), name="scores")


def split(net: Net, x: str) -> tuple[str, str]:
    net.nodes.append(helper.make_node("Split", [x], ["a", "b"], "split", axis=0, num_outputs=2))
    return "a", "b"


def halved(net: Net, x: str) -> tuple[str, str]:
    """The first half of the rows, and the rest."""
    half = net("Div", net("Shape", x, start=0, end=1), ints(2))
    return net("Slice", x, ints(0), half, ints(0)), net("Slice", x, half, ints(2**62), ints(0))


def chunked(net: Net, x: str) -> tuple[str, str]:
    """As PyTorch's older exporter spells chunk."""
    half = net("Div", net("Add", net("Shape", x, start=0, end=1), ints(1)), ints(2))
    return net("Slice", x, ints(0), half, ints(0)), net("Slice", x, half, net("Mul", half, ints(2)), ints(0))


def apart(net: Net, x: str) -> tuple[str, str]:
    """An axis for the parts, taken one by one."""
    both = net("Reshape", x, ints(2, -1, 12))
    return net("Gather", both, ints(0)[0], axis=0), net("Gather", both, ints(1)[0], axis=0)


PARTINGS: dict[str, Parts] = {"split": split, "halved": halved, "chunked": chunked, "apart": apart}


def joined(parting: Parts, batch: Dim = "N", head: str = "classes") -> onnx.ModelProto:
    """Both pictures in one batch through one encoder: what `towers` computes."""
    net = Net(batch, 3, 16, 16, name="left")
    pair(net, batch)
    both = encoded(net, net("Concat", "left", "right", axis=0), weights(net, bias=True))
    return net.model(compared(net, *parting(net, both), head))


def late() -> onnx.ModelProto:
    """A convolution for each picture, and what follows for both at once."""
    net = Net("N", 3, 16, 16, name="left")
    pair(net, "N")
    own = [net("Relu", net.conv(x, 3, 8, stride=2)) for x in ("left", "right")]
    x = net("Relu", net.conv(net("Concat", *own, axis=1), 16, 12, stride=2))
    return net.model(net.head(net("Relu", net.conv(x, 12, 12, stride=2)), 12))


def early() -> onnx.ModelProto:
    """Both pictures as one of six channels."""
    net = Net("N", 3, 16, 16, name="left")
    pair(net, "N")
    return net.model(net.head(net("Relu", net.conv(net("Concat", "left", "right", axis=1), 6, 8, stride=2)), 8))


def with_vector(*, bias: bool = True) -> onnx.ModelProto:
    """A picture, four numbers beside it, and one number."""
    net = Net("N", 3, 16, 16, name="image")
    net.input("age", "N", 4)
    net.input("dose", "N")
    seen = encoded(net, "image", weights(net, bias=bias))
    told = net("Relu", net.dense("age", 4, 6, bias=bias))
    dose = net("Unsqueeze", "dose", ints(1))
    return net.model(net.dense(net("Concat", seen, told, dose, axis=1), 19, 5, bias=bias, name="scores"))
