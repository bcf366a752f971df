"""What ``relcam layers`` prints."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from relcam_onnx.cli.console import heard, tell
from relcam_onnx.listing import layer_table

WIDE = 10_000
"""Columns where there is no terminal: nothing is cut off."""


def print_layers(model: Path, preset: str | None, output: str | None, head: str | None, *, as_json: bool) -> None:
    """Print every layer that can be named, as a table or as JSON."""
    rows = layer_table(model, preset, output, head)
    if as_json:
        tell(json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False))
        return
    table = Table("layer", "tensor", "shape", "op", "stride", "stage", "paths", "note", box=None)
    for row in rows:
        shape = f" {_times()} ".join(map(str, row.shape))
        stride = "" if row.stride is None else f"{row.stride:g}"
        table.add_row(row.name, row.tensor, shape, row.op, stride, row.stage, f"{row.share:.0%}", row.note)
    width = None if sys.stdout.isatty() else WIDE
    with heard():
        Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def _times() -> str:
    """What stands between sizes: the sign, or the letter where stdout has none."""
    try:
        "×".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "x"
    return "×"
