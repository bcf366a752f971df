"""Pixels become the model's array as written, and maps come back to the picture's own pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.geometry import Geometry
from relcam_onnx.pictures.preprocess import Preprocess

RESIZES = ("squash", "shorter", "letterbox")


def blob(height: int, width: int, at: tuple[float, float], deviation: float) -> np.ndarray:
    """(height, width): a Gaussian around ``at``, measured from the upper left corner."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / (2 * deviation**2))


def centre(values: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    return (rows * values).sum() / values.sum(), (columns * values).sum() / values.sum()


def test_values_follow_the_formula() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    preprocess = Preprocess(size=None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    array, geometry = preprocess.apply(Image.fromarray(pixels))
    expected = (pixels / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7])
    assert array.shape == (3, 6, 5)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected.transpose(2, 0, 1), atol=1e-6)
    assert geometry == Geometry((6, 5), (6, 5), (1.0, 1.0), (0, 0))


def test_channels_layout_and_dtype() -> None:
    image = Image.new("RGB", (3, 2), (10, 20, 30))
    raw = {"size": None, "scale": 1.0}
    bgr, _ = Preprocess(channels="BGR", layout="NHWC", dtype="float16", mean=(1.0, 2.0, 3.0), **raw).apply(image)
    assert bgr.shape == (2, 3, 3)
    assert bgr.dtype == np.float16
    np.testing.assert_array_equal(bgr[0, 0], [29, 18, 7])  # mean and std count in the array's own order
    grey, _ = Preprocess(channels="L", mean=(0.0,), std=(1.0,), **raw).apply(image)
    np.testing.assert_array_equal(grey, np.full((1, 2, 3), 18))  # 0.299 · 10 + 0.587 · 20 + 0.114 · 30
    whole, _ = Preprocess(dtype="uint8", **raw).apply(image)
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole[:, 0, 0], [10, 20, 30])


@pytest.mark.parametrize("value", [0, 255])
def test_bounds_are_what_black_and_white_become(value: int) -> None:
    for preprocess in (
        Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Preprocess(channels="BGR", scale=1.0, mean=(103.939, 116.779, 123.68)),
        Preprocess(channels="L", mean=(0.5,), std=(0.5,)),
    ):
        array, _ = preprocess.apply(Image.new("RGB", (9, 9), (value,) * 3))
        bound = preprocess.bounds[value == 255]
        assert bound.dtype == np.float32
        np.testing.assert_allclose(array[:, 0, 0], bound, rtol=1e-5)


@pytest.mark.parametrize(
    ("preprocess", "geometry"),
    [
        (Preprocess(size=(224, 224), resize="squash"), ((224 / 301, 224 / 451), (0, 0))),
        (Preprocess(size=(224, 224)), ((224 / 301, 336 / 451), (0, -56))),
        # 256 · 451 / 301 = 383.6, cut to 383; its crop starts at 79.5, which rounds to the even 80
        (Preprocess(size=(224, 224), resize_size=256), ((256 / 301, 383 / 451), (-16, -80))),
        (Preprocess(size=(224, 224), resize="letterbox"), ((149 / 301, 224 / 451), (37, 0))),
        (Preprocess(size=None), ((1, 1), (0, 0))),
    ],
)
def test_geometry_of_an_odd_picture(preprocess: Preprocess, geometry: tuple) -> None:
    array, found = preprocess.apply(Image.new("RGB", (451, 301)))
    assert found.original == (301, 451)
    assert array.shape[1:] == found.size == (preprocess.size or (301, 451))
    assert (found.scale, found.offset) == geometry


def test_letterbox_pads_with_the_pad_value() -> None:
    preprocess = Preprocess(size=(40, 40), resize="letterbox", pad_value=114, scale=1.0)
    array, geometry = preprocess.apply(Image.new("RGB", (80, 40), "white"))
    assert geometry.offset == (10, 0)
    np.testing.assert_array_equal(array[0, :, 20], [114] * 10 + [255] * 20 + [114] * 10)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("original", [(301, 451), (451, 300), (97, 131), (224, 224), (1021, 333)])
@pytest.mark.parametrize("size", [(224, 224), (160, 257)])
def test_a_blob_comes_back_where_it_was(resize, original: tuple[int, int], size: tuple[int, int]) -> None:
    """The picture itself is the map: what the model sees of a bright spot must return to the spot."""
    at = (original[0] * 0.45, original[1] * 0.57)
    spot = blob(*original, at, min(original) / 20)
    image = Image.fromarray(np.rint(255 * spot).astype(np.uint8)).convert("RGB")
    preprocess = Preprocess(size=size, resize=resize, resize_size=round(min(size) * 1.1) if size[0] == 224 else None)
    array, geometry = preprocess.apply(image)
    back = geometry.undo(array[0])
    assert back.shape == original
    assert back.dtype == np.float32
    np.testing.assert_allclose(centre(back), at, atol=0.5)
    assert np.abs(back - spot).max() < 0.15  # blurred by at most the resampling


@settings(max_examples=40, deadline=None)
@given(
    original=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.tuples(st.integers(8, 120), st.integers(8, 120)),
    resize=st.sampled_from(RESIZES),
    cells=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_undo_of_any_geometry(original, size, resize, cells) -> None:
    """A constant map is constant on what the model saw and 0 elsewhere; only a crop hides anything."""
    array, geometry = Preprocess(size=size, resize=resize).apply(Image.new("RGB", original[::-1]))
    assert array.shape == (3, *size)
    back = geometry.undo(np.full(cells, 2.5, np.float32))
    assert back.shape == original
    assert set(np.unique(back)) <= {0.0, 2.5}
    if resize != "shorter":
        assert (back == 2.5).all()
    else:
        seen = [min(1, s / (o * k)) for s, o, k in zip(size, original, geometry.scale, strict=True)]
        for axis in (0, 1):
            share = (back == 2.5).any(axis=1 - axis).mean()
            assert abs(share - seen[axis]) <= 2 / original[axis]


def test_bars_are_cut_off_and_crops_are_zero() -> None:
    _, padded = Preprocess(size=(40, 40), resize="letterbox").apply(Image.new("RGB", (80, 40)))
    bars = np.zeros((40, 40), np.float32)
    bars[:9], bars[31:] = 9, 9
    assert padded.undo(bars).max() == 0
    _, cropped = Preprocess(size=(40, 40)).apply(Image.new("RGB", (80, 40)))
    back = cropped.undo(np.ones((40, 40), np.float32))
    np.testing.assert_array_equal(back[0], [0] * 20 + [1] * 40 + [0] * 20)


def test_a_thin_strip_is_refused() -> None:
    with pytest.raises(InputError, match="60000×1 pixels is too long"):
        Preprocess().apply(Image.new("RGB", (60000, 1)))


def test_json_round_trip() -> None:
    preprocess = Preprocess(
        size=(480, 640), resize="letterbox", pad_value=114, channels="BGR", layout="NHWC", std=(1.0, 2.0, 3.0)
    )
    assert Preprocess.from_json(preprocess.to_json()) == preprocess
    assert Preprocess.from_json("{}") == Preprocess()
    assert Preprocess.from_json('{"channels": "L"}').mean == (0.0,)
    assert json.loads(preprocess.to_json())["size"] == [480, 640]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"men": [0, 0, 0]}', r"'men' \(did you mean 'mean'.*size, resize"),
        ('{"size": 224}', "size is 224; it must be .height, width."),
        ('{"size": [0, 224]}', "size"),
        ('{"size": [224.0, 224]}', "size"),
        ('{"resize": "crop"}', "resize is 'crop'; it must be one of squash, shorter, letterbox"),
        ('{"resize": ["crop"]}', "resize"),
        ('{"resize_size": true}', "resize_size"),
        ('{"interpolation": 2}', "interpolation"),
        ('{"pad_value": 256}', "pad_value"),
        ('{"scale": "1/255"}', "scale"),
        ('{"scale": 0}', "scale"),
        ('{"mean": [0.5]}', "mean.*3 numbers"),
        ('{"mean": [0, 0, NaN]}', "mean"),
        ('{"std": [1, 1, 0]}', "std.*positive"),
        ('{"channels": "ARGB"}', "channels"),
        ('{"layout": "CHW"}', "layout"),
        ('{"dtype": "int4"}', "dtype"),
        ('{"resize": "letterbox", "resize_size": [256, 256]}', "resize_size"),
        ('{"resize": "squash", "resize_size": [256, 0]}', "resize_size"),
        ('{"resize": "squash", "resize_size": [1, 2, 3]}', "resize_size"),
        ("[]", "list"),
        ("{", "no JSON"),
    ],
)
def test_bad_fields_are_named(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        Preprocess.from_json(text)


def test_the_models_shape_wins() -> None:
    given = Preprocess(size=(224, 224), resize_size=256, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert given.fitted((None, 3, None, None)) == given
    static = given.fitted((1, 3, 448, 448))
    assert (static.size, static.resize_size) == ((448, 448), 512)  # the same share is cropped away
    assert given.fitted((1, 3, 320, None)).size == (320, 224)
    assert Preprocess(size=None).fitted((1, 3, 320, None)).size == (320, 320)
    assert Preprocess(size=None).fitted((1, 3, None, None)).size is None
    assert given.fitted((1, 224, 224, 3)).layout == "NHWC"
    assert given.fitted((1, 96, 128, None), channels_last=True).size == (96, 128)
    grey = given.fitted((1, 1, 28, 28))
    assert (grey.channels, grey.size) == ("L", (28, 28))
    np.testing.assert_allclose((grey.mean[0], grey.std[0]), (0.2, 2.0))
    assert grey.fitted((1, 3, 28, 28)).channels == "RGB"
    whole = given.fitted((1, 224, 224, 3), "uint8")
    assert (whole.dtype, whole.scale, whole.mean, whole.std) == ("uint8", 1, (0, 0, 0), (1, 1, 1))
    assert given.fitted((1, 3, 9, 9), "float16").dtype == "float16"
    squashed = Preprocess(size=(224, 112), resize="squash", resize_size=(256, 128)).fitted((1, 3, 448, 112))
    assert squashed.resize_size == (512, 128)


@pytest.mark.parametrize("resize", ["shorter", "squash"])
@pytest.mark.parametrize("size", [{}, {"size": None}], ids=["left out", "null"])
def test_a_resize_size_without_a_size_is_taken_as_written(resize: str, size: dict[str, None]) -> None:
    """It was scaled from a default of 224 that nobody had written, or dropped."""
    given = Preprocess.from_dict({"resize": resize, "resize_size": 72, **size})
    fitted = given.fitted((1, 3, 64, 64))
    assert (fitted.size, fitted.resize_size) == ((64, 64), 72)
    assert given.fitted((1, 3, None, None)).needed((144, 144)) == (72, 72)


def test_whole_pictures_take_the_models_size() -> None:
    """DETR's shorter and longest side keep pictures whole; a crop to the model's size would not."""
    whole = Preprocess.from_dict({"resize_size": [800, 1333]}).fitted((1, 3, 640, 640))
    assert (whole.size, whole.resize_size) == ((640, 640), None)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
def test_integers_are_the_pixels_themselves(dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    preprocess = Preprocess(size=None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).fitted((1, None, None, 3), dtype)
    array, geometry = preprocess.apply(Image.fromarray(pixels))
    assert array.dtype == dtype
    np.testing.assert_array_equal(array.astype(int) + (128 if dtype == "int8" else 0), pixels)
    assert geometry == Geometry.whole((6, 5))


def test_opacity_is_a_channel_of_four() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), np.uint8)
    given = Preprocess(size=None, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    four = given.fitted((1, 4, None, None))
    assert (four.channels, four.mean, four.std) == ("RGBA", (0.1, 0.2, 0.3, 0.0), (0.5, 0.6, 0.7, 1.0))
    array, _ = four.apply(Image.fromarray(pixels))
    expected = (pixels / 255 - np.array(four.mean)) / np.array(four.std)
    np.testing.assert_allclose(array, expected.transpose(2, 0, 1), atol=1e-6)
    opaque, _ = four.apply(Image.fromarray(pixels[:, :, :3]))
    np.testing.assert_allclose(opaque[3], 1)
    assert four.fitted((1, 3, None, None)) == given
    assert four.fitted((1, 1, None, None)) == given.fitted((1, 1, None, None))
    blue_first = Preprocess(size=None, channels="BGR", scale=1.0).fitted((1, 8, 8, 4))
    assert (blue_first.channels, blue_first.layout) == ("BGRA", "NHWC")
    np.testing.assert_array_equal(blue_first.apply(Image.new("RGBA", (8, 8), (1, 2, 3, 4)))[0][0, 0], [3, 2, 1, 4])
    grey = Preprocess(channels="L", mean=(0.4,), std=(0.2,)).fitted((1, 4, 8, 8))
    assert (grey.channels, grey.mean, grey.std) == ("RGBA", (0.4, 0.4, 0.4, 0.0), (0.2, 0.2, 0.2, 1.0))


def test_squash_then_crop() -> None:
    """A frame of four in forty pixels is what a crop to the middle 32 leaves out."""
    pixels = np.zeros((80, 40, 3), np.uint8)
    pixels[8:-8, 4:-4] = 255
    for sides in (40, (40, 40)):
        array, geometry = Preprocess(size=(32, 32), resize="squash", resize_size=sides).apply(Image.fromarray(pixels))
        assert array.shape == (3, 32, 32)
        assert array[:, 1:-1, 1:-1].min() == 1
        assert geometry == Geometry((80, 40), (32, 32), (0.5, 1.0), (-4, -4))
    seen = geometry.undo(np.ones((4, 4), np.float32)) > 0
    np.testing.assert_array_equal(seen, pixels[:, :, 0] > 0)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((1, 10), "float32", "no pictures"),
        ((1, 3, 8, 8), "bool", "bool"),
        ((1, 5, 8, 8), "float32", "5 channels"),
        ((1, 8, 8, 6), "float32", "8 channels"),
    ],
)
def test_inputs_that_take_no_pictures(shape: tuple[int, ...], dtype: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Preprocess().fitted(shape, dtype)
