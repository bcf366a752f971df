"""The command line: what it writes, what it says, and how it ends."""

import errno
import hashlib
import json
import os
import re
import resource
import struct
import subprocess
import sys
import threading
import zlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.external_data_helper
import pytest
from nets import Net, plain
from PIL import Image
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx import files, sources
from relcam_onnx.ahead import ahead, session_options
from relcam_onnx.cli import app
from relcam_onnx.pictures.finding import find_pictures
from relcam_onnx.results import report
from relcam_onnx.runners.options import own_options

ROOT = Path(__file__).parents[1]
LITE = ROOT / "models" / "efficientnet-lite0.onnx"
LABELS = ["cat", "dog", "crane", "ship", "crane"]


def relcam(*arguments):
    """Run in this process; every failure must be told in lines of our own, never in a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert all(line.startswith("relcam: ") for line in result.stderr.splitlines()), result.stderr
    return result


def refused(*arguments):
    """The one line on stderr of a command that could do nothing."""
    result = relcam(*arguments)
    errors = [line for line in result.stderr.splitlines() if line.startswith("relcam: error: ")]
    assert (result.exit_code, len(errors), result.stdout) == (2, 1, "")
    return errors[0]


def results(folder):
    return json.loads((folder / "results.json").read_text())


def noise(path, height=40, width=60, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def stored(path, model):
    onnx.helper.set_model_props(
        model,
        {"relcam.labels": json.dumps(LABELS), "relcam.preprocess": '{"size": [32, 32], "resize": "squash"}'},
    )
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def model(tmp_path):
    return stored(tmp_path / "model.onnx", plain())


@pytest.fixture
def picture(tmp_path):
    return noise(tmp_path / "a.png")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# What it does.


def test_the_committed_model_knows_the_cat(out):
    result = relcam("explain", LITE, ROOT / "examples" / "cat.jpg", "-o", out, "--mask", "--format", "png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("cat.jpg: 282 tiger cat 37 %\n")
    image = results(out)["images"][0]
    assert image["targets"][0]["label"] == "tiger cat"
    size = Image.open(ROOT / "examples" / "cat.jpg").size
    assert (image["width"], image["height"]) == size
    assert len(image["layers"]) == 5
    for (entry,) in image["layers"].values():
        assert Image.open(out / entry["png"]).size == Image.open(out / entry["mask"]["png"]).size == size
        assert entry["maximum"] > 0


def test_python_and_the_command_line_write_the_same(model, picture, out, tmp_path):
    formats = ("sheet", "png", "html")
    options = [f"--format={name}" for name in formats]
    assert relcam("explain", model, picture, "-o", out, "--target", "ship", "--mask", *options).exit_code == 0
    rc.explain(model, picture, "ship").save(tmp_path / "python", formats, mask=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "python").iterdir()
    }


def test_the_default_is_what_python_writes_by_default(model, picture, out, tmp_path):
    assert relcam("explain", model, picture, "-o", out).exit_code == 0
    rc.explain(model, picture).save(tmp_path / "python")
    assert {p.name for p in out.iterdir()} == {"a.jpg", "a.npz", "index.html", "results.json"}
    assert {p.name for p in (tmp_path / "python").iterdir()} == {p.name for p in out.iterdir()}
    assert results(out) == results(tmp_path / "python")


def test_masks_go_by_a_rule(model, picture, out):
    assert relcam("explain", model, picture, "-o", out, "--mask-rule", "0.5").exit_code == 0
    (entry,) = results(out)["images"][0]["layers"]["fused"]
    assert results(out)["options"]["mask_rule"] == entry["mask"]["rule"] == "0.5"
    wanted = rc.segment(rc.explain(model, picture).heat(), 0.5)
    assert entry["mask"]["area"] == wanted.sum()
    message = refused("explain", model, picture, "-o", out, "--mask-rule", "biggest")
    assert all(rule in message for rule in ("biggest", "mass=0.8", "deviation", "otsu", "a number"))


def test_folders_and_globs_batches_and_names(model, out, tmp_path):
    for place, name in enumerate(["one/a.png", "two/a.png", "two/b.png", "two/sub.c/a.jpg", "two/c.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        noise(tmp_path / name, seed=place)
    sources = [tmp_path / "one", f"{tmp_path}/two/*.png", tmp_path / "two"]
    assert relcam("explain", model, *sources, "-o", out, "--batch", 2, "--layer", "fused").exit_code == 0
    names = {path.name for path in out.iterdir() if path.suffix == ".npz"}
    assert names == {"a.npz", "a-2.npz", "b.npz", "c.npz", "sub.c-a.npz"}
    for image in results(out)["images"]:
        with np.load(out / image["layers"]["fused"][0]["file"]) as maps:
            alone = rc.explain(model, image["file"], layers="fused")
            np.testing.assert_allclose(maps["fused"], alone.maps["fused"][0], rtol=0, atol=1e-5)


def test_the_same_again_has_no_results_among_its_pictures(model, tmp_path, monkeypatch):
    noise(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert relcam("explain", model, ".", "-o", "out", "--format", "sheet", "--format", "png").exit_code == 0
        assert [image["file"] for image in results(tmp_path / "out")["images"]] == ["a.png"]


@pytest.mark.parametrize("second", [".", "other"])
def test_what_was_drawn_among_the_pictures_is_no_picture(second, model, tmp_path, monkeypatch):
    noise(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    for out in (".", second):
        drawn = ("--format", "sheet", "--format", "png", "--mask")
        assert relcam("explain", model, ".", "-o", out, *drawn).exit_code == 0
        assert [image["file"] for image in results(Path(out))["images"]] == ["a.png"]
    (tmp_path / "results.json").write_text('{"images": [{"sheet": "of another tool"}]}')
    assert len(find_pictures(["."])[0]) > 1


def test_options_reach_the_engine(model, picture, out):
    chosen = {"method": "relevance-cam", "preset": "paper", "seed": "clrp", "output": "scores", "backend": "eager"}
    options = [f"--{name}={value}" for name, value in chosen.items()]
    options += ["--layer=stage2", "--layer=last", "--provider=cpu", "--threads=1", "--preprocess=unit", "--format=npz"]
    assert relcam("explain", model, picture, "-o", out, *options).exit_code == 0
    asked = results(out)["options"]
    assert {name: asked[name] for name in chosen} == chosen
    assert asked["layers"] == [
        {"name": "stage2", "tensor": "stage2", "stride": 2.0},
        {"name": "stride4", "tensor": "stage4", "stride": 4.0},
    ]
    assert asked["preprocess"]["resize"] == "shorter"
    assert not list(out.glob("*.png"))


def test_targets_by_index_label_and_rank(model, picture, out):
    wanted = ["--target", 3, "--target", "dog", "--target", -2, "--top", 2]
    assert relcam("explain", model, picture, "-o", out, *wanted).exit_code == 0
    order = np.argsort(-rc.explain(model, picture).scores[0], kind="stable")
    found = [target["index"] for target in results(out)["images"][0]["targets"]]
    assert found == [3, 1, order[1], order[0], order[1]]


def test_a_number_that_is_a_label_and_an_index(model, picture, out, tmp_path):
    (tmp_path / "names.txt").write_text("3\n4\n0\n1\n2")
    done = relcam("explain", model, picture, "-o", out, "--labels", tmp_path / "names.txt", "--target", "3")
    assert "relcam: note: target '3' is the label of class 0, which is taken" in done.stderr
    assert results(out)["images"][0]["targets"][0]["index"] == 0


def test_labels_from_a_file(model, picture, out, tmp_path):
    (tmp_path / "names.txt").write_text("v\nw\nx\ny\nz\n")
    names = ["--labels", tmp_path / "names.txt", "--target", "w"]
    assert relcam("explain", model, picture, "-o", out, *names).exit_code == 0
    assert results(out)["images"][0]["targets"][0]["label"] == "w"


def test_a_preset_file(model, picture, out, tmp_path):
    (tmp_path / "mine.toml").write_text('seed = "logit"\n[[rules]]\nmatch = "*"\nrule = "z-plus"\n')
    result = relcam("explain", model, picture, "-o", out, "--preset", tmp_path / "mine.toml")
    assert (result.exit_code, results(out)["options"]["preset"]) == (0, "mine")


def test_overlays_and_boxes_lie_in_the_upright_picture(model, out, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert relcam("explain", model, tmp_path / "turned.jpg", "-o", out, "--format", "png").exit_code == 0
    image = results(out)["images"][0]
    assert (image["width"], image["height"]) == (40, 60)
    assert Image.open(out / "turned.fused.png").size == (40, 60)


def test_layers_as_a_table_and_as_json(model):
    rows = json.loads(relcam("layers", model, "--json").stdout)
    assert rows == [vars(row) | {"shape": list(row.shape)} for row in rc.layers(model)]
    assert [row["name"] for row in rows if row["stage"]] == ["stage1", "stage2", "stage4"]
    table = relcam("layers", model).stdout
    assert all(row["name"] in table for row in rows)


def test_the_version():
    assert relcam("--version").stdout == f"relcam-onnx {rc.__version__}\n"


@pytest.mark.parametrize("command", [[], ["explain"], ["layers"], ["compile"], ["export"]])
def test_help_speaks_of_options_not_of_types(command):
    shown = relcam(*command, "--help").stdout
    assert not re.search(r"<(bool|str|int|float|path|list|file)|\{|BOOLEAN|\(default\)", shown, re.IGNORECASE)
    usage = next(line.split() for line in shown.splitlines() if "Usage:" in line)
    arguments = {"explain": "MODEL PICTURES...", "layers": "MODEL", "compile": "MODEL", "export": "ARCH"}
    wanted = arguments[command[0]] if command else "COMMAND [ARGS]..."
    assert " ".join(usage).endswith(f"[OPTIONS] {wanted}")


def test_results_come_in_order_while_the_next_are_made():
    made = []

    def job(number):
        made.append(number)
        if number == 9:
            raise OSError("no more")
        return number

    taken = ahead((partial(job, number) for number in range(1, 20)), 2)
    assert next(taken) == 1
    assert len(made) <= 5  # the one taken, and four that wait or are being made
    assert [next(taken) for _ in range(7)] == list(range(2, 9))
    with pytest.raises(OSError, match="no more"):
        next(taken)
    assert list(ahead(iter(()))) == []


def test_jobs_run_at_the_same_time():
    together = threading.Barrier(2, timeout=30)
    assert len(list(ahead([together.wait] * 4, 2))) == 4


def test_whoever_stops_early_stops_the_making():
    made = []
    taken = ahead((partial(made.append, number) for number in range(100)), 2)
    next(taken)
    taken.close()
    assert len(made) < 10


@pytest.mark.parametrize(("threads", "at_once", "each"), [(None, 1, 0), (3, 1, 3), (8, 2, 4), (1, 2, 1)])
def test_runs_at_a_time_share_the_threads(threads, at_once, each):
    assert session_options(threads, at_once, log=4).intra_op_num_threads == each


@pytest.mark.parametrize("options", [session_options(2, 1, log=4), own_options(2)])
def test_products_of_8_bits_are_exact_from_python_and_from_the_command_line(options):
    assert options.get_session_config_entry("session.x64quantprecision") == "1"


def test_export_passes_its_options_on(monkeypatch, out):
    given = []
    fake = SimpleNamespace(run_export=lambda *places, **options: given.append((places, options)))
    monkeypatch.setitem(sys.modules, "relcam_exporters.cli", fake)
    assert relcam("export", "resnet18", "-o", out, "--size", 64, 96, "--fixed", "--activation", "layer4").exit_code == 0
    (((arch, path), options),) = given
    assert (arch, path) == ("resnet18", out)
    assert options == {
        "size": (64, 96),
        "dynamic": False,
        "batch_norm": "fused",
        "activations": ["layer4"],
        "weights": "default",
        "seed": 0,
        "exporter": "dynamo",
        "opset": 18,
        "half": False,
        "quantize": (),
    }


def test_export_without_torch_says_what_to_install(out):
    code = "import sys; sys.modules['torch'] = None; from relcam_onnx.cli import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "export", "resnet18", "-o", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "pip install" in ended.stderr


# Some pictures fail: exit code 1, and every other result is there.


def test_pictures_that_fail_are_named_and_the_others_kept(model, picture, out, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    whole = noise(tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    sources = [tmp_path / "text.png", picture, tmp_path / "cut.png", tmp_path / "none.png", tmp_path / "*.webp"]
    result = relcam("explain", model, *sources, "-o", out)
    assert result.exit_code == 1
    assert [image["file"] for image in results(out)["images"]] == [str(picture)]
    failed = {Path(entry["file"]).name: entry["error"] for entry in results(out)["failed"]}
    assert set(failed) == {"text.png", "cut.png", "none.png", "*.webp"}
    assert len(result.stderr.splitlines()) == 4
    assert all(name in result.stderr for name in failed)
    assert "save it as PNG" in failed["text.png"]


def test_all_pictures_fail(model, out, tmp_path):
    assert relcam("explain", model, tmp_path / "none.png", "-o", out).exit_code == 1
    assert results(out)["images"] == []


def test_a_decompression_bomb_is_refused(model, picture, out, tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    result = relcam("explain", model, tmp_path / "bomb.png", picture, "-o", out)
    assert (result.exit_code, len(results(out)["images"])) == (1, 1)
    assert "decompression bomb" in results(out)["failed"][0]["error"]
    assert "--max-pixels" in results(out)["failed"][0]["error"]


def test_as_many_pixels_as_the_user_allows(model, out, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    large = noise(tmp_path / "large.png")  # 2400 pixels
    assert relcam("explain", model, large, "-o", out).exit_code == 1
    assert relcam("explain", model, large, "-o", out, "--max-pixels", 2400).exit_code == 0
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_heic_among_jpegs_is_named(model, out, tmp_path):
    noise(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    result = relcam("explain", model, tmp_path / "in", "-o", out)
    assert (result.exit_code, len(results(out)["images"])) == (1, 1)
    (failed,) = results(out)["failed"]
    assert Path(failed["file"]).name == "b.HEIC"
    assert "convert it to JPEG" in failed["error"]
    assert "b.HEIC" in result.stderr


def test_a_batch_that_fails_is_tried_one_by_one(model, out, tmp_path, monkeypatch):
    for place in range(4):
        noise(tmp_path / "in" / f"{place}.png", seed=place)
    Image.new("RGB", (32, 32), "white").save(tmp_path / "in" / "2.png")
    call = rc.Explainer.__call__

    def short_of_memory(self, x, targets=None, **more):
        if (x.min(axis=(1, 2, 3)) > 0.99).any():
            raise MemoryError
        return call(self, x, targets, **more)

    monkeypatch.setattr(rc.Explainer, "__call__", short_of_memory)
    result = relcam("explain", model, tmp_path / "in", "-o", out)
    assert result.exit_code == 1
    assert [Path(image["file"]).stem for image in results(out)["images"]] == ["0", "1", "3"]
    assert "2.png: MemoryError" in result.stderr


def test_what_many_runs_cost_is_said_beforehand(model, out, tmp_path):
    noise(tmp_path / "in" / "a.png")
    result = relcam(
        "explain", model, tmp_path / "in", "-o", out, "--method", "rise", "--samples", "12", "--random-state", "3"
    )
    assert result.exit_code == 0
    assert "note: method 'rise' runs the model 13 times for each picture" in result.stderr
    assert results(out)["options"]["method"] == "rise"


def test_a_record_grows_by_a_line_a_picture(model, out, tmp_path):
    for place in range(2):
        noise(tmp_path / "in" / f"{place}.png", seed=place)
    file = tmp_path / "record.jsonl"
    for _ in range(2):
        assert relcam("explain", model, tmp_path / "in", "-o", out, "--record", file, "--top", "2").exit_code == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [Path(line["picture"]["file"]).stem for line in lines] == ["0", "1", "0", "1"]
    first = lines[0]
    assert first["picture"]["sha256"] == hashlib.sha256((tmp_path / "in" / "0.png").read_bytes()).hexdigest()
    assert first["model"]["sha256"] == hashlib.sha256(Path(model).read_bytes()).hexdigest()
    assert len(first["targets"]) == 2
    assert {"probability", "margin", "index"} <= set(first["targets"][0])
    assert all((Path(first["folder"]) / entry["file"]).exists() for entry in first["layers"]["fused"])
    refused = relcam("explain", model, tmp_path / "in", "-o", out, "--record", tmp_path / "none" / "a.jsonl")
    assert refused.exit_code == 2
    assert "record: cannot write" in refused.stderr


def test_baselines_are_pictures(model, out, tmp_path):
    noise(tmp_path / "in" / "a.png")
    noise(tmp_path / "b.png", seed=1)
    asked = ("explain", model, tmp_path / "in", "-o", out, "--method", "expected-gradients", "--samples", "4")
    assert relcam(*asked).exit_code == 2
    assert relcam(*asked, "--baseline", tmp_path / "b.png").exit_code == 0
    none = relcam(*asked, "--baseline", tmp_path / "c.png")
    assert none.exit_code == 2
    assert "c.png" in none.stderr


def test_an_interrupted_run_keeps_what_it_has(model, out, tmp_path, monkeypatch):
    for place in range(3):
        noise(tmp_path / "in" / f"{place}.png")
    read = sources.read_pixels

    def interrupted(source, needed, **options):
        if source.stem == "2":
            raise KeyboardInterrupt
        return read(source, needed, **options)

    monkeypatch.setattr(sources, "read_pixels", interrupted)
    result = relcam("explain", model, tmp_path / "in", "-o", out, "--batch", 1)
    assert result.exit_code == 1
    assert "interrupted" in result.stderr
    found = results(out)
    assert [Path(image["file"]).stem for image in found["images"]] == ["0", "1"]
    assert [Path(entry["file"]).stem for entry in found["failed"]] == ["2"]


def test_a_full_disk_keeps_what_is_written(model, out, tmp_path, monkeypatch):
    for place in range(3):
        noise(tmp_path / "in" / f"{place}.png")
    write = report.whole

    def full(path):
        if path.name == "1.npz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path)

    monkeypatch.setattr(report, "whole", full)
    result = relcam("explain", model, tmp_path / "in", "-o", out)
    assert result.exit_code == 1
    assert re.fullmatch(
        r"relcam: error: cannot write to '.*out' \(No space left .*1 of 3 pictures are done\n", result.stderr
    )
    assert [Path(image["file"]).stem for image in results(out)["images"]] == ["0"]
    assert [Path(entry["file"]).stem for entry in results(out)["failed"]] == ["1", "2"]
    assert {path.name.split(".")[0] for path in out.iterdir()} == {"0", "index", "results"}


def test_a_disk_that_is_full_from_the_start(model, picture, out, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(report, "whole", full)
    result = relcam("explain", model, picture, "-o", out)
    assert result.exit_code == 2
    assert "make room" in result.stderr
    assert not list(out.iterdir())


# Nothing can be done: exit code 2 and one line.


def broken(name):
    """The bytes of a model that is none, or of one that cannot be explained, and what is said of it."""
    good = plain().SerializeToString()
    if name == "truncated":
        return good[: len(good) // 2], "truncated"
    if name == "empty":
        return b"", "empty"
    if name == "text":
        return b"not a model", "no ONNX"
    if name == "picture":
        return b"\x89PNG\r\n\x1a\n", "PNG"
    if name == "NaN in the weights":
        model = plain()
        weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
        weight[0] = np.nan
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, model.graph.initializer[0].name))
        return model.SerializeToString(), "NaN"
    net = Net("N", 3, 32, 32)
    x = net("Relu", net.conv(net.x, 3, 4), name="stage")
    if name == "no spatial layer":
        net = Net("N", 3, 32, 32)
        model = net.model(net.dense(net("Flatten", net.x), 3 * 32 * 32, 5))
        return model.SerializeToString(), "lrp"
    if name == "scores of another shape":
        return net.model(net("Unsqueeze", x, np.array([4]), name="dense_map")).SerializeToString(), "dense_map"
    if name == "a custom op":
        x = net("Gate", x, name="gate", domain="com.acme")
        pooled = net("Flatten", net("GlobalAveragePool", x))
        weight = net.normal(5, 4)
        value = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", 5])
        model = net.model(net("Gemm", pooled, weight, transB=1, name="scores"), domains=["com.acme"])
        model.graph.output[0].CopyFrom(value)
        return model.SerializeToString(), "com.acme::Gate"
    assert name == "If on the path"
    branches = {}
    for place, op in enumerate(("Relu", "Neg")):
        inner = onnx.helper.make_node(op, [x], [f"inner{place}"])
        output = onnx.helper.make_tensor_value_info(f"inner{place}", onnx.TensorProto.FLOAT, ["N", 4, 32, 32])
        branches["else_branch" if place else "then_branch"] = onnx.helper.make_graph([inner], f"b{place}", [], [output])
    mean = net("ReduceMean", net.x, np.array([0, 1, 2, 3]), keepdims=0)
    condition = net("Greater", mean, 0.0)
    return net.model(net.head(net("If", condition, name="choice", **branches), 4)).SerializeToString(), "If"


@pytest.mark.parametrize(
    "name",
    [
        "truncated", "empty", "text", "picture", "NaN in the weights", "no spatial layer", "scores of another shape",
        "a custom op", "If on the path",
    ],
)  # fmt: skip
def test_models_that_cannot_be_explained(name, picture, out, tmp_path):
    data, word = broken(name)
    (tmp_path / "bad.onnx").write_bytes(data)
    below = ["--layer", "stage"] if name == "If on the path" else []  # the layers above it have their maps
    assert word in refused("explain", tmp_path / "bad.onnx", picture, "-o", out, "--preprocess", "unit", *below)
    assert not out.exists()


def test_a_model_that_fails_once_sizes_are_known_ends_it_all(picture, out, tmp_path):
    """How many rows a Slice with steps takes hangs on the picture's values: no compiled file knows its way back."""
    net = Net("N", 3, "h", "w")
    largest = net("ReduceMax", net.x, keepdims=0)
    end = net("Add", net("Reshape", net("Cast", largest, to=onnx.TensorProto.INT64), np.array([1])), np.array([4]))
    x = net("Slice", net("Relu", net.conv(net.x, 3, 4)), np.array([0]), end, np.array([2]), np.array([2]), name="rows")
    path = stored(tmp_path / "steps.onnx", net.model(net.head(net("Relu", x), 4)))
    said = refused("explain", path, picture, noise(tmp_path / "b.png", seed=1), "-o", out)
    assert "needs a size that only a run knows, at Slice node 'rows', which reads" in said
    assert "--backend eager" in said
    assert relcam("explain", path, picture, "-o", out, "--backend", "eager").exit_code == 0


def test_a_missing_model_names_its_neighbour(model, picture, out, tmp_path):
    assert "did you mean 'model.onnx'?" in refused("explain", tmp_path / "modle.onnx", picture, "-o", out)
    assert "no such file" in refused("layers", tmp_path / "modle.onnx")


@pytest.mark.parametrize("place", ["missing.data", "../outside.data"])
def test_external_data_that_is_missing_or_outside(place, picture, out, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    model = plain()
    onnx.external_data_helper.convert_model_to_external_data(model, location="w.data", size_threshold=0)
    onnx.save(model, folder / "model.onnx")
    (tmp_path / "outside.data").write_bytes((folder / "w.data").read_bytes())
    moved = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in moved.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = place
    (folder / "model.onnx").write_bytes(moved.SerializeToString())
    assert Path(place).name in refused("explain", folder / "model.onnx", picture, "-o", out)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--layer", "stage3", "'stage3' (did you mean"),
        ("--target", "sheep", "'sheep' is no label"),
        ("--target", "crane", "2 classes: 2, 4"),
        ("--target", 5, "target 5 is out of range"),
        ("--top", 6, "ranks"),
        ("--top", 0, "--top"),
        ("--preset", "defualt", "did you mean 'default'"),
        ("--preset", "none.toml", "none.toml"),
        ("--method", "lime", "'lime'"),
        ("--method", "grad-cam --preset=paper", "gradient"),
        ("--seed", "logits", "did you mean 'logit'"),
        ("--seed", "given", "seed"),
        ("--provider", "cpv", "did you mean 'cpu'"),
        ("--backend", "fast", "eager"),
        ("--format", "gif", "sheet, png, npz, json, html"),
        ("--output", "probs", "scores"),
        ("--labels", "none.txt", "none.txt"),
        ("--preprocess", "imagnet", "did you mean 'imagenet'"),
        ("--batch", 0, "--batch"),
        ("--nonsense", 1, "--nonsense"),
    ],
)
def test_options_that_do_not_exist(model, picture, out, option, value, words):
    assert words in refused("explain", model, picture, "-o", out, option, *str(value).split(" "))


@pytest.mark.parametrize("arguments", [[], ["explain"], ["explain", "m.onnx"], ["explane"], ["layers"]])
def test_usage_errors(arguments):
    result = relcam(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == (1 if arguments else 0)


def test_an_output_that_is_a_file_or_lies_below_one(model, picture, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "cannot write" in refused("explain", model, picture, "-o", tmp_path / "file")
    assert "cannot write" in refused("explain", model, picture, "-o", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_that_may_not_be_written(model, picture, out, monkeypatch):
    def denied(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", denied)
    assert "(Permission denied)" in refused("explain", model, picture, "-o", out)


def test_a_guess_is_a_warning_of_one_line(picture, out, tmp_path):
    (tmp_path / "bare.onnx").write_bytes(plain().SerializeToString())
    result = relcam("explain", tmp_path / "bare.onnx", picture, "-o", out)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("relcam: warning: nothing says how pictures become this model's input")


def test_debug_shows_where(model, picture, out):
    result = CliRunner().invoke(app, ["explain", str(model), str(picture), "-o", str(out), "--layer", "y", "--debug"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "LayerError" in result.stderr


# As its own process.


def process(*arguments, **options):
    command = [sys.executable, "-m", "relcam_onnx", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_process_ends_with_the_codes(model, picture, out, tmp_path):
    assert process("explain", model, picture, "-o", out).returncode == 0
    assert process("explain", model, picture, tmp_path / "none.png", "-o", out).returncode == 1
    ended = process("explain", tmp_path / "none.onnx", picture, "-o", out)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)


def test_a_file_that_may_grow_no_further_fails_alone(model, out, tmp_path):
    """A limit of the system, in place of a full disk: large overlays cannot be written, small ones can."""
    noise(tmp_path / "in" / "a.png")
    noise(tmp_path / "in" / "b.png", 400, 400)
    limit = 60_000
    ended = process(
        "explain", model, tmp_path / "in", "-o", out, "--format", "png",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert {path.name.split(".")[0] for path in out.iterdir()} == {"a", "results"}
    assert len(results(out)["images"]) == 1


def test_whoever_stops_reading_does_not_cost_the_results(model, picture, out):
    command = [sys.executable, "-m", "relcam_onnx", "explain", str(model), str(picture), "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        running.stderr.read()
    assert len(results(out)["images"]) == 1
    assert results(out)["failed"] == []
