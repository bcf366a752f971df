"""Pictures in: every kind of file, image or array becomes one upright 8-bit RGB image."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from relcam_onnx.errors import InputError
from relcam_onnx.pictures.finding import UNREAD

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
CONVERT = "convert it to JPEG or PNG first, such as with ImageMagick: magick {name} {stem}.jpg"


@dataclass(frozen=True)
class Stored:
    """A picture's file that lies in something else, such as an archive: what it is called, and its bytes."""

    name: str
    data: bytes = field(repr=False)


PictureSource = str | Path | Stored | Image.Image | NDArray[np.generic]
"""What can be read as a picture, see `open_picture`."""


@contextmanager
def allowing(pixels: int | None) -> Iterator[None]:
    """Let Pillow read pictures of so many pixels; None: as many as it does by itself."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = before if pixels is None else pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_picture(
    source: PictureSource, opened: Callable[[Image.Image], None] | None = None, *, opacity: bool = False
) -> Image.Image:
    """Read one picture as it is meant to be seen.

    EXIF rotation is applied, transparency lies on white, 16 bits and floats are scaled to 8, of an animation
    the first frame is taken.

    Parameters
    ----------
    source
        A file, the bytes of one, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16,
        bool, or floats in 0..1; a .npy file holds such an array. A PIL image of mode F may hold 0..1 or 0..255.
    opened
        Called with a file that is open and not yet decoded: it may say how fine the pixels need be.
    opacity
        Keep transparency, for a model that takes four channels; `on_white` shows such a picture.

    Returns
    -------
    Image.Image
        Mode RGB; with ``opacity`` RGBA.

    Raises
    ------
    InputError
        The file is missing, damaged, no picture, or a decompression bomb; the array has another shape, dtype
        or range.
    """
    if not isinstance(source, str | Path | Stored | Image.Image | np.ndarray):
        raise InputError(f"a picture was given as {type(source).__name__}; give a path, a PIL image or a NumPy array")
    name = name_of(source) or f"the {type(source).__name__} given"
    try:
        if isinstance(source, np.ndarray):
            return _upright(_from_array(source), opacity=opacity)
        if isinstance(source, Image.Image):
            return _upright(source, opacity=opacity)
        file = BytesIO(source.data) if isinstance(source, Stored) else source
        if name.lower().endswith(".npy"):
            return _upright(_from_array(np.load(file, allow_pickle=False)), opacity=opacity)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if opened:
                    opened(image)
                return _upright(image, opacity=opacity)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{name}: refused as a decompression bomb ({error}); shrink it, or if you trust it allow so many with "
            "--max-pixels (in Python: PIL.Image.MAX_IMAGE_PIXELS)"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{name}: there is no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{name}: is a folder, not a picture; name a file in it") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: {_why_unread(name, source)}") from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost anything
        raise InputError(f"{name}: cannot be read as a picture ({error}); save it anew") from error


def name_of(source: PictureSource) -> str | None:
    """What a file is called; None for what is none."""
    if isinstance(source, Stored):
        return source.name
    return str(source) if isinstance(source, str | Path) else None


def _why_unread(name: str, source: PictureSource) -> str:
    """What a file seems to be that Pillow does not know, and what to do."""
    path = Path(name)
    kind, start = UNREAD.get(path.suffix.lower()), b""
    if isinstance(source, Stored):
        start = source.data[:12]
    elif path.is_file():
        with path.open("rb") as file:
            start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in HEIC_BRANDS:
        kind = UNREAD[".heic"]
    if kind is None:
        return "is no picture that Pillow knows; save it as PNG, JPEG or WebP"
    return f"is {kind}, which Pillow does not read; {CONVERT.format(name=path.name, stem=path.stem)}"


def on_white(image: Image.Image) -> Image.Image:
    """A picture with its transparency on white, mode RGB."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _upright(image: Image.Image, *, opacity: bool) -> Image.Image:
    """Upright, 8 bits a channel, opaque unless ``opacity``."""
    if not all(image.size):
        raise InputError(f"is {image.width}×{image.height} pixels; a picture needs at least one")
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = Image.fromarray(_from_16_bits(np.asarray(image)))
    elif image.mode == "F":
        values = np.asarray(image)
        image = Image.fromarray(_from_floats(values / 255 if 1 < values.max() <= 255 else values))
    return image.convert("RGBA") if opacity else on_white(image)


def _from_array(pixels: NDArray[np.generic]) -> Image.Image:
    shape = pixels.shape
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and shape[2] not in (1, 3, 4)):
        hint = ""
        if pixels.ndim == 3 and shape[0] in (1, 3, 4):
            hint = "; channels come last: pixels.transpose(1, 2, 0)"
        elif pixels.ndim == 4:
            hint = "; give several pictures as a list"
        raise InputError(f"has shape {shape}; possible are (H, W) and (H, W, 1|3|4){hint}")
    if 0 in shape:
        raise InputError(f"has shape {shape}; a picture needs at least one pixel")
    return Image.fromarray(_to_8_bits(pixels[:, :, 0] if shape[2:] == (1,) else pixels))


def _to_8_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels, np.uint8)
    if pixels.dtype.newbyteorder("=") == np.uint16:
        return _from_16_bits(pixels)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(pixels.dtype, np.floating):
        return _from_floats(pixels)
    raise InputError(f"has dtype {pixels.dtype}; possible are uint8, uint16, bool and floats in 0..1")


def _from_16_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    values = pixels.astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"pixels lie in {values.min()}..{values.max()}, not in the 0..65535 of 16 bits")
    return ((values + 128) // 257).astype(np.uint8)


def _from_floats(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("pixels hold NaN or infinity; floats must lie in 0..1")
    if values.min() < 0 or values.max() > 1:
        raise InputError(f"pixels lie in {values.min():.4g}..{values.max():.4g}; floats must lie in 0..1")
    return np.rint(values * 255).astype(np.uint8)
