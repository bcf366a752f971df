"""How a picture's pixels become the array that the model takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relcam_onnx.errors import InputError, OptionError, nearest
from relcam_onnx.pictures.geometry import Geometry, Size, for_input, lay_out
from relcam_onnx.pictures.pixels import Pixels

Resize = Literal["squash", "shorter", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["RGB", "BGR", "L", "RGBA", "BGRA"]
Layout = Literal["NCHW", "NHWC"]
DType = Literal["float32", "float16", "float64", "uint8", "int8", "int32", "int64"]
COUNTS = (1, 3, 4)
"""How many channels pictures have: grey, colour, colour and opacity."""

_CHOICES = {"resize": Resize, "interpolation": Interpolation, "channels": Channels, "layout": Layout, "dtype": DType}


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture before the model sees it: resize, crop or pad, ``(x · scale - mean) / std``.

    Attributes
    ----------
    size
        Height and width of the model's input; None keeps what ``resize`` leaves.
    resize
        "squash" both sides to ``resize_size``, or bring the "shorter" one to it, then crop (or pad) to ``size``
        around the centre; "letterbox": fit into ``size``, keep the aspect and pad.
    resize_size
        In pixels; for "squash" also [height, width], for "shorter" also [shorter, longest], the longer side at most.
        None: just ``size``, or as small as covers it.
    interpolation
        Pillow's filter of that name, which smooths where it shrinks.
    pad_value
        0..255, around a letterbox.
    scale, mean, std
        ``scale`` multiplies the pixels 0..255; ``mean`` and ``std`` are in its units, for each of ``channels``.
    channels, layout, dtype
        Of the array; "L" is greyscale, the "A" of "RGBA" and "BGRA" opacity.

    Raises
    ------
    OptionError
        A field has a value or type that does not fit; the message names the field.
    """

    size: tuple[int, int] | None = (224, 224)
    resize: Resize = "shorter"
    resize_size: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bilinear"
    pad_value: int = 0
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    channels: Channels = "RGB"
    layout: Layout = "NCHW"
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            choices = get_args(kind)
            _require(getattr(self, name) in choices, self, name, f"one of {', '.join(choices)}")
        fits = self.size is None or (_are_numbers(self.size, 2, int) and min(self.size) > 0)
        _require(fits, self, "size", "[height, width] in pixels, or null")
        sides = self.resize_size if isinstance(self.resize_size, tuple) else (self.resize_size,)
        fits = _are_numbers(sides, 2 if len(sides) > 1 and self.resize != "letterbox" else 1, int)
        fits = self.resize_size is None or (fits and all(side is not None and side > 0 for side in sides))
        _require(fits, self, "resize_size", "a number of pixels (or two, but for a letterbox), or null")
        fits = _are_numbers((self.pad_value,), 1, int) and 0 <= self.pad_value <= 255
        _require(fits, self, "pad_value", "a whole number in 0..255")
        _require(_are_numbers((self.scale,), 1) and self.scale > 0, self, "scale", "a positive number")
        count = len(self.channels)
        each = f"a list of {count} numbers, one for each channel of {self.channels}"
        _require(_are_numbers(self.mean, count), self, "mean", each)
        _require(_are_numbers(self.std, count) and min(self.std) > 0, self, "std", f"{each}, all positive")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make one from fields by name, lists for tuples; fields left out keep their defaults.

        A ``resize_size`` without a ``size`` beside it is meant for the model's own: no default is put in between.

        Raises
        ------
        OptionError
            A field does not exist (the message lists those that do), or its value does not fit.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                raise OptionError(
                    f"preprocessing has no field {name!r}{nearest(name, names)}; it has {', '.join(names)}"
                )
        if (channels := values.get("channels")) in get_args(Channels):  # the defaults are those of three channels
            count = len(str(channels))
            values = {"mean": (0.0,) * count, "std": (1.0,) * count, **values}
        if values.get("resize_size") is not None:
            values = {"size": None, **values}
        arguments: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**arguments)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` writes; errors as in `from_dict`."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise OptionError(f"preprocessing must be a JSON object; this is no JSON ({error})") from error
        if not isinstance(values, dict):
            raise OptionError(f"preprocessing must be a JSON object; this is a {type(values).__name__}")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self))

    @property
    def bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(C,) and (C,): what the pixel values 0 and 255 become in each channel."""
        mean, std = np.array(self.mean), np.array(self.std)
        low, high = -mean / std, (255 * self.scale - mean) / std
        return low.astype(np.float32), high.astype(np.float32)

    def needed(self, original: Size) -> Size:
        """The height and width that a picture of this height and width is resized to; `InputError` as in `apply`."""
        return lay_out(original, self.size, self.resize, self.resize_size)[1]

    def apply(self, picture: Image.Image | Pixels) -> tuple[NDArray[Any], Geometry]:
        """Make the model's array of one picture.

        Parameters
        ----------
        picture
            An image of any mode, or what `relcam_onnx.pictures.pixels.read_pixels` gives.

        Returns
        -------
        tuple
            (C, H, W) or (H, W, C) of ``dtype``, and the geometry that brings maps back to the picture.

        Raises
        ------
        InputError
            The picture is so long and thin that resizing it would fill the memory.
        """
        pixels = picture if isinstance(picture, Pixels) else Pixels.of(picture)
        geometry, resized = lay_out(pixels.original, self.size, self.resize, self.resize_size)
        pixels = replace(pixels, image=pixels.image.convert(self.channels.replace("BGR", "RGB")))
        image = pixels.resized(resized, Image.Resampling[self.interpolation.upper()])
        (height, width), (top, left) = geometry.size, geometry.offset
        canvas = Image.new(image.mode, (width, height), (self.pad_value,) * len(self.mean))
        canvas.paste(image, (left, top))
        values = np.asarray(canvas, np.float32).reshape(height, width, -1)
        if self.channels.startswith("BGR"):
            values = values[:, :, [2, 1, 0, 3][: len(self.channels)]]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        values = (values * np.float32(self.scale) - mean) / std
        if np.issubdtype(self.dtype, np.integer):
            limits = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), max(limits.min, -(2**24)), min(limits.max, 2**24))
        if self.layout == "NCHW":
            values = values.transpose(2, 0, 1)
        return np.ascontiguousarray(values, self.dtype), geometry

    def fitted(self, shape: Sequence[int | None], dtype: str = "float32", channels_last: bool | None = None) -> Self:
        """Re-target to what a model takes: its size, layout, dtype and number of channels win.

        The share of the picture that a crop keeps stays. A model that takes integers normalises inside: it gets
        the pixels as they are, less 128 where only -128..127 fit.

        Parameters
        ----------
        shape
            Of the model's input, None for sizes that only a run knows.
        dtype
            Of the model's input, NumPy's name.
        channels_last
            None: wherever 1, 3 or 4 channels stand.

        Raises
        ------
        InputError
            The input does not take pictures: not 4-D, or none of 1, 3 and 4 channels, or an unusual dtype.
        """
        if len(shape) != 4 or dtype not in get_args(DType):
            raise InputError(
                f"the model's input has shape {tuple(shape)} and dtype {dtype}: no pictures; give it an array"
            )
        if channels_last is None:
            channels_last = shape[1] not in COUNTS and (shape[3] in COUNTS or self.layout == "NHWC")
        _, *size, count = shape if channels_last else (shape[0], shape[2], shape[3], shape[1])
        if count not in (*COUNTS, None):
            raise InputError(
                f"the model's input takes {count} channels (shape {tuple(shape)}), pictures have 1, 3 or 4; "
                "give it an array"
            )
        inside, resize_size = for_input(size[0], size[1], self.size, self.resize, self.resize_size)
        fitted = replace(self._with_channels(count), size=inside, resize_size=resize_size)
        if np.issubdtype(dtype, np.integer):
            count, middle = len(fitted.mean), 128.0 if dtype == "int8" else 0.0
            fitted = replace(fitted, scale=1.0, mean=(middle,) * count, std=(1.0,) * count)
        layout: Layout = "NHWC" if channels_last else "NCHW"
        return replace(fitted, layout=layout, dtype=cast(DType, dtype))

    def _with_channels(self, count: int | None) -> Self:
        """Grey gets the mean over the colours' constants, colour the same one thrice; opacity is only scaled."""
        if count is None or count == len(self.mean):
            return self
        means, stds = self.mean[:3], self.std[:3]
        if count == 1 or self.channels == "L":
            means, stds = ((math.fsum(values) / len(values),) * min(count, 3) for values in (means, stds))
        channels = "L" if count == 1 else "RGB" if self.channels == "L" else self.channels[:3]
        if count == 4:
            channels, means, stds = f"{channels}A", (*means, 0.0), (*stds, 1.0)
        return replace(self, channels=cast(Channels, channels), mean=means, std=stds)


def _require(fits: bool, preprocess: Preprocess, name: str, possible: str) -> None:
    if not fits:
        raise OptionError(f"preprocessing: {name} is {getattr(preprocess, name)!r}; it must be {possible}")


def _are_numbers(values: object, count: int, kind: type[int] | type[float] = float) -> bool:
    """Whether a field is a tuple of ``count`` finite numbers; ints count as floats, bools as neither."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(value) in (int, kind) and math.isfinite(value) for value in values)
    )
