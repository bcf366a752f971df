"""Elementwise ops, reductions and matrix products.

Floating-point warnings never escape: infinities and NaNs are results, as in every ONNX runtime.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from relcam_onnx.backends._arrays import Array, as_array, integers, operands


def unary(function: Callable[[Array], Array]) -> Callable[[ArrayLike], Array]:
    """Make an op of one operand."""

    @np.errstate(all="ignore")
    def op(x: ArrayLike) -> Array:
        return np.asarray(function(as_array(x)))

    return op


def binary(function: Callable[[Array, Array], Array]) -> Callable[[ArrayLike, ArrayLike], Array]:
    """Make an op of two operands of one dtype that broadcast."""

    @np.errstate(all="ignore")
    def op(a: ArrayLike, b: ArrayLike) -> Array:
        return np.asarray(function(*operands(a, b)))

    return op


def variadic(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Make an op of one or more operands of one dtype that broadcast, taken from left to right."""

    @np.errstate(all="ignore")
    def op(*values: ArrayLike) -> Array:
        return np.asarray(functools.reduce(function, operands(*values)))

    return op


def reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    """Make a ``Reduce`` op in the form of opset 18 and newer, where the axes are an input."""

    @np.errstate(all="ignore")
    def op(x: ArrayLike, axes: ArrayLike | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Array:
        x = as_array(x)
        over = None if axes is None else tuple(integers(axes))
        if not over:
            over = () if noop_with_empty_axes else None
        # Cast back: NumPy widens small integers when it adds.
        return np.asarray(function(x, axis=over, keepdims=bool(keepdims))).astype(x.dtype, copy=False)

    return op


def root_of_squares(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    """Compute the Euclidean length over some axes (ReduceL2)."""
    return np.asarray(np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)))


def divide(a: Array, b: Array) -> Array:
    """Divide; integers are rounded towards zero."""
    if a.dtype.kind not in "iu":
        return np.asarray(a / b)
    quotient = a // b
    return np.asarray(quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype))


@np.errstate(all="ignore")
def einsum(*values: ArrayLike, equation: str) -> Array:
    """Sum products over the axes that the equation names."""
    return np.asarray(np.einsum(equation, *operands(*values), optimize=True))


@np.errstate(all="ignore")
def modulo(a: ArrayLike, b: ArrayLike, *, fmod: int = 0) -> Array:
    """Compute what a division leaves, with the sign of the divisor; ``fmod``: with the dividend's."""
    return np.asarray((np.fmod if fmod else np.mod)(*operands(a, b)))


@np.errstate(all="ignore")
def power(x: ArrayLike, exponent: ArrayLike) -> Array:
    """Compute ``x ** exponent`` in the dtype of ``x``; ONNX lets the exponent have another."""
    x = as_array(x)
    return np.asarray(x**exponent).astype(x.dtype, copy=False)


def sigmoid(x: Array) -> Array:
    """Compute the logistic function through exp(-|x|), which never overflows."""
    decay = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, np.ones_like(decay), decay) / (1 + decay))


def softplus(x: Array) -> Array:
    """Compute ``log(1 + exp(x))`` without overflow."""
    return np.asarray(np.logaddexp(x, np.zeros_like(x)))


def erf(x: Array) -> Array:
    """Compute the error function with the standard library's, value by value."""
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


@np.errstate(all="ignore")
def softmax(x: ArrayLike, *, axis: int = -1) -> Array:
    """Divide exponentials by their sum along one axis."""
    x = as_array(x)
    shifted = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def clip(x: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None) -> Array:
    """Raise what is below ``low`` and lower what is above ``high``; None is no bound."""
    result = as_array(x)
    if low is not None:
        result = np.maximum(*operands(result, low))
    if high is not None:
        result = np.minimum(*operands(result, high))
    return np.asarray(result)


def where(condition: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    """Choose ``a`` where the condition holds, else ``b``."""
    return np.where(np.asarray(condition, dtype=bool), *operands(a, b))
