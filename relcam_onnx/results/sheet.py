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
from relcam_onnx.lrp.maps import MapSource
from relcam_onnx.pictures.geometry import Floats, Size
from relcam_onnx.results import render, words
from relcam_onnx.results.detections import Box

if TYPE_CHECKING:
    from relcam_onnx.results.explanation import Explanation

AREA, LONGEST, NARROWEST = 220**2, 440, 120
"""Pixels of a panel, the most on a side, and the width that one has to itself however narrow it is."""

MARGIN, GAP, TEXT, LINE = 14, 8, 19, 28
"""Pixels: around all, between panels, the height of letters, and of a line of them."""

FRAMES = 8
"""Of a clip there are so many at most."""

QUALITY = 85
"""Of JPEG: letters stay clean, and a sheet takes some 100 kB."""

PAPER, INK, FAINT, BLANK = "#ffffff", "#111111", "#555555", "#e6e6e6"
"""Colours; the last is what maps lie on where there is no picture."""


class Row(NamedTuple):
    """One target in one picture: its label, probability and margin, and a panel for each title; panels of one size."""

    caption: str
    titles: list[str]
    panels: list[Image.Image]


def panels(explanation: Explanation, index: int = 0) -> list[Row]:
    """The picture and every map that can be drawn, at the size that a sheet shows, a row for each target.

    Where a model reads several pictures each has rows of its own.

    Raises
    ------
    InputError
        No such image, or a map is not finite.
    LayerError
        No map can be drawn.
    """
    explanation.check(index * explanation.frames)
    sources = [source for source in explanation.settings.layers if source.name in explanation.maps.drawable]
    if not sources:
        raise LayerError(f"no map of {', '.join(explanation.maps)} has the two axes of positions that a picture needs")
    several = list(explanation.beside) or list(dict.fromkeys(source.picture for source in sources if source.picture))
    inputs: list[str | None] = [*several] or [None]
    return [
        row
        for name in inputs
        if (own := [source for source in sources if name is None or source.picture in (None, name)])
        for frame in frames_of(explanation.frames)
        for row in _rows(explanation, index * explanation.frames + frame, name, own)
    ]


def frames_of(count: int) -> list[int]:
    """The frames of a clip that a sheet has room for, evenly spaced."""
    shown = min(count, FRAMES)
    return [(2 * number + 1) * count // (2 * shown) for number in range(shown)]


def _rows(explanation: Explanation, index: int, name: str | None, sources: list[MapSource]) -> list[Row]:
    """Those of one of several picture inputs, or of the only one, and of one frame where an image is a clip."""
    image = index // explanation.frames
    picture = explanation.picture_of(sources[-1].name, index, name)
    size = fitted(picture.size if picture else explanation.heat(sources[-1].name, index).shape)
    base = picture.pixels.resized(size, Image.Resampling.BICUBIC) if picture else Image.new("RGB", size[::-1], BLANK)
    titles, rows = [words.title(source) for source in sources], []
    if picture:
        titles.insert(0, Path(words.picture(explanation, index, name)).name)
    for place in range(max(1, explanation.count(image))):
        faint = explanation.doubt(image, place) is not None
        most = [explanation.most(source.name, index, place) for source in sources]
        heats = [_heat(explanation, source.name, index, place, size, name) for source in sources]
        shown = [render.overlay(base, heat, faint=faint, most=m) for heat, m in zip(heats, most, strict=True)]
        shown = [base.copy(), *shown] if picture else shown
        if picture and (box := box_of(explanation, image, place)) is not None:
            for panel in shown:
                outline(panel, box, picture.size)
        caption = words.caption(explanation, image, place)
        if explanation.frames > 1:
            caption = f"frame {index % explanation.frames}: {caption}"
        rows.append(Row(caption if name is None else f"{name}: {caption}", titles, shown))
    return rows


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


def _heat(explanation: Explanation, layer: str, index: int, place: int, size: Size, picture: str | None) -> Floats:
    """A map at a panel's size; the mean over the places of one pixel where the map is finer than that."""
    shape = explanation.maps[layer].shape[-2:]
    finer = max(1, math.ceil(max(shape[axis] / size[axis] for axis in (0, 1))))
    heat = explanation.heat(layer, index, place, (finer * size[0], finer * size[1]), picture=picture)
    return heat if finer == 1 else np.asarray(heat.reshape(size[0], finer, size[1], finer).mean(axis=(1, 3)))


def fitted(size: tuple[int, ...]) -> Size:
    """A panel's height and width for a picture of these: one area, whatever the shape, but no side too long."""
    scale = min(math.sqrt(AREA / math.prod(size)), LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw(rows: list[Row]) -> Image.Image:
    """Lay out a sheet.

    Returns
    -------
    Image.Image
        RGB; for each row its caption and under it the panels, titles above where they are others than before.
    """
    step = max(NARROWEST, *(row.panels[0].width for row in rows)) + GAP
    across = 2 * MARGIN + step * max(len(row.titles) for row in rows) - GAP
    titled = [number == 0 or row.titles != rows[number - 1].titles for number, row in enumerate(rows)]
    down = 2 * MARGIN + LINE * sum(titled) + sum(LINE + row.panels[0].height + GAP for row in rows) - GAP
    sheet, top = Image.new("RGB", (across, down), PAPER), MARGIN
    for row, new in zip(rows, titled, strict=True):
        for column, title in enumerate(row.titles if new else []):
            _write(sheet, (MARGIN + step * column, top), title, step - GAP, FAINT)
        top += LINE * new
        _write(sheet, (MARGIN, top), row.caption, across - 2 * MARGIN, INK)
        for column, panel in enumerate(row.panels):
            sheet.paste(panel, (MARGIN + step * column, top + LINE))
        top += LINE + row.panels[0].height + GAP
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
