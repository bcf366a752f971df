"""The notebooks of docs/notebooks/ run from top to bottom, and say what is known of what they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
from benchmarks import notebooks  # noqa: E402

PRINTED = {
    "classifier.ipynb": [
        r"282 tiger cat 37 %",
        r"espresso: (9\d|100)% in the tiles with coffee",
        r"tabby: \d% in the tiles with coffee",
    ],
    "detector.ipynb": [
        r"red: 77% in its box, 23% in the corner",  # as its weights have it: 1 and 0.3 of each pixel
        r"green: 100% in its box, 0% in the corner",
    ],
    "audit.ipynb": [r"bits8 0\.9\d cat\.jpg", r"bits5 0\.6\d cat\.jpg", r"drift\.iou .* failed", r"report\.html"],
}
"""What must stand among the outputs of each."""


def text_of(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.parametrize("file", notebooks.NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_runs(file: Path) -> None:
    """A cell that fails ends it. What comes of it is kept for `make site`, which shows it."""
    ran = notebooks.run(file)
    notebooks.keep(file, ran)
    for wanted in PRINTED[file.name]:
        assert re.search(wanted, text_of(ran)), wanted


@pytest.mark.parametrize("file", notebooks.NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_lies_there_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert not cell.metadata
