"""The notebooks of docs/notebooks/, which lie there without outputs, run as Jupyter runs them.

python -m benchmarks.notebooks           # into build/notebooks/, where `make site` finds them with their outputs
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
DONE = ROOT / "build" / "notebooks"
SECONDS = 300
"""The longest that one cell may take."""


def run(file: Path) -> nbformat.NotebookNode:
    """Run a notebook where it lies, in a kernel of its own; `CellExecutionError` of nbclient where a cell fails."""
    notebook = nbformat.read(file, as_version=4)
    here = {"metadata": {"path": file.parent}}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", coalesce_streams=True, resources=here)
    return client.execute()


def keep(file: Path, notebook: nbformat.NotebookNode) -> None:
    """Put what came of a notebook where the site looks for it."""
    DONE.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, DONE / file.name)


def main() -> int:
    for file in NOTEBOOKS:
        start = time.perf_counter()
        keep(file, run(file))
        print(f"{file.name}: {time.perf_counter() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
