"""Where objects are, as people say it: boxes and polygons in COCO's JSON, or a folder of masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.subjects import Masks
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.geometry import Size

Shapes = list[list[tuple[float, float]]]
"""Polygons in a picture's pixels, upright."""


def no_masks(found: Found) -> NDArray[np.bool_] | None:
    """Nobody knows."""
    return None


def read_boxes(file: Path, found: Sequence[Found], model: Audited) -> tuple[Masks, list[str]]:
    """What COCO's JSON says of some pictures, all categories together.

    Returns
    -------
    tuple
        The masks, and a note on pictures in the file that are not among those audited.

    Raises
    ------
    OptionError
        The file is no such JSON, or is about none of the pictures.
    """
    try:
        coco = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: Path(str(image["file_name"])).name for image in coco["images"]}
        shapes: dict[str, Shapes] = {}
        for entry in coco["annotations"]:
            shapes.setdefault(names[entry["image_id"]], []).extend(polygons(entry))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{str(file)!r} is no JSON of COCO's form (images with id and file_name, annotations with image_id and "
            f"bbox or polygons): {type(error).__name__}: {error}"
        ) from error
    known = {picture.path.name for picture in found}
    if not known & set(shapes):
        raise OptionError(f"{str(file)!r} outlines none of the pictures; its first is {next(iter(shapes), 'none')!r}")
    strange = sorted(set(shapes) - known)
    notes = [f"{file.name} outlines {len(strange)} pictures that are not here, such as {strange[0]}"] if strange else []

    def mask(picture: Found) -> NDArray[np.bool_] | None:
        outlines = shapes.get(picture.path.name)
        return None if outlines is None else seen(model, drawn(model.upright(picture.path), outlines))

    return mask, notes


def polygons(entry: dict[str, Any]) -> Shapes:
    """An annotation's polygons, else its box."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        return [list(zip(map(float, p[0::2]), map(float, p[1::2]), strict=True)) for p in segmentation]
    left, top, width, height = map(float, entry["bbox"])
    return [[(left, top), (left + width, top), (left + width, top + height), (left, top + height)]]


def drawn(size: Size, outlines: Shapes) -> Image.Image:
    """Polygons in white on black, for a picture of this height and width."""
    canvas = Image.new("RGB", size[::-1])
    for outline in outlines:
        ImageDraw.Draw(canvas).polygon(outline, fill="white")
    return canvas


def read_masks(folder: Path, found: Sequence[Found], model: Audited) -> Masks:
    """A folder of pictures called like the audited ones, white where the object is.

    Raises
    ------
    OptionError
        It is no folder, or has a mask of none of the pictures.
    """
    files = {file.stem: file for file in sorted(folder.rglob("*")) if file.is_file()} if folder.is_dir() else {}
    if not any(picture.path.stem in files for picture in found):
        raise OptionError(f"masks {str(folder)!r} holds none that is called like a picture, such as "
                          f"{found[0].path.stem}.png")  # fmt: skip

    def mask(picture: Found) -> NDArray[np.bool_] | None:
        file = files.get(picture.path.stem)
        if file is None:
            return None
        try:
            with Image.open(file) as opened:
                upright = ImageOps.exif_transpose(opened).convert("L")
        except OSError as error:
            raise InputError(f"mask {str(file)!r} cannot be read: {error}") from error
        size = model.upright(picture.path)
        return seen(model, upright.resize(size[::-1], Image.Resampling.NEAREST).convert("RGB"))

    return mask


def seen(model: Audited, drawing: Image.Image) -> NDArray[np.bool_]:
    """White of a drawing as the model sees the picture that it is of: bool (H, W)."""
    dark, light = (model.seen(Image.new("RGB", drawing.size, colour))[0] for colour in ("black", "white"))
    return np.asarray(model.seen(drawing)[0] > (dark + light) / 2)
