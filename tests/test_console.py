"""stdout and stderr as they may be: of few letters, full, closed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from batches import encoded, stored


def process(*arguments: object, letters: str = "utf-8", **how: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "relcam_onnx", *map(str, arguments)]
    how = {"stdout": subprocess.PIPE, **how}
    return subprocess.run(
        command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": letters}, check=False, **how
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return stored(tmp_path / "model.onnx", labels=["Kätzchen", "猫", "x", "y", "z"])


@pytest.mark.parametrize("letters", ["ascii", "cp1252"])
def test_a_name_without_letters_ends_nothing(letters: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.png", "猫.png", "z.png")):
        (tmp_path / "in" / name).write_bytes(encoded(number))
    (tmp_path / "in" / "犬.png").write_bytes(b"no picture")
    told = process("explain", model, tmp_path / "in", "-o", tmp_path / "out", "--top", 5, letters=letters)
    assert (told.returncode, told.stdout.count(b"\\u732b.png: ")) == (1, 1)
    assert told.stderr.startswith(b"relcam: failed: ")
    assert b"\\u72ac.png: " in told.stderr
    assert len(list((tmp_path / "out").glob("*.npz"))) == 3


@pytest.mark.parametrize(("letters", "times"), [("ascii", "x"), ("cp1252", "×"), ("utf-8", "×")])
def test_layers_are_told_in_any_letters(letters: str, times: str, model: Path) -> None:
    told = process("layers", model, letters=letters)
    assert (told.returncode, told.stderr) == (0, b"")
    assert f" {times} 32 {times} 32 ".encode(letters) in told.stdout


def nothing_more() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["explain", "--help"], ["layers", "{}"], ["layers", "{}", "--json"]]
)
def test_a_full_stdout_is_one_line(arguments: Sequence[str], model: Path, tmp_path: Path) -> None:
    with (tmp_path / "full").open("wb") as full:
        told = process(*(each.format(model) for each in arguments), stdout=full, preexec_fn=nothing_more)
    assert told.returncode == 1
    assert told.stderr == b"relcam: error: stdout cannot be written (File too large)\n"


@pytest.mark.parametrize("arguments", [["--help"], ["layers", "{}"], ["layers", "{}", "--json"]])
def test_a_closed_stdout_is_no_error(arguments: Sequence[str], model: Path) -> None:
    told = process(*(each.format(model) for each in arguments), stdout=None, preexec_fn=lambda: os.close(1))
    assert (told.returncode, told.stderr) == (0, b"")


def test_pictures_are_kept_where_stdout_takes_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(0))
    read, write = os.pipe()
    os.close(read)
    told = process("explain", model, tmp_path / "a.png", "-o", tmp_path / "out", stdout=write)
    os.close(write)
    assert told.returncode == 1
    assert told.stderr == b"relcam: error: stdout cannot be written (Broken pipe); 1 of 1 pictures are done\n"
    assert (tmp_path / "out" / "index.html").is_file()
