"""The eager backend: ONNX's ops on NumPy arrays, the reference to step through and to audit.

It is a table. An op for which ONNX's reference implementation is right and fast enough has no line
here: the last method finds it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.backends import _conv, _movement, _pool, _resize
from relcam_onnx.backends import _elementwise as _each
from relcam_onnx.backends._arrays import Array
from relcam_onnx.backends._reference import grid_sample, reference, schema


class Eager:
    """Every op of ONNX's default domain as a method, in its form of opset 18 and newer.

    Inputs are positional, attributes are keywords under ONNX's names, optional inputs may be None. Arrays
    keep their dtype (float32 in, float32 out); Python numbers and lists take that of the arrays that they
    meet, or float32. An op with several outputs returns a tuple.

    Parameters
    ----------
    targets
        K, the number of targets explained at once. Relevance then has a leading axis of K·N: K blocks of N
        images.

    Raises
    ------
    AttributeError
        The attribute is no op of ONNX's default domain.
    TypeError
        The arrays of one call differ in dtype.
    """

    def __init__(self, targets: int = 1) -> None:
        self.targets = targets

    def each(self, a: Any) -> Any:
        """Repeat what comes from activations, (N, ...), once for each target: (K·N, ...), to meet relevance.

        What broadcasts anyway (one target, a scalar, a leading axis of one) is returned as it is.
        """
        if self.targets == 1 or a.ndim == 0 or a.shape[0] == 1:
            return a
        return np.concatenate([a] * self.targets)

    @staticmethod
    def sized(a: Any, dims: Any) -> Any:
        """The same: an array tells its sizes."""
        return a

    @staticmethod
    def constant(tensor: gs.Constant) -> Array:
        """The value of a constant of the model; floats of other sizes become float32."""
        value = np.asarray(tensor.values)
        return value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value

    @staticmethod
    def sizes(sizes: Sequence[Any]) -> Array:
        """Sizes as an int64 vector."""
        return np.array(sizes, np.int64)

    def conv_adjoint(
        self,
        s: Array,
        w: Array,
        *,
        size: Sequence[Any],
        kernel: Sequence[Any],
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[Any],
        group: Any,
    ) -> Array:
        """The adjoint of Conv over inputs of ``size``: a transposed convolution, grown by what no window reached."""
        unread = [
            (n + pads[i] + pads[i + len(size)] - d * (k - 1) - 1) % stride
            for i, (n, k, stride, d) in enumerate(zip(size, kernel, strides, dilations, strict=True))
        ]
        return self.ConvTranspose(
            s, w, strides=strides, dilations=dilations, pads=pads, group=group, output_padding=unread
        )

    @staticmethod
    def arrived(relevance: Any, activation: Any) -> Any:
        """Relevance as it arrives at a tensor: float32, and of its sizes but for the leading axis.

        Raises
        ------
        TypeError
            A formula has mixed dtypes: NumPy's operators widen where ONNX's refuse.
        """
        if relevance.dtype != np.float32:
            raise TypeError(f"relevance has become {relevance.dtype}: a rule or op has mixed dtypes; Cast to one")
        return relevance

    @staticmethod
    def number(size: Any) -> float:
        """A size as a float32 operand."""
        return float(size)

    @staticmethod
    def dims(a: Any) -> tuple[int, ...]:
        """The shape of an array."""
        return np.shape(a)

    Add = staticmethod(_each.binary(np.add))
    Sub = staticmethod(_each.binary(np.subtract))
    Mul = staticmethod(_each.binary(np.multiply))
    Div = staticmethod(_each.binary(_each.divide))
    Mod = staticmethod(_each.modulo)
    Pow = staticmethod(_each.power)
    MatMul = staticmethod(_each.binary(np.matmul))
    Einsum = staticmethod(_each.einsum)
    Max = staticmethod(_each.variadic(np.maximum))
    Min = staticmethod(_each.variadic(np.minimum))
    Sum = staticmethod(_each.variadic(np.add))
    Neg = staticmethod(_each.unary(np.negative))
    Abs = staticmethod(_each.unary(np.abs))
    Sign = staticmethod(_each.unary(np.sign))
    Sqrt = staticmethod(_each.unary(np.sqrt))
    Exp = staticmethod(_each.unary(np.exp))
    Log = staticmethod(_each.unary(np.log))
    Sin = staticmethod(_each.unary(np.sin))
    Cos = staticmethod(_each.unary(np.cos))
    Reciprocal = staticmethod(_each.unary(lambda x: 1 / x))
    Erf = staticmethod(_each.unary(_each.erf))
    Relu = staticmethod(_each.unary(lambda x: np.maximum(x, 0)))
    Sigmoid = staticmethod(_each.unary(_each.sigmoid))
    Tanh = staticmethod(_each.unary(np.tanh))
    Softplus = staticmethod(_each.unary(_each.softplus))
    Softmax = staticmethod(_each.softmax)
    Clip = staticmethod(_each.clip)

    Where = staticmethod(_each.where)
    Greater = staticmethod(_each.binary(np.greater))
    Less = staticmethod(_each.binary(np.less))
    Equal = staticmethod(_each.binary(np.equal))
    GreaterOrEqual = staticmethod(_each.binary(np.greater_equal))
    LessOrEqual = staticmethod(_each.binary(np.less_equal))
    And = staticmethod(_each.binary(np.logical_and))
    Or = staticmethod(_each.binary(np.logical_or))
    Not = staticmethod(_each.unary(np.logical_not))

    ReduceSum = staticmethod(_each.reduction(np.sum))
    ReduceMean = staticmethod(_each.reduction(np.mean))
    ReduceMax = staticmethod(_each.reduction(np.max))
    ReduceMin = staticmethod(_each.reduction(np.min))
    ReduceL2 = staticmethod(_each.reduction(_each.root_of_squares))

    Conv = staticmethod(_conv.conv)
    ConvTranspose = staticmethod(_conv.conv_transpose)
    MaxPool = staticmethod(_pool.max_pool)
    AveragePool = staticmethod(_pool.average_pool)
    GlobalAveragePool = staticmethod(_pool.global_average_pool)
    GlobalMaxPool = staticmethod(_pool.global_max_pool)
    Resize = staticmethod(_resize.resize)
    GridSample = staticmethod(grid_sample)

    Reshape = staticmethod(_movement.reshape)
    Transpose = staticmethod(_movement.transpose)
    Concat = staticmethod(_movement.concat)
    Split = staticmethod(_movement.split)
    Slice = staticmethod(_movement.slice_)
    Pad = staticmethod(_movement.pad)
    Gather = staticmethod(_movement.gather)
    GatherElements = staticmethod(_movement.gather_elements)
    ScatterElements = staticmethod(_movement.scatter_elements)
    TopK = staticmethod(_movement.top_k)
    OneHot = staticmethod(_movement.one_hot)
    Expand = staticmethod(_movement.expand)
    Tile = staticmethod(_movement.tile)
    Squeeze = staticmethod(_movement.squeeze)
    Unsqueeze = staticmethod(_movement.unsqueeze)
    Flatten = staticmethod(_movement.flatten)
    Shape = staticmethod(_movement.shape_of)
    Cast = staticmethod(_movement.cast)

    def __getattr__(self, op: str) -> Callable[..., Any]:
        schema(op)  # raises where there is no such op, so that hasattr() tells the truth
        return functools.partial(reference, op)
