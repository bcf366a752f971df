"""`relcam batch` on one machine: rows against single explanations, every kind of source, kills and going on."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from batches import LABELS, encoded, map_of, mask_of, pictures, rows, said, stored, tarred
from nets import plain
from PIL import Image
from test_heads import pixels, planted, street
from typer.testing import CliRunner

import relcam_onnx as rc
from relcam_onnx.cli import app
from relcam_onnx.results.regions import Region
from relcam_onnx.results.sheet import encoded as encoded_sheet

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from relcam_onnx.batch import Request, explain_batch, stores  # noqa: E402 - needs the extra
from relcam_onnx.batch.units import find_units  # noqa: E402


def relcam(*arguments):
    """Run in this process; every failure must be told in lines of our own, never in a traceback."""
    result = CliRunner().invoke(app, ["batch", *(str(argument) for argument in arguments)])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert all(line.startswith("relcam: ") for line in result.stderr.splitlines()), result.stderr
    return result


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("sources") / "pictures", 7)


@pytest.fixture(scope="module")
def done(model, folder, tmp_path_factory):
    """A batch of the folder, in shards of three, and its result."""
    out = tmp_path_factory.mktemp("done") / "out"
    return relcam(folder, "-o", out, "-m", model, "--shard", 3, "--top", 2), out


def same_as_explained(row, explanation):
    """A row has what `rc.explain` says of the picture, the map to half a step of its scale."""
    assert (row["height"], row["width"]) == explanation.pictures[0].size
    assert row["error"] is None
    assert len(row["targets"]) == explanation.count()
    for place, target in enumerate(row["targets"]):
        assert target["index"] == explanation.classes[0, place]
        assert target["label"] == explanation.label(target["index"])
        assert target["probability"] == pytest.approx(explanation.probability[0, place], abs=1e-5)
        assert target["margin"] == pytest.approx(explanation.margin[0, place], abs=1e-4)
        assert target["score"] == pytest.approx(explanation.rows[0, place, target["index"]], abs=1e-4)
        assert target["doubt"] == explanation.doubt(0, place)
        assert [layer["layer"] for layer in target["layers"]] == list(explanation.maps)
        for layer in target["layers"]:
            values = explanation.maps[layer["layer"]][0, place]
            assert layer["maximum"] == pytest.approx(values.max(), rel=1e-3, abs=1e-6)
            assert layer["sum"] == pytest.approx(values.sum(), rel=1e-3, abs=1e-5)
        wanted = explanation.maps["fused"][0, place]
        np.testing.assert_allclose(map_of(target), wanted, atol=target["map"]["scale"] * 0.51 + 1e-6)
        region = Region.of(explanation, "fused", place)
        assert (mask_of(target["mask"]) != region.mask).mean() < 0.01  # cells at the very edge of 80 %
        assert target["mask"]["area"] == mask_of(target["mask"]).sum()
        left, top, right, bottom = target["mask"]["box"]
        there = np.argwhere(mask_of(target["mask"]))
        assert [top, left] == there.min(axis=0).tolist()
        assert [bottom, right] == (there.max(axis=0) + 1).tolist()


def test_rows_say_what_explain_says(done, model, folder):
    result, out = done
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("7 pictures in 3 shards: ")
    assert sorted(path.name for path in out.iterdir()) == [
        "_relcam.json", *(f"part-{number:06}-0000.parquet" for number in range(3)),
    ]  # fmt: skip
    found = rows(out)
    assert [row["file"] for row in found] == [str(path) for path in sorted(folder.iterdir())]
    for row in found:
        same_as_explained(row, rc.explain(str(model), row["file"], [[-1, -2]]))


@pytest.mark.parametrize("head", ["detector", "segmenter"])
def test_other_heads_go_through(head, tmp_path):
    if head == "detector":
        model = stored(tmp_path / "model.onnx", planted("corners"), ["red", "green"])
        sources = [street(64, 64), np.full((32, 32, 3), 90, np.uint8)]
    else:
        model = stored(tmp_path / "model.onnx", pixels(), ["background", "road", "sky", "tree"])
        sources = [np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8) for seed in range(3)]
    for number, each in enumerate(sources):
        Image.fromarray(each).save(tmp_path / f"{number}.png")
    assert relcam(tmp_path / "*.png", "-o", tmp_path / "out", "-m", model).exit_code == 0
    for row, source in zip(rows(tmp_path / "out"), sources, strict=True):
        explanation = rc.explain(str(model), source)
        same_as_explained(row, explanation)
        if head == "detector":
            boxes = [target["box"] for target in row["targets"]]
            assert boxes == [pytest.approx(each.box) for each in explanation.detections[0]]
    assert relcam(tmp_path / "*.png", "-o", tmp_path / "said", "-m", model, "--where", "score > 1e9").exit_code == 0
    for row, full in zip(rows(tmp_path / "said"), rows(tmp_path / "out"), strict=True):
        assert (row["explained"], full["explained"]) == (False, True)
        assert [target["box"] for target in row["targets"]] == [target["box"] for target in full["targets"]]
        assert [target["index"] for target in row["targets"]] == [target["index"] for target in full["targets"]]


def bytes_of(folder):
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def as_tar(folder, path):
    noted = [("a/", b""), ("0000.json", b"{}")]
    return tarred(path.with_suffix(".tar.gz"), [*noted, *bytes_of(folder)], "w:gz")


def as_parquet(column, folder, path):
    """Hugging Face's image column, one of bytes, one of paths; in two row groups, beside another column."""
    named = bytes_of(folder)
    values = {
        "image": [{"bytes": data, "path": name} for name, data in named],
        "jpeg": [data for _, data in named],
        "file_name": [f"pictures/{name}" for name, _ in named],
    }[column]
    pq.write_table(pa.table({"id": list(range(7)), column: values}), path.with_suffix(".parquet"), row_group_size=4)
    return path.with_suffix(".parquet")


SOURCES = {
    "tar": as_tar,
    **{f"parquet, {column}": partial(as_parquet, column) for column in ("image", "jpeg", "file_name")},
}


@pytest.mark.parametrize("kind", SOURCES)
def test_tar_and_parquet_files_give_the_rows_of_a_folder(kind, done, model, folder):
    source = SOURCES[kind](folder, folder.parent / kind.replace(", ", "-"))
    out = folder.parent / f"{source.name}-out"
    assert relcam(source, "-o", out, "-m", model, "--shard", 3, "--top", 2).exit_code == 0
    assert sorted(path.name for path in out.glob("*.parquet")) == [f"part-000000-000{n}.parquet" for n in range(3)]
    found = rows(out)
    assert [said(row) for row in found] == [said(row) for row in rows(done[1])]
    assert {row["file"] for row in found} == {str(source)}
    assert [row["row"] for row in found] == list(range(7))
    if kind != "parquet, jpeg":
        assert [Path(row["member"]).name for row in found] == [name for name, _ in bytes_of(folder)]


def test_a_broken_picture_is_a_row_with_its_error(model, tmp_path):
    folder = pictures(tmp_path / "in", 3)
    (folder / "0001.png").write_bytes(encoded(1)[:300])
    (folder / "0002.png").write_text("no picture")
    bad = tarred(tmp_path / "in" / "more.tar", [("x/../../\x1b[31mred.png", b"?"), ("ok.png", encoded(0))])
    with bad.open("r+b") as file:
        file.truncate(bad.stat().st_size - 8192)
    result = relcam(folder, "-o", tmp_path / "out", "-m", model)
    found = rows(tmp_path / "out")
    assert result.exit_code == 1
    assert [row["error"] is None for row in found] == [True, False, False, False, False]
    assert found[0]["explained"]
    assert found[1]["error"].startswith(f"{folder}/0001.png: cannot be read as a picture")
    assert "is no picture that Pillow knows" in found[2]["error"]
    assert found[3]["member"] == r"x/../../\x1b[31mred.png"
    assert "is damaged or out of reach behind 1 pictures" in found[4]["error"]
    assert result.stderr.count("relcam: failed: ") == 4
    assert "\x1b" not in result.stderr
    assert not list(tmp_path.glob("*.png"))


def test_what_a_tar_file_hides_or_links_is_left_alone(model, tmp_path):
    import tarfile  # noqa: PLC0415

    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("a.png", tarfile.SYMTYPE), ("b.png", tarfile.LNKTYPE), ("c.png", tarfile.CHRTYPE)):
            told = tarfile.TarInfo(name)
            told.type, told.linkname = kind, "/etc/hostname"
            archive.addfile(told)
        archive.addfile(tarfile.TarInfo(".hidden/d.png"))
    assert relcam(path, "-o", tmp_path / "out", "-m", model).exit_code == 1
    (row,) = rows(tmp_path / "out")
    assert "holds no picture" in row["error"]


def test_a_bomb_in_a_tar_file_is_refused_as_one_in_a_folder_is(model, tmp_path):
    path = tarred(tmp_path / "x.tar", [("big.png", encoded(0, height=200, width=200)), ("small.png", encoded(1))])
    assert relcam(path, "-o", tmp_path / "out", "-m", model, "--max-pixels", 10_000).exit_code == 1
    big, small = rows(tmp_path / "out")
    assert f"{path}: big.png: refused as a decompression bomb" in big["error"]
    assert small["explained"]


def test_only_what_is_asked_for_is_explained(done, model, folder, tmp_path, monkeypatch):
    every = rows(done[1])
    sure = sorted(row["targets"][0]["probability"] for row in every)[3]
    out, said_of = tmp_path / "out", f"probability < {sure} and label in {LABELS}"
    result = relcam(folder, "-o", out, "-m", model, "--where", said_of)
    assert result.exit_code == 0
    for row, full in zip(rows(out), every, strict=True):
        top, wanted = row["targets"][0], full["targets"][0]
        assert row["explained"] is (wanted["probability"] < sure) is bool(top["layers"]) is (top["map"] is not None)
        for name in ("index", "label", "probability", "score", "margin", "doubt"):
            assert top[name] == (pytest.approx(wanted[name], abs=1e-5) if name != "label" else wanted[name])
    assert sum(row["explained"] for row in rows(out)) == 3


def test_asking_for_labels_that_are_not_there_is_said_at_once(folder, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(plain().SerializeToString())
    result = relcam(folder, "-o", tmp_path / "out", "-m", path, "--where", "label == 'cat'")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the model has none; give --labels" in result.stderr
    assert not list((tmp_path / "out").iterdir())


def test_a_number_that_is_a_label_and_an_index_is_told_as_explain_tells_it(model, folder, tmp_path):
    (tmp_path / "names.txt").write_text("3\n4\n0\n1\n2")
    asked = ["--labels", tmp_path / "names.txt", "--target", "3"]
    result = relcam(folder, "-o", tmp_path / "rows", "-m", model, *asked)
    assert result.exit_code == 0
    assert result.stderr.count("relcam: note: target '3' is the label of class 0, which is taken") == 1
    assert {row["targets"][0]["index"] for row in rows(tmp_path / "rows")} == {0}


def test_sheets_are_what_explain_draws(done, model, folder, tmp_path):
    assert relcam(folder / "0003.png", "-o", tmp_path / "out", "-m", model, "--sheets").exit_code == 0
    (row,) = rows(tmp_path / "out")
    assert row["sheet"] == "_sheets/part-000000-0000/000000-0003.jpg"
    drawn = encoded_sheet(rc.explain(str(model), folder / "0003.png").sheet())
    kept, wanted = (np.asarray(Image.open(each), int) for each in (tmp_path / "out" / row["sheet"], io.BytesIO(drawn)))
    assert np.abs(kept - wanted).mean() < 0.1


def test_a_run_that_was_killed_goes_on(model, tmp_path):
    """By a signal that nothing can catch, wherever it is; what stood then stands untouched."""
    source = tarred(tmp_path / "many.tar", [(f"{n:03}.png", encoded(n % 5)) for n in range(240)])
    out, command = tmp_path / "out", [sys.executable, "-m", "relcam_onnx", "batch", str(source), "--shard", "4"]
    with subprocess.Popen([*command, "-o", str(out), "-m", str(model)], stdout=subprocess.DEVNULL) as process:
        while len(list(out.glob("part-*.parquet"))) < 3:
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    assert 3 <= len(before) < 60
    assert all(pq.read_table(path).num_rows == 4 for path in before)
    (out / ".0123.part").write_bytes(b"half a shard")
    result = relcam(source, "-o", out, "-m", model, "--shard", 4)
    assert result.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert result.stdout.startswith(f"{240 - 4 * len(before)} pictures in {60 - len(before)} shards")
    found = rows(out)
    assert [row["row"] for row in found] == list(range(240))
    assert all(row["explained"] for row in found)
    again = relcam(source, "-o", out, "-m", model, "--shard", 4)
    assert again.stdout.startswith("0 pictures in 0 shards; ")


def test_errors_of_earlier_runs_count(model, folder, tmp_path):
    """Whoever runs it again to be sure learns what the first run said; also where that was killed on the way."""
    shutil.copytree(folder, tmp_path / "in")
    (tmp_path / "in" / "0000b.png").write_bytes(b"no picture")
    asked = (tmp_path / "in", "-o", tmp_path / "out", "-m", model, "--shard", 2)
    assert relcam(*asked).exit_code == 1
    again = relcam(*asked)
    assert (again.exit_code, again.stdout.count("1 pictures with errors in earlier shards")) == (1, 1)
    (*_, last) = sorted((tmp_path / "out").glob("part-*.parquet"))
    last.unlink()
    third = relcam(*asked)
    assert (third.exit_code, third.stdout.startswith("0 pictures")) == (1, False)


def test_an_error_of_the_disk_leaves_whole_shards(model, folder, tmp_path, monkeypatch):
    """The run stops, and a later one goes on."""
    written, write = [], stores.Folder.write

    def full(self, name, data):
        written.append(name)
        if len(written) == 3:
            raise rc.OptionError("the disk is full")
        write(self, name, data)

    request = Request(model, [str(folder)], str(tmp_path / "out"), shard=2)
    monkeypatch.setattr(stores, "whole", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(rc.OptionError, match=r"cannot be written .No space left on device."):
        explain_batch(request)
    monkeypatch.undo()
    monkeypatch.setattr(stores.Folder, "write", full)
    result = relcam(folder, "-o", tmp_path / "out", "-m", model, "--shard", 2)
    assert (result.exit_code, result.stderr) == (
        1,
        "relcam: error: the disk is full; the same command goes on where it stopped\n",
    )
    monkeypatch.undo()
    assert explain_batch(request).pictures == 5
    assert len(rows(tmp_path / "out")) == 7


@pytest.mark.parametrize(("options", "said"), [
    (["--where", "score < 1"], 'where was null, is "score < 1"'),
    (["--shard", 2], "shard was 3, is 2"),
    (["--method", "grad-cam"], 'method was "local-relevance-cam", is "grad-cam"'),
    (["--layer", "fused"], "the layers are others"),
    (["--sheets"], "sheets was false, is true"),
])  # fmt: skip
def test_only_the_same_run_can_go_on(options, said, done, model, folder):
    options = ["--shard", 3, *options] if "--shard" not in options else options
    result = relcam(folder, "-o", done[1], "-m", model, "--top", 2, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert "give another folder" in result.stderr


def test_other_pictures_or_another_model_do_not_go_on(model, folder, tmp_path):
    source = pictures(tmp_path / "in", 2)
    assert relcam(source, "-o", tmp_path / "out", "-m", model).exit_code == 0
    (source / "more.png").write_bytes(encoded(9))
    assert (
        "(the sources hold other files, or files of other sizes)"
        in relcam(source, "-o", tmp_path / "out", "-m", model).stderr
    )
    (source / "more.png").unlink()
    other = stored(tmp_path / "other.onnx", plain(bias=False))
    assert "(the model is another one)" in relcam(source, "-o", tmp_path / "out", "-m", other).stderr


def test_a_run_that_was_refused_stands_in_nobodys_way(model, folder, tmp_path):
    asked = (folder, "-o", tmp_path / "out", "-m", model)
    assert relcam(*asked, "--target", 99).exit_code == 2
    assert relcam(*asked, "--target", 3).exit_code == 0
    told = relcam(*asked, "--target", 99).stderr
    assert """targets was ["3"], is ["99"]""" in told


@pytest.mark.parametrize(("arguments", "said"), [
    (["nowhere/"], "holds nothing that can be read, or is not there"),
    (["{folder}", "--where", "size < 3"], "asks for 'size'"),
    (["{folder}", "--mask-rule", "best"], "no rule for regions is called 'best'"),
    (["{folder}", "--layer", "nothing"], "'nothing'"),
    (["{folder}", "--target", "nothing"], "'nothing'"),
    (["{folder}", "--num-gpus", 1], "are for engine 'ray'"),
    (["nothing://bucket/x.png"], "nothing://bucket/x.png: "),
])  # fmt: skip
def test_what_cannot_be_done_is_one_line(arguments, said, model, folder, tmp_path):
    arguments = [str(argument).format(folder=folder) for argument in arguments]
    result = relcam(*arguments, "-o", tmp_path / "out", "-m", model)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("relcam: error: ")
    assert said in line


@pytest.mark.parametrize(("table", "options", "said"), [
    ({"a": [b"x"], "b": [b"y"]}, [], "a, b could all be pictures; say which with --column"),
    ({"id": [1]}, [], "no column looks like pictures"),
    ({"id": [1], "jpg": [b"x"]}, ["--column", "jgp"], "did you mean 'jpg'?"),
    ({"id": [1], "jpg": [b"x"]}, ["--column", "id"], "no bytes, and no paths"),
])  # fmt: skip
def test_a_parquet_file_whose_column_is_not_clear(table, options, said, model, tmp_path):
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    result = relcam(tmp_path / "x.parquet", "-o", tmp_path / "out", "-m", model, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_parquet_file_from_elsewhere_reads_nothing_of_this_machine():
    from relcam_onnx.batch.tables import beside  # noqa: PLC0415

    assert beside("s3://bucket/data/x.parquet", "a/b.png") == "s3://bucket/data/a/b.png"
    assert beside("s3://bucket/data/x.parquet", "/etc/passwd") == "s3://bucket/etc/passwd"
    assert beside("s3://bucket/data/x.parquet", "../../../../etc/passwd") == "s3://bucket/etc/passwd"
    assert beside("data/x.parquet", "a/b.png") == "data/a/b.png"
    for path in ("file:///etc/passwd", "http://127.0.0.1/", "simplecache::file:///etc/passwd"):
        with pytest.raises(rc.InputError, match="is not where the Parquet file is"):
            beside("s3://bucket/data/x.parquet", path)


def test_units_are_the_same_in_every_run(tmp_path):
    pictures(tmp_path / "b", 5)
    pictures(tmp_path / "a", 2)
    for name in ("a/.hidden.png", "a/notes.txt", "out/_sheets/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for number in range(3):
        tarred(tmp_path / f"t-{number:02}.tar", [])
    units, digest = find_units([str(tmp_path)], str(tmp_path / "out"), 3, None)
    names = [[str(Path(file).relative_to(tmp_path)) for file in unit.files] for unit in units]
    assert names == [
        ["a/0000.png", "a/0001.png", "b/0000.png"], ["b/0001.png", "b/0002.png", "b/0003.png"], ["b/0004.png"],
        ["t-00.tar"], ["t-01.tar"], ["t-02.tar"],
    ]  # fmt: skip
    for dest in ("out", "b/../out"):
        assert find_units([str(tmp_path)], str(tmp_path / dest), 3, None) == (units, digest)
    (tmp_path / "b" / "part-000000-0000.parquet").write_bytes(b"x")
    (own,), _ = find_units([str(tmp_path / "b")], str(tmp_path / "b"), 9, None)  # into the source itself
    assert len(own.files) == 5
    braces, _ = find_units([str(tmp_path / "t-{01..02}.tar")], "out", 3, None)
    assert [unit.files for unit in braces] == [[str(tmp_path / f"t-0{n}.tar")] for n in (1, 2)]


def test_the_manifest_says_what_was_asked(done, model):
    kept = json.loads((done[1] / "_relcam.json").read_text())
    assert kept["options"]["method"] == "local-relevance-cam"
    assert (kept["shard"], kept["where"], kept["model"]) == (3, None, str(model))


def test_progress_has_a_rate_and_the_time_that_is_left(monkeypatch, capsys):
    from relcam_onnx.batch.steps import Plan, Step  # noqa: PLC0415
    from relcam_onnx.batch.units import Unit  # noqa: PLC0415
    from relcam_onnx.cli import batching  # noqa: PLC0415

    clock = iter(range(0, 10_000, 61))
    monkeypatch.setattr(batching.time, "monotonic", lambda: next(clock))
    plan = Plan([Unit(0, ["x.tar"], 400)], {0: 0})
    assert len(list(batching.following([Step(50, 100.0, 1, [])] * 2, plan))) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("relcam: note: 25%: 50 pictures, ")
    assert told[1].startswith("relcam: note: 50%: 100 pictures, ")
    assert batching.progress(120, 100.0, 400.0, 60.0) == "120 pictures, 2.0 a second, 0:03:00 left"


@pytest.mark.parametrize("source", [".", "*.png", "./0000.png", "../in/*.png", "{here}"])
def test_hidden_is_what_is_hidden_below_the_source(source, tmp_path, monkeypatch):
    folder = pictures(tmp_path / "in", 1)
    (folder / ".0001.png").write_bytes(encoded(1))
    monkeypatch.chdir(folder)
    (unit,), _ = find_units([source.format(here=folder)], "out", 9, None)
    assert [Path(file).resolve() for file in unit.files] == [folder / "0000.png"]
