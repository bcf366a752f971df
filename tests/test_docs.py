"""The examples of the README and of docs/ run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net

import relcam_onnx as rc
from relcam_onnx.lrp.methods import METHODS
from relcam_onnx.lrp.presets import PRESETS
from relcam_onnx.lrp.seeds import GIVEN, SEEDS
from relcam_onnx.lrp.sites import ROLES
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


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_the_example_op_is_what_standard_ops_spell(backend: str) -> None:
    """Behind an Add, whose share asks what a message promises: a soft threshold as one op and as a difference.

    To 1e-5 of each map's maximum: the same formulas in float32, on activations of two kernels.
    """
    text = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    (taught,) = [block for _, block in BLOCK.findall(text) if '@rc.op("Shrink")' in block]
    names: dict[str, Any] = {"rc": rc}
    exec(taught.partition("with rc.Explainer")[0], names)

    def network(*, spelled: bool) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)
        x = net("Relu", net.conv(net.x, 3, 8))
        y, half = net("Add", net.conv(x, 8, 8), net.conv(x, 8, 8), name="sum"), np.float32(0.5)
        if spelled:
            above, below = net("Relu", net("Sub", y, half)), net("Relu", net("Sub", net("Neg", y), half))
            active = net("Sub", above, below, name="active")
        else:
            active = net("Shrink", y, name="active", lambd=0.5, bias=0.5)
        end = net("Relu", net.conv(active, 8, 8, stride=2), name="end")
        return net.model(net.head(end, 8))

    x = np.random.default_rng(3).standard_normal((2, 3, 16, 16)).astype(np.float32)
    found = []
    for spelled in (False, True):
        with rc.Explainer(network(spelled=spelled), layers=["sum", "input"], backend=backend) as explainer:
            found.append(explainer(x, 1).maps)
    del TABLE["Shrink"]
    for layer in ("sum", "input"):
        got, wanted = (maps[layer] for maps in found)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))], ids=lambda p: p.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_op_stands_in_the_table_of_ops() -> None:
    text = (ROOT / "docs" / "ops.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\w+", text))
    assert {name for name in TABLE if "::" not in name} <= named


def test_every_rule_seed_preset_and_method_stands_in_methods() -> None:
    named = set(re.findall(r"`([\w+-]+)`", (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")))
    assert {*METHODS, *PRESETS, *RULES, *SEEDS, GIVEN, *ROLES} - {"*"} <= named
