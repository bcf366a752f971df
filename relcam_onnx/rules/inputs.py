"""Rules for the layer that reads the image: zᴮ, w² and flat do not vanish where a pixel is 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from relcam_onnx.errors import OptionError
from relcam_onnx.ops.backend import Backend, Value
from relcam_onnx.ops.records import Linear, Message, Term
from relcam_onnx.ops.zero import ZERO
from relcam_onnx.rules.base import EPSILON, Messages, Rule
from relcam_onnx.rules.contributions import quotient, share_by_weight, total, weights
from relcam_onnx.rules.parameters import AMOUNT, BOUND, FLAG


@dataclass(frozen=True)
class ZBox(Rule):
    """zᴮ: n_ij = x_i w_ij - low_i w_ij⁺ - high_i w_ij⁻ over Σ_i n_ij, no bias, padding counts 0.

    ``low`` and ``high`` are the bounds of the image, a number or one per channel (C,); the plan puts in their place
    what becomes of them where the layer reads it, as an array that broadcasts there. Where they are None the input's
    own smallest and largest value serve, one pair per image over all channels. ``known_bounds`` lets the engine set
    them where the preprocessing tells.
    """

    low: float | tuple[float, ...] | NDArray[np.float32] | None = field(default=None, metadata=BOUND)
    high: float | tuple[float, ...] | NDArray[np.float32] | None = field(default=None, metadata=BOUND)
    known_bounds: bool = field(default=True, metadata=FLAG)
    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "z-box"

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = np.asarray(self.low), np.asarray(self.high)
        if self.low is None or self.high is None or max(low.ndim, high.ndim) > 1:
            return  # what the plan puts in their place may meet, where a layer reads a constant
        if low.size != high.size and 1 not in (low.size, high.size):
            raise OptionError(f"low and high of rule {self.name!r} must be as many, not {low.size} and {high.size}")
        if not (low < high).all():
            raise OptionError(f"low of rule {self.name!r} must be below high, not {self.low!r} with {self.high!r}")

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        op = op.by_sign()
        boxes = [
            (self._bound(f, t.x, self.low, f.ReduceMin), self._bound(f, t.x, self.high, f.ReduceMax)) for t in op.terms
        ]
        parts = []
        for t, box in zip(op.terms, boxes, strict=True):
            parts.append(t.apply(t.x, t.weight))
            parts += [-t.apply(bound, w) for bound, w in zip(box, weights(f, t), strict=True) if w is not ZERO]
        s = quotient(f, message, total(parts), self.eps)

        def share(t: Term, low: Value, high: Value) -> Message:
            # x w - low w⁺ - high w⁻ = (x - low) w⁺ + (x - high) w⁻: two adjoints, not three.
            parts = [
                t.adjoint(s, w) * f.each(t.x - bound)
                for bound, w in zip((low, high), weights(f, t), strict=True)
                if w is not ZERO
            ]
            return Message(total(parts))

        return {t.index: share(t, *box) for t, box in zip(op.terms, boxes, strict=True)}

    def _bound(self, f: Backend, x: Value, bound: Any, extreme: Callable[..., Value]) -> Value:
        """The bound, spread over the shape of x."""
        dims = f.dims(x)
        if isinstance(bound, np.ndarray):
            return f.Expand(bound, [1, *dims[1:]])
        if bound is None:
            return f.Expand(extreme(x, list(range(1, len(dims))), keepdims=1), dims)
        per_channel: NDArray[Any] = np.asarray(bound, np.float32).reshape(1, -1, *[1] * (len(dims) - 2))
        return f.Expand(per_channel, [1, *dims[1:]])


@dataclass(frozen=True)
class WSquare(Rule):
    """w²: R_i = Σ_j w_ij² R_j / stab(Σ_i w_ij²), padding not counted; input values play no part."""

    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "w-square"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return share_by_weight(f, op, message, lambda w: w * w, self.eps)


@dataclass(frozen=True)
class Flat(Rule):
    """Flat: every input of j gets the same, R_i = Σ_j R_j / count_j, padding not counted."""

    eps: float = field(default=EPSILON, metadata=AMOUNT)
    name: ClassVar[str] = "flat"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return share_by_weight(f, op, message, lambda w: w * 0.0 + 1.0, self.eps)
