"""A sheet: one picture to look at, with every map of an explanation; drawn at the size that it is shown at."""

from __future__ import annotations

import io
import math
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from relcam_onnx.errors import LayerError
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results import render, words
from relcam_onnx.results.detections import Box

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

AREA, LONGEST, NARROWEST = 220**2, 440, 120
"""Pixels of a panel, the most on a side, and the width that one has to itself however narrow it is."""

MARGIN, GAP, TEXT, LINE = 14, 8, 19, 28
"""Pixels: around all, between panels, the height of letters, and of a line of them."""

QUALITY = 85
"""Of JPEG: letters stay clean, and a sheet takes some 100 kB."""

PAPER, INK, FAINT, BLANK = "#ffffff", "#111111", "#555555", "#e6e6e6"
"""Colours; the last is what maps lie on where there is no picture."""


class Row(NamedTuple):
    """One target: its label, probability and margin, and a panel for each title."""

    caption: str
    panels: list[Image.Image]


class Panels(NamedTuple):
    """What there is to see of one image: a title for each column, and a row for each target; panels of one size."""

    titles: list[str]
    rows: list[Row]


def panels(explanation: Explanation, index: int = 0) -> Panels:
    """The picture and every map that can be drawn, at the size that a sheet shows.

    Raises
    ------
    InputError
        No such image, or a map is not finite.
    LayerError
        No map can be drawn.
    """
    explanation.check(index)
    sources = [source for source in explanation.settings.layers if source.name in explanation.maps.drawable]
    if not sources:
        raise LayerError(f"no map of {', '.join(explanation.maps)} has the two axes of positions that a picture needs")
    picture = explanation.pictures[index] if explanation.pictures else None
    size = fitted(picture.size if picture else explanation.heat(sources[-1].name, index).shape)
    base = picture.pixels.resized(size, Image.Resampling.BICUBIC) if picture else Image.new("RGB", size[::-1], BLANK)
    titles, rows = [words.title(source) for source in sources], []
    for place in range(max(1, explanation.count(index))):
        faint = explanation.doubt(index, place) is not None
        heats = [_heat(explanation, source.name, index, place, size) for source in sources]
        shown = [render.overlay(base, heat, faint=faint) for heat in heats]
        shown = [base.copy(), *shown] if picture else shown
        if picture and (box := box_of(explanation, index, place)) is not None:
            for panel in shown:
                outline(panel, box, picture.size)
        rows.append(Row(words.caption(explanation, index, place), shown))
    return Panels([Path(words.picture(explanation, index)).name, *titles] if picture else titles, rows)


def box_of(explanation: Explanation, index: int, place: int) -> Box | None:
    """Where a detector sees a target, in the picture's pixels."""
    found = explanation.detections
    return found[index][place].box if found and place < len(found[index]) else None


def outline(panel: Image.Image, box: Box, size: tuple[int, ...]) -> None:
    """Draw a box of a picture of this (height, width): white within black, seen on any ground."""
    scale = (panel.width / size[1], panel.height / size[0])
    left, top, right, bottom = (side * scale[i % 2] for i, side in enumerate(box))
    pen = ImageDraw.Draw(panel)
    for inset, colour in ((0, INK), (1, PAPER), (2, INK)):
        corners = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
        if corners[0] < corners[2] and corners[1] < corners[3]:
            pen.rectangle(corners, outline=colour)


def _heat(explanation: Explanation, layer: str, index: int, place: int, size: Size) -> Floats:
    """A map at a panel's size; the mean over the places of one pixel where the map is finer than that."""
    shape = explanation.maps[layer].shape[-2:]
    finer = max(1, math.ceil(max(shape[axis] / size[axis] for axis in (0, 1))))
    heat = explanation.heat(layer, index, place, (finer * size[0], finer * size[1]))
    return heat if finer == 1 else np.asarray(heat.reshape(size[0], finer, size[1], finer).mean(axis=(1, 3)))


def fitted(size: tuple[int, ...]) -> Size:
    """A panel's height and width for a picture of these: one area, whatever the shape, but no side too long."""
    scale = min(math.sqrt(AREA / math.prod(size)), LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw(content: Panels) -> Image.Image:
    """Lay out a sheet.

    Returns
    -------
    Image.Image
        RGB; titles above, then for each row its caption and under it the panels.
    """
    width, height = content.rows[0].panels[0].size
    step = max(width, NARROWEST) + GAP
    across = 2 * MARGIN + step * len(content.titles) - GAP
    down = 2 * MARGIN + LINE + (LINE + height + GAP) * len(content.rows) - GAP
    sheet = Image.new("RGB", (across, down), PAPER)
    for column, title in enumerate(content.titles):
        _write(sheet, (MARGIN + step * column, MARGIN), title, step - GAP, FAINT)
    for number, row in enumerate(content.rows):
        top = MARGIN + LINE + (LINE + height + GAP) * number
        _write(sheet, (MARGIN, top), row.caption, across - 2 * MARGIN, INK)
        for column, panel in enumerate(row.panels):
            sheet.paste(panel, (MARGIN + step * column, top + LINE))
    return sheet


def encoded(image: Image.Image) -> bytes:
    """A sheet as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _write(sheet: Image.Image, place: tuple[int, int], text: str, width: int, colour: str) -> None:
    sheet.paste(colour, place, line(text, width))


@lru_cache(maxsize=64)
def line(text: str, width: int) -> Image.Image:
    """A line of text as a mask, kept since titles come back on every sheet.

    What is too long for the width loses its middle, since names differ at both ends.
    """
    text = legible(text)
    half = min(len(text), width) // 2
    while half > 1 and _font().getlength(text) > width:
        half -= 1
        text = f"{text[:half]}…{text[-half:]}"
    mask = Image.new("L", (width, LINE))
    ImageDraw.Draw(mask).text((0, 0), text, 255, _font())
    return mask


def legible(text: str) -> str:
    """A text as the font can draw it, which has the letters of English only.

    Accents are left off; any other letter stays and is drawn as a box. Breaks are spaces, and characters that steer
    the direction of writing are left out.
    """
    return "".join(map(_plain, " ".join(text.split())))


def _plain(character: str) -> str:
    """A character without its accents, nothing if it is none that is drawn."""
    if unicodedata.category(character)[0] in "CM":
        return ""
    letters = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    return letters if letters.isascii() else character


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)
