"""preprocessor_config.json against its processors' own steps, one after the other, in NumPy and Pillow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from relcam_onnx.pictures.conventions import known_preprocess

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def resized(image: Image.Image, size: Any, resample: int) -> Image.Image:
    """To a height and width, or the shorter side to a number; the longer one is rounded down."""
    if isinstance(size, int):
        height, width = (size * side // min(image.size) for side in (image.height, image.width))
    else:
        height, width = size
    return image.resize((width, height), Image.Resampling(resample))


def cropped(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Around the centre, with zeros where the picture is smaller."""
    for axis, wanted in enumerate(size):
        there = pixels.shape[axis]
        if there < wanted:
            before = (wanted - there) // 2
            widths = [(0, 0)] * 3
            widths[axis] = (before, wanted - there - before)
            pixels = np.pad(pixels, widths)
        else:
            start = round((there - wanted) / 2)
            pixels = np.take(pixels, range(start, start + wanted), axis=axis)
    return pixels


def steps(image: Image.Image, *todo: tuple[str, Any]) -> np.ndarray:
    """(H, W, 3): the named steps in order."""
    pixels: Any = None
    for step, value in todo:
        if step == "resize":
            image = resized(image, *value)
            continue
        pixels = np.asarray(image) if pixels is None else pixels
        if step == "crop":
            pixels = cropped(pixels, value)
        elif step == "rescale":
            pixels = pixels * value
        elif step == "subtract":
            pixels = pixels - np.array(value)
        elif step == "divide":
            pixels = pixels / np.array(value)
        elif step == "flip":
            pixels = pixels[:, :, ::-1]
    return np.asarray(pixels)


NORMALISE = [("subtract", MEAN), ("divide", STD)]
UNIT = [("rescale", 1 / 255)]
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, Any]]]] = {
    "DETR": (
        {"image_processor_type": "DetrImageProcessor", "resample": 2,
         "size": {"shortest_edge": 40, "longest_edge": 60}},
        [("resize", ((40, 51), 2)), *UNIT, *NORMALISE],
    ),
    "DETR, a longer picture": (
        {"image_processor_type": "DetrImageProcessor", "resample": 2,
         "size": {"shortest_edge": 50, "longest_edge": 60}},
        [("resize", ((47, 60), 2)), *UNIT, *NORMALISE],
    ),
    "ViT": (
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 48}, "resample": 2},
        [("resize", ((32, 48), 2)), *UNIT, *NORMALISE],
    ),
    "DeiT": (
        {"image_processor_type": "DeiTImageProcessorFast", "size": {"height": 40, "width": 44},
         "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
        [("resize", ((40, 44), 3)), ("crop", (32, 32)), *UNIT, *NORMALISE],
    ),
    "Beit, crop larger than the picture": (
        {"feature_extractor_type": "BeitFeatureExtractor", "size": {"height": 30, "width": 30},
         "do_center_crop": True, "crop_size": 36, "do_normalize": False},
        [("resize", ((30, 30), 3)), ("crop", (36, 36)), *UNIT],
    ),
    "EfficientNet": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 32, "width": 32}},
        [("resize", ((32, 32), 0)), *UNIT, *NORMALISE, ("divide", STD)],
    ),
    "EfficientNet without its top": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": 32, "include_top": False},
        [("resize", ((32, 32), 0)), *UNIT, *NORMALISE],
    ),
    "EfficientNet, offset": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 40, "width": 40}, "resample": 3,
         "do_center_crop": True, "crop_size": {"height": 32, "width": 36}, "rescale_factor": 1 / 127.5,
         "rescale_offset": True},
        [("resize", ((40, 40), 3)), ("crop", (32, 36)), ("rescale", 1 / 127.5), ("subtract", [1.0] * 3), *NORMALISE,
         ("divide", STD)],
    ),
    "EfficientNet, offset alone": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": 32, "rescale_factor": 1 / 127.5,
         "rescale_offset": True, "do_normalize": False, "include_top": False},
        [("resize", ((32, 32), 0)), ("rescale", 1 / 127.5), ("subtract", [1.0] * 3)],
    ),
    "EfficientNet, twice but not once": (
        {"image_processor_type": "EfficientNetImageProcessor", "size": 32, "do_normalize": False},
        [("resize", ((32, 32), 0)), *UNIT, ("divide", STD)],
    ),
    "CLIP": (
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "do_center_crop": True,
         "crop_size": {"height": 36, "width": 36}},
        [("resize", (40, 3)), ("crop", (36, 36)), *UNIT, *NORMALISE],
    ),
    "ConvNeXT, its own share": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 28}, "crop_pct": None},
        [("resize", (32, 3)), ("crop", (28, 28)), *UNIT, *NORMALISE],
    ),
    "LeViT": (
        {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 28}, "do_center_crop": True,
         "crop_size": {"height": 28, "width": 28}},
        [("resize", (32, 3)), ("crop", (28, 28)), *UNIT, *NORMALISE],
    ),
    "PoolFormer": (
        {"image_processor_type": "PoolFormerImageProcessor", "size": {"height": 36, "width": 36},
         "do_center_crop": True, "crop_size": {"height": 36, "width": 36}},
        [("resize", (40, 3)), ("crop", (36, 36)), *UNIT, *NORMALISE],
    ),
    "MobileViT": (
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 36}, "do_center_crop": True,
         "crop_size": {"height": 32, "width": 32}, "do_normalize": None, "resample": 2},
        [("resize", (36, 2)), ("crop", (32, 32)), *UNIT, ("flip", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_the_processor_does(tmp_path: Path, name: str) -> None:
    config, todo = CASES[name]
    normalises = name != "MobileViT"
    full = {"do_resize": True, "do_rescale": True, **({"image_mean": MEAN, "image_std": STD} if normalises else {})}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**full, **config}))
    known = known_preprocess(None, {}, tmp_path)
    assert known is not None
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 72, 3), np.uint8))
    array, geometry = known[0].apply(image)
    expected = steps(image, *todo)
    np.testing.assert_allclose(array, expected.transpose(2, 0, 1), atol=2e-5)
    assert geometry.size == expected.shape[:2]


def test_perceiver_crops_before_it_resizes(tmp_path: Path) -> None:
    """The same picture up to what bicubic reads beyond the crop: nine tenths of the shorter side, around the centre."""
    config = {"image_processor_type": "PerceiverImageProcessor", "size": {"height": 36, "width": 36},
              "do_center_crop": True, "crop_size": {"height": 40, "width": 40}, "do_normalize": False}  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    known = known_preprocess(None, {}, tmp_path)
    assert known is not None
    smooth = np.add.outer(np.arange(80), np.arange(120)).astype(np.uint8)
    image = Image.fromarray(np.repeat(smooth[:, :, None], 3, axis=2))
    array, _ = known[0].apply(image)
    expected = Image.fromarray(cropped(np.asarray(image), (72, 72))).resize((36, 36), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(array * 255, np.asarray(expected, float).transpose(2, 0, 1), atol=2)
