"""docs/licences.md names all that an installation brings along."""

from __future__ import annotations

import re

from benchmarks.cost import ROOT
from benchmarks.licences import brought, licence


def test_every_package_stands_in_the_table() -> None:
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", (ROOT / "docs" / "licences.md").read_text(), re.MULTILINE))
    found = brought()
    assert {"numpy", "onnx", "onnxruntime", "protobuf"} <= found  # what is asked for, and what that asks for
    assert found <= rows.keys()
    assert not [name for name, told in rows.items() if "GPL" in told or told == "not told"]


def test_a_licence_is_what_a_package_tells() -> None:
    assert licence("numpy").startswith("BSD-3-Clause")
