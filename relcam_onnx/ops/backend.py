"""What ops and rules compute with: values that take operators, and a backend whose methods are ONNX ops.

This is all that they may use. `relcam_onnx.backends.eager` computes each call with NumPy on ndarrays;
`relcam_onnx.backends.emit` records it as an ONNX node, whose result is a symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import onnx_graphsurgeon as gs

T = TypeVar("T")


class Value(Protocol):
    """A tensor of the backend: ``+ - * /`` between two of one dtype that broadcast, or with a Python number."""

    def __add__(self, other: Value | float, /) -> Value: ...
    def __radd__(self, other: Value | float, /) -> Value: ...
    def __sub__(self, other: Value | float, /) -> Value: ...
    def __rsub__(self, other: Value | float, /) -> Value: ...
    def __mul__(self, other: Value | float, /) -> Value: ...
    def __rmul__(self, other: Value | float, /) -> Value: ...
    def __truediv__(self, other: Value | float, /) -> Value: ...
    def __rtruediv__(self, other: Value | float, /) -> Value: ...
    def __neg__(self, /) -> Value: ...


class Size(Protocol):
    """How long an axis is: an int, or, in a file of free sizes, what stands for one until a run.

    ``int(size)`` and comparisons ask for the number now, and refuse such a file.
    """

    def __add__(self, other: Any, /) -> Size: ...
    def __radd__(self, other: Any, /) -> Size: ...
    def __sub__(self, other: Any, /) -> Size: ...
    def __rsub__(self, other: Any, /) -> Size: ...
    def __mul__(self, other: Any, /) -> Size: ...
    def __rmul__(self, other: Any, /) -> Size: ...
    def __floordiv__(self, other: Any, /) -> Size: ...
    def __mod__(self, other: Any, /) -> Size: ...
    def __neg__(self, /) -> Size: ...
    def __int__(self, /) -> int: ...
    def __index__(self, /) -> int: ...
    def __lt__(self, other: Any, /) -> bool: ...
    def __gt__(self, other: Any, /) -> bool: ...


class Backend(Protocol):
    """``f.Conv(x, w, strides=[2, 2])``: inputs by place, None for one left out; attributes under ONNX's names.

    Python numbers take the dtype of the values that they meet; axes, shapes and the like may be lists.
    """

    def __getattr__(self, op: str, /) -> Callable[..., Value]:
        """Any op of ONNX's default domain, in its form from opset 18 on; its first output."""

    @property
    def MaxPool(self) -> Callable[..., tuple[Value, Value]]:
        """An op with two outputs: the values, and where in the input they stand."""

    @property
    def TopK(self) -> Callable[..., tuple[Value, Value]]:
        """The other one: the largest or smallest values along an axis, in order, and where they stand."""

    def each(self, a: T, /) -> T:
        """Something made of activations, (N, ...), repeated for each target so that it meets relevance, (K·N, ...)."""

    def dims(self, a: Any, /) -> tuple[Size, ...]:
        """The sizes of a value."""

    def sized(self, a: T, dims: Sequence[Size], /) -> T:
        """A value, of which it is said what sizes it has: not every backend can tell them of what was computed."""

    def sizes(self, sizes: Sequence[Size], /) -> Value:
        """Sizes as an int64 vector."""

    def number(self, size: Size, /) -> Value | float:
        """A size as a number to compute with."""

    def conv_adjoint(
        self,
        s: Any,
        w: Any,
        /,
        *,
        size: Sequence[Size],
        kernel: Sequence[Size],
        strides: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[Size],
        group: Size,
    ) -> Value:
        """The transposed map of Conv with these attributes, for inputs of ``size`` positions."""

    def constant(self, tensor: gs.Constant, /) -> Any:
        """The value of a constant of the file (the walk asks)."""

    def arrived(self, relevance: Any, activation: Any, /) -> Any:
        """Relevance as it arrives at a tensor, whose sizes and dtype it must have (the walk asks)."""
