"""The Space as it is pushed: its own folder, its own environment, asked over HTTP. Run by `make test-space`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
from gradio_client import Client, handle_file
from squares import detector

import relcam_onnx as rc

SPACE = Path.cwd()
CAT, COFFEE = (str(SPACE / "pictures" / f"{name}.jpg") for name in ("cat", "coffee"))


def of(model: str | None) -> ModuleType:
    """The module of the app for a model, anew; None: for the Space's own."""
    sys.modules.pop("app", None)
    with pytest.MonkeyPatch.context() as patch:
        if model:
            patch.setenv("MODEL", model)
        else:
            patch.delenv("MODEL", raising=False)
        return importlib.import_module("app")


@pytest.fixture(scope="module")
def app() -> ModuleType:
    return of(None)


@pytest.fixture(scope="module")
def client(app: ModuleType) -> Iterator[Client]:
    app.demo.launch(prevent_thread_lock=True, quiet=True, show_error=True, server_name="127.0.0.1")
    yield Client(app.demo.local_url, verbose=False)
    app.demo.close()


def pixels(image: Any) -> np.ndarray:
    return np.asarray(Image.open(image) if isinstance(image, str) else image, np.float32)


def test_it_is_the_folder_s_own_package(app: ModuleType) -> None:
    for module in (app, rc):
        assert Path(str(module.__file__)).is_relative_to(SPACE)


def test_the_first_answer_is_that_of_the_package(app: ModuleType) -> None:
    dropdown, overlay, sheet, line = app.look(CAT, "fused", 1.0)
    wanted = rc.explain("model.onnx", CAT)
    assert np.array_equal(overlay, wanted.overlay())
    assert np.array_equal(sheet, wanted.sheet())
    assert dropdown.value == int(wanted.targets[0, 0])
    assert line == "**tiger cat**: 37%, ahead by 4.7 logits."
    labels = [words for words, _ in dropdown.choices]
    assert labels[:2] == ["tiger cat: 37%", "Egyptian cat: 37%"]
    assert len({value for _, value in dropdown.choices}) == len(dropdown.choices) == 1000


def test_another_class_depth_and_opacity(app: ModuleType) -> None:
    (espresso,) = (value for words, value in app.choices(COFFEE) if words.startswith("espresso:"))
    wanted = rc.explain("model.onnx", COFFEE, espresso).overlay("stride8")
    assert np.array_equal(app.show(COFFEE, espresso, "stride8", 1.0)[0], wanted)
    picture = Image.open(COFFEE).convert("RGB")
    assert np.array_equal(app.show(COFFEE, espresso, "stride8", 0.0)[0], picture)
    half = (pixels(wanted) + pixels(picture)) / 2
    np.testing.assert_allclose(pixels(app.show(COFFEE, espresso, "stride8", 0.5)[0]), half, atol=1)


def test_a_class_without_evidence_is_doubted(app: ModuleType) -> None:
    assert "no evidence" in app.show(CAT, 0, "fused", 1.0)[2]


def test_what_is_refused_says_why_and_names_no_folder(app: ModuleType, tmp_path: Path) -> None:
    for name, data in {"notes.jpg": b"no picture", "empty.png": b"", "cut.jpg": Path(CAT).read_bytes()[:5000]}.items():
        file = tmp_path / name
        file.write_bytes(data)
        dropdown, *shown, line = app.look(str(file), "fused", 1.0)
        assert (dropdown.choices, shown) == ([], [None, None])
        assert line.startswith(f"**Refused.** {name}")
        assert str(tmp_path) not in line


def test_over_http(client: Client, tmp_path: Path) -> None:
    """As a browser asks: files go up and come down, as JPEG, hence the tolerance of the mean."""
    wanted = rc.explain("model.onnx", CAT)
    dropdown, overlay, sheet, line = client.predict(handle_file(CAT), "fused", 1.0, api_name="/look")
    assert "tiger cat" in line
    assert dropdown["value"] == int(wanted.targets[0, 0])
    for got, image in ((overlay, wanted.overlay()), (sheet, wanted.sheet())):
        assert np.abs(pixels(got) - pixels(image)).mean() < 5
    other = client.predict(handle_file(CAT), 285, "stride32", 1.0, api_name="/show")
    assert np.abs(pixels(other[0]) - pixels(rc.explain("model.onnx", CAT, 285).overlay("stride32"))).mean() < 5
    bad = tmp_path / "notes.jpg"
    bad.write_bytes(b"no picture")
    assert client.predict(handle_file(bad), "fused", 1.0, api_name="/look")[3].startswith("**Refused.** notes.jpg")


def test_no_picture_clears_the_page(app: ModuleType) -> None:
    dropdown, *shown = app.look(None, "fused", 1.0)
    assert (dropdown.choices, shown) == ([], [None, None, ""])
    assert app.show(None, None, "fused", 1.0) == (None, None, "")


def test_of_a_detector_each_detection_is_a_choice(tmp_path: Path) -> None:
    """Squares of eight pixels, red and green, one of each in the picture; and a picture without."""
    model = str(detector(32, tmp_path / "squares.onnx"))
    picture = Image.new("RGB", (32, 32), (90, 90, 90))
    picture.save(tmp_path / "grey.png")
    picture.paste((255, 0, 0), (8, 16, 16, 24))
    picture.paste((0, 255, 0), (24, 0, 32, 8))
    picture.save(tmp_path / "squares.png")
    app = of(model)
    dropdown, _, _, line = app.look(str(tmp_path / "squares.png"), "fused", 1.0)
    assert {words.partition(":")[0] for words, _ in dropdown.choices} == {"red", "green"}
    assert [value for _, value in dropdown.choices] == [0, 1]
    wanted = rc.explain(model, str(tmp_path / "squares.png"))
    for place in (0, 1):
        overlay, _, line = app.show(str(tmp_path / "squares.png"), place, "fused", 1.0)
        assert np.array_equal(overlay, wanted.overlay("fused", target=place))
        assert wanted.detections[0][place].label in line
    assert app.look(str(tmp_path / "grey.png"), "fused", 1.0)[3] == "Nothing was detected in this picture."
