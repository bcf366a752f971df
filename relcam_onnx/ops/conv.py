"""Conv and ConvTranspose: y = apply(x, w) + b with an exact adjoint, so that every rule applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.grids import transposed_grids, window_grids
from relcam_onnx.ops.layer import Layer, Vector
from relcam_onnx.ops.records import Call, Linear, Term
from relcam_onnx.ops.table import op

Apply: TypeAlias = Callable[[Value, Any], Value]


def explicit_pads(
    call: Call, kernel: Sequence[Size], size: Sequence[Size], strides: Sequence[int], dilations: Sequence[int]
) -> list[Any]:
    """``pads`` as [begin..., end...], with ``auto_pad`` resolved for this input size (ONNX Conv, pools)."""
    mode = call.attr("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return list(call.attr("pads", [0] * (2 * len(size))))
    if mode == "VALID":
        return [0] * (2 * len(size))
    total = [
        max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if mode == "SAME_UPPER" else more + less


def weight_refuses(node: gs.Node) -> str | None:
    """A convolution whose kernel is computed from the picture has no weights to share by."""
    return None if isinstance(node.inputs[1], gs.Constant) else "its weight is computed, not a constant of the file"


def window_map(
    f: Backend,
    size: Sequence[Size],
    kernel: Sequence[Size],
    strides: list[int],
    dilations: list[int],
    pads: list[Size],
    group: Size,
) -> tuple[Apply, Apply]:
    """A convolution over inputs of this size, and its exact adjoint: both (value, weight) -> value."""
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    return (
        lambda x, w: f.Conv(x, w, **attrs),
        lambda s, w: f.conv_adjoint(s, w, size=list(size), kernel=list(kernel), **attrs),
    )


class Kernel(Layer):
    """Weights (outputs, inputs / group, positions...)."""

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`."""
        outputs, inputs = self.sizes(node)[:2]
        return inputs * int(node.attrs.get("group", 1)), outputs

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape(-1, *[1] * (len(self.sizes(node)) - 1))

    def per_input(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`: each group of outputs reads inputs of its own."""
        (outputs, inputs, *kernel), group = self.sizes(node), int(node.attrs.get("group", 1))
        rows = np.repeat(factor.reshape(group, inputs), outputs // group, axis=0)
        return rows.reshape(outputs, inputs, *[1] * len(kernel))

    def carried(self, node: gs.Node, shift: Vector) -> Vector | None:
        """See `Layer`: where a window reads padding, less arrives."""
        if any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return None
        weight = self.values(node)
        return np.asarray((weight * self.per_input(node, shift)).reshape(len(weight), -1).sum(axis=1))


@op("Conv", grids=window_grids, role="conv", refuses=weight_refuses, layer=Kernel())
def conv(f: Backend, call: Call) -> Linear:
    """Conv, opset 11: 1-D, 2-D and 3-D, with stride, dilation, groups and any padding."""
    x, weight = call.x, call.value(1)
    size, kernel = f.dims(x)[2:], f.dims(weight)[2:]
    ones = [1] * len(size)
    strides, dilations = list(call.attr("strides", ones)), list(call.attr("dilations", ones))
    pads = explicit_pads(call, kernel, size, strides, dilations)
    apply, adjoint = window_map(f, size, kernel, strides, dilations, pads, call.attr("group", 1))
    term = Term(x, apply, adjoint, weight, 0 in call.nonnegative)
    return Linear((term,), call.output, bias_of(f, call))


class TransposedKernel(Layer):
    """Weights (inputs, outputs / group, positions...)."""

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`."""
        inputs, outputs = self.sizes(node)[:2]
        return inputs, outputs * int(node.attrs.get("group", 1))

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`: each group of inputs makes outputs of its own."""
        (inputs, outputs, *kernel), group = self.sizes(node), int(node.attrs.get("group", 1))
        rows = np.repeat(factor.reshape(group, outputs), inputs // group, axis=0)
        return rows.reshape(inputs, outputs, *[1] * len(kernel))

    def per_input(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape(-1, *[1] * (len(self.sizes(node)) - 1))

    def carried(self, node: gs.Node, shift: Vector) -> None:
        """See `Layer`: how many taps reach a position differs."""
        return


@op("ConvTranspose", grids=transposed_grids, role="conv", refuses=weight_refuses, layer=TransposedKernel())
def conv_transpose(f: Backend, call: Call) -> Linear:
    """ConvTranspose, opset 11; ``output_shape`` and ``auto_pad`` are resolved to pads."""
    x, weight = call.x, call.value(1)
    size, kernel, out = f.dims(x)[2:], f.dims(weight)[2:], f.dims(call.output)[2:]
    ones = [1] * len(size)
    strides, dilations = list(call.attr("strides", ones)), list(call.attr("dilations", ones))
    grown = list(call.attr("output_padding", [0] * len(size)))
    pads = list(call.attr("pads", [0] * (2 * len(size))))
    if call.attr("auto_pad", "NOTSET") != "NOTSET" or call.node.attrs.get("output_shape") is not None:
        total = [
            max(0, s * (n - 1) + g + d * (k - 1) + 1 - o)
            for n, k, s, d, g, o in zip(size, kernel, strides, dilations, grown, out, strict=True)
        ]
        less, more = [t // 2 for t in total], [t - t // 2 for t in total]
        # ONNX: SAME_UPPER puts the odd one at the end; every other mode, output_shape's included, at the beginning.
        pads = less + more if call.attr("auto_pad", "NOTSET") == "SAME_UPPER" else more + less
        grown = [
            o - (s * (n - 1) + d * (k - 1) + 1 - t)
            for n, k, s, d, o, t in zip(size, kernel, strides, dilations, out, total, strict=True)
        ]
    attrs: dict[str, Any] = {
        "strides": strides, "dilations": dilations, "pads": pads, "group": call.attr("group", 1),
    }  # fmt: skip
    term = Term(
        x,
        apply=lambda x, w: f.ConvTranspose(x, w, output_padding=grown, **attrs),
        adjoint=lambda s, w: f.Conv(s, w, **attrs),
        weight=weight,
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output, bias_of(f, call))


def bias_of(f: Backend, call: Call) -> Value | None:
    """Input 2, as it is added to the output."""
    bias = call.get(2)
    return None if bias is None else per_channel(f, bias, call.output)


def per_channel(f: Backend, vector: Value, like: Value) -> Value:
    """A (C,) vector shaped to broadcast over the positions of ``like``, (1, C, 1, ...)."""
    return f.Reshape(vector, [1, -1, *[1] * (len(f.dims(like)) - 2)])
