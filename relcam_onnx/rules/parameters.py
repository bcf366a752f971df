"""What the parameters of rules may be: each is a field with its range as metadata, which `Rule` looks at."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np


class Range(NamedTuple):
    """What a parameter may be, in words, and whether a value is that."""

    words: str
    holds: Callable[[Any], bool]


def is_finite(value: Any) -> bool:
    """Whether a value is a number, neither infinite nor NaN; truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_bound(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "iuf" and value.size > 0 and bool(np.isfinite(value).all())
    if isinstance(value, tuple | list):
        return bool(value) and all(map(is_finite, value))
    return value is None or is_finite(value)


FLAG = {"range": Range("true or false", lambda value: isinstance(value, bool | np.bool_))}
AMOUNT = {"range": Range("a number, at least 0", lambda value: is_finite(value) and value >= 0)}
BOUND = {"range": Range("a finite number, or one for each channel", _is_bound)}
