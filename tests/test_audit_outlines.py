"""Where objects are, as masks and COCO's JSON say it: of which picture, of which class, and of which pixels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audits import COLOURS, SIDE, blob, saved, seeing
from PIL import Image
from test_audit_cli import relcam, report

from relcam_onnx.audit.by_name import by_name, without_suffix
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import bright, drawn, read_boxes, read_masks, same_size, shape_of
from relcam_onnx.audit.subjects import Subject, read_subjects
from relcam_onnx.errors import InputError, OptionError
from relcam_onnx.pictures.finding import Found, find_pictures
from relcam_onnx.pictures.geometry import Size
from relcam_onnx.results.regions import Region
from relcam_onnx.results.run_lengths import compressed, uncompressed


def named(*paths: str) -> list[Found]:
    return [Found(Path(path), path) for path in paths]


MATCHED: dict[str, tuple[list[str], list[str], dict[str, str]]] = {
    "folders": (["in/cat/1.jpg", "in/dog/1.jpg"], ["cat/1.jpg", "dog/1.jpg"],
                {"in/cat/1.jpg": "cat/1.jpg", "in/dog/1.jpg": "dog/1.jpg"}),
    "other roots": (["in/cat/1.jpg", "in/dog/1.jpg"], ["a/b/dog/1.jpg"], {"in/dog/1.jpg": "a/b/dog/1.jpg"}),
    "bare names": (["in/1.jpg", "in/2.jpg"], ["2.jpg", "3.jpg"], {"in/2.jpg": "2.jpg"}),
    "a folder of one side alone": (["in/1.jpg"], ["train/1.jpg"], {"in/1.jpg": "train/1.jpg"}),
    "a bare name beside folders": (["in/cat/1.jpg", "in/2.jpg"], ["cat/1.jpg", "2.jpg"],
                                   {"in/cat/1.jpg": "cat/1.jpg", "in/2.jpg": "2.jpg"}),
    "another folder": (["in/cat/1.jpg", "in/dog/2.jpg"], ["cat/1.jpg", "bird/2.jpg"], {"in/cat/1.jpg": "cat/1.jpg"}),
    "not all": (["in/cat/1.jpg", "in/dog/1.jpg"], ["cat/1.jpg", "bird/1.jpg"], {"in/cat/1.jpg": "cat/1.jpg"}),
    "from above": (["in/1.jpg"], ["../in/1.jpg"], {"in/1.jpg": "../in/1.jpg"}),
}  # fmt: skip


@pytest.mark.parametrize("case", MATCHED)
def test_pictures_go_by_their_names_with_folders(case: str) -> None:
    paths, names, wanted = MATCHED[case]
    assert by_name("it", named(*paths), names) == {Path(path): name for path, name in wanted.items()}


@pytest.mark.parametrize(("paths", "names"), [
    (["in/cat/1.jpg", "in/dog/1.jpg"], ["1.jpg"]),
    (["a/in/cat/1.jpg", "b/in/cat/1.jpg"], ["cat/1.jpg"]),
    (["in/1.jpg"], ["train/1.jpg", "val/1.jpg"]),
])  # fmt: skip
def test_names_that_fit_several_are_refused(paths: list[str], names: list[str]) -> None:
    with pytest.raises(OptionError, match=r"it: .*1.jpg' may be of .*names must have the pictures' folders too, such"):
        by_name("it", named(*paths), names)


def test_two_files_that_differ_in_their_suffix_are_two_masks() -> None:
    with pytest.raises(OptionError, match=r"'1.bmp' and '1.png' may be of"):
        by_name("it", named("in/1.jpg"), ["1.bmp", "1.png"], without_suffix)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures called alike in a folder for each class, the blob of each somewhere else; and their masks."""
    root, rng = tmp_path_factory.mktemp("outlines"), np.random.default_rng(1)
    saved(seeing(), root / "model.onnx")
    for colour in COLOURS:
        for folder in ("in", "masks"):
            (root / folder / colour).mkdir(parents=True)
        for place in range(2):
            picture = blob(colour, rng)
            picture.save(root / "in" / colour / f"{place}.png")
            inside = np.abs(np.asarray(picture).astype(int) - COLOURS[colour]).sum(axis=2) == 0
            Image.fromarray(inside).save(root / "masks" / colour / f"{place}.png")
    return root


def mask_at(root: Path, picture: Path) -> np.ndarray:
    """Its mask, by the folder and the name."""
    return np.asarray(Image.open(root / "masks" / picture.parent.name / picture.name))


def as_boxes(root: Path, file: Path, category: Callable[[str], str] = str) -> Path:
    """The masks' boxes as COCO's JSON, which has a category for each class."""
    masks = sorted((root / "masks").rglob("*.png"))
    annotations = []
    for number, mask in enumerate(masks):
        left, top, right, bottom = Image.open(mask).getbbox() or (0, 0, 0, 0)
        kind = [*COLOURS].index(mask.parent.name)
        annotations.append({"image_id": number, "category_id": kind, "bbox": [left, top, right - left, bottom - top]})
    images = [{"id": number, "file_name": str(mask.relative_to(root / "masks"))} for number, mask in enumerate(masks)]
    categories = [{"id": number, "name": category(colour)} for number, colour in enumerate(COLOURS)]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return file


def subjects_of(root: Path, outlines: Any) -> list[Subject]:
    return read_subjects(Audited(root / "model.onnx"), find_pictures([root / "in"])[0], None, outlines)[0]


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_pictures_called_alike_have_their_own_outlines(kind: str, here: Path, tmp_path: Path) -> None:
    found, model = find_pictures([here / "in"])[0], Audited(here / "model.onnx")
    if kind == "boxes":
        outlines, notes = read_boxes(as_boxes(here, tmp_path / "boxes.json"), found, model)
        assert not notes
    else:
        outlines = read_masks(here / "masks", found, model)
    subjects = subjects_of(here, outlines)
    assert len(subjects) == 8
    for subject in subjects:
        np.testing.assert_array_equal(subject.mask, mask_at(here, subject.file))


def test_masks_without_folders_are_refused_where_pictures_are_called_alike(here: Path, tmp_path: Path) -> None:
    Image.new("1", (SIDE, SIDE), 1).save(tmp_path / "0.png")
    asked = ("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out")
    for option, given in (("--masks", tmp_path), ("--classes", tmp_path / "c.csv")):
        (tmp_path / "c.csv").write_text("file,label\n0.png,red\n")
        result = relcam(*asked, option, given)
        assert result.exit_code == 2
        assert "'0.png' may be of" in result.stderr


def test_boxes_of_other_categories_are_not_of_the_class(here: Path, tmp_path: Path) -> None:
    """Every box is called by the next class, then by what is no class."""
    colours = [*COLOURS]
    following = dict(zip(colours, colours[1:] + colours[:1], strict=True))
    boxes = as_boxes(here, tmp_path / "b.json", lambda colour: following[colour])
    result = relcam("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out", "--boxes", boxes)
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert not [f for f in found["figures"] if f["name"] == "places.mass"]
    assert "0 of 8 pictures have an outlined object of their class" in found["notes"]
    strange, notes = read_boxes(as_boxes(here, boxes, lambda colour: f"{colour} thing"), *given(here))
    assert notes == ["no category of b.json is called like a class: whatever is outlined counts, whichever it is"]
    assert all(subject.mask is not None for subject in subjects_of(here, strange))


def given(root: Path) -> tuple[Sequence[Found], Audited]:
    return find_pictures([root / "in"])[0], Audited(root / "model.onnx")


@pytest.mark.parametrize("side", [1, 10, 20])
def test_a_box_has_as_many_pixels_as_it_says(side: int) -> None:
    mask = drawn((64, 48), [shape_of({"bbox": [5, 7, side, side]})])
    assert mask.sum() == side**2
    assert mask[7 : 7 + side, 5 : 5 + side].all()
    assert drawn((64, 48), [shape_of({"bbox": [-9, -9, 100, 100]})]).all()


def test_a_polygon_has_the_pixels_whose_middles_lie_in_it() -> None:
    down, across = np.mgrid[:40, :40] + 0.5
    triangle = drawn((40, 40), [shape_of({"segmentation": [[0.2, 0.1, 40.2, 0.1, 0.2, 40.1]]})])
    np.testing.assert_array_equal(triangle, (across - 0.2 >= 0) & (down >= 0.1) & (across - 0.2 + down - 0.1 < 40))
    both = drawn((40, 40), [shape_of({"segmentation": [[0, 0, 9, 0, 9, 9, 0, 9], [20, 20, 29, 20, 29, 29, 20, 29]]})])
    assert both.sum() == 162


L_SHAPED = np.zeros((SIDE, SIDE), bool)
L_SHAPED[4:20, 6:8] = L_SHAPED[4:6, 6:30] = True


@pytest.mark.parametrize("form", ["compressed", "uncompressed"])
def test_run_lengths_are_read_as_what_they_are(form: str, here: Path, tmp_path: Path) -> None:
    """Not as their box."""
    told = compressed(Region(L_SHAPED, L_SHAPED.shape)) if form == "compressed" else uncompressed(L_SHAPED)
    entry = {"image_id": 1, "bbox": [6, 4, 24, 16], "segmentation": told, "iscrowd": 1}
    coco = {"images": [{"id": 1, "file_name": "in/red/0.png"}], "annotations": [entry]}
    (tmp_path / "b.json").write_text(json.dumps(coco))
    outlines, _ = read_boxes(tmp_path / "b.json", *given(here))
    (mask,) = [s.mask for s in subjects_of(here, outlines) if s.mask is not None]
    np.testing.assert_array_equal(mask, L_SHAPED)
    small = uncompressed(L_SHAPED[:16])
    (tmp_path / "b.json").write_text(json.dumps({**coco, "annotations": [{**entry, "segmentation": small}]}))
    result = relcam("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out", "--boxes", tmp_path / "b.json")
    assert result.exit_code == 1
    assert "run lengths outline a picture of 16 × 32 pixels (height, width), and this has 32 × 32" in result.stderr


def test_boxes_of_a_picture_of_another_size_are_refused(here: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "b.json"
    asked = ("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out", "--boxes", boxes)
    for told in ({"width": 2 * SIDE, "height": 2 * SIDE}, {"width": 0, "height": 0}, {"width": SIDE, "height": SIDE}):
        image = {"id": 1, "file_name": "in/red/0.png", **told}
        coco = {"images": [image], "annotations": [{"image_id": 1, "bbox": [6, 4, 24, 16]}]}
        boxes.write_text(json.dumps(coco))
        result = relcam(*asked)
        strange = told["width"] == 2 * SIDE
        assert result.exit_code == int(strange), result.output
        says = "b.json says that it outlines a picture of 64 × 64 pixels (height, width), and this has 32 × 32"
        assert (says in result.stderr) == strange


INSIDE = np.zeros((8, 8), np.uint8)
INSIDE[2:6, 1:4] = 1


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(INSIDE, "P")
    image.putpalette(colours)
    return image


MASKS: dict[str, Callable[[], Image.Image]] = {
    "white": lambda: Image.fromarray(INSIDE * 255),
    "light grey": lambda: Image.fromarray(INSIDE * 230 + 10),
    "one": lambda: Image.fromarray(INSIDE),
    "numbers of classes": lambda: Image.fromarray(INSIDE * np.arange(140, 148, dtype=np.uint8)),
    "bits": lambda: Image.fromarray(INSIDE > 0),
    "16 bits": lambda: Image.fromarray(INSIDE.astype(np.uint16) * 65535),
    "16 bits, numbers": lambda: Image.fromarray(INSIDE.astype(np.uint16) * 300),
    "floats": lambda: Image.fromarray(INSIDE.astype(np.float32)),
    "palette, white": lambda: palette([0, 0, 0, 255, 255, 255]),
    "palette, a dark colour": lambda: palette([0, 0, 0, 64, 0, 0]),
    "palette turned round": lambda: Image.eval(palette([255, 255, 255, 0, 0, 0]).convert("L"), lambda v: 255 - v),
    "colours and alpha": lambda: Image.fromarray(INSIDE * 255).convert("RGBA"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_kind(kind: str) -> None:
    np.testing.assert_array_equal(bright(MASKS[kind]()), INSIDE > 0)


@pytest.mark.parametrize(
    ("size", "picture", "fits"),
    [
        ((96, 64), (96, 64), True), ((48, 32), (96, 64), True), ((192, 128), (96, 64), True),
        ((224, 298), (480, 640), True), ((224, 299), (480, 640), True), ((7, 10), (333, 500), True),
        ((64, 96), (96, 64), False), ((64, 64), (96, 64), False), ((64, 65), (65, 64), False),
        ((224, 224), (480, 640), False), ((94, 64), (96, 64), False),
    ],
)  # fmt: skip
def test_masks_are_in_proportion(size: Size, picture: Size, fits: bool) -> None:
    """Rounded or cut off; a mask that was cropped or lies on its side is of another picture."""
    for told, own in ((size, picture), (picture, size)):
        with nullcontext() if fits else pytest.raises(InputError, match="it outlines a picture of"):
            same_size("it outlines", told, own, scaled=True)
    if size != picture:
        with pytest.raises(InputError):
            same_size("it outlines", size, picture)


def test_masks_of_another_shape_are_refused(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "masks", tmp_path / "m")
    file = tmp_path / "m" / "red" / "0.png"
    Image.open(file).crop((0, 0, SIDE, SIDE // 2)).save(file)
    result = relcam("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out", "--masks", tmp_path / "m")
    assert result.exit_code == 1, result.output
    says = "0.png outlines a picture of 16 × 32 pixels (height, width), and this has 32 × 32 as people see it, upright"
    assert says in result.stderr
    assert len(report(tmp_path / "out")["pictures"]) == 7


def test_masks_that_mark_nothing_are_named(here: Path, tmp_path: Path) -> None:
    (tmp_path / "red").mkdir()
    Image.new("L", (SIDE, SIDE)).save(tmp_path / "red" / "0.png")
    result = relcam("audit", here / "model.onnx", here / "in", "-o", tmp_path / "out", "--masks", tmp_path)
    assert result.exit_code == 0, result.output
    notes = report(tmp_path / "out")["notes"]
    assert "what is outlined of 1 pictures marks nothing there, such as of red-0" in notes
    assert "1 of 8 pictures have an outlined object of their class" in notes
