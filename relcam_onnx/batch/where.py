"""Which pictures are explained: an expression over what the model says of a target, such as ``probability < 0.6``.

It is read by Python's own parser and then held against a list of what may stand in it; nothing of it is ever run.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from relcam_onnx.errors import OptionError, nearest
from relcam_onnx.results import entries
from relcam_onnx.results.explanation import Explanation

Values: TypeAlias = Mapping[str, Any]
Test: TypeAlias = Callable[[Values], Any]

KINDS: dict[str, type] = {"probability": float, "score": float, "margin": float, "label": str, "target": float}
"""What may be asked of a target, and whether that is a number or a text."""
ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.In: lambda value, among: value in among, ast.NotIn: lambda value, among: value not in among,
}  # fmt: skip
LONGEST = 1000
"""Characters: the parser goes as deep as brackets do."""
POSSIBLE = "comparisons of probability, score, margin, label and target with numbers and texts, and, or, not, in"


class Condition:
    """Whether a picture is to be explained: where the expression holds for any of its targets.

    Parameters
    ----------
    text
        The expression; docs/batch.md tells what may stand in it.

    Raises
    ------
    OptionError
        Something else stands in it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if len(text) > LONGEST:
            raise OptionError(f"--where has {len(text)} characters; at most {LONGEST} are read")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._wrong("is no expression") from error
        self._test = self._read(tree.body)
        self.names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    def holds(self, explanation: Explanation) -> bool:
        """Whether it does for a picture, by what the model says of it."""
        return any(self.holds_for(values) for values in told(explanation))

    def holds_for(self, values: Values) -> bool:
        """Whether it does for one target; what the model does not tell fails every comparison."""
        return bool(self._test(values))

    def _read(self, node: ast.expr) -> Test:
        """A test out of what is true or false."""
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                tests = [self._read(value) for value in values]
                return lambda told: all(test(told) for test in tests)
            case ast.BoolOp(op=ast.Or(), values=values):
                tests = [self._read(value) for value in values]
                return lambda told: any(test(told) for test in tests)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                test = self._read(operand)
                return lambda told: not test(told)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = [self._compared(a, op, b) for a, op, b in zip(sides, ops, others, strict=False)]
                return lambda told: all(pair(told) for pair in pairs)
        raise self._wrong(f"has {ast.unparse(node)!r} where a comparison belongs")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Test:
        """One comparison."""
        order = ORDERS.get(type(op))
        listed = right.elts if isinstance(right, ast.Tuple | ast.List) else None
        among = listed is not None
        if order is None or among != isinstance(op, ast.In | ast.NotIn):
            raise self._wrong("compares in a way that is not possible; 'in' is followed by a list")
        first, kind = self._value(left)
        others = [self._value(one) for one in ([right] if listed is None else listed)]
        sorts = isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        if {other for _, other in others} - {kind} or (kind is str and sorts):
            raise self._wrong("compares a text with a number, or asks which of two texts is larger")

        def test(told: Values) -> bool:
            value, values = first(told), [second(told) for second, _ in others]
            return value is not None and None not in values and order(value, values if among else values[0])

        return test

    def _value(self, node: ast.expr) -> tuple[Test, type]:
        """What is compared, and whether it is a number or a text."""
        match node:
            case ast.Name(id=name):
                if name not in KINDS:
                    raise self._wrong(f"asks for {name!r}{nearest(name, KINDS)}; there are {', '.join(KINDS)}")
                return lambda told: told[name], KINDS[name]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return lambda told: -number, float
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return lambda told: number, float
            case ast.Constant(value=str(text)):
                return lambda told: text, str
        raise self._wrong(f"has {ast.unparse(node)!r}, which is neither a name nor a number nor a text")

    def _wrong(self, why: str) -> OptionError:
        return OptionError(f"--where {self.text!r} {why}; possible are {POSSIBLE}")


def told(explanation: Explanation) -> list[dict[str, Any]]:
    """What the model says of each target of a picture: the values of `KINDS`."""
    return [
        {
            "probability": entries.number(explanation.probability[0, place]),
            "score": entries.number(entries.score(explanation, place)),
            "margin": entries.number(explanation.margin[0, place]),
            "label": explanation.label(index),
            "target": index,
        }
        for place, index in enumerate(explanation.classes[0, : explanation.count()].tolist())
    ]
