"""The rules of the Relevance-CAM authors' published code, for preset ``official``.

Kept as they are, for people who compare figures.

They differ from the paper's equations: a denominator is replaced only where it is exactly zero, a convolution's signed
bias is counted twice, and adaptive pools clamp their input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.records import Linear, Message
from relcam_onnx.rules.base import Messages, Rule
from relcam_onnx.rules.contributions import half, handed, pushed, quotient
from relcam_onnx.rules.parameters import FLAG


@dataclass(frozen=True)
class PublishedConv(Rule):
    """α1β0 with Z = conv(x⁺, W⁺) + conv(x⁻, W⁻), each with the signed bias; without ``bias`` for dense layers."""

    bias: bool = field(default=True, metadata=FLAG)
    name: ClassVar[str] = "published-conv"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        op = op.by_sign()
        z = pushed(f, op, +1)
        if self.bias and op.bias is not None:
            z = z + op.bias * 2.0
        s = quotient(f, message, z, eps=0.0)
        return {t.index: handed(f, t, s, +1) for t in op.terms}


@dataclass(frozen=True)
class PublishedAdaptivePool(Rule):
    """Shares in proportion to the input clamped at 0."""

    name: ClassVar[str] = "published-adaptive-pool"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        (term,) = op.terms
        clamped = half(f, term.x, +1)
        s = quotient(f, message, term.apply(clamped, None), eps=0.0)
        return {term.index: Message(term.adjoint(s, None), clamped)}
