"""Ops whose weights are a matrix or a diagonal: Gemm, MatMul by a constant, BatchNormalization.

Each is y = apply(x, w) + b with an exact adjoint, so that every rule of `relcam_onnx.rules` applies to it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.layer import Layer, Vector
from relcam_onnx.ops.product import is_product, matrix_product, moving, product_refuses, receivers, role
from relcam_onnx.ops.records import Call, Linear, Term
from relcam_onnx.ops.table import op


def gemm_refuses(node: gs.Node) -> str | None:
    """Only x · B with a constant B is a layer."""
    if node.attrs.get("transA"):
        return "transA=1 puts the batch last"
    return None if isinstance(node.inputs[1], gs.Constant) else "both factors are computed, as in attention"


class Matrix(Layer):
    """Gemm's weights: (inputs, outputs), turned around by ``transB``; beta scales the bias."""

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`."""
        rows, columns = self.sizes(node)
        return (columns, rows) if node.attrs.get("transB") else (rows, columns)

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape((-1, 1) if node.attrs.get("transB") else (1, -1))

    def per_input(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape((1, -1) if node.attrs.get("transB") else (-1, 1))

    def carried(self, node: gs.Node, shift: Vector) -> Vector:
        """See `Layer`."""
        weight = self.values(node) * node.attrs.get("alpha", 1.0)
        return np.asarray(weight @ shift if node.attrs.get("transB") else shift @ weight)

    def offset(self, node: gs.Node) -> Vector | None:
        """See `Layer`."""
        held = super().offset(node)
        return None if held is None else held * node.attrs.get("beta", 1.0)

    def put(self, node: gs.Node, weight: gs.Constant, bias: gs.Constant) -> None:
        """See `Layer`."""
        super().put(node, weight, bias)
        node.attrs["beta"] = 1.0


@op("Gemm", role="conv", refuses=gemm_refuses, layer=Matrix())
def gemm(f: Backend, call: Call) -> Linear:
    """Gemm, opset 13, with the constant on the right: alpha · x · B + beta · C."""
    weight, alpha, beta = call.value(1), call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if call.attr("transB", 0):
        weight = f.Transpose(weight, perm=[1, 0])
    if alpha != 1.0:
        weight = weight * alpha
    bias = call.get(2)
    if bias is not None and beta != 1.0:
        bias = bias * beta
    term = Term(
        call.x,
        apply=f.MatMul,
        adjoint=lambda s, w: f.MatMul(s, f.Transpose(w, perm=[1, 0])),
        weight=weight,
        nonnegative=0 in call.nonnegative,
    )
    return Linear((term,), call.output, bias)


def matmul_refuses(node: gs.Node) -> str | None:
    """A stack of matrices leaves the batch alone."""
    if is_product(node):
        return product_refuses(node)
    constants = [t for t in node.inputs[:2] if isinstance(t, gs.Constant)]
    stack = constants[0].shape
    ranks = [len(t.shape) for t in node.inputs[:2] if t is not constants[0] and t.shape is not None]
    if len(stack) >= 3 and ranks and (len(stack) > ranks[0] or (len(stack) == ranks[0] and stack[0] != 1)):
        return "it stacks matrices along the batch"
    return "its constant stands on the left of a matrix, whose batch is then last" if is_table(node) else None


def is_table(node: gs.Node) -> bool:
    """Whether a constant on the left meets a computed matrix, not a stack of them."""
    return isinstance(node.inputs[0], gs.Constant) and len(node.inputs[1].shape or (0, 0, 0)) == 2


class Matrices(Layer):
    """MatMul's weights: (..., inputs, outputs) on the right, (..., outputs, inputs) on the left.

    The bias is the engine's own third input. Leading axes, where there are some, have weights of their own.
    """

    def weight(self, node: gs.Node) -> int:
        """See `Layer`."""
        return 0 if isinstance(node.inputs[0], gs.Constant) else 1

    def channels(self, node: gs.Node, rank: int) -> int:
        """See `Layer`."""
        return rank - 1 if self.weight(node) else rank - 2

    def reads(self, node: gs.Node, rank: int) -> int:
        """See `Layer`."""
        return self.channels(node, rank)

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`."""
        *_, rows, columns = self.sizes(node)
        return (rows, columns) if self.weight(node) else (columns, rows)

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape((1, -1) if self.weight(node) else (-1, 1))

    def per_input(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor.reshape((-1, 1) if self.weight(node) else (1, -1))

    def carried(self, node: gs.Node, shift: Vector) -> Vector | None:
        """See `Layer`: every stacked matrix adds something else."""
        *stack, rows, columns = self.sizes(node)
        if any(size != 1 for size in stack):
            return None
        weight = self.values(node).reshape(rows, columns)
        return np.asarray(shift @ weight if self.weight(node) else weight @ shift)


@op(
    "MatMul",
    receivers=receivers,
    gradient_receivers=moving,
    role=role,
    refuses=matmul_refuses,
    layer=Matrices(),
)
def matmul(f: Backend, call: Call) -> Linear:
    """MatMul, opset 13, by a constant matrix on either side; a bias that canon found stands as a third input.

    Of two computed tensors see `relcam_onnx.ops.product`.
    """
    if is_product(call.node):
        return matrix_product(f, call)
    left = call.constant(0)
    weight = call.x if left else call.value(1)
    swap = [*range(len(f.dims(weight)) - 2), len(f.dims(weight)) - 1, len(f.dims(weight)) - 2]
    x = call.value(1 if left else 0)
    stacks, repeated = len(f.dims(call.output)) - 2, [1] * (len(f.dims(call.output)) - len(f.dims(x)))
    shared = [*repeated, *f.dims(x)][:stacks]
    # A stack of matrices multiplies what it finds once with each of them: the way back sums.
    summed = [i for i in range(1, stacks) if shared[i] == 1 and f.dims(call.output)[i] != 1]

    def adjoint(s: Value, w: Any) -> Value:
        turned = f.Transpose(w, perm=swap)
        back = f.MatMul(turned, s) if left else f.MatMul(s, turned)
        return f.ReduceSum(back, summed, keepdims=1) if summed else back

    term = Term(
        x,
        apply=lambda x, w: f.MatMul(w, x) if left else f.MatMul(x, w),
        adjoint=adjoint,
        weight=weight,
        nonnegative=(1 if left else 0) in call.nonnegative,
        index=1 if left else 0,
    )
    bias = call.get(2)
    return Linear((term,), call.output, f.Reshape(bias, [-1, 1]) if left and bias is not None else bias)


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


class Statistics(Layer):
    """BatchNormalization: its scale is the weight, its shift the bias, after mean and variance have been taken out."""

    def counts(self, node: gs.Node) -> tuple[int, int]:
        """See `Layer`."""
        channels = math.prod(self.sizes(node))
        return channels, channels

    def per_output(self, node: gs.Node, factor: Vector) -> Vector:
        """See `Layer`."""
        return factor

    def per_input(self, node: gs.Node, factor: Vector) -> None:
        """See `Layer`: the mean would have to follow."""
        return

    def carried(self, node: gs.Node, shift: Vector) -> Vector:
        """See `Layer`."""
        return np.asarray(shift * scale_and_shift(node)[0])


@op("BatchNormalization", role="batch-norm", refuses=batch_norm_refuses, layer=Statistics())
def batch_normalization(f: Backend, call: Call) -> Linear:
    """BatchNormalization, opset 15: a diagonal convolution; ``axis``, which canon sets, is where its channels are."""
    axis, rank = call.attr("axis", 1), len(f.dims(call.output))
    shape = [-1 if place == axis else 1 for place in range(rank)]
    vectors: list[NDArray[Any]] = [v.astype(np.float32).reshape(shape) for v in scale_and_shift(call.node)]
    factor, shift = vectors
    return diagonal(f, call, factor, shift)


def diagonal(f: Backend, call: Call, weight: Value, bias: Value | None) -> Linear:
    """Y = x · w + b, element by element, w of the model or of this image's statistics."""
    term = Term(
        call.x,
        apply=lambda x, w: x * w,
        adjoint=lambda s, w: s * f.each(w),
        weight=weight,
        nonnegative=0 in call.nonnegative,
        diagonal=True,
    )
    return Linear((term,), call.output, bias)
