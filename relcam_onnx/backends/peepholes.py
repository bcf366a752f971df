"""What need not be recorded, because its value stands there already: rules write their formula, and this spares nodes.

Each peephole is a function of the emitter, the arguments of one call and its attributes; it returns the value of the
call, or None where it does not apply. None changes a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from relcam_onnx.backends.inference import result_dims
from relcam_onnx.backends.symbols import Symbol

if TYPE_CHECKING:
    from relcam_onnx.backends.emit import Emit

Peephole: TypeAlias = Callable[["Emit", Sequence[Any], Mapping[str, Any]], Any]


def is_number(value: Any, number: float) -> bool:
    """Whether an argument is this one number, which broadcasts to anything."""
    return isinstance(value, np.ndarray) and value.ndim == 0 and bool(value == number)


def positive_part(f: Emit, args: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Abs(x) and Relu(x) are x where x is known to be ≥ 0."""
    (x,) = args
    return x if isinstance(x, Symbol) and x.nonnegative else None


def never_negative(f: Emit, args: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Less(x, 0) is False where x is known to be ≥ 0."""
    x, bound = args
    return np.asarray(False) if isinstance(x, Symbol) and x.nonnegative and is_number(bound, 0) else None


def by_one(f: Emit, args: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """X · 1 and x / 1 are x."""
    x, factor = args
    return x if isinstance(x, Symbol) and is_number(factor, 1) else None


def turned_back(f: Emit, args: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """A Transpose that undoes another is what that one began with, of the sizes that this one would have."""
    (x,), perm = args, attributes.get("perm")
    op, (origin, *_), first = f.makers.get(x.name, ("", (None,), {})) if isinstance(x, Symbol) else ("", (None,), {})
    if op != "Transpose" or perm is None or "perm" not in first:
        return None
    if any(first["perm"][axis] != place for place, axis in enumerate(perm)):
        return None
    if isinstance(origin, Symbol) and origin.dims is None:  # sizes are told of a view, not of what that is made of
        return replace(origin, dims=result_dims(op, args, attributes))
    return origin


PEEPHOLES: dict[str, Peephole] = {
    "Abs": positive_part,
    "Relu": positive_part,
    "Less": never_negative,
    "Mul": by_one,
    "Div": by_one,
    "Transpose": turned_back,
}
"""By op."""
