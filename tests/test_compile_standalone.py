"""A compiled file needs nothing of ours: a fresh process that can import onnxruntime and numpy only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import inverted, picture, plain, residual

import relcam_onnx as rc

SCRIPT = """
import sys
import numpy, onnxruntime

class Closed:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("relcam_onnx", "onnx", "onnx_graphsurgeon", "torch", "PIL"):
            raise ImportError(f"{name} is closed to this process")

sys.meta_path.insert(0, Closed())
assert not {"relcam_onnx", "onnx"} & set(sys.modules)
model, given, out = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = [port.name for port in session.get_outputs()]
with numpy.load(given) as inputs:
    found = session.run(names, dict(inputs))
numpy.savez(out, **{name.replace("/", "|"): value for name, value in zip(names, found)})
"""
LITE = Path(__file__).parents[1] / "models" / "efficientnet-lite0.onnx"
NETWORKS: dict[str, Any] = {
    "plain": (plain, 32),
    "residual": (residual, 32),
    "inverted": (inverted, 32),
    "lite0": (LITE, 224),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_process_without_this_package(name: str, tmp_path: Path) -> None:
    made, size = NETWORKS[name]
    source = made() if callable(made) else made
    x, targets = picture(2, 3, size, size), np.array([[-1, 1], [0, -2]])
    with rc.Explainer(source, backend="eager") as explainer:
        wanted = explainer(x, targets)
        port = explainer.inputs[0].name
    compiled = tmp_path / "compiled.onnx"
    compiled.write_bytes(rc.compile_model(source).SerializeToString())
    inputs: dict[str, Any] = {port: x, "relcam_targets": targets}
    np.savez(tmp_path / "given.npz", **inputs)
    files = [str(compiled), str(tmp_path / "given.npz"), str(tmp_path / "found.npz")]
    subprocess.run([sys.executable, "-I", "-c", SCRIPT, *files], check=True, cwd=tmp_path)
    with np.load(tmp_path / "found.npz") as found:
        got = {key.replace("|", "/"): value for key, value in found.items()}
    np.testing.assert_array_equal(got["relcam_classes"], wanted.targets)
    for layer, value in wanted.maps.items():
        # The floor of the fused map turns rounding at zero into its root.
        share = 1e-3 if layer == "fused" else 1e-4
        for place in np.ndindex(2, 2):
            atol = share * np.abs(value[place]).max()
            np.testing.assert_allclose(got[f"cam/{layer}"][place], value[place], rtol=0, atol=atol, err_msg=layer)
