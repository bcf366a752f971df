"""Pictures in: every kind of file, image or array becomes one upright 8-bit RGB image."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from relcam_onnx.errors import InputError

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tga", ".tif", ".tiff", ".webp"),
)
"""What a file in a folder must be called to count as a picture."""

UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC, as telephones write it"),
    **dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "a camera's raw file"),
    **{".jxl": "JPEG XL", ".exr": "OpenEXR", ".svg": "a drawing, not pixels"},
}
"""What else is a picture by its suffix, though Pillow reads none without a plug-in, and what it is."""
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
CONVERT = "convert it to JPEG or PNG first, such as with ImageMagick: magick {name} {stem}.jpg"


@dataclass(frozen=True)
class Found:
    """One picture to read: its path, and the stem that no other picture's output files have."""

    path: Path
    name: str


@dataclass(frozen=True)
class Failed:
    """One thing that could not be read or found, and why."""

    file: str
    error: str


PictureSource = str | Path | Image.Image | NDArray[np.generic]
"""What can be read as a picture, see `open_picture`."""


def open_picture(
    source: PictureSource, opened: Callable[[Image.Image], None] | None = None, *, opacity: bool = False
) -> Image.Image:
    """Read one picture as it is meant to be seen.

    EXIF rotation is applied, transparency lies on white, 16 bits and floats are scaled to 8, of an animation
    the first frame is taken.

    Parameters
    ----------
    source
        A file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4): uint8, uint16, bool, or
        floats in 0..1. A PIL image of mode F may hold 0..1 or 0..255.
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
    if not isinstance(source, str | Path | Image.Image | np.ndarray):
        raise InputError(f"a picture was given as {type(source).__name__}; give a path, a PIL image or a NumPy array")
    name = str(source) if isinstance(source, str | Path) else f"the {type(source).__name__} given"
    try:
        if isinstance(source, np.ndarray):
            return _upright(_from_array(source), opacity=opacity)
        if isinstance(source, Image.Image):
            return _upright(source, opacity=opacity)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source) as image:
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
        raise InputError(f"{name}: {_why_unread(Path(name))}") from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost anything
        raise InputError(f"{name}: cannot be read as a picture ({error}); save it anew") from error


def _why_unread(path: Path) -> str:
    """What a file seems to be that Pillow does not know, and what to do."""
    kind = UNREAD.get(path.suffix.lower())
    if path.is_file():
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


def find_pictures(sources: Sequence[str | Path]) -> tuple[list[Found], list[Failed]]:
    """List the pictures that files, folders (searched through) and globs (``**`` too) name, each once.

    Parameters
    ----------
    sources
        A file is taken whatever its suffix; in folders and globs only files with one of `SUFFIXES` count, or of
        `UNREAD`, so that nothing is passed over in silence, and hidden ones do not.

    Returns
    -------
    tuple
        The pictures, in the order of the sources and sorted within each, and the sources that name none.
        A picture's ``name`` is its path below the folder or the glob's fixed part, without the suffix, joined
        by ``-``; where two meet (letter case aside) the later one gets ``-2``, ``-3``, ...
    """
    found: dict[Path, Found] = {}
    failed: list[Failed] = []
    taken: set[str] = set()
    for source in map(str, sources):
        root, paths = _expand(source)
        if not paths:
            failed.append(Failed(source, _why_nothing(source)))
        for path in paths:
            if path.resolve() not in found:
                stem = "-".join(path.relative_to(root).with_suffix("").parts)
                found[path.resolve()] = Found(path, _unique(stem, taken))
    return list(found.values()), failed


def _expand(source: str) -> tuple[Path, list[Path]]:
    """Give the folder that names start below, and the files; a file's own name may hold ``*`` or ``[``."""
    path = Path(source)
    if path.is_dir():
        return path, sorted(p for p in path.rglob("*") if _is_picture(p, path))
    if path.exists():
        return path.parent, [path]
    root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches = glob.glob(source, recursive=True) if glob.has_magic(source) else []
    return root, sorted(p for p in map(Path, matches) if _is_picture(p, root))


def _is_picture(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in (*SUFFIXES, *UNREAD) and not hidden and path.is_file()


def _why_nothing(source: str) -> str:
    if Path(source).is_dir():
        return f"{source}: the folder holds no picture ({', '.join(SUFFIXES)})"
    if glob.has_magic(source):
        return f"{source}: no picture matches; quote the pattern and check it with ls"
    return f"{source}: there is no such file or folder"


def _unique(stem: str, taken: set[str]) -> str:
    name, count = stem, 1
    while name.lower() in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name.lower())
    return name
