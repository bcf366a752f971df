"""Rules that ask for no shares: pass, the gradient, and that of guided backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from relcam_onnx.errors import OptionError
from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.records import Linear, Message, Relay
from relcam_onnx.rules.base import Messages, Rule


@dataclass(frozen=True)
class Pass(Rule):
    """R_i = R_j: input and output have one shape (batch normalisation, a square layer)."""

    name: ClassVar[str] = "pass"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        terms = [term for term in op.terms if term.receives]
        if len(terms) != 1 or tuple(f.dims(terms[0].x)) != tuple(f.dims(op.y)):
            raise OptionError(
                f"rule pass needs one input of the output's shape {tuple(f.dims(op.y))}, not "
                f"{[tuple(f.dims(t.x)) for t in terms]}; choose another rule for this op"
            )
        return {terms[0].index: message.unsupported()}


@dataclass(frozen=True)
class Gradient(Rule):
    """The plain adjoint: the message is the gradient itself."""

    name: ClassVar[str] = "gradient"
    gates: ClassVar[bool] = True

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """The transposed map, or the op's own derivative."""
        if op.derivative is not None:
            return {index: Message(g) for index, g in op.derivative(message.value).items()}
        return {t.index: Message(t.adjoint(message.value, t.weight)) for t in op.terms}

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """The chain rule."""
        return {i: Message(g) for i, g in op.gradient(message.value).items()}


@dataclass(frozen=True)
class Guided(Gradient):
    """The gradient's positive part: a ReLU's share of guided backpropagation (Springenberg et al. 2015)."""

    name: ClassVar[str] = "guided"

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """See the class."""
        return positive(f, super().linear(f, op, message))

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """See the class."""
        return positive(f, super().relay(f, op, message))


def positive(f: Backend, messages: Messages) -> Messages:
    """The positive part of each."""
    return {index: Message(f.Relu(message.value)) for index, message in messages.items()}
