"""Plots of the page, as SVG in it: the same numbers stand in tables beside them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit.rows import AUDITED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, LEAD = "#222222", "#8a8a8a", "#b5367a"
"""Everything, what knows nothing, the audited method."""
TICKS = 4
"""Steps along an axis of means: numbers that are alike but for their last digits are long."""
STYLE: Any = {
    "svg.hashsalt": "relcam", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": FAINT, "text.parse_math": False,
}  # fmt: skip
"""A fixed salt: the same numbers, the same file. No mathematics in names: they are anybody's."""


def plotted(draw: Any, size: tuple[float, float]) -> str:
    """What ``draw`` puts on axes, as a ``data:`` address."""
    from matplotlib import rc_context  # noqa: PLC0415 - of an extra, and slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with rc_context(STYLE):
        figure = Figure(size, layout="constrained")
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def intervals(figures: Sequence[Mapping[str, Any]], chance: float | None) -> str:
    """One measure: a line for each row at the fused map, its mean and interval; chance dashed."""
    rows = [f for f in figures if f["layer"] == FUSED and f["mean"] is not None]

    def draw(axes: Axes) -> None:
        for place, figure in enumerate(reversed(rows)):
            colour = LEAD if figure["row"] == AUDITED else INK
            axes.plot([figure["low"], figure["high"]], [place, place], color=colour, linewidth=2)
            axes.plot(figure["mean"], place, "o", color=colour)
        axes.set_yticks(range(len(rows)), [f["row"] for f in reversed(rows)])
        if chance is not None:
            axes.axvline(chance, color=FAINT, linestyle="--", linewidth=1)
        axes.margins(y=0.25)
        axes.locator_params(axis="x", nbins=TICKS)

    return plotted(draw, (4.2, 0.5 + 0.26 * max(1, len(rows))))


def scattered(rows: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Row -> points: a channel's weight over the largest, and how far the score falls without it."""
    colours = dict(zip(rows, (FAINT, LEAD), strict=False))

    def draw(axes: Axes) -> None:
        for row, points in rows.items():
            axes.plot(*zip(*points, strict=True), ".", color=colours[row], label=row, markersize=3)
        axes.set_xlabel("channel weight, of the largest")
        axes.set_ylabel("relative fall without it")
        axes.legend(frameon=False)

    return plotted(draw, (5, 3))


def along(names: Sequence[str], values: Sequence[float], limit: float) -> str:
    """How far activations are apart from layer to layer; dashed, where two files are said to depart."""
    from matplotlib.ticker import LogFormatter  # noqa: PLC0415 - of an extra, and slow to import

    def draw(axes: Axes) -> None:
        axes.plot(range(len(values)), values, color=LEAD)
        axes.axhline(limit, color=FAINT, linestyle="--", linewidth=1)
        ends = sorted({0, len(names) // 2, len(names) - 1})
        axes.set_xticks(ends, [names[end] for end in ends])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(LogFormatter())  # no TeX, and few where there are many decades
        axes.set_ylabel("relative difference")

    return plotted(draw, (8, 2.4))
