"""What a rule is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import ClassVar, TypeAlias

from relcam_onnx.errors import OptionError
from relcam_onnx.ops.backend import Backend
from relcam_onnx.ops.records import Linear, Message, Record, Relay

EPSILON = 1e-6
"""The stabiliser of every denominator, unless a rule names another."""

Messages: TypeAlias = Mapping[int, Message]
"""What each input of a node gets, by input index."""


def pass_back(f: Backend, rule: Rule, record: Record, message: Message) -> Messages:
    """What a rule hands each input of an op; a relay that does not keep `Message.support` is not told of it."""
    if isinstance(record, Linear):
        handed, fixed = rule.linear(f, record, message), {t.index for t in record.terms if not t.receives}
        return {index: part for index, part in handed.items() if index not in fixed}
    return rule.relay(f, record, message if record.keeps_support else message.unsupported())


class Rule:
    """How one op hands relevance back. A rule of one's own overrides `linear`.

    Raises
    ------
    OptionError
        A parameter of a dataclass is out of the range that it is declared with (`relcam_onnx.rules.parameters`).
    """

    name: ClassVar[str] = ""
    gates: ClassVar[bool] = False
    """Whether gates and attention's weights get something, too, not only the signal that they weigh."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            range_, value = each.metadata.get("range"), getattr(self, each.name)
            if range_ is not None and not range_.holds(value):
                raise OptionError(f"{each.name} of rule {self.name!r} must be {range_.words}, not {value!r}")

    def linear(self, f: Backend, op: Linear, message: Message) -> Messages:
        """Share a linear op's relevance among its inputs."""
        raise OptionError(f"rule {self.name or type(self).__name__} is not for linear ops")

    def relay(self, f: Backend, op: Relay, message: Message) -> Messages:
        """Pass relevance through an op without weights, as the op itself says."""
        return op.relevance(message)
