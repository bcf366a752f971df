"""What others write into or beside a model, in our words: `relcam_onnx.pictures.preprocess.Preprocess` by field.

Every reader returns None where its convention is absent and raises `OptionError` where it is malformed.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError

_PILLOW_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def read_text(path: Path) -> str:
    """Read a text file; `OptionError` names the file that cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: cannot be read as text ({error})") from error


def parse_literal(text: str, source: str) -> Any:
    """JSON, or the Python literal that Ultralytics writes (``{0: 'person'}``); never evaluated as code."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as problem:
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise OptionError(f"{source} is neither JSON nor a Python literal ({problem})") from problem


def beside(folder: Path | None, name: str) -> tuple[dict[str, Any], str]:
    """Read a Hugging Face file beside the model, or above its folder ``onnx``; {} where there is none."""
    if folder is not None:
        for place in (folder, folder.parent) if folder.name == "onnx" else (folder,):
            path = place / name
            if path.is_file():
                try:
                    content = json.loads(read_text(path))
                except json.JSONDecodeError as error:
                    raise OptionError(f"{path}: is no JSON ({error}); correct or remove it") from error
                return (content if isinstance(content, dict) else {}), str(path)
    return {}, name


def image_metadata(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """ONNX's own ``Image.*`` keys: channel order and range, in any letter case. None where there are none."""
    lower = {key.lower(): value.lower() for key, value in metadata.items()}
    if not {"image.bitmappixelformat", "image.nominalpixelrange"} & set(lower):
        return None

    def pick(key: str, default: str, known: Mapping[str, Any]) -> Any:
        value = lower.get(key.lower(), default)
        if value not in known:
            raise OptionError(f"metadata {key} is {value!r}; possible are {', '.join(known)}")
        return known[value]

    channels = pick("Image.BitmapPixelFormat", "rgb8", {"gray8": "L", "rgb8": "RGB", "bgr8": "BGR"})
    unit, full = 1 / 255, 1.0
    scale, mean, std = pick(
        "Image.NominalPixelRange",
        "nominalrange_0_255",
        {
            "nominalrange_0_255": (full, 0.0, 1.0),
            "normalized_0_1": (unit, 0.0, 1.0),
            "normalized_1_1": (unit, 0.5, 0.5),
            "nominalrange_16_235": (219 / 255, -16.0, 1.0),
        },
    )
    if lower.get("image.colorspacegamma", "srgb") != "srgb":
        warnings.warn("the model's Image.ColorSpaceGamma is not sRGB; pictures are given as sRGB", stacklevel=4)
    count = 1 if channels == "L" else 3
    return {"channels": channels, "scale": scale, "mean": (mean,) * count, "std": (std,) * count}


def ultralytics(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """YOLO exports: 0..1; classifiers crop around the centre, everything else is letterboxed on grey."""
    if "names" not in metadata or not {"stride", "task"} & set(metadata):
        return None
    values: dict[str, Any] = {}
    if metadata.get("task") != "classify":
        values |= {"resize": "letterbox", "pad_value": 114, "size": (640, 640)}
    if "imgsz" in metadata:
        size = parse_literal(metadata["imgsz"], "metadata imgsz")
        values["size"] = tuple(size) if isinstance(size, list | tuple) else (size, size)
    return values


def transformers(config: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """``preprocessor_config.json`` of Hugging Face's image processors."""
    if not {"image_mean", "do_resize", "do_rescale", "size"} & set(config):
        return None
    values = _normalised(config, source)
    if (number := config.get("resample")) is not None and config.get("do_resize", True):
        if not isinstance(number, int) or number not in _PILLOW_FILTERS:
            known = ", ".join(f"{number} ({name})" for number, name in _PILLOW_FILTERS.items())
            raise OptionError(f"{source}: resample is {number!r}; possible are {known}")
        values["interpolation"] = _PILLOW_FILTERS[number]
    return values | _placed(config, source)


def _normalised(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    values: dict[str, Any] = {"scale": 1.0}
    if config.get("do_rescale", True):
        values["scale"] = config.get("rescale_factor", 1 / 255)
    if config.get("do_normalize", True) and config.get("image_mean") is not None:
        if "image_std" not in config:
            raise OptionError(f"{source}: has image_mean but no image_std; add it, or give preprocess=")
        values |= {"mean": config["image_mean"], "std": config["image_std"]}
    if config.get("do_flip_channel_order"):
        values["channels"] = "BGR"
    elif isinstance(values.get("mean"), list) and len(values["mean"]) == 1:
        values["channels"] = "L"
    return values


def _placed(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Resize and crop. A bare number is the shorter side where a crop follows, else both sides.

    A crop after a squash is left out: the whole picture is squashed to the model's size.
    """
    crops = config.get("do_center_crop", False)
    size = config.get("size") if config.get("do_resize", True) else None
    crop = _pair(config.get("crop_size"), source, "crop_size") if crops else None
    shorter = size.get("shortest_edge") if isinstance(size, dict) else size if crops else None
    if isinstance(shorter, int):
        if config.get("crop_pct"):  # the size is what a crop leaves; ConvNeXt squashes where it is large
            if not crops and shorter >= 384:
                return {"resize": "squash", "size": (shorter, shorter)}
            return {"size": crop or (shorter, shorter), "resize_size": int(shorter / _share(config, source))}
        return {"size": crop, "resize_size": shorter}
    if size is not None:
        return {"resize": "squash", "size": _pair(size, source, "size")}
    return {"size": crop}


def _pair(size: Any, source: str, key: str) -> tuple[int, int]:
    match size:
        case int():
            return size, size
        case {"height": int(height), "width": int(width)}:
            return height, width
        case {"shortest_edge": int(edge)}:
            return edge, edge
    raise OptionError(f"{source}: {key} is {size!r}; it must be a number or hold height and width")


def _share(config: Mapping[str, Any], source: str) -> float:
    """Read ``crop_pct``, the share of the resized picture's side that a crop keeps."""
    share = config.get("crop_pct") or 0.875
    if not isinstance(share, float | int) or not 0 < share <= 1:
        raise OptionError(f"{source}: crop_pct is {share!r}; it must be a number above 0, at most 1")
    return share


def timm(config: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """``config.json`` of a timm model: ``pretrained_cfg``, in older files the top level itself."""
    config = config.get("pretrained_cfg", config)
    if not isinstance(config, dict) or not {"input_size", "mean", "std"} <= set(config):
        return None
    match config["input_size"]:
        case [int(count), int(height), int(width)]:
            size = (height, width)
        case other:
            raise OptionError(f"{source}: input_size is {other!r}; it must be [channels, height, width]")
    values = {"size": size, "mean": config["mean"], "std": config["std"]}
    values["channels"] = "L" if count == 1 else "RGB"
    values["interpolation"] = config.get("interpolation", "bicubic")
    if config.get("crop_mode") == "squash":
        return values | {"resize": "squash"}
    if config.get("crop_mode") == "border":  # on ImageNet's mean grey
        return values | {"resize": "letterbox", "pad_value": 124}
    return values | {"resize_size": math.floor(min(size) / _share(config, source))}
