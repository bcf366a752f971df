"""How the eager backend takes what it is given: arrays as they are, Python numbers and lists by one rule."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]


def operands(*values: ArrayLike) -> list[Array]:
    """Bring the operands of one op to one dtype.

    Parameters
    ----------
    *values
        Arrays, Python numbers, or lists of numbers.

    Returns
    -------
    list of ndarray
        The arrays as given; numbers and lists in the arrays' dtype, in float32 where no array is given.

    Raises
    ------
    TypeError
        The arrays differ in dtype, or a number does not fit theirs (0.5 among integers). ONNX refuses such a
        node too, so a rule that passes here can be written into a model.
    """
    dtypes = {value.dtype for value in values if isinstance(value, np.ndarray)} or {np.dtype(np.float32)}
    if len(dtypes) > 1:
        names = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"the operands have the dtypes {names}; Cast them to one of these first")
    (dtype,) = dtypes
    return [np.asarray(value).astype(dtype, copy=False, casting="same_kind") for value in values]


def as_array(value: ArrayLike) -> Array:
    """Take one operand alone: an array as it is, anything else as float32."""
    return operands(value)[0]


def integers(value: ArrayLike) -> list[int]:
    """Read a shape, axes or the like (an int64 array, a list, a single number) as Python integers."""
    return [int(number) for number in np.asarray(value).reshape(-1)]
