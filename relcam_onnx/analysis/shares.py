"""Which tensors hold shares of 1, whatever a network makes of its softmaxes and sigmoids: bounds of their values.

Means of several networks' shares, the largest of all places, what was resized or weighed: no squashing, but in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.identity import integers, over
from relcam_onnx.model import Model, producer, static_shape
from relcam_onnx.onnx_file.contrib_ops import TRUTH


class Span(NamedTuple):
    """The smallest and the largest value of a tensor, and the axis along which a softmax made its numbers compete."""

    low: float
    high: float
    axis: int | None = None


Known = Mapping[str, Span]
Rule = Callable[[gs.Node, Known], Span | None]
UNIT = Span(0.0, 1.0)
EVERY = Span(-math.inf, math.inf)


def spans(model: Model) -> dict[str, Span]:
    """Tensor -> its bounds, of all to which softmaxes, sigmoids and their like can be followed."""
    known: dict[str, Span] = {}
    for node in model.graph.nodes:
        rule = RULES.get(node.op)
        if rule is not None and is_op(node, node.op) and node.inputs and len(node.outputs) == 1:
            found = rule(node, known)
            if found is not None and not math.isnan(found.low + found.high):
                known[node.outputs[0].name] = found
    return known


def of(tensor: gs.Tensor, known: Known) -> Span | None:
    """What is known of an operand; of a constant its values."""
    if isinstance(tensor, gs.Constant):
        values = np.asarray(tensor.values)
        return Span(float(values.min()), float(values.max())) if values.size and values.dtype.kind in "fiu" else None
    return known.get(tensor.name)


def all_of(node: gs.Node, known: Known) -> list[Span]:
    """What is known of all operands; nothing where one is not known."""
    found = [of(tensor, known) for tensor in node.inputs[is_op(node, "Where") :]]
    return [] if None in found else [span for span in found if span is not None]


def competing(node: gs.Node, spans: Sequence[Span]) -> int | None:
    """The axis along which numbers compete that are made of such element by element."""
    rank, operands = len(node.outputs[0].shape or ()), node.inputs[is_op(node, "Where") :]
    axes = {rank - len(t.shape or ()) + s.axis for t, s in zip(operands, spans, strict=True) if s.axis is not None}
    return axes.pop() if len(axes) == 1 else None


def kept(node: gs.Node, known: Known) -> Span | None:
    """As they were."""
    return known.get(node.inputs[0].name)


def softmax(node: gs.Node, known: Known) -> Span:
    """Classes that compete."""
    rank = len(node.inputs[0].shape or ())
    return Span(0.0, 1.0, int(node.attrs.get("axis", -1)) % rank if rank else None)


def rectified(node: gs.Node, known: Known) -> Span | None:
    """What is not below 0 stays; nothing else does."""
    low, high, axis = kept(node, known) or EVERY
    if low < 0 and not is_op(node, "Relu"):
        return Span(0.0, math.inf) if is_op(node, "Abs") else None
    return Span(max(low, 0.0), max(high, 0.0), axis)


def clipped(node: gs.Node, known: Known) -> Span | None:
    """Within bounds that stand in the file."""
    low, high, axis = kept(node, known) or EVERY
    for tensor, bound in zip(node.inputs[1:], (max, min), strict=False):
        if isinstance(tensor, gs.Constant):
            low, high = (bound(end, float(tensor.values.reshape(-1)[0])) for end in (low, high))
    return Span(low, high, axis)


def either(node: gs.Node, known: Known) -> Span | None:
    """Values of several, by their size, by a condition or side by side: classes of two softmaxes do not compete."""
    found = all_of(node, known)
    if not found:
        return None
    axis = competing(node, found)
    apart = is_op(node, "Concat") and axis == int(node.attrs["axis"]) % len(node.inputs[0].shape or (1,))
    return Span(min(s.low for s in found), max(s.high for s in found), None if apart else axis)


def arithmetic(node: gs.Node, known: Known) -> Span | None:
    """A sum, difference, product or quotient."""
    found = all_of(node, known)
    if not found or (is_op(node, "Div") and found[1].low <= 0):
        return of_its_sum(node, known)
    axis = competing(node, found)
    if is_op(node, "Add", "Sum", "Mean"):
        count = len(found) if is_op(node, "Mean") else 1
        return Span(sum(s.low for s in found) / count, sum(s.high for s in found) / count, axis)
    a, b = found
    if is_op(node, "Sub"):
        return Span(a.low - b.high, a.high - b.low)
    b = Span(1 / b.high, 1 / b.low) if is_op(node, "Div") else b
    ends = [first * second if first and second else 0.0 for first in a[:2] for second in b[:2]]
    return Span(min(ends), max(ends), axis if min(ends) >= 0 else None)


def scaled(node: gs.Node, known: Known) -> Span | None:
    """A scale and a shift for each channel, as canon joins them."""
    span, spelled = kept(node, known), read(node)
    if span is None or spelled is None:
        return None
    if math.isinf(span.high - span.low):
        return None
    ends = [end * spelled[1].scale + spelled[1].shift for end in span[:2]]
    same = span.axis if (spelled[1].scale >= 0).all() else None
    return Span(float(np.min(ends)), float(np.max(ends)), same)


def of_its_sum(node: gs.Node, known: Known) -> Span | None:
    """Numbers not below 0 over what they sum to, or a little more."""
    if not is_op(node, "Div"):
        return None
    values, divisor = node.inputs[0], producer(node.inputs[1])
    while is_op(divisor, "Add", "Clip", "Max", "Identity", "Cast", "Expand"):
        divisor = producer(divisor.inputs[0])
    span = of(values, known)
    if span is None or span.low < 0 or not is_op(divisor, "ReduceSum", "ReduceL1") or divisor.inputs[0] is not values:
        return None
    axes = integers(divisor, 1) or []
    return Span(0.0, 1.0, axes[0] % len(values.shape) if len(axes) == 1 else None)


def power(node: gs.Node, known: Known) -> Span | None:
    """Of what is not below 0, to a power above 0."""
    span, by = kept(node, known), Span(0.5, 0.5) if is_op(node, "Sqrt") else of(node.inputs[1], known)
    if span is None or by is None or span.low < 0 or by.low <= 0:
        return None
    ends = [end**each for end in span[:2] for each in by[:2]]
    return Span(min(ends), max(ends), span.axis)


def reduced(node: gs.Node, known: Known) -> Span | None:
    """Over some axes: a mean, the largest or smallest, a product of shares, a sum of parts of a softmax."""
    span, axes = kept(node, known), over(node)
    if span is None or not axes:
        return None
    if is_op(node, "ReduceSum", "ReduceProd"):
        shares = is_op(node, "ReduceProd") and span.low >= 0 and span.high <= 1
        return UNIT if shares or axes == [sums_to_one(node.inputs[0])] else None
    if span.axis is None or span.axis in axes:
        return Span(span.low, span.high)
    gone = 0 if node.attrs.get("keepdims", 1) else sum(axis < span.axis for axis in axes)
    return span._replace(axis=span.axis - gone)


def sums_to_one(tensor: gs.Tensor) -> int | None:
    """The axis along which a tensor holds a softmax, or some of its classes."""
    node = producer(tensor)
    while is_op(node, "Slice", "Identity", "Cast"):
        node = producer(node.inputs[0])
    return softmax(node, {}).axis if is_op(node, "Softmax") else None


def pooled(node: gs.Node, known: Known) -> Span | None:
    """Over places; padding may be 0."""
    span = kept(node, known)
    return None if span is None else Span(min(span.low, 0.0), max(span.high, 0.0), span.axis)


def resized(node: gs.Node, known: Known) -> Span | None:
    """Between the values that are there: not by cubics, nor by what stands outside."""
    outside = node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return None if outside or node.attrs.get("mode", "nearest") == "cubic" else kept(node, known)


def moved(node: gs.Node, known: Known) -> Span | None:
    """Elements elsewhere, or some of them; where their axis of classes went."""
    span, before, after = kept(node, known), static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if span is None or span.axis is None or before is None or after is None:
        return None if span is None else Span(span.low, span.high)
    axis: int | None = span.axis
    if is_op(node, "Transpose"):
        axis = permutation(node).index(span.axis)
    elif is_op(node, "Gather"):
        along, more = int(node.attrs.get("axis", 0)) % len(before), len(after) - len(before)
        axis = span.axis + more * (along < span.axis) if along != span.axis or not more else None
    elif is_op(node, *RESHAPES):
        size, ahead = before[span.axis], [n for n in before[: span.axis] if n != 1]
        where = [i for i, n in enumerate(after) if n == size != 1 and [m for m in after[:i] if m != 1] == ahead]
        axis = where[0] if where else None
    return span._replace(axis=axis)


def weighed(node: gs.Node, known: Known) -> Span | None:
    """Classes that are merged by a matrix of the file: means of its numbers."""
    weight, last = node.inputs[1], len(node.inputs[0].shape or ()) - 1
    scaled = any(node.attrs.get(name, plain) != plain for name, plain in (("transA", 0), ("alpha", 1.0), ("beta", 1.0)))
    if not isinstance(weight, gs.Constant) or scaled or sums_to_one(node.inputs[0]) != last:
        return None
    bias = of(node.inputs[2], known) if len(node.inputs) > 2 else Span(0.0, 0.0)
    low, high = min(0.0, float(weight.values.min())), max(0.0, float(weight.values.max()))
    return None if bias is None else Span(low + bias.low, high + bias.high, last)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("Softmax", "Hardmax"), softmax),
    **dict.fromkeys(("Sigmoid", "HardSigmoid", *TRUTH), lambda node, known: UNIT),
    **dict.fromkeys(("Exp", "Softplus", "ReduceL1", "ReduceL2"), lambda node, known: Span(0.0, math.inf)),
    **dict.fromkeys(("Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear"), kept),
    **dict.fromkeys(("Relu", "LeakyRelu", "Abs"), rectified),
    **dict.fromkeys(("Max", "Min", "Where", "Concat"), either),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum", "Mean"), arithmetic),
    **dict.fromkeys(("Pow", "Sqrt"), power),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum"), reduced),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "MaxPool", "GlobalMaxPool"), pooled),
    **dict.fromkeys(("Transpose", "Gather", "GatherElements", "Slice", "Expand", "Tile", *RESHAPES), moved),
    **dict.fromkeys(("MatMul", "Gemm"), weighed),
    "BatchNormalization": scaled, "Clip": clipped, "Resize": resized,
}  # fmt: skip
