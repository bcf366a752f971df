"""The protocol of docs/quality.md: what is sampled, kept and laid out, and that the default keeps its promise."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.cost import LITE, ROOT
from benchmarks.quality import rows
from benchmarks.quality.__main__ import main, wanted
from benchmarks.quality.subjects import OUTLINES, audited, listed, read, read_outlines
from benchmarks.quality.tables import PAIRED, cell, tables
from relcam_onnx import Explainer
from relcam_onnx.audit.experiments import in_mosaics, sampled, tiles
from relcam_onnx.audit.model import Maps
from relcam_onnx.audit.outlines import drawn, seen
from relcam_onnx.audit.store import Store
from relcam_onnx.audit.subjects import Subject, mosaics
from relcam_onnx.errors import InputError

EXAMPLES = ROOT / "examples"


def subject(label: int, *, right: bool = True) -> Subject:
    scores = np.zeros(6, np.float32)
    scores[label], scores[(label + 1) % 6] = (9, 5) if right else (5, 9)
    shares = np.exp(scores) / np.exp(scores).sum()
    array = np.full((3, 4, 4), label, np.float32)
    return Subject(f"{label}", Path(f"{label}.png"), label, True, scores, shares, read=lambda file: array)


def test_a_subject_knows_its_probability_and_the_next_class() -> None:
    known, mistaken = subject(2), subject(2, right=False)
    assert (known.right, known.second, mistaken.right, mistaken.second) == (True, 3, False, 3)
    assert known.probability == pytest.approx(np.exp(9) / (np.exp(9) + np.exp(5) + 4))


def test_mosaics_are_of_different_classes_sampled_by_a_seed() -> None:
    subjects = [subject(label) for label in (0, 0, 1, 2, 3, 4, 5)]
    fours, pairs = mosaics(subjects, 12, opposite=False), mosaics(subjects, 12, opposite=True)
    assert len({tuple(sorted(t.label for t in m.tiles)) for m in fours}) == len(fours) == 12
    assert all(len(m.classes) == 4 for m in fours)
    assert all(len(m.classes) == 2 for m in pairs)
    first = pairs[0]
    assert first.where(first.classes[0]).tolist() == [[True, False], [False, True]]
    np.testing.assert_array_equal(
        first.array(whole=True)[0, 0, [0, 0, 4, 4], [0, 4, 0, 4]], [t.label for t in first.tiles]
    )
    np.testing.assert_array_equal(
        first.array(whole=False)[0, 0, [0, 0, 2, 2], [0, 2, 0, 2]], [t.label for t in first.tiles]
    )
    assert [m.classes for m in mosaics(subjects, 12, opposite=False)] == [m.classes for m in fours]
    with pytest.raises(InputError, match="a grid shows 4 classes, and"):
        mosaics(subjects[:4], 3, opposite=False)


def test_tiles_are_sure_where_four_classes_have_such_a_picture() -> None:
    """Scores of 9, 5 and four of 0 are .981 sure."""
    unsure = [subject(label) for label in range(6)]
    sure = [replace(s, probabilities=np.eye(6, dtype=np.float32)[s.label]) for s in unsure]
    assert tiles([*unsure, *sure[:3]]) == [*unsure, *sure[:3]]
    assert tiles([*unsure, *sure[:4]]) == sure[:4]


def test_only_the_default_meets_other_weights_and_baselines_no_class() -> None:
    kinds = {row: [kind for kind in ("grid", "class", "weights") if wanted(row, kind)] for row in ("a", "baselines")}
    assert kinds == {"a": ["grid", "class"], "baselines": ["grid"]}
    assert wanted(rows.DEFAULT, "weights")


def test_a_page_without_a_folder_is_said_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["quality", "--page", str(tmp_path / "none" / "page.md")])
    with pytest.raises(SystemExit, match=r"no folder .*none to write page\.md into"):
        main()


def test_pictures_are_drawn_at_random_of_those_that_are_right() -> None:
    subjects = [subject(label % 6, right=label % 2 == 0) for label in range(40)]
    drawn = sampled(subjects, 10)
    assert len(drawn) == 10
    assert all(s.right for s in drawn)
    assert [s.label for s in drawn] != [s.label for s in subjects if s.right][:10]


def write(folder: Path, labels: str, *names: str) -> Path:
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "labels.csv").write_text(labels)
    return folder


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("file,index\na.png,0\nb.png,0\nc.png,0\nd.png,0\n", "1 classes; a grid needs pictures of four"),
        ("file,index\na.png,0\nx.png,1\n", "1 files that are not in .*, such as x.png"),
        ("name,class\na.png,0\n", "no CSV with the columns file and index"),
        ("file,index\na.png,cat\n", "no CSV with the columns file and index"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        listed(write(tmp_path, labels, "a.png", "b.png", "c.png", "d.png"), None)


def test_a_folder_without_labels_and_labels_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has no labels: name a CSV .* \(LABELS"):
        listed(tmp_path, None)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    with pytest.raises(SystemExit, match="class 1000 is none of the model's 1000"):
        read({tmp_path / "a.png": 1000}, audited(LITE), OUTLINES)
    with pytest.raises(SystemExit, match="class -1 is none of the model's 1000"):
        read({tmp_path / "a.png": -1}, audited(LITE), OUTLINES)
    with pytest.raises(SystemExit, match="holds no outlines"):
        read_outlines(tmp_path / "none.json")


def test_outlines_are_seen_as_the_model_sees_the_picture(tmp_path: Path) -> None:
    """Of a picture twice as wide as high the model sees the middle half."""
    Image.new("RGB", (800, 400)).save(tmp_path / "a.png")
    left, middle = ([[np.array([(x, 0), (x + 400, 0), (x + 400, 400), (x, 400)], float)]] for x in (0, 200))
    model = audited(LITE)
    assert model.upright(tmp_path / "a.png") == (400, 800)
    found = seen(model, drawn((400, 800), left))
    assert found.shape == (224, 224)
    assert found[:, :112].mean() > 0.98
    assert found[:, 112:].mean() < 0.02
    assert seen(model, drawn((400, 800), middle)).mean() > 0.98


def test_outlines_of_the_examples() -> None:
    outlines = json.loads(OUTLINES.read_text())
    assert {file.name for file in listed(EXAMPLES, None)} <= set(outlines)
    for polygons in outlines.values():
        for polygon in polygons:
            assert len(polygon) > 5
            assert 0 <= np.min(polygon) <= np.max(polygon) <= 1


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    store = Store(file)
    store.add("grid", "default", "a", {"default": {"stride4": {"share": 0.9}}})
    store.add("grid", "default", "b", {"default": {"stride4": {"share": 0.7}}})
    with file.open("a") as half:
        half.write('["grid", "default", "c", {"defa')
    again = Store(file)
    assert again.has("grid", "default", "b")
    assert not again.has("grid", "default", "c")
    again.add("grid", "default", "c", {"default": {"stride4": {"share": 0.8}}})
    assert Store(file).values("grid", "share")["default"]["stride4"] == {"a": 0.9, "b": 0.7, "c": 0.8}


def test_tables_have_means_intervals_and_differences_in_pairs(tmp_path: Path) -> None:
    store = Store(tmp_path / "kept.jsonl")
    for item in range(20):
        ours, theirs = 0.9 + 0.001 * item, 0.7 + 0.001 * item
        layers = {
            "default": {"stride4": {"share": ours}, "fused": {"share": ours}},
            "peer": {"fused": {"share": theirs}},
        }
        store.add("grid", "all", str(item), layers)
    lines = tables(store).splitlines()
    assert lines[0].endswith("(n = 20)")
    assert lines[2] == "|  | stride 4 | fused |"
    assert [line.split(" | ")[0].lstrip("| ") for line in lines[4:]] == ["default", "peer", PAIRED]
    assert lines[-1] == f"| {PAIRED} |  | -0.20 (-0.20 … -0.20) |"
    assert cell([]) == ""


def test_rows_have_a_map_for_each_class() -> None:
    """At the deepest stage, behind which there is a mean and a dense layer, HiRes-CAM and Grad-CAM agree (Draelos)."""
    model = audited(LITE)
    x = model.read(EXAMPLES / "cat.jpg")[None]
    maps: dict[str, Maps] = {}
    for source in rows.sources(model).values():
        maps |= source(x, [282, 967])
    for found in maps.values():
        assert found["fused"].shape[0] == 2
    grad, hires, finer = (maps[name]["stride32"] for name in ("Grad-CAM", "HiRes-CAM", "Finer-CAM"))
    np.testing.assert_allclose(grad, np.maximum(hires, 0), atol=1e-4 * hires.max())
    assert finer.shape == (2, 7, 7)
    assert np.abs(finer[:1] - grad[:1]).max() > 0.05 * grad.max()
    for name in ("centre", "edges", "random"):
        assert maps[name]["fused"].shape == (2, 56, 56)
    assert list(maps["RefineCAM"]) == ["fused"]
    stages = Explainer(LITE, "stride4", method="refine-cam")(x, [[282, 967]]).maps["stride4"][0]
    np.testing.assert_array_equal(stages, maps["HiRes-CAM"]["stride4"])


def test_the_default_finds_a_class_at_every_stage() -> None:
    """At least 0.9 of the positive relevance in the class's own one of four tiles."""
    model = audited(LITE)
    subjects = read(listed(EXAMPLES, None), model, OUTLINES)
    source = rows.sources(model)[rows.DEFAULT]
    shares = [item.measure(source)[rows.DEFAULT] for item in list(in_mosaics(subjects, 60, opposite=False))[:3]]
    assert len(shares) == 3
    for layer in shares[0]:
        assert np.mean([found[layer]["share"] for found in shares]) >= 0.9
