"""The arrays that a caller brings, held against what the model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.errors import InputError
from relcam_onnx.graph import static_shape
from relcam_onnx.scores import shape_text


def check_inputs(inputs: list[gs.Tensor], x: Any) -> dict[str, np.ndarray]:
    """What was given as name -> array, every input there once, of its dtype and shape, finite, of one batch size.

    Parameters
    ----------
    inputs
        The model's inputs.
    x
        An array for a model with one input, else a dict name -> array.

    Raises
    ------
    InputError
        Naming the input, what was given and what the model takes.
    """
    names = [t.name for t in inputs]
    if not isinstance(x, Mapping):
        if len(inputs) != 1:
            raise InputError(
                f"this model has {len(inputs)} inputs: give a dict with an array for each of {', '.join(names)}"
            )
        x = {names[0]: x}
    if unknown := sorted(set(x) - set(names)):
        raise InputError(f"no input is called {', '.join(map(repr, unknown))}; the model takes {', '.join(names)}")
    if missing := [name for name in names if name not in x]:
        raise InputError(f"input {', '.join(map(repr, missing))} is missing; the model takes {', '.join(names)}")
    arrays = {t.name: check_array(t, x[t.name]) for t in inputs}
    sizes = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(sizes.values())) > 1:
        raise InputError(f"the inputs differ in batch size: {sizes}")
    return arrays


def check_array(tensor: gs.Tensor, value: Any) -> np.ndarray:
    """One input's array."""
    array = np.asarray(value)
    takes = f"{np.dtype(tensor.dtype).name} {shape_text(tensor)}" if tensor.dtype is not None else shape_text(tensor)
    given = f"input {tensor.name!r} is {array.dtype.name} {array.shape}, the model takes {takes}"
    if tensor.dtype is not None and array.dtype != tensor.dtype:
        raise InputError(f"{given}: convert it with .astype({np.dtype(tensor.dtype).name!r})")
    shape = static_shape(tensor)
    # The leading axis is the batch: a fixed one is filled up by the engine.
    if shape is not None and (
        array.ndim != len(shape)
        or any(want is not None and want != got for want, got in zip(shape[1:], array.shape[1:], strict=True))
    ):
        hint = "; add the batch axis: x[None]" if array.ndim == len(shape) - 1 else ""
        raise InputError(f"{given}{hint}")
    if 0 in array.shape:
        raise InputError(f"{given}: it is empty")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(f"input {tensor.name!r} holds NaN or infinite values")
    return array


def fixed_batch(inputs: list[gs.Tensor]) -> int | None:
    """The batch size that the file fixes, or None."""
    sizes = {shape[0] for t in inputs if (shape := static_shape(t))}
    return next((size for size in sizes if size is not None), None)


def pieces(
    arrays: Mapping[str, np.ndarray], size: int | None, *, fixed: bool
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """The batch in pieces of ``size`` images, each with its place; ``fixed`` fills up the last with its last image."""
    total = len(next(iter(arrays.values())))
    step = size or total
    for start in range(0, total, step):
        place = slice(start, min(start + step, total))
        piece = {name: array[place] for name, array in arrays.items()}
        short = step - (place.stop - place.start)
        if fixed and short:
            piece = {n: np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for n, a in piece.items()}
        yield place, piece
