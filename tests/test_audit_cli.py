"""`relcam audit` as its users run it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import onnx
import pytest
from audits import COLOURS, blob, folder, saved, seeing
from nets import Net, inverted, plain
from PIL import Image
from siamese import towers
from test_clips import folded
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.audit import run, store
from relcam_onnx.audit.model import Audited
from relcam_onnx.audit.thresholds import read_thresholds
from relcam_onnx.cli import app

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SCHEMA = json.loads(files("relcam_onnx.audit.report").joinpath("report.schema.json").read_text())


def relcam(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "report.json").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def figure(found: dict[str, Any], name: str, layer: str = "fused", row: str = "audited") -> dict[str, Any]:
    (one,) = [f for f in found["figures"] if (f["name"], f["layer"], f["row"]) == (name, layer, row)]
    return one


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audit")
    saved(seeing(), root / "model.onnx")
    saved(seeing(shift=0.02), root / "other.onnx")
    folder(root / "pictures")
    return root


@pytest.fixture(scope="module")
def done(here: Path) -> dict[str, Any]:
    """One audit against another file, with thresholds that pass and one that does not."""
    out = here / "out"
    result = relcam(
        "audit", here / "model.onnx", here / "pictures", "-o", out, "--reference", here / "other.onnx",
        "--fail-under", "drift.iou=0.1", "--fail-over", "kl@outputs=1e-9",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "12 pictures, about" in result.stderr
    assert "failed: --fail-over drift.kl@outputs=1e-09" in result.stdout
    return {"out": out, "report": report(out), "page": (out / "report.html").read_text(encoding="utf-8")}


def test_what_stands_in_the_folder(done: dict[str, Any]) -> None:
    assert sorted(path.name for path in done["out"].iterdir()) == [
        "junit.xml", "metrics.csv", "report.html", "report.json",
    ]  # fmt: skip
    rows = (done["out"] / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + len(done["report"]["figures"])
    assert rows[0].startswith("name,row,layer,mean,low,high,size,better,chance,paired_mean")


def test_thresholds_are_test_cases(done: dict[str, Any]) -> None:
    suite = ET.fromstring((done["out"] / "junit.xml").read_text())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    passed, failed = suite
    assert passed.get("name") == "--fail-under drift.iou=0.1"
    assert len(passed) == 0
    assert "at outputs" in failed[0].get("message", "")


def test_figures_of_a_model_that_sees_what_it_should(done: dict[str, Any]) -> None:
    """It is right about every picture, and the maps lie on the blobs: better than each baseline."""
    found = done["report"]
    assert all(entry["right"] == entry["pictures"] == 3 for entry in found["groups"])
    assert figure(found, "places.focus")["mean"] > 0.9
    assert figure(found, "places.gridpg")["mean"] > 0.8
    assert figure(found, "faithfulness.single-deletion")["mean"] > 0.5
    for baseline in ("centre", "random"):
        less = figure(found, "faithfulness.insertion", row=baseline)
        assert less["paired_mean"] > 0
    assert figure(found, "drift.top1", "outputs")["mean"] == 1
    assert 0 < figure(found, "drift.kl", "outputs")["mean"] < 0.1
    assert found["verdict"]["passed"] is False


def test_where_the_two_files_depart(done: dict[str, Any]) -> None:
    """The second layer's weights differ, nothing before it does."""
    assert done["report"]["departs"] == "blur"
    order = [f["layer"] for f in done["report"]["figures"] if f["name"] == "drift.activations"]
    assert order.index("stride1") < order.index("blur") < order.index("stride2")
    assert figure(done["report"], "drift.activations", "stride1")["mean"] == 0


def test_provenance_is_whole(done: dict[str, Any], here: Path) -> None:
    told = done["report"]["provenance"]
    assert told["model"]["file"] == "model.onnx"
    assert told["reference"]["sha256"] != told["model"]["sha256"]
    assert re.fullmatch("[0-9a-f]{64}", told["explanation"]["compiled_sha256"])
    assert len(told["pictures"]) == 12
    assert str(here) not in json.dumps(done["report"])
    assert told["preprocessing"]["from"] == "the model, or beside it"


class Page(HTMLParser):
    """What a page asks for, and what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.tags: list[str] = []
        self.unnamed = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.asked += [v for k in ("src", "href") if (v := values.get(k))]
        self.unnamed += tag == "img" and not values.get("alt")


def test_the_page_asks_for_nothing(done: dict[str, Any]) -> None:
    page = Page()
    page.feed(done["page"])
    assert all(address.startswith(("data:", "#")) for address in page.asked)
    assert page.unnamed == 0
    assert page.tags.count("figure") >= 12
    assert "Failed: 1 of the thresholds" in done["page"]


def test_names_from_outside_are_escaped(here: Path, tmp_path: Path) -> None:
    label = "<script>alert(1)</script>"
    model = saved(seeing(labels=[label, "b", "c", "d"]), tmp_path / "m<i>.onnx")
    pictures = tmp_path / "in"
    pictures.mkdir()
    for place, colour in enumerate(COLOURS):
        blob(colour, np.random.default_rng(place)).save(pictures / f"<b>&{place}.png")
    (pictures / "<u>.jpg").write_text("no picture")
    result = relcam("audit", model, pictures, "-o", tmp_path / "out")
    assert result.exit_code == 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for text in (label, "<b>&", "m<i>", "<u>"):
        assert text not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;u&gt;.jpg" in page
    suite = ET.fromstring((tmp_path / "out" / "junit.xml").read_text())
    assert suite.get("failures") == "1"


def test_a_picture_that_cannot_be_read_is_named_and_the_rest_done(here: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no")
    result = relcam("audit", here / "model.onnx", here / "pictures", tmp_path / "bad.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "bad.png" in result.stderr
    found = report(tmp_path / "out")
    assert len(found["pictures"]) == 12
    assert found["verdict"]["said"].startswith("Failed: pictures that could not be used")
    assert found["verdict"]["findings"][0]["said"] == "1 pictures could not be used; they are named below"
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count('class="verdict failed"') == 1
    nothing = relcam("audit", here / "model.onnx", tmp_path / "bad.png", "-o", tmp_path / "none")
    assert nothing.exit_code == 2
    assert not (tmp_path / "none" / "report.html").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are texts")
def test_a_picture_whose_name_is_no_text(here: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"x\xff.png")
    blob("red", np.random.default_rng(0)).save(tmp_path / "in.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in.png").rename(tmp_path / "in" / name)
    (tmp_path / "in" / f"{name}.jpg").write_bytes(b"no picture")
    result = relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert [entry["name"] for entry in report(tmp_path / "out")["pictures"]] == [name[:-4]]
    assert r"x\udcff" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_same_twice(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    texts = []
    for place in range(2):
        out = tmp_path / f"out{place}"
        assert relcam("audit", here / "model.onnx", here / "pictures", "-o", out, "--random-state", "7").exit_code == 0
        texts.append([(out / name).read_bytes() for name in ("report.html", "report.json", "metrics.csv", "junit.xml")])
    assert texts[0] == texts[1]


def test_an_interrupted_audit_goes_on_where_it_stopped(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out")
    original, measured = store.Store.add, []

    def add(self: Any, experiment: str, source: str, item: str, found: Any) -> None:
        if len(measured) == 9:
            raise KeyboardInterrupt
        measured.append((experiment, source, item))
        original(self, experiment, source, item, found)

    monkeypatch.setattr(store.Store, "add", add)
    stopped = relcam(*asked)
    assert stopped.exit_code == 1
    assert "goes on where it stopped" in stopped.stderr
    assert not (tmp_path / "out" / "report.json").exists()
    first, again = list(measured), []

    def second(self: Any, experiment: str, source: str, item: str, found: Any) -> None:
        again.append((experiment, source, item))
        original(self, experiment, source, item, found)

    monkeypatch.setattr(store.Store, "add", second)
    assert relcam(*asked).exit_code == 0
    assert len(first) == 9
    assert not set(first) & set(again)
    assert len(report(tmp_path / "out")["pictures"]) == 12


REFUSED: dict[str, tuple[list[str], str]] = {
    "measure": (["--fail-under", "drift.iuo=0.8"], "no measure is called 'drift.iuo' (did you mean 'drift.iou'"),
    "ambiguous": (["--fail-under", "rank=0.8"], "drift.rank and places.rank are called so"),
    "no number": (["--fail-over", "kl=much"], "kl='much' is no number"),
    "infinite": (["--fail-under", "kl=nan"], "kl='nan' is no number"),
    "a boolean": (["--thresholds", "{true}"], "drift.kl=True is no number"),
    "no other model": (
        ["--fail-over", "kl=9"],
        "--fail-over drift.kl=9 is about how far a model is from another",
    ),
    "no limit": (["--fail-over", "kl"], "a threshold is NAME=NUMBER"),
    "no file": (["--thresholds", "none.toml"], "thresholds cannot be read from 'none.toml'"),
    "no reference": (["--reference", "none.onnx"], "there is no such file or folder"),
    "no maps": (["--reference", "{pictures}"], "is no folder that 'relcam explain' wrote"),
    "other classes": (["--reference", "{five}"], "the reference tells 5 classes apart, the model 4"),
    "other size": (["--reference", "{large}"], "they do not do the same task"),
    "classes": (["--classes", "none.csv"], "classes cannot be read from 'none.csv'"),
    "boxes": (["--boxes", "{strange}"], "outlines none of the pictures; its first is 'other.png'"),
    "no boxes": (["--boxes", "none.json"], "is no JSON of COCO's form"),
    "masks": (["--masks", "{empty}"], "holds none that is called like a picture"),
    "method": (["--method", "gradcam"], "did you mean 'grad-cam'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_one_line(case: str, here: Path, tmp_path: Path) -> None:
    options, says = REFUSED[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "true.toml").write_text('[fail-over]\n"drift.kl" = true\n')
    strange = {"images": [{"id": 1, "file_name": "other.png"}], "annotations": [{"image_id": 1, "bbox": [0, 0, 2, 2]}]}
    (tmp_path / "strange.json").write_text(json.dumps(strange))
    names = {
        "pictures": here / "pictures", "five": saved(plain(), tmp_path / "five.onnx"), "empty": tmp_path / "empty",
        "large": saved(seeing(side=64), tmp_path / "large.onnx"), "strange": tmp_path / "strange.json",
        "true": tmp_path / "true.toml",
    }  # fmt: skip
    asked = [option.format(**names) for option in options]
    result = relcam("audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out", *asked)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output


def test_rows_that_a_file_has_no_maps_for_are_left_out(here: Path, tmp_path: Path) -> None:
    """Dense layers alone: no stage is there for the methods that stand beside the audited one."""
    net = Net("N", 3, 32, 32)
    saved(net.model(net.dense(net("Relu", net.dense(net("Flatten", net.x), 3072, 8)), 8, 4)), tmp_path / "dense.onnx")
    pictures = sorted((here / "pictures").rglob("*.png"))[:2]
    asked = ("--full", "--method", "lrp", "--layer", "input", "--preprocess", "unit")
    result = relcam("audit", tmp_path / "dense.onnx", *pictures, "-o", tmp_path / "out", *asked)
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert {f["row"] for f in found["figures"]} >= {"audited", "centre"}
    notes = " ".join(found["notes"])
    for row in ("grad-cam", "layer-cam", "relevance-cam"):
        assert f"not measured beside it: {row}: " in notes


def test_a_link_that_leads_nowhere_has_failed(here: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(next((here / "pictures").rglob("*.png")), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").symlink_to(tmp_path / "gone.png")
    for command in ("audit", "explain"):
        result = relcam(command, here / "model.onnx", tmp_path / "in", "-o", tmp_path / command)
        assert result.exit_code == 1
        assert "b.png: there is no such file" in result.stderr
    result = relcam("batch", tmp_path / "in", "-m", here / "model.onnx", "-o", tmp_path / "batch")
    assert result.exit_code == 1
    assert "b.png" in result.stderr


def test_where_no_picture_can_be_read_the_first_are_named(here: Path, tmp_path: Path) -> None:
    for place in range(run.TOLD + 3):
        (tmp_path / f"{place}.png").write_bytes(b"no picture")
    result = relcam("audit", here / "model.onnx", tmp_path, "missing.png", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"none of {run.TOLD + 3} pictures could be used; " in result.stderr
    assert "missing.png" in result.stderr
    assert [f"{place}.png" in result.stderr for place in range(run.TOLD + 3)] == [
        place < run.TOLD - 1 for place in range(run.TOLD + 3)
    ]
    assert result.stderr.strip().endswith("; and 4 more")


def test_what_is_not_installed_is_said_before_anything_runs(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "NEEDED", ("jinja2", "no_such_package"))
    result = relcam("audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "an audit needs no_such_package: pip install 'relcam-onnx[audit]'" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_browser(done: dict[str, Any], tmp_path: Path, width: int, dark: bool) -> None:
    """It draws, in the system's colours, and nothing is wider than a telephone."""
    shot = tmp_path / "shot.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    asked = [
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--window-size={width},2000",
        f"--screenshot={shot}",
    ]
    subprocess.run([str(BROWSER), *asked, *scheme, f"file://{done['out'] / 'report.html'}"], check=True, timeout=120)
    pixels = np.asarray(Image.open(shot).convert("L")).astype(int)
    assert pixels.shape == (2000, width)
    assert np.ptp(pixels) > 150
    assert (np.median(pixels) < 60) == dark
    assert np.ptp(pixels[:, -4:], axis=0).max() < 10


def test_folders_that_are_no_classes_are_groups(here: Path, tmp_path: Path) -> None:
    for place, (colour, site) in enumerate(zip(COLOURS, ("north", "north", "south", "south"), strict=True)):
        (tmp_path / "in" / site).mkdir(parents=True, exist_ok=True)
        blob(colour, np.random.default_rng(place)).save(tmp_path / "in" / site / f"{place}.png")
    assert relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    found = report(tmp_path / "out")
    assert [(entry["group"], entry["pictures"], entry["right"]) for entry in found["groups"]] == [
        ("north", 2, None), ("south", 2, None),
    ]  # fmt: skip
    assert "no folder is called like a class" in " ".join(found["notes"])
    (tmp_path / "in" / "red").mkdir()
    blob("red", np.random.default_rng(9)).save(tmp_path / "in" / "red" / "9.png")
    mixed = relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out2")
    assert mixed.exit_code == 1
    assert "north" in mixed.stderr


def test_a_picture_beside_the_folders_of_classes_leaves_them_as_they_are(here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "pictures", tmp_path / "in")
    blob("red", np.random.default_rng(0)).save(tmp_path / "in" / "overview.png")
    assert relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    found = report(tmp_path / "out")
    assert {entry["group"]: entry["right"] for entry in found["groups"]} == {**dict.fromkeys(COLOURS, 3), "in": None}
    said = "1 pictures lie in no folder of a class, such as overview: their top classes are explained"
    assert said in found["notes"]


def test_folders_of_classes_may_be_given_themselves(here: Path, tmp_path: Path) -> None:
    """Red ones as green and green ones as red."""
    for name, colour in (("green", "red"), ("red", "green")):
        shutil.copytree(here / "pictures" / colour, tmp_path / name / "deeper")
    result = relcam("audit", here / "model.onnx", tmp_path / "red", tmp_path / "green", "-o", tmp_path / "out")
    assert "the model puts another class first on 6 of 6 pictures" in result.stdout
    notes = report(tmp_path / "out")["notes"]
    assert (
        sum("are left out: they are of what the model is right about, and that is none of 6" in n for n in notes) == 1
    )
    assert {entry["group"] for entry in report(tmp_path / "out")["groups"]} == {"red/deeper", "green/deeper"}


def test_folders_called_like_a_part_of_a_class_are_groups(here: Path, tmp_path: Path) -> None:
    """``train`` and ``val`` are no bullet train and no valley."""
    model = saved(seeing(labels=["bullet train", "valley, vale", "red", "green"]), tmp_path / "m.onnx")
    for name, colour in (("train", "red"), ("val", "green")):
        shutil.copytree(here / "pictures" / colour, tmp_path / name)
    assert relcam("audit", model, tmp_path / "train", tmp_path / "val", "-o", tmp_path / "out").exit_code == 0
    assert [(e["group"], e["right"]) for e in report(tmp_path / "out")["groups"]] == [("train", None), ("val", None)]


def test_folders_called_by_numbers_are_groups_where_there_are_fewer_classes(here: Path, tmp_path: Path) -> None:
    for year, colour in (("2023", "red"), ("2024", "green"), ("²", "blue")):
        shutil.copytree(here / "pictures" / colour, tmp_path / "in" / year)
    assert relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out").exit_code == 0
    assert [entry["group"] for entry in report(tmp_path / "out")["groups"]] == ["2023", "2024", "²"]
    (tmp_path / "c.csv").write_text("file,label\n2023/0.png,²\n", encoding="utf-8")
    strange = relcam(
        "audit", here / "model.onnx", tmp_path / "in" / "2023" / "0.png", "-o", tmp_path / "b", "--classes",
        tmp_path / "c.csv",
    )  # fmt: skip
    assert strange.exit_code == 2
    assert "'²' is no label of this model's 4" in strange.stderr


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes called by numbers as text sorts them, which are no outputs' places; folders of them, and all in one."""
    root, names = tmp_path_factory.mktemp("numbered"), ["10", "2", "0", "1"]
    saved(seeing(labels=names), root / "model.onnx")
    for name, colour in zip(names, COLOURS, strict=True):
        (root / "in" / name).mkdir(parents=True)
        blob(colour, np.random.default_rng(int(name))).save(root / "in" / name / f"p{name}.png")
    return root


@pytest.mark.parametrize("way", ["folders", "label", "index", "both", "floats"])
def test_classes_called_by_numbers_are_names(way: str, numbered: Path, tmp_path: Path) -> None:
    """In folders and in the column ``label``; the column ``index`` has the outputs' places."""
    names, given = ["10", "2", "0", "1"], []
    if way != "folders":
        columns = {"label": "{1}", "index": "{0}", "both": "{0},{1}", "floats": "{0}.0"}[way]
        head = {"both": "index,label", "floats": "index"}.get(way, way)
        rows = [f"p{name}.png,{columns.format(place, name)}" for place, name in enumerate(names)]
        (tmp_path / "c.csv").write_text("\n".join([f"file,{head}", *rows]), encoding="utf-8")
        given = ["--classes", tmp_path / "c.csv"]
    result = relcam("audit", numbered / "model.onnx", numbered / "in", "-o", tmp_path / "out", *given)
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert {(p["label"], p["told"], p["class"] == p["top"]) for p in found["pictures"]} == {
        (name, True, True) for name in names
    }
    assert {entry["group"] for entry in found["groups"]} == set(names)


def test_a_number_is_no_index_where_classes_are_called_by_others(numbered: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("file,label\np10.png,3\n", encoding="utf-8")
    asked = ("audit", numbered / "model.onnx", numbered / "in" / "10" / "p10.png", "-o", tmp_path / "out")
    result = relcam(*asked, "--classes", tmp_path / "c.csv")
    assert result.exit_code == 2
    assert "'3' is no label of this model, whose classes are called by numbers" in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,label\n0.png,red\n0.png,blue\n", "has '0.png' in two rows that say different things"),
        ("file,label\n0.png,red\n./0.png,blue\n", "has './0.png' in two rows that say different things"),
        ("file,index,label\n0.png,2,red\n", "index 2 and label 'red' are two classes; 'red' is 0"),
        ("file,index\n0.png,red\n", "index 'red' is no whole number"),
        ("file,index\n0.png,1.5\n", "index '1.5' is no whole number"),
        ("file;label\n0.png;red\n", "needs the columns file and index (or label)"),
    ],
)
def test_classes_that_contradict_each_other_are_refused(text: str, says: str, here: Path, tmp_path: Path) -> None:
    shutil.copytree(here / "pictures" / "red", tmp_path / "in")
    (tmp_path / "in" / "c.csv").write_text(text, encoding="utf-8")
    result = relcam(
        "audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out", "--classes", tmp_path / "in" / "c.csv"
    )
    assert result.exit_code == 2
    assert says in result.stderr.replace("\n", " ")


def test_paths_as_windows_writes_them_are_found(here: Path, tmp_path: Path) -> None:
    text = "file,label\npictures\\red\\0.png,red\nC:\\work\\pictures\\blue\\0.png,blue\n"
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    given = (*(here / "pictures" / colour / "0.png" for colour in ("red", "blue")), "--classes", tmp_path / "c.csv")
    result = relcam("audit", here / "model.onnx", *given, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert [(p["label"], p["told"]) for p in report(tmp_path / "out")["pictures"]] == [("red", True), ("blue", True)]


def test_cells_that_are_empty_tell_nothing(here: Path, tmp_path: Path) -> None:
    text = "file,index,label\nred/0.png,,RED\nred/1.png,0.0,\nred/2.png,,\nblue/0.png\n"
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    given = (here / "pictures" / "red", here / "pictures" / "blue" / "0.png", "--classes", tmp_path / "c.csv")
    assert relcam("audit", here / "model.onnx", *given, "-o", tmp_path / "out").exit_code == 0
    found = report(tmp_path / "out")
    assert [entry["group"] for entry in found["groups"]] == ["red", "blue"]
    assert sum(p["told"] for p in found["pictures"]) == 2
    assert "c.csv tells no class of 2 pictures, such as 2: their top classes are explained" in found["notes"]


def test_thresholds_from_toml(here: Path, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    text = '[fail-under]\n"places.focus" = 0.5\n[fail-over]\nfaithfulness.deletion = 0.0\n'
    limits.write_text(text, encoding="utf-8-sig")
    result = relcam("audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out", "--thresholds", limits)
    assert result.exit_code == 1
    outcomes = {t["name"]: t["passed"] for t in report(tmp_path / "out")["thresholds"]}
    assert outcomes == {"places.focus": True, "faithfulness.deletion": False}


@pytest.mark.parametrize(
    ("text", "says"), [("", "holds no threshold"), ("[fail-under]", "holds no threshold"), ("fail-over = 3", "a table")]
)
def test_a_file_of_thresholds_without_one_is_refused(text: str, says: str, tmp_path: Path) -> None:
    """A gate that nothing could close."""
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(rc.OptionError, match=says):
        read_thresholds((), ["kl=1"], tmp_path / "limits.toml")


def test_a_threshold_that_nothing_was_measured_for_fails(here: Path, tmp_path: Path) -> None:
    result = relcam(
        "audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out", "--fail-over", "places.hit=9"
    )
    assert result.exit_code == 1
    assert "nothing was measured for it" in result.stdout


def test_a_folder_of_maps_is_a_reference(here: Path, tmp_path: Path) -> None:
    pictures = sorted((here / "pictures").rglob("*.png"))
    for place, picture in enumerate(pictures):  # names that no two have
        Image.open(picture).save(tmp_path / f"{place}.png")
    files = sorted(tmp_path.glob("*.png"))
    assert relcam("explain", here / "model.onnx", *files, "-o", tmp_path / "maps", "--format", "npz").exit_code == 0
    out = tmp_path / "out"
    assert relcam("audit", here / "model.onnx", *files, "-o", out, "--reference", tmp_path / "maps").exit_code == 0
    found = report(out)
    assert figure(found, "drift.cosine")["mean"] == pytest.approx(1, abs=1e-5)
    assert figure(found, "drift.iou")["size"] == 12
    assert not [f for f in found["figures"] if f["name"] == "drift.kl"]


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_where_objects_are(kind: str, here: Path, tmp_path: Path) -> None:
    """Blobs as boxes in COCO's JSON, with pictures that are not here, and as masks."""
    rng = np.random.default_rng(5)
    images, annotations = [], []
    (tmp_path / "in").mkdir()
    (tmp_path / "masks").mkdir()
    for place, colour in enumerate([*COLOURS] * 2):
        picture = blob(colour, rng)
        picture.save(tmp_path / "in" / f"{place}.png")
        pixels = np.asarray(picture).astype(int)
        inside = np.abs(pixels - COLOURS[colour]).sum(axis=2) == 0
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        Image.fromarray((inside * 255).astype(np.uint8)).save(tmp_path / "masks" / f"{place}.png")
        images.append({"id": place, "file_name": f"{place}.png"})
        box = [int(columns[0]), int(rows[0]), len(columns), len(rows)]
        annotations.append({"image_id": place, "bbox": box})
    images.append({"id": 99, "file_name": "elsewhere.png"})
    annotations.append({"image_id": 99, "bbox": [0, 0, 1, 1]})
    coco = {"images": images, "annotations": annotations}
    (tmp_path / "boxes.json").write_text(json.dumps(coco))
    given = tmp_path / ("boxes.json" if kind == "boxes" else "masks")
    result = relcam("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out", f"--{kind}", given)
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert figure(found, "places.hit")["mean"] == 1
    assert figure(found, "places.mass")["mean"] > 0.4
    assert figure(found, "places.mass")["mean"] > 2 * figure(found, "places.mass", row="random")["mean"]
    assert figure(found, "looking.inside")["size"] == 8
    if kind == "boxes":
        assert "1 pictures that are not here, such as elsewhere.png" in " ".join(found["notes"])


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_outlines_of_a_picture_that_its_file_turns(kind: str, here: Path, tmp_path: Path) -> None:
    """A camera held upright: outlines are told as people see the picture, whose pixels lie on their side."""
    seen = Image.new("RGB", (32, 64), (128, 128, 128))
    seen.paste(COLOURS["red"], (4, 40, 20, 56))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    (tmp_path / "in").mkdir()
    seen.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in" / "a.png", exif=exif)
    (tmp_path / "masks").mkdir()
    mask = Image.new("L", seen.size)
    mask.paste(255, (4, 40, 20, 56))
    mask.save(tmp_path / "masks" / "a.png")
    box = {"image_id": 1, "bbox": [4, 40, 16, 16]}
    (tmp_path / "boxes.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "annotations": [box]})
    )
    given = tmp_path / ("boxes.json" if kind == "boxes" else "masks")
    asked = ("audit", here / "model.onnx", tmp_path / "in", "-o", tmp_path / "out", f"--{kind}", given)
    assert relcam(*asked).exit_code == 0
    assert figure(report(tmp_path / "out"), "places.hit")["mean"] == 1
    assert figure(report(tmp_path / "out"), "looking.inside")["mean"] > 0.5


def test_the_compiled_files_hash_is_that_of_relcam_compile(done: dict[str, Any], here: Path, tmp_path: Path) -> None:
    assert relcam("compile", here / "model.onnx", "-o", tmp_path / "c.onnx").exit_code == 0
    digest = hashlib.sha256((tmp_path / "c.onnx").read_bytes()).hexdigest()
    assert done["report"]["provenance"]["explanation"]["compiled_sha256"] == digest


def test_methods_beside_the_audited_one_explain_the_same_output(here: Path) -> None:
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="stage")
    model = saved(net.model(net.head(x, 8, name="first"), net.head(x, 8, 7, name="second")), here / "two.onnx")
    audited = Audited(model, preprocess={"size": [32, 32]}, options={"output": "second", "layers": ["stage"]})
    for explainer in (audited.explaining(method="grad-cam"), audited.explaining(model=onnx.load(model))):
        assert explainer.settings.output == "second"
        assert [source.name for source in explainer.settings.layers] == ["stage"]
    assert [s.name for s in audited.explaining(layers="input", method="saliency").settings.layers] == ["input"]


@pytest.mark.parametrize("marked", [0, 12])
def test_a_planted_watermark_comes_out_on_top_and_a_clean_set_raises_nothing(
    marked: int, here: Path, tmp_path: Path
) -> None:
    pictures = folder(tmp_path / "in", 24, marked=marked)
    assert relcam("audit", here / "model.onnx", pictures, "-o", tmp_path / "out").exit_code == 0
    found = report(tmp_path / "out")["clusters"]
    assert found
    assert [c["suspicion"] for c in found] == sorted((c["suspicion"] for c in found), reverse=True)
    if not marked:
        assert not found[0]["raised"]
        return
    top = found[0]
    assert top["raised"]
    end = 13  # the last cell that a place begins at
    places = [(c["group"], c["reasons"]["row"] * end, c["reasons"]["column"] * end) for c in found]
    for n, (group, row, column) in enumerate(places):
        assert all(group != g or max(abs(row - r), abs(column - c)) > 1 for g, r, c in places[:n])
    assert top["group"] == "red"
    planted = {f"red-{place}" for place in range(12)}
    assert len(planted & set(top["pictures"])) >= 0.8 * len(top["pictures"])
    mean = np.array(top["mean"])
    assert np.unravel_index(mean.argmax(), mean.shape) >= (12, 12)


def one_score(labels: bool) -> Any:
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="stage")
    told = {"relcam.labels": json.dumps(["no", "yes"])} if labels else {}
    return net.model(net("Sigmoid", net.head(x, 8, 1), name="p"), **told)


def of_bytes() -> Any:
    """uint8, channels last, normalised inside."""
    net = Net("N", 32, 32, 3)
    net.inputs[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    x = net("Div", net("Cast", net.x, to=onnx.TensorProto.FLOAT), np.float32(255))
    x = net("Relu", net.conv(net("Transpose", x, perm=[0, 3, 1, 2]), 3, 8, stride=2), name="stage")
    return net.model(net.head(x, 8))


KINDS: dict[str, Any] = {
    "one score": lambda: one_score(False),
    "two labels": lambda: one_score(True),
    "bytes": of_bytes,
    "fixed batch": lambda: plain(batch=3),
    "free sizes": lambda: inverted(size="S"),
    "softmax": lambda: plain(final="Softmax"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind(kind: str, here: Path, tmp_path: Path) -> None:
    """Held against themselves: no drift, whatever goes in and comes out."""
    model = saved(KINDS[kind](), tmp_path / "m.onnx")
    (tmp_path / "p.json").write_text(json.dumps({"size": [32, 32], "resize": "squash"}))
    pictures = [here / "pictures" / colour / "0.png" for colour in COLOURS]
    result = relcam(
        "audit", model, *pictures, "-o", tmp_path / "out", "--reference", model, "--preprocess", tmp_path / "p.json",
        "--fail-over", "kl=1e-6", "--fail-under", "drift.top1=1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = report(tmp_path / "out")
    assert len(found["pictures"]) == 4
    assert found["departs"] is None


def of_bytes_of_any_size() -> Any:
    """uint8, normalised inside; whatever is brought keeps its size."""
    model = inverted(size="S")
    graph = model.graph
    for axis, name in zip(graph.input[0].type.tensor_type.shape.dim[2:], ("H", "W"), strict=True):
        axis.dim_param = name
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    name = graph.input[0].name
    for node in graph.node:
        node.input[:] = ["as float" if each == name else each for each in node.input]
    graph.node.insert(0, onnx.helper.make_node("Cast", [name], ["as float"], to=onnx.TensorProto.FLOAT))
    return model


@pytest.mark.parametrize("method", ["lrp-cam", "expected-gradients"])
def test_pictures_of_several_sizes(method: str, tmp_path: Path) -> None:
    """What lies side by side is of one size, and so are baselines; a picture alone of its size has none."""
    names = "abcde"
    model = of_bytes_of_any_size()
    onnx.helper.set_model_props(model, {"relcam.labels": json.dumps([*names])})
    for place, name in enumerate(names):
        (tmp_path / "in" / name).mkdir(parents=True)
        for size in ((32, 32), (48, 32), (32, 40 + 8 * place)):
            noise = np.random.default_rng(sum(size) + place).integers(0, 256, (*size, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / "in" / name / f"{size[0]}x{size[1]}.png")
    options = ["--method", method] if method != "lrp-cam" else []
    asked = ("audit", saved(model, tmp_path / "m.onnx"), tmp_path / "in", "-o", tmp_path / "out", *options)
    result = relcam(*asked)
    found = report(tmp_path / "out")
    assert figure(found, "places.gridpg")["size"] > 0
    assert figure(found, "places.focus")["size"] > 0
    if options:
        assert result.exit_code == 1, result.output
        assert len(found["failed"]) == 4, found["failed"]
        assert "the method needs other pictures of its size, 32 × " in found["failed"][0]["error"]
    else:
        assert result.exit_code == 0, result.output
        (tmp_path / "few").mkdir()
        for place, name in enumerate(names[:2]):
            shutil.copytree(tmp_path / "in" / name, tmp_path / "few" / name)
            for other in (tmp_path / "few" / name).glob("*.png"):
                if other.name != f"32x{40 + 8 * place}.png":
                    other.unlink()
        assert relcam("audit", asked[1], tmp_path / "few", "-o", tmp_path / "out2").exit_code == 0
        said = "not measured: places.focus: a grid shows 2 classes, and 2 pictures that count show 1 of one size"
        assert said in report(tmp_path / "out2")["notes"]


@pytest.mark.parametrize("method", ["occlusion", "saliency", "score-cam", "expected-gradients"])
def test_any_method_can_be_audited(method: str, here: Path, tmp_path: Path) -> None:
    asked = ("audit", here / "model.onnx", here / "pictures", "-o", tmp_path / "out", "--method", method)
    assert relcam(*asked).exit_code == 0
    found = report(tmp_path / "out")
    assert found["provenance"]["explanation"]["method"] == method
    assert figure(found, "faithfulness.single-deletion")["size"] > 0
    if method != "score-cam":
        assert "no fused map was asked for: what is called so here is the map of 'input'" in found["notes"]


@pytest.mark.parametrize(
    ("reads", "says"),
    [("pairs", "m.onnx reads 2 inputs (left, right)"), ("clips", "m.onnx reads clips of several pictures")],
)
def test_an_audit_is_of_models_that_read_one_picture(reads: str, says: str, here: Path, tmp_path: Path) -> None:
    model = saved(towers() if reads == "pairs" else folded("N"), tmp_path / "m.onnx")
    output = [] if reads == "pairs" else ["--output", "scores"]
    result = relcam("audit", model, here / "pictures", "-o", tmp_path / "out", "--preprocess", "unit", *output)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
