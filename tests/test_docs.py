"""The examples of the README and of docs/ run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.lrp.presets import PRESETS, ROLES
from relcam_onnx.lrp.seeds import GIVEN, SEEDS
from relcam_onnx.ops import TABLE
from relcam_onnx.rules import RULES

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    "page", [p for p in PAGES if BLOCK.search(p.read_text(encoding="utf-8"))], ids=lambda p: p.name
)
def test_examples_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks share their names; a TOML block is the file that its first line names."""
    for folder in ("models", "examples"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(tmp_path)
    known = set(TABLE)
    names: dict[str, Any] = {}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "toml":
            Path(text.splitlines()[0].removeprefix("# ")).write_text(text, encoding="utf-8")
        else:
            exec(compile(text, page.name, "exec"), names)
    for taught in set(TABLE) - known:  # what a page teaches the engine is not known to the next test
        del TABLE[taught]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_op_stands_in_the_table_of_ops() -> None:
    text = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", text))
    assert {name for name in TABLE if "::" not in name} <= named


def test_every_rule_seed_preset_and_method_stands_in_methods() -> None:
    named = set(re.findall(r"`([\w-]+)`", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")))
    assert {*METHODS, *PRESETS, *RULES, *SEEDS, GIVEN, *ROLES} - {"*"} <= named
