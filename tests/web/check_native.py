"""The examples in JavaScript, C++ and C#, each with onnxruntime's own API: ``make test-native``.

Its name keeps it out of the other tests: it needs node, onnxruntime-node on NODE_PATH, a C++ compiler, Mono, and
onnxruntime's headers and C# sources in ONNXRUNTIME_API. What is not there is left out, and said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from csharp_api import build
from nets import plain
from PIL import Image

import relcam_onnx as rc

EXAMPLES = Path(__file__).parents[2] / "examples"
API = Path(os.environ.get("ONNXRUNTIME_API", "nowhere"))
HEIGHT, WIDTH = 24, 40
Program = Callable[..., subprocess.CompletedProcess[str]]


def wide() -> onnx.ModelProto:
    """A network for pictures that are no square, whose two sizes cannot be mistaken for each other."""
    model = plain()
    del model.graph.value_info[:]
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], (HEIGHT, WIDTH), strict=True):
        dim.dim_value = size
    return model


def need(language: str, there: object, what: str) -> None:
    if not there:
        pytest.skip(f"*** LEFT OUT: examples/{language}. It needs {what}. ***")


def library(folder: Path) -> str:
    """A folder with the shared library of the onnxruntime that pip installed, under the names that linkers ask for."""
    found = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    assert found, "this wheel of onnxruntime has no libonnxruntime.so"
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found)
    return str(folder)


def node(_: Path) -> list[str]:
    need("node", shutil.which("node"), "node")
    there = subprocess.run(["node", "-e", "require('onnxruntime-node')"], capture_output=True, check=False)
    need("node", not there.returncode, "onnxruntime-node, from npm")
    return ["node", str(EXAMPLES / "node" / "heatmap.cjs")]


def cpp(folder: Path) -> list[str]:
    need("cpp", shutil.which("g++"), "a C++ compiler (apt-get install g++)")
    header = next(API.rglob("onnxruntime_cxx_api.h"), None)
    need("cpp", header, "onnxruntime's headers, from npm")
    source, binary = EXAMPLES / "cpp" / "heatmap.cpp", folder / "heatmap"
    strict = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    linked = [f"-L{library(folder)}", f"-Wl,-rpath,{folder}", "-lonnxruntime"]
    subprocess.run(["g++", *strict, "-isystem", header.parent, source, "-o", binary, *linked], check=True)
    return [str(binary)]


def csharp(folder: Path) -> list[str]:
    need("csharp", shutil.which("mcs") and shutil.which("mono"), "Mono (apt-get install mono-mcs)")
    need("csharp", (API / "Runtime").is_dir(), "the C# sources of onnxruntime's API, from npm")
    binary, api = folder / "Heatmap.exe", build(API / "Runtime", folder)
    source = EXAMPLES / "csharp" / "Heatmap.cs"
    subprocess.run(["mcs", "-warn:4", "-warnaserror", f"-r:{api}", f"-out:{binary}", source], check=True)
    return ["env", f"LD_LIBRARY_PATH={library(folder)}", "mono", str(binary)]


@pytest.fixture(scope="module", params=[node, cpp, csharp], ids=lambda language: language.__name__)
def heatmap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    command = request.param(tmp_path_factory.mktemp("program"))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("model") / "explained.onnx"
    model.write_bytes(rc.compile_model(wide(), heatmap=True).SerializeToString())
    return model


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.ppm")
    return tmp_path / "a.ppm"


@pytest.mark.parametrize("target", [None, -2, 2])
def test_the_heat_map_is_the_references(
    target: int | None, heatmap: Program, explained: Path, photograph: Path, tmp_path: Path
) -> None:
    out = tmp_path / "heat.pgm"
    done = heatmap(explained, photograph, out, *([] if target is None else [target]))
    assert (done.returncode, done.stderr) == (0, "")
    x = ((np.asarray(Image.open(photograph), np.float32) - 127) / 128).transpose(2, 0, 1)[None]
    with rc.Explainer(wide(), "fused", backend="eager") as explainer:
        wanted = explainer(x, -1 if target is None else target)
    assert done.stdout == f"class {wanted.targets[0, 0]}\n"
    value = np.maximum(wanted.maps["fused"][0, 0], 0)
    # The map is of the picture's own size, so that nothing is resized between; rounding may differ by one step of gray.
    np.testing.assert_allclose(np.asarray(Image.open(out), np.float64), 255 * value / value.max(), rtol=0, atol=1)


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (b"P6 40 24 255\n123", "-1", "{photograph} ends early"),
        (b"P6 999999999 999999999 255\n123", "-1", "{photograph} ends early"),
        (b"P3 40 24 255\n1 2 3", "-1", "{photograph} is no binary PPM of 8 bits"),
        (b"", "-1", "{photograph} is no binary PPM of 8 bits"),
        (None, "cat", "cat is no class or rank"),
        (None, "1e3", "1e3 is no class or rank"),
        (None, "9" * 30, "9" * 30 + " is no class or rank"),
        (None, "99", "the model has no class or rank 99"),
    ],
)
def test_bad_input_is_one_line(
    content: bytes | None, target: str, message: str, heatmap: Program, explained: Path, photograph: Path
) -> None:
    if content is not None:
        photograph.write_bytes(content)
    out = photograph.with_name("heat.pgm")
    done = heatmap(explained, photograph, out, target)
    message = message.format(photograph=photograph)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {message}\n")
    assert not out.exists()


def test_arguments_are_counted(heatmap: Program) -> None:
    wanted = "Error: the arguments are explained.onnx photograph.ppm heat.pgm [target]\n"
    for arguments in ([], ["a", "b"], ["a", "b", "c", "1", "2"]):
        done = heatmap(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_file_is_named(missing: int, heatmap: Program, explained: Path, photograph: Path) -> None:
    arguments = [explained, photograph, photograph.with_name("heat.pgm")]
    arguments[missing] = photograph.parent / "nowhere" / "file"
    done = heatmap(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert str(arguments[missing]) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_picture_of_another_size_is_refused(heatmap: Program, explained: Path, photograph: Path) -> None:
    photograph.write_bytes(b"P6 2 2 255\n123456789012")
    done = heatmap(explained, photograph, photograph.with_name("heat.pgm"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Got: 2 Expected: 24" in done.stderr
