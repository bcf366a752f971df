"""What ``relcam export`` runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from relcam_exporters.exporter import BatchNorm, export


def run_export(
    arch: str,
    output: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    dynamic: bool = True,
    batch_norm: BatchNorm = "fused",
    activations: Sequence[str] = (),
    weights: str = "default",
    seed: int = 0,
    opset: int = 18,
) -> None:
    """Export and print the report.

    ``weights`` is "default", "random" or the path of a state dict; everything else, the errors included, is
    as in `relcam_exporters.export`.
    """
    report = export(
        arch,
        output,
        size=size,
        dynamic=dynamic,
        batch_norm=batch_norm,
        activations=activations,
        weights=None if weights == "random" else weights,
        seed=seed,
        opset=opset,
    )
    print(report)
