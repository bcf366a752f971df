"""Pictures and maps of the page, as data in it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from relcam_onnx.audit.run import Audit
from relcam_onnx.audit.spots import Mask
from relcam_onnx.audit.subjects import Subject
from relcam_onnx.pictures.geometry import Floats
from relcam_onnx.results.render import OPACITY, PALETTE, resize_map, to_levels

SIDE = 224
"""Pixels of a picture in the page, on its longer side."""
QUALITY = 80
VEIL = 64
"""Of a map, which browsers grow smoothly."""
EDGE = 3
"""Pixels: a region's border in the page."""
ANY = [0] + [255] * 255
"""Of what a pixel in the page stands for: small things are not lost."""


class Shown(NamedTuple):
    """A picture in the page: itself, a veil for each layer, the reference's of the same layers, its region's border."""

    name: str
    picture: str
    veils: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    border: str | None
    width: int
    height: int


def shown(audit: Audit, subject: Subject) -> Shown:
    """A picture as the model sees it, and its maps as veils of the same size."""
    picture = seen(audit, subject)
    scale = VEIL / max(picture.size)
    size = (max(1, round(picture.height * scale)), max(1, round(picture.width * scale)))
    own, other = audit.maps[subject.name], audit.others.get(subject.name, {})
    veils, others = (
        tuple((layer, data(veil(maps[layer][0], size), "PNG")) for layer in own if layer in maps)
        for maps in (own, other)
    )
    region = subject.spot.region
    edge = None if region is None or not region.any() else data(border(region, (picture.height, picture.width)), "PNG")
    return Shown(subject.name, data(picture, "JPEG"), veils, others, edge, picture.width, picture.height)


def seen(audit: Audit, subject: Subject) -> Image.Image:
    """What the model takes, as colours again: preprocessing undone."""
    preprocess = audit.model.pictures.preprocess
    x = subject.array[:3].transpose(1, 2, 0)
    mean, std = (np.array(values, np.float32)[: x.shape[2]] for values in (preprocess.mean, preprocess.std))
    values = np.clip(np.rint((x * std + mean) / preprocess.scale), 0, 255).astype(np.uint8)
    if preprocess.channels.startswith("BGR"):
        values = values[:, :, ::-1]
    image = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).convert("RGB")
    image.thumbnail((SIDE, SIDE))
    return image


def veil(heat: Floats, size: tuple[int, int]) -> Image.Image:
    """A map's positive part as colours with their opacity."""
    levels = Image.fromarray(to_levels(resize_map(heat, size)))
    opacity = levels.point(OPACITY)
    levels.putpalette(PALETTE)
    coloured = levels.convert("RGB")
    coloured.putalpha(opacity)
    return coloured


def border(region: Mask, size: tuple[int, int]) -> Image.Image:
    """The edge of a box or a segment, white within black: seen on any ground, and nothing inside is hidden."""
    inner = Image.fromarray(region.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX).point(ANY)
    width, height = inner.size
    # What ends with the picture has its edge there, in it.
    wide = min(width, height) > 2 * EDGE
    framed = ImageOps.expand(inner.crop((EDGE, EDGE, width - EDGE, height - EDGE)), EDGE) if wide else inner
    line, ground = (np.asarray(framed.filter(ImageFilter.MaxFilter(2 * grown + 1))) for grown in (EDGE - 1, EDGE))
    white = np.where(np.asarray(framed) > 0, np.uint8(0), line)
    opaque = np.where(np.asarray(framed) > 0, np.uint8(0), ground)
    return Image.fromarray(np.stack([white, opaque], axis=-1), "LA")


def heatmap(cells: Sequence[Sequence[float]] | NDArray[np.float64]) -> str:
    """A mean map by itself, from dark to light."""
    levels = Image.fromarray(to_levels(np.asarray(cells, np.float32)))
    levels.putpalette(PALETTE)
    return data(levels.convert("RGB").resize((96, 96), Image.Resampling.NEAREST), "PNG")


def data(image: Image.Image, form: str) -> str:
    """An image as a ``data:`` address."""
    file = io.BytesIO()
    options = {"quality": QUALITY} if form == "JPEG" else {"optimize": True}
    image.save(file, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
