"""What an audit holds a model against: outputs of every kind, folders of maps, and what cannot be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from audits import COLOURS, folder, saved, seeing
from nets import Net
from PIL import Image
from test_audit_cli import figure, relcam, report

from relcam_onnx.audit import store
from relcam_onnx.audit.drift import of_outputs


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, pictures of which four are called alike, and the maps of them."""
    root = tmp_path_factory.mktemp("reference")
    saved(seeing(), root / "model.onnx")
    folder(root / "in", 2)
    explained(root, root / "maps")
    return root


def explained(root: Path, maps: Path, *options: Any, form: str = "npz") -> Path:
    asked = ("explain", root / "model.onnx", root / "in", "-o", maps, "--format", form, *options)
    assert relcam(*asked).exit_code == 0
    return maps


def audited(root: Path, out: Path, *options: Any, model: str = "model.onnx") -> Any:
    return relcam("audit", root / model, root / "in", "-o", out, *options)


def kl(p: float, q: float) -> float:
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def test_probabilities_that_are_each_their_own() -> None:
    p, q = np.array([0.9, 0.2, 0.7], np.float32), np.array([0.8, 0.3, 0.6], np.float32)
    told = of_outputs(q, p, each=True)
    assert told["kl"] == pytest.approx(sum(map(kl, p.tolist(), q.tolist())), rel=1e-4)
    assert (told["top1"], told["largest"]) == (1, pytest.approx(0.1, abs=1e-6))
    assert of_outputs(p[:1], p[1:2])["top1"] == 0
    assert of_outputs(p[:1], p[1:2])["kl"] == pytest.approx(kl(0.2, 0.9), rel=1e-4)
    assert of_outputs(p[:1], p[2:])["top1"] == 1
    shares = np.array([0.7, 0.3], np.float32), np.array([0.6, 0.4], np.float32)
    assert of_outputs(*shares)["kl"] == pytest.approx(kl(0.6, 0.7), rel=1e-4)
    assert np.isnan(of_outputs(np.full(3, np.nan, np.float32), p)["kl"])


def shifted(by: float, classes: int, *, sigmoid: bool, several: int = 1) -> onnx.ModelProto:
    """A few scores, all of them larger ``by`` so much; the sigmoids of ``several`` are averaged."""
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="stage")
    y = net.head(x, 8, classes)
    every = [net("Add", y, np.float32(by + k)) for k in range(several)]
    squashed = [net("Sigmoid", y) for y in every] if sigmoid else every
    model = net.model(net("Mean", *squashed) if several > 1 else squashed[0])
    preprocess = {"relcam.preprocess": json.dumps({"size": [32, 32], "resize": "squash"})}
    onnx.helper.set_model_props(model, preprocess)
    return model


@pytest.mark.parametrize("several", [1, 2])
@pytest.mark.parametrize("classes", [1, 3])
def test_sigmoids_that_all_say_yes_have_drifted(classes: int, several: int, here: Path, tmp_path: Path) -> None:
    """Nothing of it adds up to 1, and where all are sure of everything no class' own share of it falls."""
    reference = saved(shifted(-9, classes, sigmoid=True, several=several), tmp_path / "reference.onnx")
    model = saved(shifted(40, classes, sigmoid=True, several=several), tmp_path / "model.onnx")
    asked = ("audit", model, here / "in", "-o", tmp_path / "out", "--reference", reference)
    assert relcam(*asked, "--fail-over", "drift.kl=0.01").exit_code == 1
    found = report(tmp_path / "out")
    assert figure(found, "drift.kl", "outputs")["mean"] > 1
    assert figure(found, "drift.largest", "outputs")["mean"] > 0.5
    if classes == 1:
        assert figure(found, "drift.top1", "outputs")["mean"] == 0


def test_a_bare_quantity_is_no_probability(here: Path, tmp_path: Path) -> None:
    reference = saved(shifted(0, 1, sigmoid=False), tmp_path / "reference.onnx")
    model = saved(shifted(100, 1, sigmoid=False), tmp_path / "model.onnx")
    asked = ("audit", model, here / "in", "-o", tmp_path / "out", "--reference", reference)
    assert relcam(*asked, "--fail-over", "drift.kl=0.01", "--fail-under", "drift.top1=0.5").exit_code == 1
    found = report(tmp_path / "out")
    assert figure(found, "drift.largest", "outputs")["mean"] == pytest.approx(100, rel=1e-4)
    assert found["measures"]["drift.largest"]["said"] == "the largest difference of a value"
    assert f"</bdi> value {found['pictures'][0]['probability']:.3g}" in (tmp_path / "out" / "report.html").read_text(
        "utf-8"
    )
    assert not any(threshold["checked"] for threshold in found["thresholds"])
    names = {f["name"] for f in found["figures"] if f["name"].startswith(("faithfulness", "drift"))}
    assert "faithfulness.single-deletion" in names
    assert names.isdisjoint({"faithfulness.deletion", "faithfulness.drop", "faithfulness.single-deletion-log"})
    assert "may be any quantity (if it is a yes or no, give two --labels)" in " ".join(found["notes"])


def test_maps_of_pictures_called_alike_are_each_their_own(here: Path, tmp_path: Path) -> None:
    assert audited(here, tmp_path / "out", "--reference", here / "maps").exit_code == 0
    one = figure(report(tmp_path / "out"), "drift.cosine")
    assert (one["low"], one["size"]) == (pytest.approx(1, abs=1e-5), 8)


@pytest.mark.parametrize("layers", [("input",), ("stages",), ("input", "fused")])
def test_maps_of_the_layers_that_are_asked_are_compared(layers: tuple[str, ...], here: Path, tmp_path: Path) -> None:
    """The last one stands for the fused map where none is asked for: in a folder of maps as in a file."""
    options = ("--method", "lrp", *(part for layer in layers for part in ("--layer", layer)))
    saved(seeing(shift=0.05), tmp_path / "other.onnx")
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(tmp_path / "other.onnx", root / "model.onnx")
    shutil.copytree(here / "in", root / "in")
    found = []
    for number, reference in enumerate((root / "model.onnx", explained(root, tmp_path / "maps", "--top", 4, *options))):
        out = tmp_path / f"out{number}"
        assert audited(here, out, *options, "--reference", reference).exit_code == 0
        told = report(out)["figures"]
        found.append({(f["name"], f["layer"]): f["mean"] for f in told if f["name"] in ("drift.cosine", "drift.iou")})
    assert found[0].keys() == found[1].keys() >= {("drift.cosine", "fused"), ("drift.iou", "fused")}
    for key, value in found[0].items():
        assert found[1][key] == pytest.approx(value, abs=1e-5)


def test_of_how_many_pictures_there_are_maps_is_said(here: Path, tmp_path: Path) -> None:
    maps = shutil.copytree(here / "maps", tmp_path / "maps")
    results = json.loads((maps / "results.json").read_text())
    del results["images"][1:]
    results["options"]["preprocess"]["resize"] = "shorter"
    results["options"]["output"] = "logits"
    (maps / "results.json").write_text(json.dumps(results))
    assert audited(here, tmp_path / "out", "--reference", maps).exit_code == 0
    found = report(tmp_path / "out")
    assert figure(found, "drift.iou")["size"] == 1
    assert "the reference has maps of what is asked in 1 of 8 pictures" in found["notes"]
    assert "prepared in another way" in " ".join(found["notes"])
    assert "the reference's maps are of output 'logits', the audit's of 'scores'" in found["notes"]


def elsewhere(root: Path, folder: Path) -> Path:
    """Maps of pictures that are called otherwise."""
    results = json.loads((shutil.copytree(root / "maps", folder) / "results.json").read_text())
    for image in results["images"]:
        image["file"] = f"{image['file']}.jpg"
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def without_files(root: Path, folder: Path) -> Path:
    for file in shutil.copytree(root / "maps", folder).glob("*.npz"):
        file.unlink()
    return folder


FOLDERS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "no raw maps": (lambda root, to: explained(root, to, form="png"), "holds no raw maps: explain with --format npz"),
    "other pictures": (elsewhere, "has maps of none of the pictures, such as"),
    "another method": (lambda root, to: explained(root, to, "--method", "grad-cam"),
                       "explained with method 'grad-cam', and the audit has 'local-relevance-cam'"),
    "another preset": (lambda root, to: explained(root, to, "--preset", "paper", "--method", "local-relevance-cam"),
                       "explained with preset 'paper', and the audit has 'default'"),
    "another seed": (lambda root, to: explained(root, to, "--seed", "logit"), "seed 'logit', and the audit has 'riv"),
    "other layers": (lambda root, to: explained(root, to, "--layer", "input"), "has maps of input, and the audit of s"),
    "another class": (lambda root, to: explained(root, to, "--target", "-4"), "has no maps of what is asked, such as"),
    "other labels": (lambda root, to: explained(root, to, "--labels", root / "labels.json"),
                     "the reference calls its classes otherwise: 0 is 'a' there, and 'red' here"),
    "lost files": (without_files, "lacks its file"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDERS)
def test_folders_that_say_nothing_are_refused(case: str, here: Path, tmp_path: Path) -> None:
    (here / "labels.json").write_text('["a", "b", "c", "d"]')
    make, says = FOLDERS[case]
    result = audited(here, tmp_path / "out", "--reference", make(here, tmp_path / "maps"))
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(("labels", "says"), [
    (["cat", "dog", "bird", "cow"], "the reference calls its classes otherwise: 0 is 'cat' there, and 'red' here"),
    (["green", "red", "blue", "yellow"], "has the model's classes in another order: 0 is 'green' there, and 'red'"),
])  # fmt: skip
def test_a_reference_with_other_classes_is_refused(labels: list[str], says: str, here: Path, tmp_path: Path) -> None:
    other = saved(seeing(labels=labels), tmp_path / "other.onnx")
    result = audited(here, tmp_path / "out", "--reference", other)
    assert result.exit_code == 2
    assert says in result.stderr
    (tmp_path / "labels.json").write_text(json.dumps([*COLOURS]))
    same = audited(here, tmp_path / "out", "--reference", other, "--labels", tmp_path / "labels.json")
    assert same.exit_code == 0


def change_masks(root: Path) -> None:
    for mask in (root / "given").rglob("*.png"):
        inverted = 255 - np.asarray(Image.open(mask).convert("L"))
        Image.fromarray(inverted).save(mask)


def change_preset(root: Path) -> None:
    text = (root / "given.toml").read_text()
    (root / "given.toml").write_text(text.replace("epsilon", "z-plus"))


def change_maps(root: Path) -> None:
    for file in (root / "given").glob("*.npz"):
        with np.load(file) as stored:
            turned = {layer: stored[layer][..., ::-1] for layer in stored.files}
        np.savez(file, **turned)


CHANGES: dict[str, tuple[Callable[[Path, Path], list[Any]], Callable[[Path], None], str]] = {
    "masks": (lambda root, to: ["--masks", shutil.copytree(root / "masks", to / "given")], change_masks, "places.mass"),
    "preset": (lambda root, to: ["--preset", preset(to / "given.toml")], change_preset, "looking.entropy"),
    "reference": (lambda root, to: ["--reference", shutil.copytree(root / "maps", to / "given")], change_maps,
                  "drift.cosine"),
}  # fmt: skip


def preset(file: Path) -> Path:
    file.write_text('[[rules]]\nmatch = "*"\nrule = "epsilon"\n')
    return file


@pytest.mark.parametrize("case", CHANGES)
def test_an_audit_goes_on_with_what_files_hold_now(
    case: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, and what it is given changed under its name: the figures are those of an audit that begins then."""
    for picture in (here / "in").rglob("*.png"):
        mask = here / "masks" / picture.relative_to(here / "in")
        mask.parent.mkdir(parents=True, exist_ok=True)
        half = np.zeros((32, 32), np.uint8)
        half[:12] = 255
        Image.fromarray(half).save(mask)
    give, change, measure = CHANGES[case]
    options, original = give(here, tmp_path), store.Store.add

    def add(self: Any, experiment: str, *rest: Any) -> None:
        if experiment == "weights":
            raise KeyboardInterrupt
        original(self, experiment, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(store.Store, "add", add)
        assert "goes on where it stopped" in audited(here, tmp_path / "again", *options).stderr
    change(tmp_path)
    for out in ("again", "anew"):
        assert audited(here, tmp_path / out, *options).exit_code == 0
    again, anew = (figure(report(tmp_path / out), measure) for out in ("again", "anew"))
    assert again == anew


def standardising(scale: float = 1.0, *, maps: bool = False) -> onnx.ModelProto:
    """Divides each picture by its deviation: 0 / 0 in one of one colour, in the scores or (``maps``) beside them."""
    net = Net("N", 3, 32, 32)
    whole = {"keepdims": 1}
    axes = np.array([1, 2, 3])
    moved = net("Sub", net.x, net("ReduceMean", net.x, axes, **whole))
    deviation = net("Sqrt", net("ReduceMean", net("Mul", moved, moved), axes, **whole))
    x = net("Relu", net.conv(net("Div", moved, deviation), 3, 8, stride=2), name="stage")
    model = net.model(net.head(net("Mul", x, np.float32(scale)), 8))
    onnx.helper.set_model_props(model, {"relcam.preprocess": json.dumps({"size": [32, 32], "resize": "squash"})})
    return model


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of which one has one colour; a model that has no numbers of that, and another that has."""
    root = tmp_path_factory.mktemp("uneven")
    saved(standardising(), root / "nan.onnx")
    saved(standardising(2), root / "other.onnx")
    saved(shifted(0, 5, sigmoid=False), root / "sound.onnx")
    folder(root / "in", 1)
    Image.new("RGB", (32, 32)).save(root / "in" / "uniform.png")
    return root


@pytest.mark.parametrize("kind", ["alone", "both", "reference", "maps"])
def test_a_picture_without_numbers_is_named_and_the_rest_measured(kind: str, uneven: Path, tmp_path: Path) -> None:
    """Twice: what stands of an interrupted run does not kill the next one either."""
    names = {"alone": ("nan", None), "both": ("nan", "other"), "reference": ("sound", "nan"), "maps": ("sound", "nan")}
    model, reference = names[kind]
    given: list[Any] = ["--reference", uneven / f"{reference}.onnx"] if reference else []
    if kind == "maps":
        given[1] = explained_amiss(uneven, tmp_path / "maps")
    for _ in range(2):
        result = relcam("audit", uneven / f"{model}.onnx", uneven / "in", "-o", tmp_path / "out", *given)
        assert result.exit_code == 1, result.output
        found = report(tmp_path / "out")
        (failed,) = found["failed"]
        assert failed["file"].endswith("uniform.png")
        who = f"the model {model}" if kind in ("alone", "both") else "the reference nan"
        assert who in failed["error"] or (kind == "maps" and "reference" in failed["error"])
        assert "no numbers (NaN or infinity)" in failed["error"]
        assert len(found["pictures"]) == 4
        assert all(f["size"] == 4 for f in found["figures"] if f["name"] in ("drift.kl", "looking.entropy"))
        assert "uniform.png" in result.stderr


def explained_amiss(root: Path, maps: Path) -> Path:
    """A folder of maps, of which one holds NaN."""
    asked = ("explain", root / "sound.onnx", root / "in", "-o", maps, "--format", "npz")
    assert relcam(*asked).exit_code == 0
    (file,) = maps.glob("*uniform*.npz")
    with np.load(file) as stored:
        changed = {name: stored[name] * np.nan for name in stored.files}
    np.savez(file, **changed)
    return maps


def test_an_interrupted_audit_of_such_a_picture_goes_on(
    uneven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("audit", uneven / "sound.onnx", uneven / "in", "-o", tmp_path / "out", "--reference", uneven / "nan.onnx")
    keep = store.Store.add

    def add(self: Any, experiment: str, *rest: Any) -> None:
        keep(self, experiment, *rest)
        if experiment == "deletion":
            raise KeyboardInterrupt

    monkeypatch.setattr(store.Store, "add", add)
    relcam(*asked)
    monkeypatch.undo()
    assert (tmp_path / "out" / ".work").exists()
    assert relcam(*asked).exit_code == 1
    found = report(tmp_path / "out")
    assert [Path(each["file"]).name for each in found["failed"]] == ["uniform.png"]
    assert figure(found, "looking.entropy")["size"] == 4
