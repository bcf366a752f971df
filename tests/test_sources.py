"""What is brought for each input: pictures, vectors and numbers by name, in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from siamese import towers, with_vector
from test_cli import refused, relcam
from test_cli import results as told

import relcam_onnx as rc
from relcam_onnx.pictures.preprocess import Preprocess

UNIT = "unit"
pytestmark = pytest.mark.filterwarnings("ignore:the map of")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


LEFT, RIGHT = noise(20, 30), noise(40, 24, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures and two models."""
    for name, pixels in (("a", LEFT), ("b", RIGHT)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    onnx.save(towers(), tmp_path / "pair.onnx")
    onnx.save(with_vector(), tmp_path / "vector.onnx")
    return tmp_path


def test_paths_images_and_arrays_by_name(folder: Path) -> None:
    """They are what an Explainer makes of the arrays that the preprocessing gives."""
    e = rc.explain(towers(), {"left": folder / "a.png", "right": Image.fromarray(RIGHT)}, 0, UNIT)
    made = rc.explain(towers(), {"right": [RIGHT], "left": [LEFT]}, 0, UNIT)
    squash = Preprocess(size=(16, 16))
    x = {name: squash.apply(Image.fromarray(value))[0][None] for name, value in (("left", LEFT), ("right", RIGHT))}
    with rc.Explainer(towers(), preprocess=UNIT) as explainer:
        wanted = explainer(x, 0)
    for name, value in wanted.maps.items():
        np.testing.assert_allclose(e.maps[name], value, atol=1e-6)
        np.testing.assert_array_equal(e.maps[name], made.maps[name])


def test_each_map_lies_on_its_own_picture(folder: Path) -> None:
    e = rc.explain(towers(), {"left": [LEFT, RIGHT], "right": [RIGHT, LEFT]}, 0, UNIT)
    assert e.overlay().size == e.overlay("stride2/left").size == (30, 20)
    assert e.overlay(picture="right").size == e.overlay("stride4", picture="right").size == (24, 40)
    assert e.heat("fused", 1, picture="right").shape == (20, 30)
    np.testing.assert_array_equal(e.heat("fused", picture="right"), e.heat("fused/right"))
    with pytest.raises(rc.InputError, match="map 'fused/left' is of left, not of an input 'right'"):
        e.heat("fused/left", picture="right")
    rows = e.sheet(), rc.explain(towers(), {"left": [LEFT], "right": [LEFT]}, 0, UNIT).sheet()
    assert rows[0].height > rows[1].height > 2 * 100
    e.save(folder / "out", ["sheet", "png", "npz", "html"], mask=True)
    first, second = told(folder / "out")["images"]
    assert first["inputs"]["right"] == {"file": None, "width": 24, "height": 40}
    assert second["inputs"]["right"] == {"file": None, "width": 30, "height": 20}
    assert Image.open(folder / "out" / first["layers"]["fused/right"][0]["png"]).size == (24, 40)
    assert set(np.load(folder / "out" / first["layers"]["fused/right"][0]["file"])) == set(e.maps)


@pytest.mark.parametrize("age", [[1, 2, 3, 4], np.array([[1.0, 2, 3, 4]])])
def test_vectors_and_numbers(age: object) -> None:
    e = rc.explain(with_vector(), {"image": LEFT, "age": age, "dose": 0.5}, 0, UNIT)
    two = rc.explain(with_vector(), {"image": [LEFT] * 2, "age": [[1, 2, 3, 4]] * 2, "dose": [0.5, 1.5]}, 0, UNIT)
    np.testing.assert_allclose(two.scores[0], e.scores[0], atol=1e-6)
    assert np.abs(two.scores[1] - e.scores[0]).max() > 1e-3
    assert e.overlay().size == (30, 20)


GOOD = {"image": LEFT, "age": [1, 2, 3, 4], "dose": 1}
WRONG = {
    "an unknown name": ({**GOOD, "aage": 1}, r"is called 'aage' \(did you mean 'age'.*'dose' float32 \(N\)"),
    "all that is missing": ({"image": LEFT}, r"reads 'age' float32 \(N, 4\), 'dose' float32 \(N\) too: give them"),
    "another shape": ({**GOOD, "age": [1, 2, 3]}, r"input 'age' is float32 \(1, 3\), the model takes float32 \(N, 4\)"),
    "a picture for a vector": ({**GOOD, "age": "a.jpg"}, r"'age' takes numbers, \(N, 4\), not a picture \(a.jpg\)"),
    "an image for a vector": ({**GOOD, "age": Image.fromarray(LEFT)}, "not a picture"),
    "no numbers": ({**GOOD, "age": [["a"] * 4]}, "takes numbers, .* of float32, not str"),
    "rows of two lengths": ({**GOOD, "age": [[1], [1, 2]]}, "in rows of one length"),
    "a number for a picture": ({**GOOD, "image": 3}, "input 'image': a picture was given as int"),
    "other batch sizes": ({**GOOD, "dose": [1, 2]}, "differ in batch size: .*'image': 1, .*'dose': 2"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit(what: str) -> None:
    given, message = WRONG[what]
    with pytest.raises(rc.InputError, match=message):
        rc.explain(with_vector(), given, preprocess=UNIT)


def test_the_command_line_takes_inputs_by_name(folder: Path) -> None:
    command = ["explain", folder / "pair.onnx", "-o", folder / "out", "--preprocess", UNIT, "--target", 0]
    files = {"left": folder / "a.png", "right": folder / "b.png"}
    named = [part for name, file in files.items() for part in ("--input", f"{name}={file}")]
    assert relcam(*command, *named).exit_code == 0
    (alone,) = told(folder / "out")["images"]
    assert {name: Path(each["file"]) for name, each in alone["inputs"].items()} == files
    wanted = rc.explain(towers(), files, 0, UNIT)
    with np.load(folder / "out" / "a.npz") as maps:
        np.testing.assert_allclose(maps["fused/right"], wanted.maps["fused/right"][0], atol=1e-6)
    assert "left: " in (folder / "out" / "index.html").read_text()
    np.save(folder / "b.npy", RIGHT)
    right = ["--input", f"right={folder / 'b.npy'}", "--format", "json"]
    assert relcam(*command, folder / "a.png", folder / "b.png", *right).exit_code == 0
    both = told(folder / "out")["images"]
    assert [Path(image["file"]).name for image in both] == ["a.png", "b.png"]
    sums = [image["layers"]["fused/right"][0]["sum"] for image in (alone, both[0])]
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_numbers_on_the_command_line(folder: Path) -> None:
    (folder / "age.json").write_text("[1, 2, 3, 4]")
    np.save(folder / "age.npy", np.array([1.0, 2, 3, 4]))
    wanted = rc.explain(with_vector(), GOOD, 0, UNIT)
    for text in ("[1, 2, 3, 4]", folder / "age.json", folder / "age.npy"):
        inputs = ["--input", f"age={text}", "--input", "dose=1"]
        command = ["explain", folder / "vector.onnx", folder / "a.png", "-o", folder / "out", "--preprocess", UNIT]
        assert relcam(*command, "--target", 0, *inputs, "--format", "json").exit_code == 0
        (entry,) = told(folder / "out")["images"][0]["layers"]["stride4"]
        assert entry["sum"] == pytest.approx(float(wanted.maps["stride4"].sum()), rel=1e-5)


def test_what_the_command_line_cannot_read(folder: Path) -> None:
    vector = ["explain", folder / "vector.onnx", folder / "a.png", "-o", folder / "out", "--preprocess", UNIT]
    pair = ["explain", folder / "pair.onnx", "-o", folder / "out", "--preprocess", UNIT]
    assert "'age' float32 (N, 4), 'dose' float32 (N) too" in refused(*vector)
    assert "JSON such as [0.5, 1]" in refused(*vector, "--input", "age=young", "--input", "dose=1")
    assert "takes numbers, (N, 4), not a picture" in refused(*vector, "--input", "age=b.png")
    assert "has 2 rows, and one goes with all" in refused(*vector, "--input", "age=[[1,2,3,4],[1,2,3,4]]")
    assert "did you mean 'age'" in refused(*vector, "--input", "agee=1")
    assert "there is no such file" in refused(*vector, "--input", "age=none.json")
    assert "--input takes NAME=FILE" in refused(*vector, "--input", "age")
    assert "names 'age' twice" in refused(*vector, "--input", "age=1", "--input", "age=2")
    assert "there is nothing to explain" in refused(*pair)
    assert "'right' float32 (N, 3, 16, 16) too: give it" in refused(*pair, "--input", f"left={folder / 'a.png'}")
    named = [part for name in ("left", "right") for part in ("--input", f"{name}={folder / 'a.png'}")]
    assert "no picture input that is not named already" in refused(*pair, folder / "a.png", *named)
    assert not (folder / "out" / "results.json").exists()


def test_the_record_has_every_picture(folder: Path) -> None:
    files = {"left": folder / "a.png", "right": folder / "b.png"}
    rc.explain(towers(), files, 0, UNIT).save(folder / "out", ["json"], record=folder / "lines.jsonl")
    line = json.loads((folder / "lines.jsonl").read_text())
    assert {name: Path(each["file"]) for name, each in line["inputs"].items()} == files
    assert len({each["sha256"] for each in line["inputs"].values()}) == 2
