"""The lines of docs/integrations.md, with the libraries that they are for. Run by `make test-integrations`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
import supervision as sv
from PIL import Image
from squares import detector

import relcam_onnx as rc

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RED, GREEN = (8, 40, 16, 48), (48, 16, 56, 24)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page's lines leave behind, run in a folder with a detector and a picture of 128 × 64 pixels."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("models", "examples"):
        (folder / name).symlink_to(ROOT / name)
    detector(64, folder / "yolo.onnx")
    picture = Image.new("RGB", (64, 64), (90, 90, 90))
    picture.paste((255, 0, 0), RED)
    picture.paste((0, 255, 0), GREEN)
    picture.resize((128, 64), Image.Resampling.NEAREST).save(folder / "street.jpg", quality=100, subsampling=0)
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for text in BLOCK.findall((ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")):
            exec(compile(text, "integrations.md", "exec"), found)
    found["folder"] = folder
    return found


def wide(box: tuple[int, int, int, int]) -> list[int]:
    """A box in the picture, which is twice as wide as what the detector sees."""
    return [2 * box[0], box[1], 2 * box[2], box[3]]


def test_boxes_labels_and_masks_of_supervision(names: dict[str, Any]) -> None:
    found = names["found"]
    assert isinstance(found, sv.Detections)
    at = {str(label): place for place, label in enumerate(found["class_name"])}
    assert at.keys() == {"red", "green"}
    for label, box in (("red", RED), ("green", GREEN)):
        one = found[at[label]]
        np.testing.assert_allclose(one.xyxy[0], wide(box), atol=1e-4)
        assert one.class_id[0] == ["red", "green"].index(label)
        assert 0.9 < one.confidence[0] <= 1
        left, top, right, bottom = wide(box)
        inside = one.mask[0][top:bottom, left:right].sum() / one.mask[0].sum()
        assert inside > 0.8  # the map lies on the square
    drawn = np.asarray(Image.open(names["folder"] / "seen.png"))
    assert drawn.shape == (64, 128, 3)
    assert (drawn != np.asarray(Image.open(names["folder"] / "street.jpg"))).any()


def test_boxes_of_supervision_are_asked_for(names: dict[str, Any]) -> None:
    labels = [each.label for each in names["asked"].detections[0]]
    assert labels == names["found"]["class_name"].tolist()


def test_fields_of_fiftyone(names: dict[str, Any]) -> None:
    sample = names["sample"]
    assert isinstance(sample, fo.Sample)
    assert sample["prediction"].label == "tiger cat"
    assert sample["prediction"].margin == pytest.approx(4.7, abs=0.05)
    e = rc.explain(str(ROOT / "models" / "efficientnet-lite0.onnx"), str(ROOT / "examples" / "cat.jpg"))
    for layer in ("fused", "stride32"):
        heat = sample[layer].map
        assert (heat.shape, heat.min(), heat.max()) == ((128, 128), 0, 1)
        down, across = np.divmod(heat.argmax(), 128)
        whole = e.heat(layer)
        wanted = np.array(np.unravel_index(whole.argmax(), whole.shape)) / whole.shape
        np.testing.assert_allclose(np.array([down, across]) / 128, wanted, atol=0.03)  # stretched, it lies where it lay


def test_detections_of_fiftyone(names: dict[str, Any]) -> None:
    street = names["street"]
    found = {each.label: each for each in street["detections"].detections}
    for label, box in (("red", RED), ("green", GREEN)):
        left, top, right, bottom = np.array(wide(box)) / [128, 64, 128, 64]
        np.testing.assert_allclose(found[label].bounding_box, [left, top, right - left, bottom - top], atol=1e-4)
    maps = [name for name in street.field_names if name.startswith(("red_", "green_"))]
    assert len(maps) == 2
