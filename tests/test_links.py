"""Links among pictures: what they lead to counts under the link's name, folders too, and nothing goes round."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from audits import COLOURS, folder, saved, seeing
from PIL import Image
from test_cli import relcam
from test_clips import folded

from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import read_masks
from relcam_onnx.audit.told import of_folders
from relcam_onnx.pictures.finding import find_pictures


def coloured(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (value, 90, 200 - value)).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A picture and a link to it, a folder and a link to that, and links that go round: at once, and by two."""
    root = tmp_path / "photos"
    coloured(root / "plain.png", 9)
    (root / "a.png").symlink_to("plain.png")
    coloured(tmp_path / "elsewhere" / "daisy.png", 30)
    (root / "flowers").symlink_to(tmp_path / "elsewhere")
    (root / "round").symlink_to(root)
    (root / "one").mkdir()
    (root / "two").mkdir()
    (root / "one" / "to").symlink_to(root / "two")
    (root / "two" / "to").symlink_to(root / "one")
    coloured(root / "one" / "b.png", 60)
    return root


NAMES = ["a", "flowers-daisy", "one-b", "plain", "two-to-b"]


@pytest.mark.parametrize("pattern", ["{}", "{}/**/*.png", "{}/**/*"])
def test_links_are_followed_and_nothing_goes_round(pattern: str, tree: Path) -> None:
    found, failed = find_pictures([pattern.format(tree)])
    assert ([picture.name for picture in found], failed) == (NAMES, [])


def test_a_path_is_listed_once_however_it_is_spelled(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    found, _ = find_pictures(["plain.png", "one/../plain.png", tree / "plain.png", "a.png"])
    assert [picture.name for picture in found] == ["plain", "a"]


def test_a_batch_lists_the_same(tree: Path) -> None:
    pytest.importorskip("pyarrow")
    from relcam_onnx.batch.units import find_units  # noqa: PLC0415 - needs the extra

    for source in (str(tree), f"{tree}/**/*"):
        (unit,), _ = find_units([source], str(tree / "out"), 99, None)
        names = [str(Path(file).relative_to(tree).with_suffix("")).replace("/", "-") for file in unit.files]
        assert sorted(names) == NAMES
    (tree.parent / "elsewhere" / "_sheets").mkdir()
    (tree.parent / "elsewhere" / "daisy.png").rename(tree.parent / "elsewhere" / "_sheets" / "x.png")
    (unit,), _ = find_units([str(tree)], str(tree.parent / "elsewhere"), 99, None)
    assert not [file for file in unit.files if "_sheets" in file]  # its own, though a link leads there


def test_a_frame_that_is_a_link_to_another_frame_stays(tmp_path: Path) -> None:
    model = saved(folded("N"), tmp_path / "model.onnx")
    frames = [coloured(tmp_path / "copies" / f"{number}.png", value) for number, value in enumerate((20, 20, 180))]
    shutil.copytree(tmp_path / "copies", tmp_path / "links")
    (tmp_path / "links" / "1.png").unlink()
    (tmp_path / "links" / "1.png").symlink_to("0.png")
    for name in ("copies", "links"):
        out = tmp_path / f"{name}-out"
        told = relcam("explain", model, tmp_path / name, "-o", out, "--format", "npz", "--preprocess", "imagenet")
        assert told.exit_code == 0, told.stderr
    of = [np.load(tmp_path / f"{name}-out" / f"{frames[0].stem}.npz") for name in ("copies", "links")]
    for name in of[0]:
        np.testing.assert_array_equal(of[0][name], of[1][name])


def test_class_folders_that_are_links_are_classes_and_masks_in_linked_folders_masks(tmp_path: Path) -> None:
    model, here, away = Audited(saved(seeing(), tmp_path / "model.onnx")), folder(tmp_path / "here"), tmp_path / "away"
    away.mkdir()
    (tmp_path / "masks").mkdir()
    for number, name in enumerate(COLOURS):
        (here / name).rename(away / f"x{number}")
        for root in (here, tmp_path / "masks"):
            (root / name).symlink_to(away / f"x{number}")
    found, _ = find_pictures([here])
    for sources in ([here], [here / name for name in COLOURS]):
        classes, notes = of_folders(found, sources, model)
        assert classes is not None
        assert {path.parent.name: told.label for path, told in classes.items()} == {name: name for name in COLOURS}
        assert (len(classes), notes) == (12, [])
    assert read_masks(tmp_path / "masks", found, model)(found[0]) is not None
