"""What ONNX says of an op without running it: which inputs are integers, and the types and sizes of its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx

from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.ops.backend import Size

TRUTH = frozenset({"Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Not"})
ELEMENTWISE = TRUTH | {
    "Abs", "Add", "Cast", "Clip", "Div", "Exp", "Identity", "Log", "Max", "Mean", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Sign", "Sqrt", "Sub", "Sum", "Tanh", "Where",
}  # fmt: skip
COUNTS = frozenset({"Shape", "ArgMax", "ArgMin", "Size"})


@cache
def integral(op: str) -> frozenset[int]:
    """The inputs that ONNX takes as int64 alone, such as axes, sizes and indices."""
    inputs = onnx.defs.get_schema(op).inputs
    return frozenset(i for i, slot in enumerate(inputs) if slot.types <= {"tensor(int32)", "tensor(int64)"})


def is_constant(values: Sequence[Any]) -> bool:
    """Whether arguments are constants of the file, or made of such alone."""
    return all(value.constant if isinstance(value, Symbol) else True for value in values)


def result_dims(op: str, values: Sequence[Any], attributes: Mapping[str, Any]) -> tuple[Size, ...] | None:
    """The sizes of what is made of weights, which lowerings ask for, and of what is moved or cut; else None."""
    sizes = [v.dims if isinstance(v, Symbol) else np.shape(v) for v in values if v is not None]
    if op == "Transpose" and (dims := sizes[0]) is not None:
        return tuple(dims[axis] for axis in attributes.get("perm", range(len(dims))[::-1]))
    if op == "Reshape":
        return reshaped_dims(sizes[0], values[1])
    if op == "Slice":
        return sliced_dims(sizes[0], values[1:])
    if op not in ELEMENTWISE or not is_constant(values):
        return None
    told = [dims for dims in sizes if dims is not None]
    if len(told) < len(sizes):
        return None
    return next((dims for dims in told if all(spreads(other, dims) for other in told)), None)


def reshaped_dims(sizes: Sequence[Size] | None, target: Any) -> tuple[Size, ...] | None:
    """The sizes of a Reshape that names all of them, or leaves the leading axis alone (0, or -1 for the rest)."""
    if isinstance(target, Symbol):
        return None
    first, *rest = named = [int(size) for size in np.asarray(target).reshape(-1)]
    if min(named) > 0:
        return tuple(named)
    if sizes is None:
        return None
    fixed = [size for size in sizes[1:] if isinstance(size, int)]
    whole = len(fixed) == len(sizes) - 1 and math.prod(fixed) == math.prod(rest)
    return (sizes[0], *rest) if first in (0, -1) and min(rest, default=0) > 0 and whole else None


def sliced_dims(sizes: Sequence[Size] | None, bounds: Sequence[Any]) -> tuple[Size, ...] | None:
    """The sizes of a Slice of single steps, by bounds that are known."""
    if sizes is None or any(isinstance(value, Symbol) for value in bounds):
        return None
    starts, ends, *more = (np.asarray(value).reshape(-1).tolist() for value in bounds)
    axes, steps = more[0] if more else range(len(starts)), more[1] if len(more) > 1 else [1] * len(starts)
    dims = list(sizes)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = dims[axis]
        if isinstance(size, int):
            dims[axis] = len(range(size)[start:end:step])
        elif step != 1 or start < 0 or 0 <= end < np.iinfo(np.int32).max:
            return None
        else:
            dims[axis] = size - start - max(-end, 0)
    return tuple(dims)


def spreads(small: Sequence[Size], large: Sequence[Size]) -> bool:
    """Whether broadcasting two tensors of these sizes gives the second one's."""
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1], strict=False))


def result_types(op: str, values: Sequence[Any], attributes: dict[str, Any], outputs: int) -> list[np.dtype[Any]]:
    """The element types of a node's outputs."""
    counts, truth = np.dtype(np.int64), np.dtype(np.bool_)
    if op in TRUTH:
        return [truth]
    if op in COUNTS:
        return [counts]
    if op == "Cast":
        return [np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))]
    own = values[1 if op == "Where" else 0].dtype
    return [own, counts] if outputs == 2 else [own]
