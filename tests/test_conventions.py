"""Preprocessing is found where others write it down, in the order of the contract."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.conventions import NAMED, guess_preprocess, known_preprocess
from relcam_onnx.pictures.preprocess import Preprocess

DYNAMIC = (None, 3, None, None)
YOLO = {"names": "{0: 'a'}", "stride": "32", "task": "detect", "imgsz": "[480, 640]"}
UNIT = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def fitted(option: object, metadata: dict[str, str], folder: Path | None, shape=DYNAMIC) -> Preprocess:
    known = known_preprocess(option, metadata, folder)
    assert known is not None
    return known[0].fitted(shape)


def found(metadata: dict[str, str] | None = None, folder: Path | None = None, shape=DYNAMIC) -> Preprocess:
    """What is found without an option; a guess fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return fitted(None, metadata or {}, folder, shape)


def in_folder(folder: Path, name: str, content: dict[str, object]) -> Preprocess:
    (folder / name).write_text(json.dumps(content))
    return found(folder=folder)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("imagenet", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64]),
        ("torchvision", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64]),
        ("tensorflow", [-1] * 3, [1] * 3),
        ("caffe", [-103.939, -116.779, -123.68], [151.061, 138.221, 131.32]),
        ("unit", [0] * 3, [1] * 3),
        ("raw", [0] * 3, [255] * 3),
    ],
)
def test_named(name: str, low: list[float], high: list[float]) -> None:
    known = known_preprocess(name, {}, None)
    assert known is not None
    preprocess, source = known
    assert source == "the option"
    np.testing.assert_allclose(preprocess.bounds, [low, high], atol=1e-4)
    assert preprocess.channels == ("BGR" if name == "caffe" else "RGB")


def test_every_kind_of_option(tmp_path: Path) -> None:
    wanted = Preprocess(size=(32, 48), scale=1.0)
    path = tmp_path / "how.json"
    path.write_text(wanted.to_json())
    for option in (wanted, {"size": [32, 48], "scale": 1.0}, wanted.to_json(), path, str(path)):
        assert fitted(option, YOLO, None) == wanted
    with pytest.raises(OptionError, match=r"'imagnet'.*did you mean 'imagenet'"):
        known_preprocess("imagnet", {}, None)
    path.write_text('{"seize": 3}')
    with pytest.raises(OptionError, match=r"how\.json.*'seize'"):
        known_preprocess(path, {}, None)


def test_the_order(tmp_path: Path) -> None:
    """Each source is taken away in turn, and the next one counts."""
    (tmp_path / "config.json").write_text(
        json.dumps({"pretrained_cfg": {"input_size": [3, 1, 1], **UNIT, "crop_pct": 1}})
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 2, "width": 2}}))
    image = {"Image.NominalPixelRange": "Normalized_1_1"}
    own = {"relcam.preprocess": Preprocess(size=(5, 5)).to_json()}
    everything = {**own, **image, **YOLO}
    assert fitted({"size": [6, 6]}, everything, tmp_path).size == (6, 6)
    assert found(everything, tmp_path).size == (5, 5)
    assert found({**image, **YOLO}, tmp_path).mean == (0.5,) * 3
    assert found(YOLO, tmp_path).size == (480, 640)
    assert found({}, tmp_path).size == (2, 2)
    (tmp_path / "preprocessor_config.json").unlink()
    assert found({}, tmp_path).size == (1, 1)


def test_a_guess_warns_and_says_how_to_say_otherwise() -> None:
    with pytest.warns(UserWarning, match=r"224×224 and ImageNet's mean.*preprocess=.*caffe"):
        assert guess_preprocess(DYNAMIC, "float32", None) == NAMED["imagenet"]
    with pytest.warns(UserWarning, match="28×32"):
        grey = guess_preprocess((1, 1, 28, 32), "float32", None)
    assert (grey.channels, grey.size) == ("L", (28, 32))
    assert known_preprocess(None, {}, None) is None
    with pytest.raises(InputError):
        guess_preprocess((1, 10), "float32", None)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "int8"])
def test_integers_need_no_guess(dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        preprocess = guess_preprocess((1, 96, 96, 3), dtype, None)
        whole = guess_preprocess((1, None, None, 3), dtype, None)
    low = -128 if dtype == "int8" else 0
    np.testing.assert_array_equal(preprocess.bounds, [[low] * 3, [low + 255] * 3])
    assert (preprocess.size, whole.size) == ((96, 96), None)  # a picture goes in whole where no size is fixed


@pytest.mark.parametrize(
    ("pixels", "bounds"),
    [
        ("NominalRange_0_255", (0, 255)),
        ("Normalized_0_1", (0, 1)),
        ("normalized_1_1", (-1, 1)),
        ("NominalRange_16_235", (16, 235)),
    ],
)
def test_onnx_image_metadata(pixels: str, bounds: tuple[float, float]) -> None:
    metadata = {
        "image.bitmappixelformat": "BGR8",
        "Image.NominalPixelRange": pixels,
        "Image.ColorSpaceGamma": "sRGB",
    }
    preprocess = found(metadata)
    assert preprocess.channels == "BGR"
    np.testing.assert_allclose(preprocess.bounds, [[b] * 3 for b in bounds], atol=1e-5)
    grey = found({"Image.BitmapPixelFormat": "Gray8", "Image.NominalPixelRange": pixels}, shape=(1, 1, 8, 8))
    np.testing.assert_allclose(grey.bounds, [[b] for b in bounds], atol=1e-5)


def test_linear_gamma_warns() -> None:
    with pytest.warns(UserWarning, match="sRGB"):
        known_preprocess(None, {"Image.BitmapPixelFormat": "Rgb8", "Image.ColorSpaceGamma": "Linear"}, None)


def test_ultralytics() -> None:
    detect = found(YOLO)
    assert (detect.resize, detect.pad_value, detect.size) == ("letterbox", 114, (480, 640))
    np.testing.assert_allclose(detect.bounds, [[0] * 3, [1] * 3], atol=1e-6)
    classify = found({**YOLO, "task": "classify", "imgsz": "224"})
    assert (classify.resize, classify.resize_size, classify.size) == ("shorter", None, (224, 224))
    assert found({"names": "['a']", "stride": "32"}).size == (640, 640)
    assert found(YOLO, shape=(1, 3, 320, 320)).size == (320, 320)
    assert known_preprocess(None, {"names": "['a']"}, None) is None


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def test_transformers_squash(tmp_path: Path) -> None:
    config = {"size": {"height": 384, "width": 320}, "resample": 3, "image_mean": MEAN, "image_std": STD}
    preprocess = in_folder(tmp_path, "preprocessor_config.json", config)
    assert (preprocess.resize, preprocess.size, preprocess.interpolation) == ("squash", (384, 320), "bicubic")
    assert (preprocess.mean, preprocess.std) == (tuple(MEAN), tuple(STD))
    assert in_folder(tmp_path, "preprocessor_config.json", {"size": 128}).size == (128, 128)


def test_transformers_crop(tmp_path: Path) -> None:
    for size in ({"shortest_edge": 256}, 256):
        config = {"size": size, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
        preprocess = in_folder(tmp_path, "preprocessor_config.json", config)
        assert (preprocess.resize, preprocess.resize_size, preprocess.size) == ("shorter", 256, (224, 224))


def test_transformers_without_a_crop_keeps_pictures_whole(tmp_path: Path) -> None:
    preprocess = in_folder(tmp_path, "preprocessor_config.json", {"size": {"shortest_edge": 256}})
    assert preprocess.needed((512, 384)) == (341, 256)
    assert preprocess.fitted((1, 3, 64, 64)).needed((512, 384)) == (85, 64)


def test_transformers_crop_share(tmp_path: Path) -> None:
    small = in_folder(tmp_path, "preprocessor_config.json", {"size": {"shortest_edge": 224}, "crop_pct": 0.875})
    assert (small.resize_size, small.size) == (256, (224, 224))
    large = in_folder(tmp_path, "preprocessor_config.json", {"size": {"shortest_edge": 384}, "crop_pct": 0.95})
    assert (large.resize, large.size) == ("squash", (384, 384))


def test_transformers_values(tmp_path: Path) -> None:
    flags = {
        "do_resize": False,
        "do_rescale": False,
        "do_normalize": False,
        "image_mean": MEAN,
        "image_std": STD,
    }
    raw = in_folder(tmp_path, "preprocessor_config.json", flags)
    np.testing.assert_array_equal(raw.bounds, [[0] * 3, [255] * 3])
    assert raw.size is None
    flipped = {"size": 9, "rescale_factor": 0.5, "do_flip_channel_order": True}
    preprocess = in_folder(tmp_path, "preprocessor_config.json", flipped)
    assert (preprocess.scale, preprocess.channels) == (0.5, "BGR")


def test_files_above_a_folder_named_onnx(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
    assert found(folder=tmp_path / "onnx").size == (32, 32)
    (tmp_path / "other").mkdir()
    assert known_preprocess(None, {}, tmp_path / "other") is None


def test_timm(tmp_path: Path) -> None:
    cfg = {
        "input_size": [3, 240, 240],
        "mean": MEAN,
        "std": STD,
        "crop_pct": 0.9,
        "interpolation": "bilinear",
    }
    nested = in_folder(tmp_path, "config.json", {"architecture": "x", "pretrained_cfg": cfg})
    assert (nested.size, nested.resize_size, nested.interpolation) == ((240, 240), 266, "bilinear")
    assert in_folder(tmp_path, "config.json", cfg) == nested
    assert in_folder(tmp_path, "config.json", {**cfg, "crop_mode": "squash"}).resize == "squash"
    assert in_folder(tmp_path, "config.json", {**cfg, "crop_mode": "border"}).resize == "letterbox"
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert known_preprocess(None, {}, tmp_path) is None


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"relcam.preprocess": "{"}, "relcam.preprocess"),
        ({"relcam.preprocess": '{"a": 1}'}, "relcam.preprocess.*'a'"),
        ({"Image.BitmapPixelFormat": "Rgba8"}, "Image.BitmapPixelFormat is 'rgba8'; possible are gray8"),
        ({"Image.NominalPixelRange": "0-255"}, "Image.NominalPixelRange"),
        ({**YOLO, "imgsz": "[640"}, "imgsz"),
        ({**YOLO, "imgsz": "__import__('os')"}, "imgsz"),
        ({**YOLO, "imgsz": "'big'"}, "Ultralytics.*size"),
    ],
)
def test_malformed_metadata_is_named(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        known_preprocess(None, metadata, None)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("preprocessor_config.json", "{", "no JSON"),
        (
            "preprocessor_config.json",
            '{"size": 9, "resample": 5}',
            r"resample is 5; possible are 0 \(nearest\)",
        ),
        ("preprocessor_config.json", '{"size": 9, "resample": [2]}', "resample"),
        ("preprocessor_config.json", '{"size": {"longest_edge": 9}}', "size"),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 9}, "crop_pct": "all"}', "crop_pct"),
        ("preprocessor_config.json", '{"size": 9, "do_center_crop": true}', "crop_size is None"),
        ("preprocessor_config.json", '{"size": 9, "image_mean": [0, 0, 0]}', "image_std"),
        ("preprocessor_config.json", '{"size": 9, "rescale_factor": "x"}', "scale"),
        ("preprocessor_config.json", '{"size": 9, "image_mean": ["x"], "image_std": 1}', "image_mean is .'x'."),
        ("config.json", '{"input_size": 9, "mean": [0], "std": [1]}', "input_size"),
        ("config.json", '{"input_size": [3, 9, 9], "mean": "x", "std": [1]}', "mean"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(OptionError, match=words) as caught:
        known_preprocess(None, {}, tmp_path)
    assert name in str(caught.value)
