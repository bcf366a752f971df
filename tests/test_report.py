"""Files that are whole or absent, names that do not meet, and what stands in results.json."""

import errno
import gc
import json
import string
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import Net, plain
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.files import LONGEST, Names, make_folder, shortened, whole
from relcam_onnx.files import plain as plain_name
from relcam_onnx.results import report
from relcam_onnx.results.animation import ANIMATED
from relcam_onnx.results.record import append
from relcam_onnx.results.report import FORMATS, Report

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def explained(**options):
    return rc.explain(plain(), PICTURE, preprocess="unit", **options)


def write(path, failure=None):
    with whole(path) as file:
        file.write(b"new")
        if failure:
            raise failure


def test_a_file_is_whole_or_absent(tmp_path):
    with pytest.raises(RuntimeError):
        write(tmp_path / "a", RuntimeError)
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_leaves_the_older_one(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", KeyboardInterrupt)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
    write(tmp_path / "a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    with whole(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@given(st.lists(st.text(st.sampled_from("aA-2"), min_size=1, max_size=4), max_size=12))
def test_names_never_meet(wanted):
    names = Names()
    given_out = [names.take(name, ".png") for name in wanted]
    assert len({name.lower() for name in given_out}) == len(wanted)


@given(st.text(max_size=300))
def test_plain_names_are_safe_everywhere(text):
    name = plain_name(text)
    assert not set(name) & set('/\\:*?"<>| \n\0')
    assert set(name) & set(string.printable) <= set(string.ascii_letters + string.digits + "._-")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=LONGEST, max_size=2 * LONGEST))
def test_long_names_are_cut_and_stay_apart(text):
    assert len(shortened(text).encode()) <= LONGEST
    assert shortened(text + "a") != shortened(text + "b")


def test_make_folder_says_what_stands_in_the_way(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(rc.OptionError, match=r"cannot write to .*file.*another folder"):
            make_folder(folder)
    make_folder(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_what_results_say_is_what_the_maps_hold(tmp_path):
    found = explained(layers=["stages", "fused", "input"])
    found.save(tmp_path, ("png", "npz"), mask=True, mask_rule="otsu")
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"version", "model", "options", "images", "failed"}
    assert [source["name"] for source in results["options"]["layers"]] == list(found.maps)
    assert [source["stride"] for source in results["options"]["layers"]] == [1, 2, 4, 1, None]
    assert [source["tensor"] for source in results["options"]["layers"]] == ["stage1", "stage2", "stage4", "x", None]
    (image,) = results["images"]
    (target,) = image["targets"]
    assert target["index"] == found.targets[0, 0]
    assert target["probability"] == pytest.approx(found.probabilities[0, target["index"]], abs=1e-7)
    assert target["margin"] == pytest.approx(found.margin[0, 0], abs=1e-6)
    assert target["doubt"] == found.doubt()
    assert results["options"]["mask_rule"] == "otsu"
    for layer, values in found.maps.items():
        (entry,) = image["layers"][layer]
        kept = found.relevance_kept.get(layer)
        assert entry["relevance_kept"] == (None if kept is None else pytest.approx(kept[0, 0], abs=1e-6))
        assert entry["mask"]["rule"] == "otsu"
        with np.load(tmp_path / entry["file"]) as maps:
            np.testing.assert_array_equal(maps[entry["key"]], values[0])
        numbers = [entry["minimum"], entry["maximum"], entry["sum"]]
        np.testing.assert_allclose(numbers, [values.min(), values.max(), values.sum(dtype=float)], rtol=1e-5)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / entry["png"])), np.asarray(found.overlay(layer)))
        mask = np.asarray(Image.open(tmp_path / entry["mask"]["png"]))
        assert mask.shape == (40, 60)
        assert set(np.unique(mask)) == {0, 255}
        left, top, right, bottom = entry["mask"]["box"]
        assert entry["mask"]["area"] == (mask > 0).sum() == (mask[top:bottom, left:right] > 0).sum()
        np.testing.assert_array_equal(mask > 0, rc.segment(found.heat(layer), "otsu"))


def test_layers_of_odd_names_have_files_of_their_own(tmp_path):
    net = Net("N", 3, 32, 32)
    names = ["/a/b", "a b", "a_b", "A_B", "file", "../up"]
    x = net.x
    for name in names:
        x = net("Relu", net.conv(x, 3, 3), name=name)
    found = rc.explain(net.model(net.head(x, 3)), PICTURE, preprocess="unit", layers=names)
    found.save(tmp_path / "out", ("png", "npz"))
    assert len(list((tmp_path / "out").glob("*.png"))) == len(names)
    with np.load(tmp_path / "out" / "image.npz") as maps:
        for name in names:
            np.testing.assert_array_equal(maps[name], found.maps[name][0])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_relevance_without_positions_has_numbers_but_no_picture(tmp_path):
    found = explained(layers=["scores", "stage4"], method="lrp")
    found.save(tmp_path, ("png", "npz"))
    layers = json.loads((tmp_path / "results.json").read_text())["images"][0]["layers"]
    assert layers["scores"][0]["png"] is None
    assert layers["scores"][0]["mask"] is None
    assert layers["scores"][0]["sum"] == pytest.approx(float(found.maps["scores"].sum()), rel=1e-5)
    assert layers["stage4"][0]["png"] == "image.stage4.png"


@pytest.mark.parametrize(
    ("formats", "wanted"),
    [
        (("npz",), {"image.npz"}),
        (("png",), {"image.stride1.png", "image.stride2.png", "image.stride4.png", "image.fused.png"}),
        (("sheet",), {"image.jpg"}),
        (("html",), {"image.jpg", "index.html"}),
        (("json",), set()),
        (None, {"image.jpg", "image.npz", "index.html"}),
    ],
)
def test_only_what_was_asked_for_is_written(tmp_path, formats, wanted):
    explained().save(tmp_path, *([formats] if formats else []))
    assert {path.name for path in tmp_path.iterdir()} == wanted | {"results.json"}


def test_what_an_earlier_run_says_of_all_pictures_goes_and_nobody_elses(tmp_path):
    explanation = explained()
    (tmp_path / "index.html").write_text("mine")
    runs = [(["json"], {"index.html"}), (["html", "coco"], {"index.html", "regions.json"}), (["json"], set())]
    for formats, wanted in runs:
        found = Report(tmp_path, explanation.settings, formats)
        found.add(explanation.single(0), "a")
        found.write()
        there = {path.name for path in tmp_path.iterdir()}
        assert there & {"index.html", "regions.json"} == wanted
    (tmp_path / "index.html").write_text("mine again")
    (tmp_path / "results.json").write_text('{"options": []}')
    found.write()
    assert (tmp_path / "index.html").read_text() == "mine again"


def test_pictures_in_the_output_folder_are_never_overwritten(tmp_path):
    found = explained()
    results = Report(tmp_path, found.settings, ("png", "sheet"), kept=["a.fused.png", "A.JPG"])
    results.add(found, "a")
    assert not (tmp_path / "a.fused.png").exists()
    assert not (tmp_path / "a.jpg").exists()
    assert (tmp_path / "a.fused-2.png").exists()
    assert (tmp_path / "a-2.jpg").exists()


def test_a_picture_whose_files_do_not_fit_leaves_none(tmp_path, monkeypatch):
    found = explained()
    results = Report(tmp_path, found.settings, ("sheet", "png", "npz"))
    results.add(found, "first")
    before = sorted(tmp_path.iterdir())
    draw, drawn = report.render.overlay, []

    def full(image, heat, **options):
        drawn.append(heat)
        if len(drawn) == 7:  # the sheet's four, and three of the pictures
            raise OSError(errno.ENOSPC, "No space left on device")
        return draw(image, heat, **options)

    monkeypatch.setattr(report.render, "overlay", full)
    with pytest.raises(OSError, match="No space"):
        results.add(found, "second")
    assert sorted(tmp_path.iterdir()) == before
    assert len(results.images) == 1


def test_a_report_keeps_nothing_of_an_image_but_its_record(tmp_path):
    """So that memory does not grow with the number of pictures, the page included."""
    found = explained()
    results = Report(tmp_path, found.settings, [form for form in FORMATS if form not in ANIMATED], mask=True)
    results.add(found)
    kept = [weakref.ref(found.maps["fused"]), weakref.ref(found.pictures[0].pixels.image)]
    del found
    gc.collect()
    assert [each() for each in kept] == [None, None]
    results.write()
    assert len(json.dumps(results.images)) < 5000


def test_results_are_strict_json_whatever_the_numbers(tmp_path):
    found = explained(layers="scores", method="lrp")
    found.maps["scores"][0, 0, 0] = np.nan
    found.save(tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert results["images"][0]["layers"]["scores"][0]["sum"] is None


def test_a_map_that_is_not_finite_is_no_picture(tmp_path):
    found = explained()
    found.maps["stage4"][0, 0, 0, 0] = np.inf
    with pytest.raises(rc.InputError, match="'stride4' is not finite"):
        found.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_record_has_a_whole_line_for_each_picture_whoever_writes(tmp_path):
    """Eight processes' worth of threads, and a line that somebody left half written."""
    file = tmp_path / "record.jsonl"
    file.write_text('{"half": ')
    texts = [json.dumps({"number": number, "filling": "x" * 9000}) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: append(file, text), texts))
    first, *lines = file.read_text().splitlines()
    assert first == '{"half": '
    assert sorted(json.loads(line)["number"] for line in lines) == list(range(200))
