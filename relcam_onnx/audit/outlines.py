"""Where objects are, as people say it: boxes and polygons in COCO's JSON, or a folder of masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from relcam_onnx.audit.by_name import by_name, without_suffix
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.spots import Mask
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.finding import SUFFIXES, Found, files_below
from relcam_onnx.pictures.geometry import Size
from relcam_onnx.results.run_lengths import Runs

Shape: TypeAlias = list[NDArray[np.float64]] | Runs
"""Polygons, (corners, 2) of x and y in a picture's pixels, upright; or run lengths."""
WHITES = (255, 65535)
"""White in a mask, by how large its levels are."""
NEAR = 0.75
"""Of white: lighter masks have levels of light, others numbers."""
SPECK = 16
"""Levels of 255 that colours may be apart in a grey mask, as JPEG leaves them."""


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

    def called(self, label: str | None) -> list[int]:
        """Those that may be of a class: called so, or by no name; all of them where the class has none."""
        wanted = label if label is None else alike(label)
        told = [name if name is None else alike(name) for name in self.labels]
        return [place for place, name in enumerate(told) if wanted is None or name in (None, wanted)]


def alike(label: str) -> str:
    """What labels are compared by."""
    return label.strip().lower()


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
        The outlines, and notes: on pictures in the file that are not among those audited, and on categories that are
        not called like classes.

    Raises
    ------
    OptionError
        The file is no such JSON, or is about none of the pictures, or does not tell which.
    """
    try:
        coco = json.loads(file.read_text(encoding="utf-8-sig"))
        names = {image["id"]: str(image["file_name"]) for image in coco["images"]}
        sizes = {names[image["id"]]: size for image in coco["images"] if (size := told_size(image)) is not None}
        kinds = {kind.get("id"): kind.get("name") for kind in coco.get("categories") or ()}
        entries: dict[str, list[tuple[str | None, Shape]]] = {}
        for entry in coco["annotations"]:
            label = kinds.get(entry.get("category_id"))
            told = None if label is None else str(label), shape_of(entry)
            entries.setdefault(names[entry["image_id"]], []).append(told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(
            f"{str(file)!r} is no JSON of COCO's form (images with id and file_name, annotations with image_id and "
            f"bbox, polygons or run lengths): {type(error).__name__}: {error}"
        ) from error
    about = {path: name for path, name in by_name(file.name, found, names.values()).items() if name in entries}
    if not about:
        raise OptionError(f"{str(file)!r} outlines none of the pictures; its first is {next(iter(entries), 'none')!r}")
    strange = sorted(set(entries) - set(about.values()))
    notes = [f"{file.name} outlines {len(strange)} pictures that are not here, such as {strange[0]}"] if strange else []
    called = {alike(label) for objects in entries.values() for label, _ in objects if label is not None}
    whichever = model.kind in ("classifier", "embedding") and called.isdisjoint(map(alike, model.labels or ()))
    if called and whichever:
        notes.append(f"no category of {file.name} is called like a class: whatever is outlined counts, whichever it is")

    def outlined(picture: Found) -> Outlined | None:
        if picture.path not in about:
            return None
        objects = entries[about[picture.path]]

        def draw(places: Sequence[int]) -> Mask:
            every, size = [objects[place][1] for place in places], model.upright(picture.path)
            same_size(f"{file.name} says that it outlines", sizes.get(about[picture.path], size), size)
            return seen(model, drawn(size, every))

        return Outlined(tuple(None if whichever else label for label, _ in objects), draw)

    return outlined, notes


def shape_of(entry: Mapping[str, Any]) -> Shape:
    """An annotation's polygons, or its run lengths; else its box."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        return Runs.read(segmentation)
    if segmentation:
        return [np.array(p, np.float64).reshape(-1, 2) for p in segmentation]
    left, top, width, height = map(float, entry["bbox"])
    right, bottom = left + width, top + height
    return [np.array([(left, top), (right, top), (right, bottom), (left, bottom)])]


def told_size(image: Mapping[str, Any]) -> Size | None:
    """A picture's height and width where COCO's JSON tells them: some tools leave them out, or 0."""
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


def same_size(who: str, told: Size, size: Size, *, scaled: bool = False) -> None:
    """Make sure that outlines are of a picture of its height and width: of another they would lie elsewhere.

    ``scaled``: or in proportion, but for what rounding takes from the sides.

    Raises
    ------
    InputError
        They are not.
    """
    apart = abs(told[0] * size[1] - told[1] * size[0])
    if told != size and not (scaled and apart <= max(sum(told), sum(size)) / 2):
        of, own = (f"{height} × {width}" for height, width in (told, size))
        raise InputError(
            f"{who} a picture of {of} pixels (height, width), and this has {own} as people see it, upright"
        )


def drawn(size: Size, shapes: Sequence[Shape]) -> Mask:
    """All that several shapes have of a picture of this height and width, bool.

    Raises
    ------
    InputError
        Run lengths are of another size.
    """
    mask = np.zeros(size, bool)
    for shape in shapes:
        if isinstance(shape, Runs):
            same_size("run lengths outline", shape.size, size)
            mask |= shape.mask
        else:
            for polygon in shape:
                mask |= filled(size, polygon)
    return mask


def filled(size: Size, polygon: NDArray[np.float64]) -> Mask:
    """The pixels whose middles lie in a polygon, (corners, 2) of x and y; by the even-odd rule."""
    crossed = np.zeros((size[0], size[1] + 1), bool)
    middles = np.arange(size[0]) + 0.5
    for (x, y), (to_x, to_y) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        rows = np.flatnonzero((y <= middles) != (to_y <= middles))
        across = x + (middles[rows] - y) / (to_y - y) * (to_x - x)
        crossed[rows, np.ceil(across - 0.5).clip(0, size[1]).astype(int)] ^= True
    return np.asarray(np.logical_xor.accumulate(crossed, axis=1)[:, :-1])


def read_masks(folder: Path, found: Sequence[Found], model: Audited) -> Outlines:
    """A folder of pictures called like the audited ones, bright where the object is: see `bright`.

    Raises
    ------
    OptionError
        It is no folder, or has a mask of none of the pictures, or does not tell of which.
    """
    here = [path.relative_to(folder) for path in sorted(files_below(folder)) if path.suffix.lower() in SUFFIXES]
    about = by_name(f"masks {str(folder)!r}", found, map(str, here), without_suffix)
    if not about:
        raise OptionError(f"masks {str(folder)!r} holds none that is called like a picture, such as "
                          f"{found[0].path.stem}.png")  # fmt: skip

    def outlined(picture: Found) -> Outlined | None:
        if picture.path not in about:
            return None
        file = folder / about[picture.path]
        try:
            with Image.open(file) as opened:
                marked = Image.fromarray(bright(ImageOps.exif_transpose(opened)))
        except OSError as error:
            raise InputError(f"mask {str(file)!r} cannot be read: {error}") from error
        size = model.upright(picture.path)
        same_size(f"mask {about[picture.path]} outlines", (marked.height, marked.width), size, scaled=True)
        mask = seen(model, np.asarray(marked.resize(size[::-1], Image.Resampling.NEAREST)))
        return Outlined((None,), lambda places: mask)

    return outlined


def bright(mask: Image.Image) -> Mask:
    """What a mask marks, bool (H, W): the lighter half of its levels; of numbers and colours whatever is not black.

    Numbers are levels of which none is near white: 0 and 1, or those of classes.
    """
    if mask.mode[0] in "IF" or mask.mode == "L":
        levels = np.asarray(mask, np.float64)
    else:
        colours = np.asarray(mask.convert("RGB"), np.float64)
        levels = colours.max(axis=2)
        if np.ptp(colours, axis=2).max() > SPECK:
            return np.asarray(levels > SPECK)
    most = levels.max()
    white = next((white for white in WHITES if most <= white), np.inf)
    return np.asarray(levels > (white / 2 if most >= NEAR * white else 0))


def seen(model: Audited, mask: Mask) -> Mask:
    """A mask of a picture, (height, width), as the model sees that: bool (H, W)."""
    drawing = Image.fromarray(mask).convert("RGB")
    dark, light = (model.seen(Image.new("RGB", drawing.size, colour))[0] for colour in ("black", "white"))
    return np.asarray(model.seen(drawing)[0] > (dark + light) / 2)
