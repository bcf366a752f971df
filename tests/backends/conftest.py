"""The judge of the eager backend: onnxruntime on a model of one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from relcam_onnx.backends.eager import Eager

OPSET = 21

Check = Callable[..., list[np.ndarray]]


def run_node(op: str, *inputs: np.ndarray | None, outputs: int = 1, **attributes: Any) -> list[np.ndarray]:
    arrays = {f"x{i}": value for i, value in enumerate(inputs) if value is not None}
    names = [f"x{i}" if f"x{i}" in arrays else "" for i in range(len(inputs))]
    results = [f"y{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        op,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in arrays.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in results],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, arrays))


@pytest.fixture(scope="session")
def check() -> Check:
    """Compare an eager op with onnxruntime's: shape, dtype, values to 1e-5 of the largest magnitude."""

    def compare(op: str, *inputs: np.ndarray | None, outputs: int = 1, **attributes: Any) -> list[np.ndarray]:
        wanted = run_node(op, *inputs, outputs=outputs, **attributes)
        got = getattr(Eager(), op)(*inputs, **attributes)
        got = list(got) if isinstance(got, tuple) else [got]
        for ours, theirs in zip(got, wanted, strict=False):
            assert ours.shape == theirs.shape
            assert ours.dtype == theirs.dtype
            if theirs.dtype.kind == "f":
                finite = np.abs(theirs[np.isfinite(theirs)])
                atol = 1e-5 * finite.max(initial=0)
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
            else:
                np.testing.assert_array_equal(ours, theirs)
        return got

    return compare
