"""What one node tells of sizes: how lists of sizes are computed with, and the shapes of its results.

A list of sizes is an array of Python objects: numbers, names of sizes that only a run knows, and None. ONNX's own
inference of one node does most of the work; `relcam_onnx.canon.shape_rules` has the ops of which it tells too little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from relcam_onnx.backends.eager import Eager

Size: TypeAlias = int | str | None
Shape: TypeAlias = Sequence[Size] | None
Values: TypeAlias = Sequence[np.ndarray | None]

MOVES = frozenset({"Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
CALCULATES = frozenset(
    {
        "Abs", "And", "Cast", "Ceil", "Equal", "Expand", "Floor", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
        "Max", "Min", "Mod", "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Sqrt",
        "Concat", "ConstantOfShape", "Tile", "Transpose", "Where",
    }
).union(MOVES, NEUTRAL)  # fmt: skip
"""Ops that sizes are computed with; others of constants are left to `relcam_onnx.canon.constants`."""


def is_open(size: Size) -> bool:
    """Whether a size is no number."""
    return not (isinstance(size, int) and size >= 0)


def calculate(node: gs.Node, values: Values) -> list[np.ndarray]:
    """The results of a node over constants and lists of sizes; nothing where that cannot be told."""
    missing = any(v is None and not t.is_empty() for t, v in zip(node.inputs, values, strict=True))
    if node.op not in CALCULATES or node.domain not in (None, "", "ai.onnx") or not node.inputs or missing:
        return []
    lists = [i for i, value in enumerate(values) if value is not None and value.dtype == object]
    if lists and node.op == "Concat":
        return [np.concatenate([np.asarray(v, object) for v in values], axis=node.attrs["axis"])]
    if not lists or (lists == [0] and node.op in MOVES):
        attributes = {k: v.values if isinstance(v, gs.Tensor) else v for k, v in node.attrs.items()}
        try:
            result = np.asarray(getattr(Eager(), node.op)(*values, **attributes))
            return [result.astype(object) if lists else result]  # one name alone is a text to NumPy
        except (TypeError, ValueError, IndexError):
            return []  # a node that cannot run is onnxruntime's to refuse
    if node.op in ELEMENTWISE:
        function = ELEMENTWISE[node.op]
        return [np.asarray(np.frompyfunc(function, len(values), 1)(*values), object)]
    integral = node.op == "Cast" and np.issubdtype(np.dtype(node.outputs[0].dtype or np.float32), np.integer)
    return [np.asarray(values[0])] if integral else []


def arithmetic(op: str, a: Size, b: Size) -> Size:
    """Two sizes added, subtracted, multiplied or divided, as far as that can be told."""
    if is_number(a) and is_number(b):
        result: int = getattr(Eager(), op)(np.int64(a), np.int64(b)).item()
        return result
    if b == NEUTRAL[op]:
        return a
    if op in ("Add", "Sub"):
        return b if a == 0 and op == "Add" else None
    return quotient([a, b], []) if op == "Mul" else quotient([a], [b])


def equal(a: Size, b: Size) -> bool | None:
    """Whether two sizes are equal; a name is no negative number."""
    if (is_number(a) and is_number(b)) or (a is not None and a == b):
        return a == b
    return False if (is_number(a) and a < 0) or (is_number(b) and b < 0) else None


def is_number(size: Size) -> TypeGuard[int]:
    """Whether a size is a number, negative ones (Reshape's -1) included."""
    return isinstance(size, int | np.integer)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{op: partial(arithmetic, op) for op in NEUTRAL},
    "Equal": equal,
    "Where": lambda condition, a, b: a if a == b else None if condition is None else a if condition else b,
}
"""What is computed of each size by itself, where some have names or are not known."""


def merged(told: Shape, better: Shape) -> list[Size] | None:
    """Two shapes of one tensor as one: numbers before names, the second before the first."""
    if told is None or better is None or len(told) != len(better):
        shape = told if better is None else better
        return None if shape is None else list(shape)
    return [a if b is None or (is_open(b) and not is_open(a)) else b for a, b in zip(told, better, strict=True)]


def inferred(node: gs.Node, values: Values, opset: int) -> list[Shape]:
    """The shapes of a node's results by ONNX's own inference; nothing where it fails."""
    domain = node.domain if node.domain not in (None, "ai.onnx") else ""
    nested = any(isinstance(value, gs.Graph) for value in node.attrs.values())
    known = domain == "" and onnx.defs.has(node.op)  # of other domains the file has a version of its own
    if nested or any(t.dtype is None for t in node.inputs if not t.is_empty()) or not known:
        return []
    version = opset if onnx.defs.has(node.op, opset, domain) else onnx.defs.onnx_opset_version()
    try:
        types = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op, version, domain),
            onnx.helper.make_node(node.op, [t.name for t in node.inputs], [t.name for t in node.outputs],
                                  domain=domain, **{k: plain(v) for k, v in node.attrs.items()}),
            {t.name: kind(t) for t in node.inputs if not t.is_empty()},
            {t.name: onnx.numpy_helper.from_array(v) for t, v in zip(node.inputs, values, strict=True)
             if v is not None and v.dtype != object},
            opset_imports=[onnx.helper.make_opsetid(domain, version)],
        )  # fmt: skip
    except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, RuntimeError):
        return []
    return [shape_of(types[t.name].tensor_type) if t.name in types else None for t in node.outputs]


def plain(attribute: Any) -> Any:
    """An attribute as ONNX writes it."""
    return onnx.numpy_helper.from_array(attribute.values) if isinstance(attribute, gs.Constant) else attribute


def kind(tensor: gs.Tensor) -> onnx.TypeProto:
    """A tensor's type and shape; what the engine computes in float32 counts as that."""
    dtype = tensor.dtype
    number = dtype if isinstance(dtype, int) else onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if number == onnx.TensorProto.DOUBLE:
        number = onnx.TensorProto.FLOAT
    shape = None if tensor.shape is None else [None if isinstance(d, int) and d < 0 else d for d in tensor.shape]
    return onnx.helper.make_tensor_type_proto(number, shape)


def shape_of(tensor: onnx.TypeProto.Tensor) -> Shape:
    """The sizes that a type tells: numbers, names, or None; None where it tells nothing."""
    if not tensor.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim]


def quotient(sizes: Shape, others: Sequence[Size], *, exact: bool = False) -> Size:
    """The product of sizes over that of others; ``4*N`` where a name is left, ``N/4`` where it is known to be whole."""
    if sizes is None or None in sizes or None in others:
        return None
    over, under = ([factors(n) for n in part if n is not None] for part in (sizes, others))
    names = Counter(name for _, name in over if name)
    names.subtract(name for _, name in under if name)
    left = [name for name, count in names.items() if count]
    count, divisor = (prod((number for number, _ in part), start=Fraction(1)) for part in (over, under))
    if not divisor or len(left) > 1 or (left and names[left[0]] != 1):
        return None
    whole = (count / divisor).denominator == 1 or (exact and left)
    return named(count / divisor, left[0] if left else None) if whole else None


def factors(size: int | str) -> tuple[Fraction, str | None]:
    """A size as a number times a name."""
    if isinstance(size, int | np.integer):
        return Fraction(int(size)), None
    count, times, name = size.partition("*")
    number, name = (Fraction(int(count)), name) if times and count.isdecimal() else (Fraction(1), size)
    whole, over, divisor = name.rpartition("/")
    parted = over and divisor.isdecimal() and not whole.endswith("/")  # with two of them PyTorch rounds down
    return (number / int(divisor), whole) if parted else (number, name)


def named(count: Fraction, name: str | None) -> int | str:
    """A number times a name as a size."""
    if name is None:
        return int(count)
    times = name if count.numerator == 1 else f"{count.numerator}*{name}"
    return times if count.denominator == 1 else f"{times}/{count.denominator}"


def ratio(size: Size, other: Size) -> Fraction | None:
    """A size over another; None where that only a run knows."""
    if size is None or other is None or 0 in (size, other):
        return None
    (count, name), (by, own) = factors(size), factors(other)
    return count / by if name == own else None
