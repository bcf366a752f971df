"""Compiled files in onnxruntime's WebAssembly build, the one that browsers load: ``make test-node``.

Its name keeps it out of the other tests: it needs node, and onnxruntime-web from npm on NODE_PATH.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import inverted, picture, plain, residual

import relcam_onnx as rc

LITE = Path(__file__).parents[2] / "models" / "efficientnet-lite0.onnx"
CASES: dict[str, tuple[Any, int, str]] = {
    **{f"{make.__name__}-{preset}": (make, 32, preset)
       for make in (plain, residual, inverted) for preset in ("default", "paper", "gradient", "epsilon-gamma-box")},
    "lite0": (LITE, 224, "default"),
}  # fmt: skip


def in_the_browsers_runtime(model: Path, folder: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every output of a model as onnxruntime-web gives it."""
    ports = []
    for name, array in inputs.items():
        array.tofile(folder / name)
        ports.append({"name": name, "type": array.dtype.name, "dims": array.shape, "file": str(folder / name)})
    job = folder / "job.json"
    job.write_text(json.dumps({"model": str(model), "inputs": ports, "out": str(folder)}))
    subprocess.run(["node", Path(__file__).with_name("run.cjs"), job], check=True)
    outputs = json.loads((folder / "outputs.json").read_text())
    return {o["name"]: np.fromfile(o["file"], o["type"]).reshape(o["dims"]) for o in outputs}


@pytest.mark.parametrize("name", CASES)
def test_maps_are_the_references(name: str, tmp_path: Path) -> None:
    """To 1e-4 of each map's maximum; fused is a cube root at its floor, so it is held to 1e-3."""
    made, size, preset = CASES[name]
    source = made() if callable(made) else made
    x, targets = picture(1, 3, size, size), np.array([[-1, 1]])
    with rc.Explainer(source, preset=preset, backend="eager") as explainer:
        wanted = explainer(x, targets)
        port = explainer.inputs[0].name
    model = tmp_path / "model.onnx"
    model.write_bytes(rc.compile_model(source, preset=preset, heatmap=True).SerializeToString())
    got = in_the_browsers_runtime(model, tmp_path, **{port: x, "relcam_targets": targets})
    np.testing.assert_array_equal(got["relcam_classes"], wanted.targets)
    for output, value in wanted.outputs.items():
        np.testing.assert_allclose(got[output], value, rtol=0, atol=1e-5 * np.abs(value).max())
    for layer, value in wanted.maps.items():
        key = f"cam/{layer}" if f"cam/{layer}" in got else f"relevance/{layer}"
        for k in range(2):
            atol = (1e-3 if layer == "fused" else 1e-4) * np.abs(value[0, k]).max()
            np.testing.assert_allclose(got[key][0, k], value[0, k], rtol=0, atol=atol, err_msg=layer)
