"""Pictures of every kind come out upright, opaque and 8-bit; what is none gives one clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relcam_onnx.errors import InputError
from relcam_onnx.pictures.finding import find_pictures
from relcam_onnx.pictures.reading import on_white, open_picture


def pixels(source: object) -> np.ndarray:
    image = open_picture(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture
def gradient() -> np.ndarray:
    """(5, 7, 3) uint8, all values different."""
    return np.arange(105, dtype=np.uint8).reshape(5, 7, 3)


def test_png_is_read_unchanged(tmp_path: Path, gradient: np.ndarray) -> None:
    Image.fromarray(gradient).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), gradient)
    np.testing.assert_array_equal(pixels(str(tmp_path / "a.png")), gradient)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_rotation_is_applied(tmp_path: Path, gradient: np.ndarray, orientation, upright) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), upright(gradient))


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 51]]], np.uint8)
    expected = [[[255, 255, 255], [200, 100, 0], [244, 224, 204]]]  # a fifth of the colour, the rest white
    np.testing.assert_allclose(pixels(Image.fromarray(rgba)).astype(int), expected, atol=1)
    np.testing.assert_allclose(pixels(rgba).astype(int), expected, atol=1)
    grey = Image.fromarray(np.array([[[80, 0], [80, 255]]], np.uint8), "LA")
    np.testing.assert_array_equal(pixels(grey)[0, :, 0], [255, 80])


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=0)
    np.testing.assert_array_equal(pixels(tmp_path / "plain.png"), [[[10, 20, 30], [40, 50, 60]]])
    np.testing.assert_array_equal(pixels(tmp_path / "clear.png"), [[[255] * 3, [40, 50, 60]]])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_keep_their_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a.{suffix}")[0, :, 0], [0, 1, 128, 255])
    np.testing.assert_array_equal(pixels(Image.fromarray(values.astype(np.int32)))[0, :, 2], [0, 1, 128, 255])


def test_other_modes() -> None:
    assert pixels(Image.new("1", (1, 1), 1)).tolist() == [[[255] * 3]]
    assert pixels(Image.new("L", (1, 1), 7)).tolist() == [[[7] * 3]]
    assert pixels(Image.new("CMYK", (1, 1), (0, 0, 0, 0))).tolist() == [[[255] * 3]]
    assert pixels(Image.new("CMYK", (1, 1), (255, 0, 0, 0)))[0, 0, 0] == 0
    assert pixels(Image.new("F", (1, 1), 0.2)).tolist() == [[[51] * 3]]
    assert pixels(Image.new("F", (1, 1), 51.0)).tolist() == [[[51] * 3]]
    assert pixels(Image.new("RGBa", (1, 1), (0, 0, 0, 0))).tolist() == [[[255] * 3]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert pixels(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "array",
    [
        np.array([[0, 51], [102, 255]], np.uint8),
        np.array([[[0], [51]], [[102], [255]]], np.uint8),
        np.array([[0, 51], [102, 255]], np.uint16) * 257,
        (np.array([[0, 51], [102, 255]], np.uint16) * 257).astype(">u2"),
        np.array([[0, 0.2], [0.4, 1]], np.float32),
        np.array([[0, 0.2], [0.4, 1]], np.float16),
    ],
)
def test_arrays(array: np.ndarray) -> None:
    np.testing.assert_array_equal(pixels(array)[:, :, 1], [[0, 51], [102, 255]])


def test_bool_and_strided_arrays(gradient: np.ndarray) -> None:
    assert pixels(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]
    np.testing.assert_array_equal(pixels(gradient[::-1, ::2]), gradient[::-1, ::2])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 8, 9), np.uint8), "transpose"),
        (np.zeros((2, 8, 9, 3), np.uint8), "list"),
        (np.zeros((8, 9, 2), np.uint8), r"\(8, 9, 2\)"),
        (np.zeros((0, 9, 3), np.uint8), "at least one pixel"),
        (np.zeros((8, 9), np.int64), "int64"),
        (np.full((8, 9), np.nan), "NaN"),
        (np.full((8, 9), 1.5), r"0\.\.1"),
        (np.array(["a"]), "shape"),
    ],
)
def test_bad_arrays(array: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_picture(array)


def test_bad_images() -> None:
    with pytest.raises(InputError, match="0×3"):
        open_picture(Image.new("RGB", (0, 3)))
    with pytest.raises(InputError, match="65535"):
        open_picture(Image.new("I", (1, 1), 70000))
    with pytest.raises(InputError, match="NaN"):
        open_picture(Image.new("F", (1, 1), float("nan")))
    with pytest.raises(InputError, match="int"):
        open_picture(3)


def test_bad_files_are_named(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    cases = {
        "cut.png": "cannot be read",
        "cut.jpg": "cannot be read",
        "text.png": "no picture",
        "empty.png": "no picture",
        "missing.png": "no such file",
        ".": "folder",
    }
    for name, words in cases.items():
        with pytest.raises(InputError, match=words) as caught:
            open_picture(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("limit", [60, 80])  # Pillow refuses above twice the limit and only warns above it
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    Image.new("L", (13, 10)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(InputError, match=rf"bomb\.png.*130 pixels.*{limit if limit > 65 else 120} pixels"):
        open_picture(tmp_path / "bomb.png")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.heic",
            HEIC,
            "is HEIC, as telephones write it, which Pillow does not read; convert it.*magick a.heic a.jpg",
        ),
        ("a.HEIF", b"", "HEIC"),
        ("a.jpg", HEIC, "HEIC"),  # telephones, and those who rename
        ("a.nef", b"II*\0", "a camera's raw file.*convert"),
        ("a.jxl", b"\xff\x0a", "JPEG XL"),
    ],
)
def test_pictures_of_other_kinds_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_picture(tmp_path / name)


def test_pictures_of_other_kinds_are_not_passed_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.heic", "c.NEF", "d.txt"):
        (tmp_path / name).touch()
    assert names([tmp_path]) == {"a": "a.jpg", "b": "b.heic", "c": "c.NEF"}
    assert names([f"{tmp_path}/*"]) == {"a": "a.jpg", "b": "b.heic", "c": "c.NEF"}


def test_opacity_is_kept_for_those_who_ask() -> None:
    rgba = np.array([[[200, 100, 0, 0], [200, 100, 0, 255]]], np.uint8)
    kept = open_picture(rgba, opacity=True)
    assert kept.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(kept), rgba)
    np.testing.assert_array_equal(np.asarray(on_white(kept)), pixels(rgba))
    assert np.asarray(open_picture(rgba[..., :3], opacity=True))[..., 3].min() == 255


def names(sources: list[str | Path]) -> dict[str, str]:
    found, failed = find_pictures(sources)
    assert not failed
    return {picture.name: picture.path.name for picture in found}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jpg", "A.png", "notes.txt", ".hidden.jpg", "cats/a.jpg", "cats/deep/b.WEBP", "x[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_folders_are_searched_through(tree: Path) -> None:
    assert names([tree]) == {
        "A": "A.png",
        "a-2": "a.jpg",
        "cats-a": "a.jpg",
        "cats-deep-b": "b.WEBP",
        "x[1]": "x[1].png",
    }


def test_results_are_no_pictures_of_the_folder_around_them(tree: Path) -> None:
    """Unless they are named, or the folder of results is where pictures are looked for."""
    deep = tree / "cats" / "deep"
    for source in (tree, f"{tree}/**/*"):
        assert "b.WEBP" not in [picture.path.name for picture in find_pictures([source], deep)[0]]
    for source in (deep, deep / "b.WEBP", f"{deep}/*"):
        assert [picture.path.name for picture in find_pictures([source], deep)[0]] == ["b.WEBP"]
    assert len(find_pictures([tree / "cats"], tree)[0]) == 2
    assert len(find_pictures([tree / "cats"], tree / "x")[0]) == 2


def test_globs_count_names_from_their_fixed_part(tree: Path) -> None:
    assert names([f"{tree}/cats/*.jpg"]) == {"a": "a.jpg"}
    assert names([f"{tree}/**/*.jpg"]) == {"a": "a.jpg", "cats-a": "a.jpg"}
    assert names([f"{tree}/c*/a.jpg"]) == {"cats-a": "a.jpg"}


def test_files_are_taken_as_they_are(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names([tree / "x[1].png", tree / "notes.txt"]) == {"x[1]": "x[1].png", "notes": "notes.txt"}
    monkeypatch.chdir(tree)
    assert names(["a.jpg", "cats/a.jpg", "*.jpg"]) == {"a": "a.jpg", "a-2": "a.jpg"}


def test_names_differ_even_where_a_suffix_is_taken(tmp_path: Path) -> None:
    for name in ("a-2.jpg", "a.jpg", "a.png"):
        (tmp_path / name).touch()
    assert len(names([tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "a-2.jpg"])) == 3


def test_sources_with_nothing_fail_and_the_rest_goes_on(tree: Path) -> None:
    (tree / "empty").mkdir()
    sources = [tree / "gone.jpg", tree / "a.jpg", tree / "empty", f"{tree}/*.bmp"]
    found, failed = find_pictures(sources)
    assert [picture.name for picture in found] == ["a"]
    assert [failure.file for failure in failed] == [str(sources[0]), str(sources[2]), str(sources[3])]
    for failure, words in zip(failed, ("no such", "holds no", "matches"), strict=True):
        assert words in failure.error
