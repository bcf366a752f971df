"""The panels of a sheet as a Matplotlib figure."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from relcam_onnx.errors import OptionError
from relcam_onnx.results.sheet import Panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS = 100
"""Pixels of a panel that come to an inch."""

LETTERS = 24
"""So many of a caption find room over a panel."""


def draw(content: Panels) -> Figure:
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
    width, height = (side / DOTS for side in content.rows[0].panels[0].size)
    size = (len(content.titles) * (width + 0.1), len(content.rows) * (height + 0.6))
    figure = pyplot.figure(figsize=size, layout="constrained")
    parts = figure.subfigures(len(content.rows), squeeze=False)[:, 0]
    for part, row in zip(parts, content.rows, strict=True):
        part.suptitle(fill(row.caption, LETTERS * len(content.titles)), parse_math=False)
        for axes, title, panel in zip(
            part.subplots(1, len(row.panels), squeeze=False)[0], content.titles, row.panels, strict=True
        ):
            axes.imshow(np.asarray(panel))
            axes.set_title(title, parse_math=False, fontsize="medium")
            axes.set_axis_off()
    return figure
