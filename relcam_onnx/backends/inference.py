"""What ONNX says of an op without running it: which inputs are integers, and the types and sizes of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx

from relcam_onnx.backends.symbols import Size, Symbol

INTEGERS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "Unsqueeze", "Squeeze"), (1,)),
    **dict.fromkeys(("Reshape", "Expand", "Tile", "Gather", "TopK", "Split"), (1,)),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (3,),
}
"""The inputs that ONNX takes as int64, by op."""

TRUTH = frozenset({"Greater", "Less", "Equal", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Not"})
ELEMENTWISE = TRUTH | {
    "Abs", "Add", "Cast", "Clip", "Div", "Exp", "Identity", "Log", "Max", "Mean", "Min", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Sigmoid", "Sign", "Sqrt", "Sub", "Sum", "Tanh", "Where",
}  # fmt: skip
COUNTS = frozenset({"Shape", "ArgMax", "Size"})


def is_constant(known: Sequence[Any]) -> bool:
    """Whether arguments are constants of the file, or made of such alone."""
    return all(value.constant if isinstance(value, Symbol) else True for value in known)


def result_dims(op: str, known: Sequence[Any], attributes: Mapping[str, Any]) -> tuple[Size, ...] | None:
    """The sizes of what is made of weights, which lowerings ask for, and of what is moved; else None."""
    sizes = [v.dims if isinstance(v, Symbol) else np.shape(v) for v in known if v is not None]
    if op == "Transpose" and (dims := sizes[0]) is not None:
        return tuple(dims[axis] for axis in attributes.get("perm", range(len(dims))[::-1]))
    if op == "Reshape" and sizes[0] is not None and isinstance(known[1], np.ndarray):
        return reshaped(sizes[0], known[1].tolist())
    if op not in ELEMENTWISE or not is_constant(known):
        return None
    told = [dims for dims in sizes if dims is not None]
    if len(told) < len(sizes):
        return None
    return next((dims for dims in told if all(spreads(other, dims) for other in told)), None)


def reshaped(dims: Sequence[Size], target: Sequence[int]) -> tuple[Size, ...] | None:
    """The sizes of a Reshape to numbers that keeps the first axis; None where that is not seen."""
    inner = [dims[axis] if size == 0 and axis < len(dims) else size for axis, size in enumerate(target)][1:]
    before = [size for size in dims[1:] if isinstance(size, int)]
    if not dims or not target or len(before) < len(dims) - 1 or any(not isinstance(n, int) or n < 1 for n in inner):
        return None
    kept = target[0] in (0, -1) and prod(before) == prod(n for n in inner if isinstance(n, int))
    return (dims[0], *inner) if kept else None


def spreads(small: Sequence[Size], large: Sequence[Size]) -> bool:
    """Whether broadcasting two tensors of these sizes gives the second one's."""
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(small[::-1], large[::-1], strict=False))


def result_types(op: str, known: Sequence[Any], attributes: dict[str, Any], outputs: int) -> list[np.dtype[Any]]:
    """The element types of a node's outputs."""
    counts, truth = np.dtype(np.int64), np.dtype(np.bool_)
    if op in TRUTH:
        return [truth]
    if op in COUNTS:
        return [counts]
    if op == "Cast":
        return [np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))]
    own = known[1 if op == "Where" else 0].dtype
    return [own, counts] if outputs == 2 else [own]
