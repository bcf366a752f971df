"""Every op that needs no code of its own: the ONNX package's reference implementation, one node at a time."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper

from relcam_onnx.backends._arrays import Array
from relcam_onnx.errors import nearest


@cache
def schema(op: str) -> onnx.defs.OpSchema:
    """Look up the newest schema of a standard op.

    Raises
    ------
    AttributeError
        ONNX's default domain has no such op; the message gives the nearest names.
    """
    if not onnx.defs.has(op):
        names = {each.name for each in onnx.defs.get_all_schemas() if each.domain == ""}
        raise AttributeError(f"ONNX's default domain has no op {op!r}{nearest(op, names)}")
    return onnx.defs.get_schema(op)


def reference(op: str, *inputs: ArrayLike | None, **attributes: Any) -> Array | tuple[Array, ...]:
    """Run one node of any standard op.

    Parameters
    ----------
    op
        The op's name in ONNX's default domain.
    *inputs
        Its inputs in order; None for one left out. Python integers become int64, other numbers float32.
    **attributes
        Its attributes under ONNX's names.

    Returns
    -------
    ndarray or tuple of ndarray
        Its outputs: those that the op always has, one array where that is one.

    Raises
    ------
    AttributeError
        There is no such op.
    """
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - slow to import, and rarely needed

    outputs = [f"y{i}" for i in range(max(1, schema(op).min_output))]
    arrays = {f"x{i}": _array(value) for i, value in enumerate(inputs) if value is not None}
    names = [f"x{i}" if f"x{i}" in arrays else "" for i in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        op,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    with np.errstate(all="ignore"):
        results = [np.asarray(y) for y in ReferenceEvaluator(helper.make_model(graph)).run(None, arrays)]
    return tuple(results) if len(results) > 1 else results[0]


def grid_sample(x: ArrayLike, grid: ArrayLike, *, mode: str = "linear", **attributes: Any) -> Array:
    """Run GridSample, whose modes have other names from opset 20 on."""
    newer = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return np.asarray(reference("GridSample", x, grid, mode=newer, **attributes))


def _array(value: ArrayLike) -> Array:
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
