"""Large JPEGs are decoded at a part of their size, and nothing that is said of them in their own pixels moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

import relcam_onnx as rc
from relcam_onnx.pictures.pixels import FINER, ORIENTATION, Picture, Pixels, read_pixels
from relcam_onnx.pictures.preprocess import Preprocess

TURNS = range(1, 9)


def ramp(height: int, width: int) -> np.ndarray:
    """Grey that grows evenly from the left to the right, and half as much from top to bottom."""
    down, across = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    return np.rint(160 * across + 80 * down).astype(np.uint8)


def stored(path: Path, pixels: np.ndarray, turn: int = 1) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    Image.fromarray(pixels).save(path, quality=98, exif=exif)
    return path


def needing(height: int, width: int):
    return lambda original: (height, width)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("size", [(333, 401), (401, 333), (320, 400), (329, 391)])
def test_a_reduced_picture_lies_where_the_whole_one_does(tmp_path: Path, turn: int, size: tuple[int, int]) -> None:
    """A size that is no multiple of 8 leaves pixels that are the picture's only in part, on a side that EXIF turns."""
    path = stored(tmp_path / "a.jpg", ramp(*size), turn)
    whole = read_pixels(path)
    small = read_pixels(path, needing(20, 20))
    assert small.original == whole.original == (size if turn < 5 else size[::-1])
    assert small.reduced
    assert not whole.reduced
    assert max(small.image.size) == -(-max(size) // 8)
    wanted, found = (np.asarray(p.resized((20, 20), Image.Resampling.BILINEAR), float)[..., 0] for p in (whole, small))
    # JPEG is off by one or two levels. The part pixel taken for a whole one would stretch the ramp by 3 to 5 of them.
    assert np.abs(found - wanted).max() < 2


def test_the_box_is_what_keeps_it_there(tmp_path: Path) -> None:
    """The test above can fail: without the box the last row of a ramp is off."""
    path = stored(tmp_path / "a.jpg", ramp(333, 401), 3)
    small = read_pixels(path, needing(20, 20))
    wanted = np.asarray(read_pixels(path).resized((20, 20), Image.Resampling.BILINEAR), float)
    careless = np.asarray(Pixels.of(small.image).resized((20, 20), Image.Resampling.BILINEAR), float)
    assert np.abs(careless - wanted).max() > 2


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    need=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    turn=st.sampled_from(TURNS),
)
def test_twice_what_is_needed_is_left(tmp_path_factory: pytest.TempPathFactory, size, need, turn) -> None:
    path = stored(tmp_path_factory.mktemp("jpeg") / "a.jpg", ramp(*size), turn)
    pixels = read_pixels(path, needing(*need))
    upright = size if turn < 5 else size[::-1]
    assert pixels.original == upright
    for side, most, wanted in zip(pixels.image.size[::-1], upright, need, strict=True):
        assert side == most or side >= FINER * wanted
    scale = max(pixels.original) / max(pixels.box[2] - pixels.box[0], pixels.box[3] - pixels.box[1])
    assert scale in (1, 2, 4, 8)
    # The next smaller scale would have left too little.
    assert scale == 8 or any(side / (2 * scale) < FINER * wanted for side, wanted in zip(upright, need, strict=True))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp"])
def test_other_files_are_decoded_in_full(tmp_path: Path, name: str) -> None:
    Image.fromarray(ramp(400, 400)).save(tmp_path / name)
    assert read_pixels(tmp_path / name, needing(10, 10)).image.size == (400, 400)


def test_images_and_arrays_are_as_they_are() -> None:
    for source in (ramp(400, 400), Image.fromarray(ramp(400, 400))):
        assert read_pixels(source, needing(10, 10)).image.size == (400, 400)


def test_the_model_gets_nearly_the_same_array(tmp_path: Path) -> None:
    smooth = Image.effect_noise((40, 30), 80).resize((1203, 899), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    for preprocess in (
        Preprocess(size=(56, 56), resize="shorter", resize_size=64),
        Preprocess(size=(56, 48), resize="squash", interpolation="bicubic"),
        Preprocess(size=(64, 64), resize="letterbox", channels="L", mean=(0.0,), std=(1.0,)),
    ):
        small = read_pixels(tmp_path / "a.jpg", preprocess.needed)
        array, geometry = preprocess.apply(small)
        exact, wanted = preprocess.apply(read_pixels(tmp_path / "a.jpg"))
        assert small.reduced
        assert geometry == wanted
        # Eight or so levels of 255: JPEG's own filter is a little sharper or softer than the resize's.
        assert np.abs(array - exact).max() < 8 / 255


def test_the_whole_picture_comes_from_its_file_again(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.jpg", ramp(333, 401), 6)
    preprocess = Preprocess(size=(16, 16), resize="squash")
    pixels = read_pixels(path, preprocess.needed)
    picture = Picture(pixels, preprocess.apply(pixels)[1], str(path))
    with Image.open(path) as file:
        np.testing.assert_array_equal(
            np.asarray(picture.full()), np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        )
    stored(path, ramp(100, 100))
    with pytest.raises(rc.InputError, match=r"a\.jpg.*another picture"):
        picture.full()
    path.unlink()
    with pytest.raises(rc.InputError, match="no such file"):
        picture.full()
