"""What others write into or beside a model, in our words: `relcam_onnx.pictures.preprocess.Preprocess` by field.

Every reader returns None where its convention is absent and raises `OptionError` where it is malformed.
"""

from __future__ import annotations

import ast
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from relcam_onnx.errors import OptionError

SIZES: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "im_shape": lambda height, width: (height, width),
    "orig_target_sizes": lambda height, width: (width, height),
    "scale_factor": lambda height, width: (1, 1),
}
"""Inputs, (N, 2), that tell Paddle's detectors and RT-DETR in which pixels boxes are: in those that they read."""


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

    def pick(key: str, default: str, choices: Mapping[str, Any]) -> Any:
        value = lower.get(key.lower(), default)
        if value not in choices:
            raise OptionError(f"metadata {key} is {value!r}; possible are {', '.join(choices)}")
        return choices[value]

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
