"""``preprocessor_config.json`` of Hugging Face's image processors, in our words.

Sources: ``transformers/models/*/image_processing_*.py``. Files list most fields; what one leaves out is its processor's
default. Where processors differ from one another is said in `PROCESSORS`, and by name in `placed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relcam_onnx.errors import OptionError

PILLOW_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

ENDLESS = 10**6
"""How long the longer side may become where nothing bounds it: pictures are kept whole."""

PROCESSORS: dict[str, dict[str, Any]] = {
    "Beit": {"resample": 3},
    "Bit": {"resample": 3},
    "CLIP": {"resample": 3},
    "ConvNext": {"resample": 3, "crop_pct": 224 / 256},
    "DeiT": {"resample": 3},
    "EfficientNet": {"resample": 0, "image_mean": 0.5, "image_std": 0.5, "include_top": True},
    "Levit": {"resample": 3},
    "MobileViT": {"do_flip_channel_order": True},
    "Perceiver": {"resample": 3},
    "PoolFormer": {"resample": 3, "crop_pct": 0.9},
}
"""What a processor does where its file is silent, as far as it is not what all do."""


def transformers(config: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """Fields of `relcam_onnx.pictures.preprocess.Preprocess`; None where this is no image processor's file.

    Raises
    ------
    OptionError
        A field is malformed.
    """
    if not {"image_mean", "do_resize", "do_rescale", "size"} & set(config):
        return None
    kind = processor(config)
    config = {**PROCESSORS.get(kind, {}), **{name: value for name, value in config.items() if value is not None}}
    values = normalised(config, source) | placed(config, source, kind)
    if (number := config.get("resample")) is not None and config.get("do_resize", True):
        if not isinstance(number, int) or number not in PILLOW_FILTERS:
            known = ", ".join(f"{number} ({name})" for number, name in PILLOW_FILTERS.items())
            raise OptionError(f"{source}: resample is {number!r}; possible are {known}")
        values["interpolation"] = PILLOW_FILTERS[number]
    return values


def processor(config: Mapping[str, Any]) -> str:
    """The model family of an image processor; "" where the file does not say."""
    name = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(ending)
    return name


def normalised(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Scale, mean and deviation: ``x · rescale_factor [- 1]``, then ``(x - image_mean) / image_std [/ image_std]``."""
    values: dict[str, Any] = {"scale": 1.0}
    offset = 0.0
    if config.get("do_rescale", True):
        values["scale"] = config.get("rescale_factor", 1 / 255)
        offset = 1.0 if config.get("rescale_offset") else 0.0
    normalises = config.get("do_normalize", True) and config.get("image_mean") is not None
    if normalises and "image_std" not in config:
        raise OptionError(f"{source}: has image_mean but no image_std; add it, or give preprocess=")
    mean = numbers(config, "image_mean", source) if normalises else []
    std = numbers(config, "image_std", source) if normalises or config.get("include_top") else []
    if mean or std or offset:
        count = len(mean or std) or 3
        mean, single = mean or [0.0] * count, std or [1.0] * count
        # EfficientNet's classifiers divide once more, also where the mean was left alone.
        twice = single if config.get("include_top") else [1.0] * count
        once = single if normalises else [1.0] * count
        values["mean"] = [m + offset for m in mean]
        values["std"] = [a * b for a, b in zip(once, twice, strict=False)]
    if config.get("do_flip_channel_order"):
        values["channels"] = "BGR"
    elif len(values.get("mean", ())) == 1:
        values["channels"] = "L"
    return values


def numbers(config: Mapping[str, Any], key: str, source: str) -> list[float]:
    """A list of numbers, one a channel; a single number stands for three."""
    value = config[key]
    each = [value] * 3 if isinstance(value, int | float) else value
    if not isinstance(each, list) or not each or not all(isinstance(n, int | float) for n in each):
        raise OptionError(f"{source}: {key} is {value!r}; it must be a list of numbers, one for each channel")
    return [float(n) for n in each]


def placed(config: Mapping[str, Any], source: str, kind: str) -> dict[str, Any]:
    """Resize and crop. A bare number is the shorter side where a crop follows, else both sides."""
    crops = config.get("do_center_crop", False)
    size = config.get("size") if config.get("do_resize", True) else None
    crop = pair(config.get("crop_size"), source, "crop_size") if crops else None
    if size is None:
        return {"size": crop}
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size if crops else None
    share = config.get("crop_pct")
    if share and shorter is None and kind == "PoolFormer":
        shorter, width = pair(size, source, "size")
        shorter = shorter if shorter == width else None
    if kind == "Perceiver" and crop is not None:
        # It crops first, to a share of the shorter side, and that is resized: the same picture.
        return {"size": pair(size, source, "size"), "resize_size": min(crop)}
    if not isinstance(shorter, int):
        resized = pair(size, source, "size")
        return {"resize": "squash", "size": crop or resized, "resize_size": resized if crop else None}
    if share:  # the size is what a crop leaves; ConvNeXT squashes where it is large
        if not isinstance(share, float | int) or not 0 < share <= 1:
            raise OptionError(f"{source}: crop_pct is {share!r}; it must be a number above 0, at most 1")
        if not crops and shorter >= 384:
            return {"resize": "squash", "size": (shorter, shorter)}
        return {"size": crop or (shorter, shorter), "resize_size": int(shorter / share)}
    if crop is None and kind != "Levit":
        most = size.get("longest_edge") if isinstance(size, dict) else None
        return {"size": None, "resize_size": (shorter, most if isinstance(most, int) else ENDLESS)}
    return {"size": crop, "resize_size": int(256 / 224 * shorter) if kind == "Levit" else shorter}


def pair(size: Any, source: str, key: str) -> tuple[int, int]:
    """Height and width of a size as these files spell it."""
    match size:
        case int():
            return size, size
        case {"height": int(height), "width": int(width)}:
            return height, width
        case {"shortest_edge": int(edge)}:
            return edge, edge
    raise OptionError(f"{source}: {key} is {size!r}; it must be a number or hold height and width")
