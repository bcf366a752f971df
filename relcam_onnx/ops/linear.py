"""Ops with weights: Conv, ConvTranspose, Gemm, MatMul by a constant, BatchNormalization, a constant that is added.

Each is y = apply(x, w) + b with an exact adjoint, so that every rule of `relcam_onnx.rules` applies to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.ops.grids import transposed_grids, window_grids
from relcam_onnx.ops.records import Backend, Call, Linear, Term, Value
from relcam_onnx.ops.table import Affine, op

Apply: TypeAlias = Callable[[Value, Value], Value]


def explicit_pads(
    call: Call, kernel: Sequence[int], size: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
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
    size: Sequence[int],
    kernel: Sequence[int],
    strides: list[int],
    dilations: list[int],
    pads: list[int],
    group: int,
) -> tuple[Apply, Apply]:
    """A convolution over inputs of this size, and its exact adjoint: both (value, weight) -> value."""
    attrs: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    return (
        lambda x, w: f.Conv(x, w, **attrs),
        lambda s, w: f.conv_adjoint(s, w, size=list(size), kernel=list(kernel), **attrs),
    )


@op("Conv", grids=window_grids, role="conv", refuses=weight_refuses)
def conv(f: Backend, call: Call) -> Linear:
    """Conv, opset 11: 1-D, 2-D and 3-D, with stride, dilation, groups and any padding."""
    x, weight = call.inputs[0], call.inputs[1]
    size, kernel = f.dims(x)[2:], f.dims(weight)[2:]
    ones = [1] * len(size)
    strides, dilations = list(call.attr("strides", ones)), list(call.attr("dilations", ones))
    pads = explicit_pads(call, kernel, size, strides, dilations)
    apply, adjoint = window_map(f, size, kernel, strides, dilations, pads, call.attr("group", 1))
    term = Term(x, apply, adjoint, weight, 0 in call.nonnegative)
    return Linear((term,), call.output, per_channel(f, call.get(2), call.output))


@op("ConvTranspose", grids=transposed_grids, role="conv", refuses=weight_refuses)
def conv_transpose(f: Backend, call: Call) -> Linear:
    """ConvTranspose, opset 11; ``output_shape`` and ``auto_pad`` are resolved to pads."""
    x, weight = call.inputs[0], call.inputs[1]
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
    return Linear((term,), call.output, per_channel(f, call.get(2), call.output))


def gemm_refuses(node: gs.Node) -> str | None:
    """Only x · B with a constant B is a layer."""
    if node.attrs.get("transA"):
        return "transA=1 puts the batch last"
    return None if isinstance(node.inputs[1], gs.Constant) else "both factors are computed"


@op("Gemm", role="conv", refuses=gemm_refuses)
def gemm(f: Backend, call: Call) -> Linear:
    """Gemm, opset 13, with the constant on the right: alpha · x · B + beta · C."""
    weight, alpha, beta = call.inputs[1], call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if call.attr("transB", 0):
        weight = f.Transpose(weight, perm=[1, 0])
    if alpha != 1.0:
        weight = f.Mul(weight, alpha)
    bias = call.get(2)
    if bias is not None and beta != 1.0:
        bias = f.Mul(bias, beta)
    term = Term(
        call.inputs[0],
        apply=f.MatMul,
        adjoint=lambda s, w: f.MatMul(s, f.Transpose(w, perm=[1, 0])),
        weight=weight,
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output, bias)


def matmul_carries(node: gs.Node) -> tuple[int, ...]:
    """The operand that is no constant."""
    return (1,) if isinstance(node.inputs[0], gs.Constant) else (0,)


def matmul_refuses(node: gs.Node) -> str | None:
    """A product of two computed tensors (attention) has no weights."""
    constants = sum(isinstance(t, gs.Constant) for t in node.inputs[:2])
    return None if constants == 1 else "both factors are computed"


@op("MatMul", carries=matmul_carries, role="conv", refuses=matmul_refuses)
def matmul(f: Backend, call: Call) -> Linear:
    """MatMul, opset 13, by a constant matrix on either side; a bias that canon found stands as a third input."""
    left = call.constant(0)
    weight = call.inputs[0] if left else call.inputs[1]
    swap = [*range(len(f.dims(weight)) - 2), len(f.dims(weight)) - 1, len(f.dims(weight)) - 2]

    def adjoint(s: Value, w: Value) -> Value:
        turned = f.Transpose(w, perm=swap)
        return f.MatMul(turned, s) if left else f.MatMul(s, turned)

    term = Term(
        call.inputs[1 if left else 0],
        apply=lambda x, w: f.MatMul(w, x) if left else f.MatMul(x, w),
        adjoint=adjoint,
        weight=weight,
        nonnegative=(1 if left else 0) in call.nonnegative,
        index=1 if left else 0,
    )
    return Linear((term,), call.output, call.get(2))


def scale_and_shift(node: gs.Node) -> tuple[np.ndarray, np.ndarray]:
    """BatchNormalization, opset 15, in inference: y = x · scale + shift, both float64 (C,)."""
    scale, shift, mean, variance = (np.asarray(t.values, np.float64) for t in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.attrs.get("epsilon", 1e-5))
    return factor, shift - mean * factor


def batch_norm_refuses(node: gs.Node) -> str | None:
    """Inference only, with statistics in the file."""
    if node.attrs.get("training_mode"):
        return "training_mode=1"
    return None if all(isinstance(t, gs.Constant) for t in node.inputs[1:5]) else "its statistics are computed"


def batch_norm_affine(node: gs.Node) -> Affine | None:
    """Scale and shift, where the file has them."""
    return scale_and_shift(node) if batch_norm_refuses(node) is None else None


@op("BatchNormalization", affine=batch_norm_affine, role="batch-norm", refuses=batch_norm_refuses)
def batch_normalization(f: Backend, call: Call) -> Linear:
    """BatchNormalization, opset 15: a diagonal convolution."""
    factor, shift = (v.astype(np.float32) for v in scale_and_shift(call.node))
    return diagonal(f, call, per_channel(f, factor, call.output), per_channel(f, shift, call.output))


def diagonal(f: Backend, call: Call, weight: Value, bias: Value | None) -> Linear:
    """Y = x · w + b, element by element, w of the model or of this image's statistics."""
    term = Term(
        call.inputs[0],
        apply=f.Mul,
        adjoint=lambda s, w: f.Mul(s, f.each(w)),
        weight=weight,
        nonnegative=0 in call.nonnegative,
        diagonal=True,
    )
    return Linear((term,), call.output, bias)


def per_channel(f: Backend, vector: Value | None, like: Value) -> Value | None:
    """A (C,) vector shaped to broadcast over the positions of ``like``, (1, C, 1, ...)."""
    if vector is None:
        return None
    return f.Reshape(vector, [1, -1, *[1] * (len(f.dims(like)) - 2)])
