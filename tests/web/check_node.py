"""examples/node/heatmap.cjs in onnxruntime-node: ``make test-web``, where npm brings it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from nets import plain
from PIL import Image

import relcam_onnx as rc

SCRIPT = Path(__file__).parents[2] / "examples" / "node" / "heatmap.cjs"


def node(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", [-1, 2])
def test_node_writes_the_heat_map(target: int, tmp_path: Path) -> None:
    if node("-e", "require('onnxruntime-node')").returncode:
        pytest.skip("onnxruntime-node is not on NODE_PATH")
    model, photograph, out = (tmp_path / name for name in ("explained.onnx", "a.ppm", "heat.pgm"))
    model.write_bytes(rc.compile_model(plain(), heatmap=True).SerializeToString())
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(values).save(photograph)
    done = node(SCRIPT, model, photograph, out, str(target))
    assert (done.returncode, done.stderr) == (0, "")
    x = ((values.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    with rc.Explainer(plain(), "fused", backend="eager") as explainer:
        wanted = explainer(x, target)
    assert done.stdout == f"class {wanted.targets[0, 0]}\n"
    value = np.maximum(wanted.maps["fused"][0, 0], 0)
    np.testing.assert_allclose(np.asarray(Image.open(out), np.float64), 255 * value / value.max(), rtol=0, atol=1)
    photograph.write_bytes(b"P6 32 32 255\n123")
    refused = node(SCRIPT, model, photograph, out)
    assert (refused.returncode, refused.stderr) == (1, f"Error: {photograph} ends early\n")
