"""What is not installed is said, with the extra that brings it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from batches import encoded, stored

WITHOUT = "import sys; sys.modules[{!r}] = None; {}"
COMMAND = "from relcam_onnx.cli import main; sys.argv[0] = 'relcam'; main()"


def without(module: str, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT.format(module, code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("extras")
    stored(root / "model.onnx")
    (root / "a.png").write_bytes(encoded(0))
    return root


@pytest.mark.parametrize("command", ["explain", "layers", "audit", "compile", "expose", "web", "batch"])
def test_every_command_says_how_onnxruntime_is_got(command: str, here: Path) -> None:
    out = {"layers": []}.get(command, ["-o", here / command])
    pictures = {"explain": [here / "a.png"], "audit": [here / "a.png"]}.get(command, [])
    named = [here / "a.png", "-m", here / "model.onnx"] if command == "batch" else [here / "model.onnx"]
    told = without("onnxruntime", COMMAND, command, *named, *pictures, *out)
    assert told.returncode == 2
    assert told.stderr.startswith('relcam: error: this needs onnxruntime: pip install "relcam-onnx[cpu]", or ')
    assert len(told.stderr.splitlines()) == 1


def test_python_says_it_too() -> None:
    told = without("onnxruntime", "import relcam_onnx as rc; rc.explain")
    assert told.stderr.splitlines()[-1].startswith(
        "relcam_onnx.errors.OptionError: this needs onnxruntime: pip install"
    )


@pytest.mark.parametrize("module", ["pyarrow", "fsspec"])
def test_a_batch_says_how_its_extra_is_got(module: str, here: Path) -> None:
    told = without(module, COMMAND, "batch", here / "a.png", "-m", here / "model.onnx", "-o", here / "out")
    assert told.returncode == 2
    assert told.stderr == f"relcam: error: relcam batch needs {module}: pip install 'relcam-onnx[batch]'\n"
