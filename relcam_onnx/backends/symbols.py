"""What the emitting backend computes with: tensors of the graph being written, and sizes that only a run knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.ops.backend import Size
from relcam_onnx.ops.zero import ZERO


class UnknownSizeError(TypeError):
    """Something needs a value, while the graph is written, that only a run knows; ``node`` is where, once known."""

    node: gs.Node | None = None


def unknown(self: Any, *_: Any, **__: Any) -> Any:
    """Stand for every operation that would need the value now."""
    if isinstance(self, Symbol) and self.constant:
        raise UnsupportedModelError(
            f"weight {self.name!r} is a name while the model is compiled: a rule or op of one's own computes with the "
            "methods of its backend f alone (or take backend='eager')"
        )
    raise UnknownSizeError(f"{self!r} is known only to a run")


def operator(op: str, *, swapped: bool = False) -> Callable[[Any, Any], Any]:
    """An operator of `Symbol` that records a node of this op."""

    def method(self: Symbol, other: Any) -> Any:
        if other is ZERO:  # which knows what comes of that
            return NotImplemented
        return self.record(op, other, self) if swapped else self.record(op, self, other)

    return method


@dataclass(frozen=True, eq=False)
class Symbol:
    """A tensor of the graph being written.

    Attributes
    ----------
    name, dtype
        In the file.
    record
        (op, *inputs) -> a node of the graph: `Emit.record`.
    dims
        Its sizes, where they are known.
    nonnegative
        Whether it is ≥ 0 whatever the picture, as far as the plan tells.
    constant
        Whether it is made of constants of the file alone.
    """

    name: str
    dtype: np.dtype[Any]
    record: Callable[..., Any] = field(repr=False)
    dims: tuple[Size, ...] | None = None
    nonnegative: bool = False
    constant: bool = False

    __array_priority__ = 1000.0  # so that an array on the left leaves the operator to the symbol

    __add__, __radd__ = operator("Add"), operator("Add", swapped=True)
    __sub__, __rsub__ = operator("Sub"), operator("Sub", swapped=True)
    __mul__, __rmul__ = operator("Mul"), operator("Mul", swapped=True)
    __truediv__, __rtruediv__ = operator("Div"), operator("Div", swapped=True)

    def __neg__(self) -> Any:
        return self.record("Neg", self)

    __iter__ = __len__ = __getitem__ = __index__ = __int__ = __float__ = __bool__ = __array__ = unknown


class Dim:
    """A size that only a run knows, as an int64 tensor of one element; arithmetic on it becomes nodes.

    Two are equal where they are the same expression over the same symbols of the model.
    """

    def __init__(self, record: Callable[..., Symbol], key: str, make: Callable[[], Symbol]) -> None:
        self.record, self.key, self._make = record, key, make

    @cached_property
    def tensor(self) -> Symbol:
        """The tensor, recorded when first needed."""
        return self._make()

    def _with(self, op: str, other: Size, *, swapped: bool = False) -> Dim:
        left, right = (other, self) if swapped else (self, other)
        return Dim(
            self.record,
            f"{op}({key_of(left)},{key_of(right)})",
            lambda: self.record(op, operand(left), operand(right)),
        )

    def __add__(self, other: Size) -> Size:
        return self if other == 0 else self._with("Add", other)

    def __radd__(self, other: int) -> Size:
        return self + other

    def __sub__(self, other: Size) -> Size:
        if self == other:
            return 0
        return self if other == 0 else self._with("Sub", other)

    def __rsub__(self, other: int) -> Size:
        return self._with("Sub", other, swapped=True)

    def __mul__(self, other: Size) -> Size:
        return self if other == 1 else self._with("Mul", other)

    def __rmul__(self, other: int) -> Size:
        return self * other

    def __floordiv__(self, other: Size) -> Size:
        return self if other == 1 else self._with("Div", other)

    def __mod__(self, other: Size) -> Size:
        return 0 if other == 1 else self._with("Mod", other)

    def __neg__(self) -> Size:
        return self._with("Mul", -1)

    __index__ = __int__ = __float__ = __array__ = unknown
    __lt__ = __le__ = __gt__ = __ge__ = __truediv__ = __rtruediv__ = __rfloordiv__ = __rmod__ = unknown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Dim({self.key})"


def key_of(size: Size) -> str:
    """What identifies a size."""
    return size.key if isinstance(size, Dim) else str(size)


def operand(size: Size) -> Any:
    """A size as an input of a node: (1,) int64."""
    return size.tensor if isinstance(size, Dim) else np.array([size], np.int64)
