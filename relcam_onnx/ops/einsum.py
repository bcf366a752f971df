"""Einsum of two tensors, however their axes are named: a layer where one is constant, else a product."""

from __future__ import annotations

from collections import Counter
from string import ascii_letters
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import variables
from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.layer import Layer, Vector
from relcam_onnx.ops.product import einsum_product, is_product, receivers, role
from relcam_onnx.ops.records import Call, Linear, Term
from relcam_onnx.ops.table import every_input, op


class Labels(NamedTuple):
    """The axes of the computed operand, the other one and the output, a letter each; and which operand is computed.

    Where both are, the first one is taken for the computed one.
    """

    x: str
    w: str
    y: str
    computed: int


def labels(node: gs.Node) -> Labels:
    """The equation read: an output that is not named has what stands once, in order; an ellipsis gets letters."""
    left, arrow, y = node.attrs["equation"].replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow:
        counted = Counter(left.replace(",", "").replace(".", ""))
        y = ("..." if "..." in left else "") + "".join(sorted(c for c, count in counted.items() if count == 1))
    index = 1 if isinstance(node.inputs[0], gs.Constant) else 0
    x, w = operands[index], operands[1 - index]
    if "..." in x:
        free = [c for c in ascii_letters if c not in left]
        more = "".join(free[: len(node.inputs[index].shape or ()) - len(x) + 3])
        x, y = x.replace("...", more), y.replace("...", more)
    return Labels(x, w, y, index)


def einsum_refuses(node: gs.Node) -> str | None:
    """A weighted sum in which images of a batch stay apart, and the batch stays first."""
    if node.attrs["equation"].count(",") != 1 or not list(variables(node)):
        return "it is no product of two tensors"
    x, w, y, index = labels(node)
    if "." in w or ("..." in node.attrs["equation"] and node.inputs[index].shape is None):
        return "it does not tell how many axes its ellipsis stands for"
    if any(len(set(part)) < len(part) for part in (x, w, y)):
        return "it takes a diagonal"
    if is_product(node):
        shared = x[:1] == w[:1] == y[:1] != "" and set(x) <= set(w + y) and set(w) <= set(x + y)
        return None if shared else "both factors are computed, and the batch is not first in each of them"
    if not x or x[0] != y[:1] or x[0] in w:
        return "it moves the batch from the first axis, or mixes images"
    return "it sums over an axis of the picture alone" if set(x) - set(w) - set(y) else None


class Contraction(Layer):
    """Einsum's weights, their axes by name; the bias is the engine's own third input."""

    def weight(self, node: gs.Node) -> int:
        """See `Layer`."""
        return 1 - labels(node).computed

    def channels(self, node: gs.Node, rank: int) -> int | None:
        """See `Layer`: the one axis of the output that only the weight has."""
        x, _, y, _ = labels(node)
        new = [axis for axis, label in enumerate(y) if label not in x]
        return new[0] if len(new) == 1 else None

    def reads(self, node: gs.Node, rank: int) -> int | None:
        """See `Layer`: the one axis of the input that the output has not."""
        x, _, y, _ = labels(node)
        gone = [axis for axis, label in enumerate(x) if label not in y]
        return gone[0] if len(gone) == 1 else None

    def positions(self, node: gs.Node, rank: int) -> tuple[int, ...]:
        """See `Layer`."""
        x, _, y, _ = labels(node)
        return tuple(axis for axis, label in enumerate(y) if axis and label in x)

    def places(self, node: gs.Node) -> tuple[int | None, int | None]:
        """The axes of the weight that the channels read, and those made, run along."""
        x, w, y, _ = labels(node)
        inputs, outputs = self.reads(node, len(x)), self.channels(node, len(y))
        return (None if inputs is None else w.index(x[inputs])), (None if outputs is None else w.index(y[outputs]))

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`; 0 where no single axis has them."""
        inputs, outputs = ((0 if axis is None else self.sizes(node)[axis]) for axis in self.places(node))
        return inputs, outputs

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return self.along(node, factor, self.places(node)[1])

    def per_input(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return self.along(node, factor, self.places(node)[0])

    def along(self, node: gs.Node, factor: Vector, axis: int | None) -> Vector:
        """A vector as it broadcasts along one axis of the weight."""
        return factor.reshape([-1 if place == axis else 1 for place in range(len(self.sizes(node)))])

    def carried(self, node: gs.Node, shift: Vector) -> Vector | None:
        """See `Layer`."""
        weight, (inputs, outputs) = self.values(node), self.places(node)
        if weight.ndim != 2 or inputs is None or outputs is None:
            return None
        return np.asarray((weight * self.per_input(node, shift)).sum(axis=inputs))


@op(
    "Einsum",
    receivers=receivers,
    gradient_receivers=every_input,
    role=role,
    refuses=einsum_refuses,
    layer=Contraction(),
)
def einsum(f: Backend, call: Call) -> Linear:
    """Einsum, opset 12, of one computed tensor and one constant; of two computed ones see `relcam_onnx.ops.product`."""
    x, w, y, index = labels(call.node)
    if is_product(call.node):
        return einsum_product(f, call, x, w, y)
    channel = Contraction().channels(call.node, len(y))
    bias = call.get(2)
    if bias is not None and channel is not None:
        bias = f.Reshape(bias, [-1, *[1] * (len(y) - 1 - channel)])
    term = Term(
        call.value(index),
        apply=lambda value, weight: f.Einsum(value, weight, equation=f"{x},{w}->{y}"),
        adjoint=lambda s, weight: f.Einsum(s, weight, equation=f"{y},{w}->{x}"),
        weight=call.value(1 - index),
        nonnegative=index in call.nonnegative,
        index=index,
    )
    return Linear((term,), call.output, bias)
