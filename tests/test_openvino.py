"""Compiled files in OpenVINO, another runtime than the one that they are written for.

Its kernels and onnxruntime's sum in other orders, so maps agree to float32's rounding carried through the walk: 1e-4 of
each map's maximum, as between onnxruntime and NumPy (some 3e-6 were seen).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from choosing_nets import choosing
from nets import inverted, picture, residual, run

import relcam_onnx as rc

openvino = pytest.importorskip("openvino")
LITE = Path(__file__).parents[1] / "models" / "efficientnet-lite0.onnx"
CASES: dict[str, tuple[Any, int]] = {
    "residual": (residual, 32),
    "inverted": (inverted, 32),
    "detector": (lambda: choosing("by_topk"), 32),
    "lite0": (LITE, 224),
}


@pytest.mark.parametrize("name", CASES)
def test_openvino_gives_the_same_maps(name: str) -> None:
    made, size = CASES[name]
    compiled = rc.compile_model(made() if callable(made) else made)
    names = [value.name for value in compiled.graph.output]
    given = {compiled.graph.input[0].name: picture(1, 3, size, size), "relcam_targets": np.array([[-1, 1]])}
    wanted = dict(zip(names, run(compiled, *names, **given), strict=True))
    core = openvino.Core()
    model = core.read_model(compiled.SerializeToString())
    # Processors with bfloat16 would take it by themselves.
    got = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})(given)
    assert any(key.startswith("cam/") and value.any() for key, value in wanted.items())
    for key, value in wanted.items():
        assert got[key].shape == value.shape
        np.testing.assert_allclose(got[key], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=key)
