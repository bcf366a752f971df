"""Where objects are, as people say it: boxes and polygons in COCO's JSON, or a folder of masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.spots import Mask
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.finding import Found
from relcam_onnx.pictures.geometry import Size

Shape = list[tuple[float, float]]
"""A polygon in a picture's pixels, upright."""


@dataclass(frozen=True)
class Outlined:
    """Objects of a picture.

    Attributes
    ----------
    labels
        What each is called; None where nobody says.
    draw
        Gives some of them together, as the model sees the picture: bool (H, W).
    """

    labels: tuple[str | None, ...]
    draw: Callable[[Sequence[int]], Mask]

    @property
    def whole(self) -> Mask:
        """All of them."""
        return self.draw(range(len(self.labels)))

    def called(self, label: str | None) -> list[int]:
        """Those that may be of a class: called so, or by no name; all of them where the class has none."""
        wanted = None if label is None else label.strip().lower()
        told = [name and name.strip().lower() for name in self.labels]
        return [place for place, name in enumerate(told) if wanted is None or name in (None, wanted)]


Outlines = Callable[[Found], Outlined | None]
"""What is outlined in a picture; None where nobody knows."""


def no_masks(found: Found) -> Outlined | None:
    """Nobody knows."""
    return None


def read_boxes(file: Path, found: Sequence[Found], model: Audited) -> tuple[Outlines, list[str]]:
    """What COCO's JSON says of some pictures.

    Returns
    -------
    tuple
        The outlines, and a note on pictures in the file that are not among those audited.

    Raises
    ------
    OptionError
        The file is no such JSON, or is about none of the pictures.
    """
    try:
        coco = json.loads(file.read_text(encoding="utf-8"))
        names = {image["id"]: Path(str(image["file_name"])).name for image in coco["images"]}
        kinds = {kind.get("id"): kind.get("name") for kind in coco.get("categories") or ()}
        shapes: dict[str, list[tuple[str | None, list[Shape]]]] = {}
        for entry in coco["annotations"]:
            label = kinds.get(entry.get("category_id"))
            told = None if label is None else str(label), polygons(entry)
            shapes.setdefault(names[entry["image_id"]], []).append(told)
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

    def outlined(picture: Found) -> Outlined | None:
        objects = shapes.get(picture.path.name)
        if objects is None:
            return None

        def draw(places: Sequence[int]) -> Mask:
            every = [shape for place in places for shape in objects[place][1]]
            return seen(model, drawn(model.upright(picture.path), every))

        return Outlined(tuple(label for label, _ in objects), draw)

    return outlined, notes


def polygons(entry: dict[str, Any]) -> list[Shape]:
    """An annotation's polygons, else its box."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        return [list(zip(map(float, p[0::2]), map(float, p[1::2]), strict=True)) for p in segmentation]
    left, top, width, height = map(float, entry["bbox"])
    return [[(left, top), (left + width, top), (left + width, top + height), (left, top + height)]]


def drawn(size: Size, outlines: Sequence[Shape]) -> Image.Image:
    """Polygons in white on black, for a picture of this height and width."""
    canvas = Image.new("RGB", size[::-1])
    for outline in outlines:
        ImageDraw.Draw(canvas).polygon(outline, fill="white")
    return canvas


def read_masks(folder: Path, found: Sequence[Found], model: Audited) -> Outlines:
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

    def outlined(picture: Found) -> Outlined | None:
        file = files.get(picture.path.stem)
        if file is None:
            return None
        try:
            with Image.open(file) as opened:
                upright = ImageOps.exif_transpose(opened).convert("L")
        except OSError as error:
            raise InputError(f"mask {str(file)!r} cannot be read: {error}") from error
        size = model.upright(picture.path)
        mask = seen(model, upright.resize(size[::-1], Image.Resampling.NEAREST).convert("RGB"))
        return Outlined((None,), lambda places: mask)

    return outlined


def seen(model: Audited, drawing: Image.Image) -> Mask:
    """White of a drawing as the model sees the picture that it is of: bool (H, W)."""
    dark, light = (model.seen(Image.new("RGB", drawing.size, colour))[0] for colour in ("black", "white"))
    return np.asarray(model.seen(drawing)[0] > (dark + light) / 2)
