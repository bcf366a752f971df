"""examples/space/ without Gradio: what a Hugging Face Space reads before it runs. `make test-space` runs it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import relcam_onnx as rc

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "examples" / "space"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMAND_LINE = {"typer", "rich"}


@pytest.fixture(scope="module")
def front() -> dict[str, Any]:
    _, matter, _ = (SPACE / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    told: dict[str, Any] = yaml.safe_load(matter)
    return told


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=~! ]", requirement)[0]


def test_the_front_matter_is_what_a_space_is_made_by(front: dict[str, Any]) -> None:
    assert front["sdk"] == "gradio"
    assert (SPACE / front["app_file"]).is_file()
    assert front["license"] == PROJECT["license"].lower()
    assert {front["colorFrom"], front["colorTo"]} <= {
        *("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
    }
    assert len(front["short_description"]) <= 60
    assert f"Python :: {front['python_version']}" in "".join(PROJECT["classifiers"])


def test_requirements_are_pinned_and_have_all_that_the_package_needs(front: dict[str, Any]) -> None:
    lines = [line for line in (SPACE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z-]+==[\d.]+", line) for line in lines)
    assert f"gradio=={front['sdk_version']}" in lines
    needed = {name_of(r) for r in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"])}
    assert {name_of(line) for line in lines} == (needed - COMMAND_LINE) | {"gradio"}


def test_the_app_is_short_and_uses_what_everyone_may() -> None:
    text = (SPACE / "app.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    used = {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rc"
    }
    assert used <= {*rc.__all__}


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_puts_all_of_it_into_one_folder(tmp_path: Path) -> None:
    made = tmp_path / "space"
    subprocess.run(["make", "--silent", "space", f"SPACE={made}", "MODEL="], cwd=ROOT, check=True, capture_output=True)
    assert (made / "model.onnx").read_bytes() == (ROOT / "models" / "efficientnet-lite0.onnx").read_bytes()
    for name in ("app.py", "requirements.txt", "README.md"):
        assert (made / name).read_bytes() == (SPACE / name).read_bytes()
    package = {p.relative_to(ROOT) for p in (ROOT / "relcam_onnx").rglob("*") if "__pycache__" not in p.parts}
    assert {p.relative_to(made) for p in (made / "relcam_onnx").rglob("*")} == package
    assert list((made / "pictures").glob("*.jpg"))
