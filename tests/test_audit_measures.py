"""The audit's measures on cases whose value is known beforehand, and the laws that they keep."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from audits import COLOURS, blob, saved, seeing
from nets import inverted, residual

from relcam_onnx.analysis.layers import FUSED
from relcam_onnx.audit import experiments, metrics
from relcam_onnx.audit.clusters import clusters
from relcam_onnx.audit.completeness import by_account
from relcam_onnx.audit.drift import of_maps
from relcam_onnx.audit.experiments import Curves
from relcam_onnx.audit.figures import Figure
from relcam_onnx.audit.looking import cells, looked_through, where
from relcam_onnx.audit.measures import MEASURES
from relcam_onnx.audit.metrics import Estimate
from relcam_onnx.audit.model import Audited, Floats, Maps
from relcam_onnx.audit.outlines import no_masks
from relcam_onnx.audit.report.plots import along, intervals
from relcam_onnx.audit.report.verdict import findings, of_clusters
from relcam_onnx.audit.rows import AUDITED, baselines
from relcam_onnx.audit.subjects import Subject, read_subjects
from relcam_onnx.pictures.finding import find_pictures

SIDE = 32


def normal(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def corner(x: Floats) -> Floats:
    """A model that provably looks at one corner: its score is the mean there."""
    return np.asarray(x[:, :, :8, :8].mean(axis=(1, 2, 3)))


X = np.abs(normal(3, SIDE, SIDE)) + 1
PERFECT = np.zeros((SIDE, SIDE), np.float32)
PERFECT[:8, :8] = 1 + np.abs(normal(8, 8, seed=1))
WRONG = np.zeros((SIDE, SIDE), np.float32)
WRONG[-8:, -8:] = 1


def test_showing_what_a_perfect_map_marks_keeps_the_score() -> None:
    """The first half of its pixels holds the corner, a sixteenth; the wrong map's does not."""
    before = float(corner(X[None])[0])
    kept = metrics.left(corner, before, metrics.first_half(X, PERFECT))
    lost = metrics.left(corner, before, metrics.first_half(X, WRONG))
    assert kept == (0, 0)
    assert lost.drop == pytest.approx(100 * (1 - float(corner(metrics.first_half(X, WRONG)[None])[0]) / before))
    unit = np.where(PERFECT > 0, 1, 0).astype(np.float32)
    assert metrics.left(corner, before, metrics.times_map(X, unit)) == (0, 0)
    assert metrics.left(corner, before, metrics.times_map(X, WRONG)).drop == 100


def test_a_score_that_grows_is_an_increase_and_no_drop() -> None:
    def brightness(x: Floats) -> Floats:
        return np.asarray(-x.sum(axis=(1, 2, 3)))

    assert metrics.left(brightness, float(brightness(X[None])[0]), metrics.first_half(X, PERFECT)).increase == 100
    assert metrics.left(brightness, float(brightness(X[None])[0]), metrics.first_half(X, PERFECT)).drop == 0


@pytest.mark.parametrize("name", ["insertion", "deletion", "road"])
def test_curves_set_a_perfect_map_before_a_random_and_a_wrong_one(name: str) -> None:
    measure = getattr(metrics, name)
    rng = np.random.default_rng(0)
    noisy = X + rng.normal(0, 3, X.shape).astype(np.float32)  # its blur has nothing of it

    def score(x: Floats) -> Floats:
        return np.asarray((x[:, :, :8, :8] * noisy[:, :8, :8]).mean(axis=(1, 2, 3)))

    outside = (PERFECT == 0).astype(np.float32)
    perfect, chance, wrong = (measure(score, noisy, m) for m in (PERFECT, rng.random((SIDE, SIDE)), outside))
    if name == "deletion":
        perfect, chance, wrong = -perfect, -chance, -wrong
    assert perfect > chance > wrong


def test_the_single_deletion_score_of_a_corner_model() -> None:
    """Of a map that is what each patch is worth it is 1; of a random one, about 0."""
    drops = corner(X[None]) - corner(metrics.without_patches(X))
    worth = np.kron(drops.reshape(4, 4), np.ones((8, 8), np.float32))
    assert metrics.single_deletion(drops, worth) == pytest.approx(1)
    found = [metrics.single_deletion(drops, normal(SIDE, SIDE, seed=seed)) for seed in range(200)]
    assert abs(np.mean(found)) < 0.1


def test_two_maps_compared() -> None:
    a = np.abs(normal(16, 16))
    assert metrics.cosine(a, 3 * a) == pytest.approx(1)
    assert metrics.region_iou(a, 3 * a) == 1
    assert metrics.shift(a, 3 * a) == pytest.approx(0, abs=1e-6)
    left, right = np.zeros((4, 8)), np.zeros((4, 8))
    left[1, 0] = right[1, 4] = 1
    assert metrics.cosine(left, right) == 0
    assert metrics.region_iou(left, right) == 0
    assert metrics.shift(left, right) == pytest.approx(0.5)
    dead = np.zeros((16, 16), np.float32)
    for one, other in ((a, dead), (dead, a)):
        assert of_maps(one, other) == {"cosine": 0, "rank": 0, "iou": 0, "shift": pytest.approx(2**0.5)}
    assert metrics.shift(a, -a) == pytest.approx(2**0.5)
    assert all(np.isnan(measure(dead, dead)) for measure in (metrics.cosine, metrics.rank, metrics.shift))
    assert metrics.region_iou(np.zeros((4, 4)), np.zeros((4, 4))) == 1


def test_where_a_map_lies() -> None:
    even = where(np.ones((40, 40), np.float32), None)
    assert even == pytest.approx({"border": 0.36, "corners": 0.25, "entropy": 1})
    point = np.zeros((40, 40), np.float32)
    point[20, 20] = 5
    assert where(point, point > 0) == {"border": 0, "corners": 0, "entropy": 0, "inside": 1}
    assert np.isnan(where(-point, None)["border"])
    np.testing.assert_allclose(cells(np.ones((7, 7), np.float32)), 1 / 256)


def subjects_of(model: Audited, folder: Path, count: int = 6) -> list[Subject]:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for place in range(count):
        blob([*COLOURS][place % 4], rng).save(folder / f"{place}.png")
    return read_subjects(model, find_pictures([folder])[0], None, no_masks)[0]


@pytest.mark.parametrize("preset", ["default", "epsilon-plus", "epsilon-gamma-box"])
@pytest.mark.parametrize("build", [seeing, inverted, residual], ids=lambda build: str(build.__name__))
def test_all_relevance_is_accounted_for(preset: str, build: Any, tmp_path: Path) -> None:
    """What arrives at the input and what was taken on the way add up to what it started as; so at each stage."""
    known = None if build is seeing else {"size": [32, 32]}
    options = {"preset": preset, "seed": "logit"}
    model = Audited(saved(build(), tmp_path / "m.onnx"), preprocess=known, options=options)
    for item in by_account(subjects_of(model, tmp_path / "in"), 2, model):
        layers = item.measure(baselines)[AUDITED]
        assert list(layers)[-1] == "input"
        left = 1.0
        for part in layers.values():
            left -= part["biases"] + part["epsilon"] + part["rest"]
            # Float32's rounding of sums whose terms may be much larger than themselves.
            assert part["arrives"] == pytest.approx(left, abs=1e-3)


def test_arriving_is_what_explanations_say(tmp_path: Path) -> None:
    model = Audited(saved(residual(), tmp_path / "m.onnx"), preprocess={"size": [32, 32]})
    subjects = subjects_of(model, tmp_path / "in")
    (item, *_) = by_account(subjects, 1, model)
    subject = next(s for s in subjects if s.name == item.name)
    kept = model.explain(subject.array[None], [subject.label]).relevance_kept
    for layer, part in item.measure(baselines)[AUDITED].items():
        if layer != "input":
            assert part["arrives"] == pytest.approx(float(kept[layer][0, 0]), abs=1e-4)


def test_a_map_of_what_the_model_sees_beats_baselines(tmp_path: Path) -> None:
    """Planted: the blobs' own places as maps, against the model that sees blobs."""
    model = Audited(saved(seeing(), tmp_path / "m.onnx"))
    subjects = subjects_of(model, tmp_path / "in", 8)

    def perfect(x: Floats, classes: Any) -> dict[str, Maps]:
        found = []
        for label in classes:
            colour = (np.array(COLOURS[[*COLOURS][label]]) / 255 - 0.5) / 0.25
            found.append((np.abs(x[0] - colour[:, None, None]).sum(axis=0) < 0.1).astype(np.float32))
        return {"perfect": {FUSED: np.stack(found)}}

    for item in experiments.in_mosaics(subjects, 3, opposite=False, whole=False):
        assert item.measure(model.source(AUDITED))[AUDITED][FUSED]["share"] > 0.8
    for item in experiments.by_deleting(subjects, 3, model, Curves()):
        planted, others = item.measure(perfect)["perfect"][FUSED], item.measure(baselines)
        for name in ("centre", "random"):
            assert planted["insertion"] > others[name][FUSED]["insertion"]
            assert planted["deletion"] < others[name][FUSED]["deletion"]
            assert planted["drop-half"] <= others[name][FUSED]["drop-half"]
            assert planted["road"] >= others[name][FUSED]["road"]
        assert planted["logit"] > 0.3


def bumps(places: list[tuple[float, float]], seed: int = 0) -> dict[str, Floats]:
    """Maps with a bump at each place, in shares of the sides, on a little noise."""
    rng, grid = np.random.default_rng(seed), (np.arange(32) + 0.5) / 32
    found = {}
    for number, (row, column) in enumerate(places):
        bump = np.exp(-((grid[:, None] - row) ** 2 + (grid - column) ** 2) / 0.01)
        found[f"p{number}"] = (bump + 0.05 * rng.random((32, 32))).astype(np.float32)
    return found


def scattered(count: int, seed: int) -> list[tuple[float, float]]:
    """Places around the middle, as objects lie in photographs."""
    drawn = np.clip(np.random.default_rng(seed).normal(0.5, 0.17, (count, 2)), 0.05, 0.95)
    return [(float(row), float(column)) for row, column in drawn]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("place", [(0.9, 0.9), (0.1, 0.5), (0.85, 0.15)])
def test_maps_that_peak_in_one_place_are_put_forward(seed: int, place: tuple[float, float]) -> None:
    """A quarter of forty pictures of one class; the other class has none."""
    maps = {
        "marked": bumps([place] * 10 + scattered(30, seed)),
        "clean": bumps(scattered(40, seed + 50)),
    }
    first, *_ = clusters(maps)
    assert first.raised
    assert first.group == "marked"
    assert len({f"p{n}" for n in range(10)} & set(first.names)) >= 8


def test_objects_around_the_middle_raise_next_to_nothing() -> None:
    """One in five hundred groups by chance is what it is made for; of these sixty one at most."""
    raised = 0
    for seed in range(30):
        maps = {name: bumps(scattered(40, 1000 * place + seed)) for place, name in enumerate(("one", "two"))}
        raised += any(cluster.raised for cluster in clusters(maps))
    assert raised <= 1


def test_a_class_that_is_told_by_the_border_is_put_forward() -> None:
    rng = np.random.default_rng(0)
    around = [(0.03, float(v)) if n % 2 else (float(v), 0.97) for n, v in enumerate(rng.random(30))]
    first, *_ = clusters({"framed": bumps(around), "clean": bumps(scattered(30, 1))})
    assert first.raised
    assert first.group == "framed"


def test_few_pictures_make_no_cluster() -> None:
    assert clusters({"few": bumps(scattered(5, 0))}) == []


def test_every_measure_has_a_place_in_the_report_and_in_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
    missing = [name for name in MEASURES if f"`{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("middle", [0.5, 0.9991, 1 - 1e-8])
def test_plots_of_means_that_are_alike_have_few_ticks(middle: float) -> None:
    """Long numbers would lie over each other."""
    rows = {"low": middle - 3e-4, "mean": middle, "high": middle + 4.1e-4}
    drawn = intervals([{"layer": FUSED, "row": AUDITED, **rows}], None)
    svg = base64.b64decode(drawn.partition(",")[2]).decode()
    assert 2 <= svg.count('id="xtick_') <= 5


@pytest.mark.parametrize("values", [[0.012, 0.031], [0.003, 0.9], [0.02, 0.02]], ids=str)
def test_plots_of_departures_have_plain_numbers(values: list[float]) -> None:
    """Names are no mathematics there, so that TeX would be read as it stands."""
    svg = base64.b64decode(along(["a", "b"], values, 0.01).partition(",")[2]).decode()
    told = re.findall(r"<!-- (.*?) -->", svg)
    assert {"a", "b"} <= set(told)
    assert not [text for text in told if "$" in text or "math" in text]
    assert sum("0." in text or "e-" in text for text in told) >= 1


def verdict(kind: str, **changed: Any) -> list[str]:
    """What is said where the edges do better than maps, by so many pictures, and another class comes first."""
    given = {"name": "faithfulness.insertion", "row": "edges", "layer": FUSED, "less": Estimate(-0.2, -0.3, -0.1, 5)}
    behind = Figure(estimate=Estimate(0.5, 0.4, 0.6, 5), **{**given, **changed})
    agreed = Figure("drift.top1", AUDITED, "outputs", Estimate(0.5, 0.4, 0.6, 5))
    subjects = [SimpleNamespace(told=True, right=False)]
    model = SimpleNamespace(kind=kind, whole=SimpleNamespace(quantity=False))
    audit: Any = SimpleNamespace(model=model, figures=[behind, agreed], subjects=subjects, outcomes=[],
                                 failed=[], unmatched=[], clusters=[])  # fmt: skip
    return [finding.said for finding in findings(audit)]


@pytest.mark.parametrize(("size", "told"), [(4, False), (5, True)])
def test_few_pictures_say_nothing_of_baselines(size: int, told: bool) -> None:
    """The interval of three values that lie on one side always leaves out 0."""
    said = verdict("classifier", less=Estimate(-0.2, -0.3, -0.1, size))
    assert any("the baseline 'edges' does better" in each for each in said) == told
    assert not verdict("classifier", less=None)[0].startswith("area")


def test_verdicts_of_embeddings_speak_of_what_pictures_are_like() -> None:
    for kind in ("classifier", "embedding"):
        said = " ".join(verdict(kind))
        assert ("probability" in said, "class" in said) == (kind == "classifier",) * 2
        assert said.count("--like") == (2 if kind == "embedding" else 0)
        assert ("area under the cosine" in said) == (kind == "embedding")


def test_subgroups_do_not_hide_what_a_class_has_in_common() -> None:
    """A mark on all of one class, whose pictures two cameras made, or that two folders hold."""
    corner = [(0.9, 0.9)] * 24
    marked, clean = bumps(corner), bumps(scattered(24, 1))
    by_class = {"marked": marked, "clean": clean}
    cameras = {name: {f"{kind} {k}": v for kind, own in by_class.items() for k, v in list(own.items())[side::2]}
               for side, name in enumerate("AB")}  # fmt: skip
    first, *_ = clusters({**by_class, **cameras}, kinds={kind: kind for kind in by_class})
    assert (first.group, round(first.reasons["count"]), len(first.names)) == ("marked", 24, 24)
    folders = {f"marked/{side}": dict(list(marked.items())[side::2]) for side in range(2)}
    kinds = {**{kind: kind for kind in by_class}, **dict.fromkeys(folders, "marked")}
    raised = {each.group for each in clusters({**by_class, **folders}, kinds=kinds) if each.raised}
    assert raised >= {"marked", *folders}


def test_what_a_group_has_at_its_edge_is_said_once() -> None:
    """Twelve maps peak at three places of the edge: three clusters of one finding."""
    maps = {}
    for place, (row, column) in enumerate([(1, 8), (14, 5), (8, 14)] * 4):
        heat = np.zeros((16, 16), np.float32)
        heat[row - 1 : row + 2, column - 1 : column + 2] = 1
        maps[str(place)] = heat
    found = clusters({"a": maps})
    assert [cluster.raised for cluster in found] == [True] * 3
    said = [finding.said for finding in of_clusters(SimpleNamespace(clusters=found))]  # type: ignore[arg-type]
    assert len(said) == 1
    assert said[0].startswith("maps of 12 of 12 pictures of 'a' lie at the edge")


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 40), (40, 3), (9, 6)])
def test_baselines_of_few_pixels(size: tuple[int, int]) -> None:
    for row in baselines(normal(1, 3, *size), [0, 1]).values():
        assert row[FUSED].shape == (2, *(max(1, side // 4) for side in size))
        assert np.isfinite(row[FUSED]).all()


def test_of_several_detections_of_a_picture_one_counts() -> None:
    heat = np.ones((1, 4, 4), np.float32)
    subjects = [
        Subject(f"{picture} #{k}", Path(picture), k % 2, True, X[0, 0], X[0, 0], f"g{k % 2}", picture=picture)
        for picture in "ab" for k in range(4)
    ]  # fmt: skip
    maps = {subject.name: {"fused": heat * number} for number, subject in enumerate(subjects)}
    found, kinds = looked_through(subjects, maps, lambda kind: f"class {kind}")
    assert {group: list(own) for group, own in found.items()} == {
        "class 0": ["a #0", "b #0"], "class 1": ["a #1", "b #1"],
    }  # fmt: skip
    assert kinds == {"class 0": "class 0", "class 1": "class 1", "g0": "class 0", "g1": "class 1"}
    assert found["class 1"]["b #1"].max() == 5
