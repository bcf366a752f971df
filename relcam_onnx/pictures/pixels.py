"""The pixels of a picture, as fine as they are needed: a large JPEG is cheaper to decode at a part of its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from PIL import Image

from relcam_onnx.errors import InputError
from relcam_onnx.pictures.geometry import Geometry, Size
from relcam_onnx.pictures.reading import PictureSource, Stored, on_white, open_picture

Box = tuple[float, float, float, float]
"""Left, upper, right, lower."""

FINER = 2
"""Pixels for each one that the model takes: so many must be left on each side, for the filter to smooth them itself."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is to be turned."""


@dataclass(frozen=True)
class Pixels:
    """A picture's pixels, upright RGB, or RGBA where a model takes opacity.

    Attributes
    ----------
    image
        At the picture's own size, or a half, a quarter or an eighth of it, rounded up.
    original
        The picture's own height and width.
    box
        What of ``image`` is the picture: where the size is no multiple of the scale, the last pixels on a side are
        only in part.
    """

    image: Image.Image
    original: Size
    box: Box

    @classmethod
    def of(cls, image: Image.Image) -> Self:
        """An image at its own size."""
        return cls(image, (image.height, image.width), (0, 0, image.width, image.height))

    @property
    def reduced(self) -> bool:
        """Whether these are fewer pixels than the picture has."""
        return self.original != (self.image.height, self.image.width)

    @property
    def opaque(self) -> Pixels:
        """The same on white."""
        return replace(self, image=on_white(self.image))

    def resized(self, size: Size, how: Image.Resampling) -> Image.Image:
        """The whole picture at another height and width."""
        return self.image.resize(size[::-1], how, self.box)


def read_pixels(
    source: PictureSource, needed: Callable[[Size], Size] | None = None, *, opacity: bool = False
) -> Pixels:
    """Read a picture, a JPEG file no finer than is needed.

    Parameters
    ----------
    source
        As `open_picture` takes it.
    needed
        From a picture's height and width to those that it will be resized to; None: every pixel is decoded.
    opacity
        As in `open_picture`.

    Raises
    ------
    InputError
        As `open_picture`, and as ``needed`` raises it.
    """
    if needed is None:
        return Pixels.of(open_picture(source, opacity=opacity))
    draft = _Draft(needed)
    pixels = Pixels.of(open_picture(source, draft, opacity=opacity))
    return Pixels(pixels.image, draft.original, draft.box) if draft.box else pixels


class _Draft:
    """Has a JPEG file decoded at the smallest part of its size that is fine enough, and remembers its own size."""

    def __init__(self, needed: Callable[[Size], Size]) -> None:
        self.needed = needed
        self.original: Size = (0, 0)
        self.box: Box | None = None

    def __call__(self, image: Image.Image) -> None:
        if image.format not in ("JPEG", "MPO"):
            return
        turned = image.getexif().get(ORIENTATION, 1)
        sideways = turned in (5, 6, 7, 8)
        self.original = image.size if sideways else image.size[::-1]
        most = [max(1, FINER * count) for count in self.needed(self.original)]
        drafted = image.draft(None, (most[0], most[1]) if sideways else (most[1], most[0]))
        if drafted is None:
            return
        across, down = drafted[1][2:]  # of the file's own axes: what of the decoded pixels is the picture
        columns = (image.width - across, image.width) if turned in (2, 3, 7, 8) else (0.0, across)
        rows = (image.height - down, image.height) if turned in (3, 4, 6, 7) else (0.0, down)
        if sideways:
            columns, rows = rows, columns
        self.box = (columns[0], rows[0], columns[1], rows[1])


@dataclass(frozen=True)
class Picture:
    """A picture that was explained: its pixels, where it lies in the model's input, and its file if it has one.

    ``stored`` is that file where it lies in something else.
    """

    pixels: Pixels
    geometry: Geometry
    file: str | None = None
    stored: Stored | None = None

    @property
    def size(self) -> Size:
        """The picture's own height and width."""
        return self.pixels.original

    def full(self) -> Image.Image:
        """The picture at its own size; its file is read once more where that was decoded at a part of it.

        Raises
        ------
        InputError
            The file has gone or is another picture by now.
        """
        if not self.pixels.reduced or self.file is None:
            return self.pixels.image
        image = open_picture(self.stored or self.file)
        if (image.height, image.width) != self.size:
            raise InputError(f"{self.file}: is another picture than the one explained; explain it anew")
        return image
