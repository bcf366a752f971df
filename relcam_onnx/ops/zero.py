"""One symbolic zero: what is not there is written into a formula, and costs nothing."""

from __future__ import annotations

from typing import Any


class Zero:
    """Added to something it leaves that as it is; times anything it is itself. No backend ever sees it.

    A `Value`: contributions of a sign that an input or a weight has none of are this.
    """

    __array_ufunc__ = None  # so that an array on the left leaves the operator to it

    def __add__(self, other: Any) -> Any:
        return other

    def __sub__(self, other: Any) -> Any:
        return -other

    def __rsub__(self, other: Any) -> Any:
        return other

    def __mul__(self, other: Any) -> Zero:
        return self

    def __rtruediv__(self, other: Any) -> Any:
        raise ZeroDivisionError("division by what is not there")

    def __neg__(self) -> Zero:
        return self

    def __repr__(self) -> str:
        return "ZERO"

    __radd__, __rmul__, __truediv__ = __add__, __mul__, __mul__


ZERO = Zero()
"""The one of its kind: compare with ``is``."""
