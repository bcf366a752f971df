"""Export by name: a network of a library, or what a function of one's own returns."""

from __future__ import annotations

import os
from typing import Any

import torch

from relcam_exporters._extra import require
from relcam_exporters.exporter import export
from relcam_exporters.report import ExportReport
from relcam_exporters.trace import AXES
from relcam_exporters.zoo import architecture


def export_named(
    name: str,
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    dynamic: bool = True,
    weights: str | os.PathLike[str] | None = "default",
    seed: int = 0,
    **options: Any,
) -> ExportReport:
    """Write a network by name, with its preprocessing and labels.

    Parameters
    ----------
    name
        One of `relcam_exporters.architectures`, ``timm:NAME``, or ``package.module:callable`` that returns a module.
    path
        The file to write; written whole or not at all.
    size
        Height and width in pixels, one number for both; None: the size that the weights were trained with.
    dynamic
        Leave the batch open and, where the network allows it, height and width; else the file takes one picture of
        ``size``.
    weights
        "default" for the published weights, the path of a state dict (.safetensors too), or None for random weights.
    seed
        Of the random weights.
    options
        As in `relcam_exporters.export`; so are the errors.

    Raises
    ------
    OptionError
        The name or an argument does not exist or does not fit, or the weights cannot be had.
    """
    found = architecture(name)
    preprocess = found.sized(size)
    assert preprocess.size is not None
    every_axis = tuple(AXES) if found.any_size else ("batch",)
    return export(
        found.module(weights, seed),
        torch.zeros(2 if dynamic else 1, 3, *preprocess.size),
        path,
        preprocess=preprocess,
        labels=found.labels,
        dynamic=every_axis if dynamic else (),
        source={"model": name, **({found.library: str(require(found.library).__version__)} if found.library else {})},
        **options,
    )
