"""What ``relcam export`` runs."""

from __future__ import annotations

import os
from typing import Any

from relcam_exporters.named import export_named
from relcam_onnx.cli.console import tell


def run_export(name: str, output: str | os.PathLike[str], *, weights: str = "default", **options: Any) -> None:
    """Export and print the report.

    ``weights`` is "default", "random" or the path of a state dict; everything else, the errors included, is
    as in `relcam_exporters.export_named`.
    """
    tell(str(export_named(name, output, weights=None if weights == "random" else weights, **options)))
