"""`relcam audit` of detectors, segmenters and embeddings: planted ones, whose answers are known by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import pytest
from audits import saved
from choosing_nets import FORMS, ROOTS, choosing
from nets import Net, run
from onnx import numpy_helper
from PIL import Image
from test_audit_cli import figure, relcam, report
from test_heads import CELL, SIDE, levels, planted, street, with_objectness

from relcam_onnx.audit.clusters import FEWEST
from relcam_onnx.audit.completeness import by_account
from relcam_onnx.audit.experiments import by_deleting
from relcam_onnx.audit.matching import compared, pairs
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.outlines import no_masks, read_boxes, read_masks
from relcam_onnx.audit.report.images import border
from relcam_onnx.audit.rows import AUDITED
from relcam_onnx.audit.subjects import Subject, read_subjects
from relcam_onnx.pictures.finding import find_pictures
from relcam_onnx.results.detections import Detection

LABELS = ["red", "green"]
SQUARES = {(0, 8, 8, 16): "red", (24, 16, 32, 24): "red", (16, 0, 24, 8): "green"}
"""What is in `street`, 32 pixels a side."""


def told(model: onnx.ModelProto, labels: list[str] = LABELS) -> onnx.ModelProto:
    """The model with what it says of its pictures and labels."""
    preprocess = {"size": [SIDE, SIDE], "resize": "squash"}
    onnx.helper.set_model_props(
        model, {"relcam.preprocess": json.dumps(preprocess), "relcam.labels": json.dumps(labels)}
    )
    return model


def damaged(model: onnx.ModelProto, channel: int, factor: float = 0, *, layer: int = 0) -> onnx.ModelProto:
    """A copy in which one of a convolution's channels weighs nothing, or less."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    weight = [node.input[1] for node in copy.graph.node if node.op_type == "Conv"][layer]
    tensor = next(t for t in copy.graph.initializer if t.name == weight)
    values = numpy_helper.to_array(tensor).copy()
    values[channel] *= factor
    tensor.CopyFrom(numpy_helper.from_array(values, weight))
    return copy


def pixelwise() -> onnx.ModelProto:
    """Red where a pixel is red, green where it is green, background elsewhere."""
    net = Net("N", 3, SIDE, SIDE)
    colours = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)[:, :, None, None]
    x = net("Relu", net("Conv", net.x, colours), name="colours")
    weights = np.array([[0, 0], [4, 0], [0, 4]], np.float32)[:, :, None, None]
    y = net("Conv", x, weights, np.array([1, 0, 0], np.float32), name="scores")
    return told(net.model(y), ["background", *LABELS])


def mean_colour() -> onnx.ModelProto:
    """An embedding: the mean of each channel."""
    net = Net("N", 3, SIDE, SIDE)
    x = net("Relu", net("Conv", net.x, np.eye(3, dtype=np.float32)[:, :, None, None], name="channels"), name="stage")
    model = net.model(net("Flatten", net("GlobalAveragePool", x), name="z"))
    onnx.helper.set_model_props(model, {"relcam.preprocess": json.dumps({"size": [SIDE, SIDE], "resize": "squash"})})
    return model


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three streets, each moved by a cell more, twice as large as models see them; and models."""
    root = tmp_path_factory.mktemp("heads")
    (root / "in").mkdir()
    for place in range(3):
        picture = np.roll(street(64, 64), 2 * CELL * place, axis=1)
        Image.fromarray(picture).save(root / "in" / f"{place}.png")
    detector = told(planted("joined"))
    saved(detector, root / "detector.onnx")
    saved(damaged(detector, 1), root / "blind.onnx")
    saved(pixelwise(), root / "segmenter.onnx")
    saved(damaged(pixelwise(), 2, layer=1), root / "partial.onnx")
    saved(mean_colour(), root / "embedding.onnx")
    saved(damaged(mean_colour(), 1, 0.5), root / "pale.onnx")
    return root


def subjects_of(model: Audited, folder: Path, outlines: Any = no_masks, most: int = 9) -> list[Subject]:
    found, failed = read_subjects(model, find_pictures([folder])[0], None, outlines, most)
    assert not failed
    return found


@pytest.fixture(scope="module")
def itself(here: Path) -> dict[str, Any]:
    """A detector against itself; what is in picture 0 is outlined."""
    doubled = [(0, label, tuple(2 * side for side in box)) for box, label in SQUARES.items()]
    boxes = coco(here, doubled)
    asked = ("audit", here / "detector.onnx", here / "in", "-o", here / "itself", "--boxes", boxes)
    gates = ("--reference", here / "detector.onnx", "--fail-under", "drift.matched=1", "--fail-over", "drift.lost=0")
    result = relcam(*asked, *gates)
    assert result.exit_code == 0, result.output
    assert "3 pictures with 9 detections" in result.stderr
    assert "zero all over" not in result.stderr
    return report(here / "itself")


def test_a_detector_against_itself_has_not_drifted(itself: dict[str, Any]) -> None:
    wanted = {"matched": 1, "lost": 0, "new": 0, "box-iou": 1, "confidence": 0}
    for name, value in wanted.items():
        assert figure(itself, f"drift.{name}", "outputs")["mean"] == pytest.approx(value)
    for name, value in {"cosine": 1, "rank": 1, "iou": 1, "shift": 0}.items():
        one = figure(itself, f"drift.{name}")
        assert (one["mean"], one["size"]) == (pytest.approx(value, abs=1e-6), 9)
    assert itself["unmatched"] == []
    assert all(entry["matched"] for entry in itself["pictures"])


def test_a_detector_that_looks_into_its_box_is_seen_to(itself: dict[str, Any]) -> None:
    """Its scores are means of the box' pixels: all relevance is there; by chance a sixteenth, the box' share."""
    energy, peak = figure(itself, "places.energy"), figure(itself, "places.peak")
    assert energy["mean"] > 0.99
    assert peak["mean"] == 1
    assert energy["chance"] == pytest.approx(1 / 16)
    assert energy["size"] == 9
    assert figure(itself, "places.energy", row="random")["mean"] == pytest.approx(1 / 16, abs=0.03)
    assert figure(itself, "sanity.moved")["mean"] > 0.8  # the map follows the square to another place


def test_what_is_outlined_is_held_against_the_detection_that_lies_there(itself: dict[str, Any]) -> None:
    assert figure(itself, "places.mass")["size"] == 3
    assert figure(itself, "places.mass")["mean"] > 0.99
    assert figure(itself, "places.hit")["mean"] == 1
    assert "3 of 9 detections lie on an outlined object of their label" in " ".join(itself["notes"])


def test_what_means_nothing_of_a_detector_is_left_out_by_name(itself: dict[str, Any]) -> None:
    notes, names = " ".join(itself["notes"]), {f["name"] for f in itself["figures"]}
    for name in ("places.gridpg", "places.focus", "drift.top1"):
        assert name in notes
        assert name not in names


def test_the_report_speaks_of_detections(itself: dict[str, Any], here: Path) -> None:
    assert itself["head"] == "detector"
    found = {(e["picture"], e["label"], tuple(e["detection"]["box"])) for e in itself["pictures"]}
    wanted = {("0", label, tuple(2.0 * side for side in box)) for box, label in SQUARES.items()}
    assert {each for each in found if each[0] == "0"} == wanted
    page = (here / "itself" / "report.html").read_text(encoding="utf-8")
    assert page.count("the detection&#39;s box") >= 9
    assert '<h2 id="h-pictures">Detections</h2>' in page


def test_what_a_damaged_copy_no_longer_detects_is_named(here: Path) -> None:
    """It has lost green: of three detections a picture two are matched."""
    out = here / "damaged"
    result = relcam(
        "audit", here / "blind.onnx", here / "in", "-o", out, "--reference", here / "detector.onnx",
        "--fail-under", "drift.matched=0.9", "--fail-over", "drift.new=0",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "lacks 3 of the reference's detections" in result.stdout
    assert "lost: green 3" in result.stdout
    found = report(out)
    assert figure(found, "drift.matched", "outputs")["mean"] == pytest.approx(2 / 3)
    assert figure(found, "drift.lost", "outputs")["mean"] == 1
    assert figure(found, "drift.new", "outputs")["mean"] == 0
    assert figure(found, "drift.iou")["size"] == 6
    assert {(u["picture"], u["only"], u["label"]) for u in found["unmatched"]} == {
        (str(place), "reference", "green") for place in range(3)
    }
    assert found["unmatched"][0]["box"] == [32, 0, 48, 16]
    passed, failed = sorted(ET.fromstring((out / "junit.xml").read_text()), key=len)
    assert passed.get("name") == "--fail-over drift.new=0"
    assert "0: green 0.9" in failed[0].get("message", "")
    assert "<strong>lost</strong>: <bdi>green</bdi>" in (out / "report.html").read_text(encoding="utf-8")


def test_a_model_that_detects_nothing(here: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "grey.png")
    nothing = relcam("audit", here / "detector.onnx", tmp_path / "grey.png", "-o", tmp_path / "a")
    assert nothing.exit_code == 2
    assert "the model finds nothing in 1 pictures" in nothing.stderr
    blind = saved(damaged(onnx.load(here / "blind.onnx"), 0), tmp_path / "none.onnx")
    asked = ("audit", blind, here / "in", "-o", tmp_path / "b", "--reference", here / "detector.onnx")
    assert relcam(*asked, "--fail-over", "drift.lost=0").exit_code == 1
    found = report(tmp_path / "b")
    assert figure(found, "drift.lost", "outputs")["mean"] == 3
    assert (found["pictures"], len(found["unmatched"])) == ([], 9)
    itself = ("audit", blind, here / "in", "-o", tmp_path / "c", "--reference", blind)
    assert relcam(*itself).exit_code == 0
    said = [finding["said"] for finding in report(tmp_path / "c")["verdict"]["findings"]]
    assert said == ["the model finds nothing in 3 pictures: no map was made"]


def test_maps_of_a_detector_in_a_folder_are_a_reference(here: Path, tmp_path: Path) -> None:
    asked = ("explain", here / "detector.onnx", here / "in", "-o", tmp_path / "maps", "--format", "npz")
    assert relcam(*asked).exit_code == 0
    out = tmp_path / "out"
    again = relcam("audit", here / "detector.onnx", here / "in", "-o", out, "--reference", tmp_path / "maps")
    assert again.exit_code == 0, again.output
    one = figure(report(out), "drift.cosine")
    assert (one["mean"], one["size"]) == (pytest.approx(1, abs=1e-5), 9)


def found(box: tuple[float, ...], score: float, index: int = 0, place: int = 0) -> Detection:
    return Detection(box, None, score, place, index)  # type: ignore[arg-type]


def test_detections_are_matched_by_class_and_box() -> None:
    """(0, 0, 10, 10) and (0, 0, 10, 5) overlap by a half, (5, 0, 15, 10) and the first by a third."""
    mine = [found((0, 0, 10, 5), 0.9), found((0, 0, 10, 10), 0.8), found((20, 0, 30, 10), 0.7, index=1)]
    theirs = [found((0, 0, 10, 10), 0.5), found((20, 0, 30, 10), 0.9), found((5, 0, 15, 10), 0.3)]
    assert pairs(mine, theirs) == [(1, 0, 1)]
    assert pairs(mine[:1], theirs) == [(0, 0, 0.5)]
    told = compared(mine, theirs)
    assert told == pytest.approx({"matched": 1 / 5, "lost": 2, "new": 2, "box": 1, "confidence": 0.3})
    assert np.isnan(compared([], [])["matched"])
    boxless = [Detection(None, None, 0.9, 3, 1)]
    assert pairs(boxless, [Detection(None, None, 0.4, 3, 1)]) == [(0, 0, 1)]
    assert pairs(boxless, [Detection(None, None, 0.4, 4, 1)]) == []


@pytest.mark.parametrize("form", ["one tensor", "levels"])
def test_scores_are_read_where_the_detection_is(form: str, here: Path, tmp_path: Path) -> None:
    """In pictures that are altered too: against the file's own outputs, run one by one."""
    size = 16 if form == "one tensor" else 32
    model = with_objectness(form) if form == "one tensor" else levels()
    audited = Audited(saved(model, tmp_path / "m.onnx"), preprocess={"size": [size, size], "resize": "squash"})
    subject = subjects_of(audited, here / "in")[0]
    assert subject.spot.detection is not None
    place, index = subject.spot.detection.place, subject.label
    noise = np.random.default_rng(0).standard_normal((11, 3, size, size)).astype(np.float32)
    told = audited.probabilities(subject.array + noise, subject.spot)[:, index]
    for x, share in zip(subject.array + noise, told, strict=True):
        outputs = run(model, x=x[None])
        if form == "one tensor":
            wanted = outputs[0][0, place, 4] * outputs[0][0, place, 5 + index]
        else:
            wanted = np.concatenate(outputs[:2], axis=1)[0, place, index]
        assert share == pytest.approx(float(wanted), rel=1e-4)
    assert subject.probability == pytest.approx(subject.spot.detection.score, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_what_files_chose_themselves_is_asked_where_it_was_chosen_from(form: str, tmp_path: Path) -> None:
    """Half as bright, a square's logit 8 · mean - 4 falls from 4 to 0 at its place, and the file chooses it no more."""
    (tmp_path / "in").mkdir()
    Image.fromarray(street()).save(tmp_path / "in" / "0.png")
    model = Audited(saved(told(choosing(form)), tmp_path / "m.onnx"))
    subjects = subjects_of(model, tmp_path / "in")
    boxes = {s.spot.detection.box: s.spot.detection.label for s in subjects if s.spot.detection is not None}
    assert boxes == SQUARES
    sure = 20 if form == "by_suppression" or FORMS[form] in ROOTS else 0  # its objectness, which counts to the score
    power = 0.5 if FORMS[form] in ROOTS else 1  # of shares it tells the root
    for subject in subjects:
        scores, shares = (values[0, subject.label] for values in model.answers(subject.array[None] / 2, subject.spot))
        assert (scores, shares) == (pytest.approx(sure, abs=1e-4), pytest.approx(0.5**power, abs=1e-4))
        assert subject.probability == pytest.approx((1 + np.exp(-4)) ** -power, abs=1e-4)


def test_faithfulness_is_that_of_the_detection(here: Path) -> None:
    """Its box is one of the sixteen patches, and the only one that its score hangs on: the same as its map says."""
    model = Audited(here / "detector.onnx")
    subject = subjects_of(model, here / "in")[0]
    item = next(iter(by_deleting([subject], 1, model)))
    values = item.measure(model.source(AUDITED))[AUDITED]["fused"]
    assert values["logit"] == pytest.approx(1)
    assert values["insertion"] > values["deletion"]
    assert values["drop-half"] == pytest.approx(0, abs=1e-4)
    assert item.scored > 16


@pytest.mark.parametrize("head", ["detector", "segmenter"])
def test_clusters_of_many_pictures_name_what_the_report_lists(head: str, here: Path, tmp_path: Path) -> None:
    """Red keeps its place in all of them, one member a picture however many detections it has; green moves about."""
    (tmp_path / "in").mkdir()
    for place in range(FEWEST + 2):
        picture = street(64, 64)
        picture[: 2 * CELL] = np.roll(picture[: 2 * CELL], 2 * CELL * place, axis=1)
        Image.fromarray(picture).save(tmp_path / "in" / f"{place}.png")
    result = relcam("audit", here / f"{head}.onnx", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    red = next(cluster for cluster in found["clusters"] if cluster["group"] == "red")
    listed = {entry["name"]: entry["picture"] for entry in found["pictures"]}
    for cluster in found["clusters"]:
        assert len({listed[name] for name in cluster["pictures"]}) == len(cluster["pictures"])
    assert len(red["pictures"]) == FEWEST + 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(f'alt="{name}"' in page for name in red["pictures"][:4])


def coco(root: Path, objects: list[tuple[int, str, tuple[int, ...]]]) -> Path:
    """COCO's JSON of picture, label and box (left, top, right, bottom)."""
    images = [{"id": place, "file_name": f"{place}.png"} for place in range(3)]
    kinds = sorted({label for _, label, _ in objects})
    annotations = [
        {"image_id": place, "category_id": kinds.index(label) + 7, "bbox": [x, y, right - x, bottom - y]}
        for place, label, (x, y, right, bottom) in objects
    ]
    categories = [{"id": number + 7, "name": label} for number, label in enumerate(kinds)]
    (root / "boxes.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root / "boxes.json"


def test_given_boxes_are_a_detections_by_label_and_overlap(here: Path, tmp_path: Path) -> None:
    """Of picture 0 one red box fits, one lies elsewhere, and that of the green square is called red."""
    model = Audited(here / "detector.onnx")
    boxes = [(0, "red", (0, 16, 18, 32)), (0, "red", (20, 20, 30, 30)), (0, "red", (32, 0, 48, 16))]
    outlines, _ = read_boxes(coco(tmp_path, boxes), find_pictures([here / "in"])[0], model)
    subjects = [s for s in subjects_of(model, here / "in", outlines) if s.picture == "0"]
    assert [s.mask is not None for s in subjects].count(True) == 1
    (on,) = [s for s in subjects if s.mask is not None]
    assert on.mask is not None
    assert on.spot.region is not None
    assert on.mask[on.spot.region].all()
    assert on.mask.sum() > on.spot.region.sum()


def test_classes_that_are_told_are_asked_however_weak(here: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "green").mkdir(parents=True)
    grey = street(64, 64)
    grey[:16, 32:48] = (20, 90, 20)
    Image.fromarray(grey).save(tmp_path / "in" / "green" / "0.png")
    done = relcam("audit", here / "detector.onnx", tmp_path / "in", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (entry,) = report(tmp_path / "out")["pictures"]
    assert (entry["label"], entry["told"], entry["detection"]["box"]) == ("green", True, [32, 0, 48, 16])
    assert entry["probability"] < 0.25


def test_a_segmenter_against_a_copy_that_has_lost_a_class(here: Path) -> None:
    """Green pixels, 64 of 1,024, are background to the copy: IoU of the background 832 / 896, of red 1, of green 0."""
    asked = ("audit", here / "partial.onnx", here / "in", "-o", here / "partial")
    result = relcam(*asked, "--reference", here / "segmenter.onnx")
    assert result.exit_code == 0, result.output
    told = report(here / "partial")
    assert figure(told, "drift.pixels", "outputs")["mean"] == pytest.approx(960 / 1024)
    assert figure(told, "drift.miou", "outputs")["mean"] == pytest.approx((832 / 896 + 1 + 0) / 3)
    assert "another class in 6.2% of the pixels" in result.stdout
    assert [entry["label"] for entry in told["pictures"]] == ["red"] * 3
    energy = figure(told, "places.energy")
    assert (energy["mean"], energy["chance"]) == (pytest.approx(1, abs=0.01), pytest.approx(128 / 1024))
    assert figure(told, "drift.iou")["mean"] == 1  # of red, which is as it was
    assert "places.focus is left out" in " ".join(told["notes"])


def test_a_segment_stays_while_its_picture_changes(here: Path) -> None:
    model = Audited(here / "segmenter.onnx")
    first = subjects_of(model, here / "in")[:2]
    assert [model.label(s.label) for s in first] == ["red", "green"]
    for subject, pixels in zip(first, (128, 64), strict=True):
        assert subject.spot.region is not None
        assert subject.spot.region.sum() == pixels
        dark = subject.array * 0.5
        (scores,) = run(onnx.load(model.file), x=dark[None])
        wanted = scores[0][:, subject.spot.region].mean(axis=1)
        np.testing.assert_allclose(model.scores(dark[None], subject.spot)[0], wanted, rtol=1e-4, atol=1e-6)


def test_masks_are_of_the_segment_that_covers_them(here: Path, tmp_path: Path) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[2:14, 34:46] = 255
    Image.fromarray(mask).save(tmp_path / "0.png")
    model = Audited(here / "segmenter.onnx")
    outlines = read_masks(tmp_path, find_pictures([here / "in"])[0], model)
    known = {s.label: s.mask is not None for s in subjects_of(model, here / "in", outlines) if s.picture == "0"}
    assert known == {1: False, 2: True}


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_an_embedding_is_audited_by_what_it_is_to_be_like(here: Path, tmp_path: Path) -> None:
    """Cosines of mean colours, and how far those of a copy that sees half of the green are from them."""
    for name, colour in {"rose": (200, 60, 60), "leaf": (60, 200, 60)}.items():
        Image.new("RGB", (SIDE, SIDE), colour).save(tmp_path / f"{name}.png")
    likes = ("--like", tmp_path / "rose.png", "--like", tmp_path / "leaf.png")
    out = tmp_path / "out"
    asked = ("audit", here / "pale.onnx", here / "in", "-o", out, "--reference", here / "embedding.onnx", *likes)
    result = relcam(*asked, "--fail-over", "drift.likeness=0.001")
    assert result.exit_code == 1, result.output
    told = report(out)
    assert told["head"] == "embedding"
    z, rose = street(64, 64).reshape(-1, 3).mean(axis=0), np.array([200, 60, 60])
    half = np.array([1, 0.5, 1])
    mine, theirs = cosine(z * half, rose * half), cosine(z, rose)
    assert {entry["label"] for entry in told["pictures"]} == {"rose.png"}
    assert told["pictures"][0]["probability"] == pytest.approx(mine, abs=2e-3)
    assert figure(told, "drift.likeness", "outputs")["mean"] == pytest.approx(abs(mine - theirs), abs=2e-3)
    assert figure(told, "drift.top1", "outputs")["mean"] == 1
    assert "faithfulness.single-deletion-log is left out" in " ".join(told["notes"])
    assert told["measures"]["faithfulness.deletion"]["said"].startswith("area under the cosine")
    shown = (out / "report.html").read_text(encoding="utf-8")
    assert f"</bdi> cosine {told['pictures'][0]['probability']:.3g}" in shown
    assert "area under the probability" not in shown
    assert [each["file"] for each in told["provenance"]["like"]] == ["rose.png", "leaf.png"]
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("file,label\n0.png,leaf\n1.png,leaf.png\n2.png,rose\n")
    model = Audited(here / "embedding.onnx", like=[tmp_path / "rose.png", tmp_path / "leaf.png"])
    assert [model.whole.target(kind)["name"] for kind in (0, 1)] == ["rose.png", "leaf.png"]
    assert relcam(*asked[:3], "-o", tmp_path / "b", *likes, "--classes", pairs).exit_code == 0
    labels = {entry["name"]: entry["label"] for entry in report(tmp_path / "b")["pictures"]}
    assert labels == {"0": "leaf.png", "1": "leaf.png", "2": "rose.png"}


@pytest.mark.parametrize("size", [(224, 224), (4, 224)])
def test_a_border_is_around_its_region_and_hides_nothing_of_it(size: tuple[int, int]) -> None:
    region = np.zeros((32, 32), bool)
    region[8:16, 4:20] = True
    shades, opaque = np.moveaxis(np.asarray(border(region, size)), 2, 0)
    inside = np.repeat(np.repeat(region, 7, axis=0), 7, axis=1) if size[0] == 224 else None
    assert opaque.shape == size
    assert opaque.any()
    assert set(np.unique(shades[opaque > 0])) == {0, 255}
    if inside is not None:
        assert not opaque[inside].any()
        rows, columns = np.nonzero(opaque)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (53, 114, 25, 142)


REFUSED: dict[str, tuple[str, list[str], str]] = {
    "no like": ("embedding", ["--head", "embedding"], "name that, or several of them, with --like PICTURE"),
    "like": ("detector", ["--like", "{in}/0.png"], "--like is for embeddings, tables (N, D); detector.onnx is a det"),
    "no picture": ("embedding", ["--like", "{in}/none.png"], "there is no such file"),
    "another head": ("detector", ["--reference", "{segmenter}"], "the reference is a segmenter, the model a detector"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_asked_of_a_head_is_one_line(case: str, here: Path, tmp_path: Path) -> None:
    model, options, says = REFUSED[case]
    names = {"in": here / "in", "segmenter": here / "segmenter.onnx"}
    asked = [option.format(**names) for option in options]
    result = relcam("audit", here / f"{model}.onnx", here / "in", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def like(here: Path) -> Audited:
    return Audited(here / "embedding.onnx", like=[here / "in" / "0.png"])


KINDS: dict[str, Callable[[Path], Audited]] = {
    "detector": lambda here: Audited(here / "detector.onnx"),
    "segmenter": lambda here: Audited(here / "segmenter.onnx"),
    "embedding": like,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_of_every_head_adds_up(kind: str, here: Path) -> None:
    """What arrives at a stage and what was taken since the one above is what arrived there; a start is 1."""
    model = KINDS[kind](here)
    for item in by_account(subjects_of(model, here / "in"), 2, model):
        above = 1.0
        for taken in item.measure(model.source(AUDITED))[AUDITED].values():
            assert sum(taken.values()) == pytest.approx(above, abs=1e-3)
            above = taken["arrives"]
        assert above > 0.5
