"""The panels of a sheet as a Matplotlib figure."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from relcam_onnx.errors import OptionError
from relcam_onnx.results.sheet import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 100
"""Pixels of a panel that come to an inch."""

LETTERS = 24
"""So many of a caption find room over a panel."""


def draw(rows: list[Row]) -> Figure:
    """Lay out a figure: a part with its caption for each row, and the titles over the panels.

    Raises
    ------
    OptionError
        Matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot  # noqa: PLC0415 - needed here alone
    except ImportError as error:
        raise OptionError("plot() needs Matplotlib: pip install matplotlib; sheet() shows the same without") from error
    width, height = (max(row.panels[0].size[side] for row in rows) / DOTS for side in (0, 1))
    columns = max(len(row.titles) for row in rows)
    figure = pyplot.figure(figsize=(columns * (width + 0.1), len(rows) * (height + 0.6)), layout="constrained")
    parts = figure.subfigures(len(rows), squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(fill(row.caption, LETTERS * len(row.titles)), parse_math=False)
        for axes, title, panel in zip(
            part.subplots(1, len(row.panels), squeeze=False)[0], row.titles, row.panels, strict=True
        ):
            axes.imshow(np.asarray(panel))
            axes.set_title(title, parse_math=False, fontsize="medium")
            axes.set_axis_off()
    return figure
