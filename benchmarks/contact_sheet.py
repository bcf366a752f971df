"""The picture at the top of the README: photographs down, maps across, three methods side by side.

python -m benchmarks.contact_sheet
"""

from __future__ import annotations

from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from benchmarks.cost import LITE, ROOT
from relcam_onnx import explain
from relcam_onnx.results.render import overlay

PICTURE = ROOT / "docs" / "pictures" / "contact-sheet.jpg"
CELL, GAP, BETWEEN = 120, 4, 28  # pixels: a picture's side, and the white beside pictures and between methods
TEXT, HEADING = 26, 36  # pixels; the README shows the sheet at about 0.4 of its size


class Row(NamedTuple):
    """A photograph of the examples, the class that is explained, and that class over two lines if need be."""

    file: str
    label: str
    title: str


ROWS = (
    Row("cat", "tiger cat", "tiger cat"),
    Row("coffee", "espresso", "espresso"),
    Row("rocket", "missile", "missile"),
    Row("palace", "palace", "palace"),
    Row("mosaic-coffee-cat", "Egyptian cat", "Egyptian\ncat"),
    Row("mosaic-coffee-cat", "espresso", "espresso"),
)
METHODS: dict[str, dict[str, Any]] = {
    "Grad-CAM": {"method": "grad-cam"},
    "Relevance-CAM, as in the paper": {"preset": "paper"},
    "relcam-onnx": {},
}
COLUMNS = ("stride 4", "8", "16", "32", "fused")
SEEN = 224 / 256  # the share of the shorter side that the model's preprocessing keeps


def overlays(row: Row, options: dict[str, Any]) -> list[Image.Image]:
    """One for each map, in full: methods are compared here, whatever the evidence."""
    file = ROOT / "examples" / f"{row.file}.jpg"
    explanation = explain(LITE, file, row.label, **options)
    with Image.open(file) as photograph:
        return [overlay(photograph, explanation.heat(layer)) for layer in explanation.maps]


def thumbnail(picture: Image.Image) -> Image.Image:
    """The square that the model sees, `CELL` pixels a side."""
    side = round(SEEN * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = (left, top, left + side, top + side)
    return picture.resize((CELL, CELL), Image.Resampling.LANCZOS, box=square)


def sheet() -> Image.Image:
    """Lay everything out: titles, the photographs, then one group of columns for each method."""
    step = CELL + GAP
    text, heading = ImageFont.load_default(TEXT), ImageFont.load_default(HEADING)
    ruler = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = 3 * GAP + round(max(ruler.multiline_textbbox((0, 0), row.title, text)[2] for row in ROWS))
    group = BETWEEN + step * len(COLUMNS)
    starts = {method: margin + step + BETWEEN + group * i for i, method in enumerate(METHODS)}
    top = HEADING + TEXT + 8 * GAP
    size = (margin + step + group * len(METHODS), top + step * len(ROWS))
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for method, left in starts.items():
        draw.text((left + (group - BETWEEN) / 2, HEADING + GAP), method, "#111111", heading, anchor="ms")
        for column, title in enumerate(COLUMNS):
            draw.text((left + step * column + CELL / 2, top - 2 * GAP), title, "#444444", text, anchor="ms")
    for number, row in enumerate(ROWS):
        down = top + step * number
        at = (margin - 2 * GAP, down + CELL / 2)
        draw.multiline_text(at, row.title, "#111111", text, anchor="rm", align="right")
        with Image.open(ROOT / "examples" / f"{row.file}.jpg") as photograph:
            canvas.paste(thumbnail(photograph), (margin, down))
        for method, left in starts.items():
            for column, drawn in enumerate(overlays(row, METHODS[method])):
                canvas.paste(thumbnail(drawn), (left + step * column, down))
    return canvas


def main() -> None:
    """Write the contact sheet."""
    picture = sheet()
    PICTURE.parent.mkdir(exist_ok=True)
    picture.save(PICTURE, quality=82, optimize=True)
    print(f"{PICTURE}: {picture.width}×{picture.height}, {PICTURE.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
