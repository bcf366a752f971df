"""The site that ``relcam web`` writes, in headless Chromium: ``make test-page``.

Its name keeps it out of the other tests: it needs Chromium, Playwright for Python, and onnxruntime-web, from NODE_PATH
or from npm's registry.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.analysis.heads import MOST_IN_CELL, STRIDES
from relcam_onnx.analysis.sides import APART, FEW_PLACES, FEW_REVERSED, NOISE, REVERSED, form_of
from relcam_onnx.pictures.preprocess import Preprocess
from relcam_onnx.runners.boxes import NORMALISED, corners

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from choosing_nets import FORMS as CHOOSING  # noqa: E402
from choosing_nets import SIDE, choosing  # noqa: E402
from level_nets import FORMS as LEVELS  # noqa: E402
from level_nets import SIDE as WIDE  # noqa: E402
from level_nets import TOGETHER, level_detector, level_street, levels_in_one, levels_in_rows  # noqa: E402
from nets import picture, run  # noqa: E402
from test_heads import (  # noqa: E402 - networks that other tests make too
    COLUMNS,
    anchors,
    column_alone,
    levels,
    pixels,
    planted,
    street,
    with_objectness,
)  # fmt: skip

from benchmarks.browser import CHROMIUM, Site, answer, chromium, give, status  # noqa: E402

pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

LITE, CAT = ROOT / "models" / "efficientnet-lite0.onnx", ROOT / "examples" / "cat.jpg"
ALIKE = 0.999


def alike(told: dict[str, Any], wanted: rc.Explanation, target: int = 0) -> None:
    """Every map of the page is Python's."""
    assert [one["name"] for one in told["maps"]] == list(wanted.maps)
    for one in told["maps"]:
        got = np.array(one["data"], np.float64)
        value = wanted.maps.plane(one["name"], 0, target).ravel().astype(np.float64)
        assert got.shape == value.shape
        assert value.any()
        assert got @ value / np.linalg.norm(got) / np.linalg.norm(value) >= ALIKE, one["name"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def site(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Sites by model, each made once."""
    made: dict[str, Site] = {}
    near = Path(os.environ.get("NODE_PATH", "")) / "onnxruntime-web"

    def make(name: str, model: Any, **options: Any) -> Site:
        if name not in made:
            folder = tmp_path_factory.mktemp("site")
            try:
                rc.make_site(model, folder, runtime=near if near.is_dir() else None, **options)
            except rc.OptionError as error:
                if "cannot be downloaded" in str(error):
                    pytest.skip(str(error))
                raise
            made[name] = Site(folder, browser)
        return made[name]

    yield make
    for each in made.values():
        each.close()


@pytest.fixture(scope="session")
def lite(site: Callable[..., Site]) -> Site:
    return site("lite", LITE)


@pytest.fixture(scope="session")
def page(lite: Site) -> Any:
    """The default model's, with a picture explained."""
    opened = lite.open(viewport={"width": 1280, "height": 900})
    give(opened, CAT)
    return opened


@pytest.fixture(scope="session")
def wanted() -> rc.Explanation:
    return rc.explain(LITE, CAT, [[-1, -2, -3, -4, -5, 287]])


DETECTOR: dict[str, Any] = {"preprocess": "unit", "labels": ["red", "green"], "layers": ["colours", "fused", "input"]}


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "street.png"
    Image.fromarray(street(320, 320)).save(path)
    return path


def test_the_default_model_has_pythons_maps_and_words(page: Any, wanted: rc.Explanation) -> None:
    told = give(page, CAT)
    alike(told, wanted)
    assert told["target"]["number"] == wanted.targets[0, 0]
    assert told["margin"] == pytest.approx(wanted.margin[0, 0], abs=0.05)
    assert [one["number"] for one in told["candidates"]] == wanted.targets[0, :5].tolist()
    np.testing.assert_allclose([one["share"] for one in told["candidates"]], wanted.probability[0, :5], atol=5e-3)
    names = page.locator("#candidates .name").all_inner_texts()
    assert names == [wanted.label(int(number)) for number in wanted.targets[0, :5]]
    assert page.inner_text("#asked").startswith(f"{names[0]} ")


def test_another_class_by_a_click_and_by_its_name(page: Any, wanted: rc.Explanation) -> None:
    give(page, CAT)
    alike(answer(page, page.locator("#candidates button").nth(1).click), wanted, 1)
    page.fill("#label", "lynx")
    told = answer(page, lambda: page.press("#label", "Enter"))
    assert told["target"]["index"] == 287
    alike(told, wanted, 5)
    page.fill("#label", "nothing of the kind")
    page.press("#label", "Enter")
    assert not page.evaluate("() => document.getElementById('label').validity.valid")
    page.fill("#label", "")


def test_it_asks_no_other_host_and_keeps_its_policy(page: Any, lite: Site) -> None:
    give(page, CAT)
    assert page.asked
    local = (lite.address, f"blob:{lite.address}", "data:")
    assert [address for address in page.asked if not address.startswith(local)] == []
    assert page.evaluate("() => window.violations") == []
    assert page.errors == []
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "'unsafe-eval'" not in policy


def test_the_policy_bites(page: Any) -> None:
    """What is asserted to be none would be seen if it was there."""
    page.evaluate("() => fetch('https://example.org/').catch(() => 0)")
    assert page.evaluate("() => window.violations.splice(0)") == ["connect-src"]
    page.errors.clear()
    page.asked[:] = [address for address in page.asked if "example.org" not in address]


def test_the_keyboard_does_everything(page: Any) -> None:
    give(page, CAT)
    page.locator("#file").focus()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id || document.activeElement.name || 'candidate'"))
        if reached[-1] == "download":
            break
    assert list(dict.fromkeys(reached)) == ["camera", "stage", "opacity", "candidate", "label", "download"]
    page.locator("#candidates button").nth(2).focus()
    answer(page, lambda: page.keyboard.press("Enter"))
    assert page.evaluate("() => document.activeElement.getAttribute('aria-pressed')") == "true"
    assert page.locator("#candidates button").nth(2).get_attribute("aria-pressed") == "true"
    page.locator("#strip input:checked").focus()
    page.keyboard.press("ArrowUp")
    assert "stride 32" in page.locator("#overlay").get_attribute("aria-label")
    page.keyboard.press("ArrowDown")
    page.locator("#opacity").focus()
    page.keyboard.press("Home")
    assert page.evaluate("() => document.getElementById('overlay').style.opacity") == "0"
    page.keyboard.press("End")
    assert page.inner_text("#opacity-value") == "100 %"


def test_a_screen_reader_is_told_what_there_is(page: Any) -> None:
    give(page, CAT)
    told = page.locator("body").aria_snapshot()
    for part in (
        '- heading "efficientnet-lite0" [level=1]',
        '- heading "tiger cat 37 %" [level=2]',
        'img "What speaks for tiger cat, fused: strongest',
        '- group "Depth"',
        '- radio "fused" [checked]',
        '- slider "Opacity"',
        '- button "tiger cat 37 %" [pressed]',
        '- combobox "Explain another class"',
        '- button "Download the sheet"',
    ):
        assert part in told
    assert page.locator("#status").get_attribute("role") == "status"
    assert page.evaluate("() => document.documentElement.lang") == "en"


def test_a_phone_needs_no_scrolling_sideways(lite: Site) -> None:
    page = lite.open(viewport={"width": 360, "height": 740}, device_scale_factor=2)
    for _ in range(2):
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        give(page, CAT)
    small = page.evaluate(
        "() => Array.from(document.querySelectorAll('#page button, .button, #page input:not([type=radio], .unseen)'))"
        ".filter((one) => one.offsetParent && !one.closest('#boxes')).map((one) => one.offsetHeight)"
    )
    assert min(small) >= 32
    page.context.close()


def test_dark_where_the_system_is(page: Any) -> None:
    shade = "() => Number(/\\d+/.exec(getComputedStyle(document.body).backgroundColor)[0])"
    assert page.evaluate(shade) > 200
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(shade) < 50
    page.emulate_media(color_scheme="light")


def test_one_thread_where_no_service_worker_may_run(lite: Site, wanted: rc.Explanation) -> None:
    page = lite.open(service_workers="block")
    assert "One thread" in page.inner_text("#made")
    alike(give(page, CAT), wanted)
    page.context.close()


def test_pictures_are_dropped_pasted_and_taken(page: Any) -> None:
    data = list(CAT.read_bytes())
    hand = """([kind, data]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(data)], "cat.jpg", { type: "image/jpeg" }));
      const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: transfer, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: transfer, cancelable: true });
      window.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        told = answer(page, partial(page.evaluate, hand, [kind, data]))
        assert told["candidates"][0]["index"] == 282
    page.click("#camera")
    page.locator("#video").wait_for(state="visible")
    page.wait_for_timeout(500)
    answer(page, lambda: page.click("#shoot"))
    assert not page.evaluate("() => document.getElementById('viewfinder').open")
    assert page.evaluate("() => document.getElementById('video').srcObject") is None


def test_what_is_no_picture_is_refused(page: Any, tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    page.set_input_files("#file", text)
    status(page, "notes.png cannot be read as a picture")
    give(page, CAT)


def test_the_sheet_is_downloaded(page: Any) -> None:
    give(page, CAT)
    answer(page, page.locator("#candidates button").nth(1).click)
    with page.expect_download() as waiting:
        page.click("#download")
    sheet = Image.open(io.BytesIO(Path(waiting.value.path()).read_bytes()))
    assert waiting.value.suggested_filename == "cat explained.jpg"
    assert sheet.format == "JPEG"
    wanted = rc.explain(LITE, CAT, [[-1, -2]]).sheet()
    assert sheet.size == wanted.size
    far = np.abs(np.asarray(sheet, np.float32) - np.asarray(wanted, np.float32))
    assert far.mean() < 6  # letters are drawn in another font


def test_a_picture_comes_upright(page: Any, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(CAT).transpose(Image.Transpose.ROTATE_90).save(turned, quality=95, exif=exif)
    told, wanted = give(page, turned), rc.explain(LITE, turned)
    assert told["geometry"]["original"] == list(wanted.pictures[0].size) == [300, 451]
    alike(told, wanted)


def test_from_the_disk_it_says_that_it_must_be_served(browser: Any, lite: Site) -> None:
    page = browser.new_page()
    page.goto((lite.folder / "index.html").as_uri())
    page.locator("#unserved").wait_for(state="visible")
    assert not page.locator("#page").is_visible()
    page.close()


@pytest.mark.parametrize("form", ["joined", "corners", "shares", "by_topk", "of_best"])
def test_a_detectors_boxes_are_pythons(form: str, site: Callable[..., Site], squares: Path) -> None:
    model = choosing(form) if form in CHOOSING else planted(form)
    page = site(form, model, **DETECTOR).open()
    told, wanted = give(page, squares), rc.explain(model, squares, **DETECTOR)
    found = wanted.detections[0]
    assert len(found) == len(told["candidates"]) == 3
    sides = np.array([*wanted.pictures[0].size[::-1]] * 2)
    order = [2 * other.place + other.index for other in found]  # of one score, but for its last bits
    assert sorted(order) == sorted(one["number"] for one in told["candidates"])
    for one in told["candidates"]:
        other = found[order.index(one["number"])]
        assert one["index"] == other.index
        assert one["share"] == pytest.approx(other.score, abs=2e-3)
        np.testing.assert_allclose(np.array(one["box"]) * sides, other.box, atol=0.1)
    alike(told, wanted, order.index(told["target"]["number"]))
    by_box, by_list = page.locator("#boxes button:not(.chosen)").last, page.locator("#candidates button").nth(1)
    seen = {told["target"]["number"]}
    for button in (by_box, by_list):
        number = int(button.get_attribute("data-number"))
        explained = answer(page, button.click)
        assert explained["target"]["number"] == number
        alike(explained, wanted, order.index(number))
        seen.add(number)
    assert len(seen) > 1
    page.fill("#label", "red")
    assert answer(page, lambda: page.press("#label", "Enter"))["target"]["index"] == 0
    page.context.close()


def in_rows() -> np.ndarray:
    """Boxes of 8 x 8 places and 4 x 4, top, left, bottom, right."""
    middles = np.concatenate([np.indices((n, n)).reshape(2, -1).T * (64 / n) + 32 / n for n in (8, 4)])[None]
    return np.concatenate([middles - np.array([2, 3]), middles + np.array([2, 3])], axis=2)


FORMS: dict[str, tuple[str, Any]] = {
    "corners": ("corners", lambda b: b),
    "shares": ("corners", lambda b: b / 64),
    "sizes where corners were thought": ("corners", lambda b: np.abs(b - [0, 0, 8, 8])),
    "no boxes yet": ("corners", lambda b: b[..., ::-1] - 40),
    "centred": ("centred", lambda b: b),
    "joined, centred": ("joined", lambda b: np.abs(b - [0, 0, 8, 8])),
    "joined, corners": ("joined", lambda b: in_rows()[..., [1, 0, 3, 2]]),
    "y first, by where they lie": ("corners", lambda b: in_rows()),
    "turned": ("turned", lambda b: np.concatenate([b, b / 9], axis=2)),
    "offsets": ("offsets", lambda b: b / 40 - 1),
    "sizes": ("sizes", lambda b: b / 9),
    "distances": ("distances", lambda b: np.tile(b, 4) / 9),
    "distances that are numbers": ("distances", lambda b: b / 9),
    "several places of a cell": ("distances", lambda b: np.repeat(b, 2, axis=1) / 9),
    "distances of two levels": ("distances", lambda b: np.concatenate([b, b[:, :16]], axis=1) / 9),
    "distances of nothing": ("distances", lambda b: b - 40),
}


@pytest.mark.parametrize("name", FORMS)
def test_boxes_are_read_in_every_form(name: str, page: Any) -> None:
    """64 + 16 places, those of strides 8 and 16 in an input 64 pixels a side; one level alone where they are apart."""
    form, change = FORMS[name]
    rng = np.random.default_rng(3)
    first = rng.uniform(2, 50, (1, 64 if form == "distances" else 80, 2))
    level = np.asarray(change(np.concatenate([first, first + rng.uniform(3, 30, first.shape)], axis=2)), np.float32)
    wanted = corners([level], (64, 64), form_of(level, form), y_first=name.startswith("y first"))
    told = {"reversed": REVERSED, "fewReversed": FEW_REVERSED, "normalised": NORMALISED}
    reading = {
        **told,
        "strides": STRIDES,
        "mostInCell": MOST_IN_CELL,
        "apart": APART,
        "fewPlaces": FEW_PLACES,
        "noise": NOISE,
    }
    got = page.evaluate(
        """async ([dims, data, form, reading]) => {
          const { boxesOf } = await import("./boxes.js");
          const head = { boxes: { outputs: ["y"], axis: 2, form, y_first: null } };
          const boxes = boxesOf({ y: { dims, data } }, { head, reading }, [64, 64]);
          return boxes && Array.from(boxes);
        }""",
        [level.shape, level.ravel().tolist(), form, reading],
    )
    if name in ("no boxes yet", "distances of nothing"):
        assert got is wanted is None
        return
    assert wanted is not None
    np.testing.assert_allclose(np.reshape(got, wanted.shape), wanted, rtol=1e-4, atol=1e-3)


DETECTORS: dict[str, tuple[Callable[[], onnx.ModelProto], int]] = {  # and the side of the picture
    **{
        form: (partial(anchors, form), 16)
        for form in ("joined", "joined, turned", "joined, each class", "softmax", "scores", "boxes first")
    },
    **{f"objectness, {form}": (partial(with_objectness, form), 16) for form in ("one tensor", "three tensors")},
    "levels": (levels, 32),
    **{f"chosen, {form}": (partial(choosing, form), SIDE) for form in CHOOSING},
    **{f"levels, {form}": (partial(level_detector, form, "grids"), WIDE) for form in LEVELS},
    "levels, turned": (partial(level_detector, "sigmoids, distances", "turned tables"), WIDE),
    "levels, no batch": (partial(level_detector, "sigmoids, distances", "no batch"), WIDE),
    "levels, coarse first": (partial(level_detector, "objectness, offsets", "tables", coarse_first=True), WIDE),
    **{f"levels in one, {form}": (partial(levels_in_one, form, "grids"), WIDE) for form in TOGETHER},
    "levels in rows": (partial(levels_in_rows, "together"), WIDE),
    **{f"a column, {form}": (partial(column_alone, form), SIDE) for form in COLUMNS if form != "logits"},
}


@pytest.mark.parametrize("name", DETECTORS)
def test_what_is_detected_is_what_python_detects(name: str, page: Any, tmp_path: Path) -> None:
    model, side = DETECTORS[name][0](), DETECTORS[name][1]
    near = Path(os.environ.get("NODE_PATH", "")) / "onnxruntime-web"
    rc.make_site(model, tmp_path, preprocess="unit", runtime=near if near.is_dir() else None)
    told, x = json.loads((tmp_path / "model.json").read_text()), picture(1, 3, side, side)
    if side in (SIDE, WIDE) and name != "levels":  # planted, what they find is there
        x = (street() if side == SIDE else level_street()).transpose(2, 0, 1)[None].astype(np.float32) / 255
    compiled = onnx.load(tmp_path / "model.onnx")
    names = [output.name for output in compiled.graph.output]
    values = run(compiled, *names, x=x, relcam_targets=np.array([[-1]]))
    outputs = {n: {"dims": v.shape, "data": v.ravel().tolist()} for n, v in zip(names, values, strict=True)}
    with rc.Explainer(model, preprocess="unit", layers=["stages"]) as explainer:
        found = explainer(x).detections[0]
    got = page.evaluate(
        """async ([outputs, model, size]) => {
          const { candidatesOf } = await import("./heads.js");
          return candidatesOf(outputs, model, size).list;
        }""",
        [outputs, told, [side, side]],
    )
    assert len(got) == len(found) > 0
    for one, other in zip(got, found, strict=True):
        assert (one["index"], one["share"]) == (other.index, pytest.approx(other.score, rel=1e-4))
        assert one["number"] == told["classes"] * other.place + other.index
        assert (one["box"] is None) == (other.box is None)  # random numbers are boxes by chance only
        if other.box is not None:
            np.testing.assert_allclose(one["box"], other.box, rtol=1e-4, atol=1e-3)


def test_webgpu_has_the_same_maps(site: Callable[..., Site], squares: Path) -> None:
    """On a GPU that Chromium imitates, so that the network is a small one; without a GPU the processor does it."""
    served = site("webgpu", planted("joined"), webgpu=True, **DETECTOR)
    wanted = rc.explain(planted("joined"), squares, **DETECTOR)
    numbers = [2 * found.place + found.index for found in wanted.detections[0]]
    flags = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    with_gpu = served.browser.browser_type.launch(executable_path=CHROMIUM, args=flags)
    for browser, how in ((with_gpu, "WebGPU"), (served.browser, "WebAssembly")):
        page = served.open(browser)
        assert how in page.inner_text("#made")
        told = give(page, squares)
        alike(told, wanted, numbers.index(told["target"]["number"]))
        assert page.errors == []
        page.context.close()
    with_gpu.close()


def test_an_empty_street(site: Callable[..., Site], tmp_path: Path) -> None:
    page, grey = site("joined", planted("joined"), **DETECTOR).open(), tmp_path / "grey.png"
    Image.new("RGB", (64, 48), (90, 90, 90)).save(grey)
    told = give(page, grey)
    assert told["candidates"] == []
    assert told["doubt"] == "the model does not detect this"
    assert "Nothing is detected" in page.inner_text("#candidates")
    page.context.close()


@pytest.mark.parametrize("form", ["scores", "softmax, last", "chosen"])
def test_a_segmenters_classes_by_their_pixels(form: str, site: Callable[..., Site], squares: Path) -> None:
    model = pixels("Softmax", last=True) if "last" in form else pixels(chosen=form == "chosen")
    options: dict[str, Any] = {"preprocess": "unit", "labels": ["background", "road", "sky", "cat"]}
    page = site(form, model, **options).open()
    told, wanted = give(page, squares), rc.explain(model, squares, **options)
    assert told["target"]["number"] == wanted.targets[0, 0]
    alike(told, wanted)
    ranked = rc.explain(model, squares, [[-1, -2, -3, -4]], **options).targets[0].tolist()
    listed = [one["number"] for one in told["candidates"]]
    assert listed == [index for index in ranked if index in listed]  # those that win any
    assert sum(one["share"] for one in told["candidates"]) == pytest.approx(1)
    page.context.close()


CASES: dict[str, dict[str, Any]] = {
    "shorter": {"size": [32, 48]},
    "margin": {"size": [32, 32], "resize_size": 37, "interpolation": "bicubic"},
    "no longer": {"size": [32, 32], "resize_size": [40, 50]},
    "squash": {"size": [24, 40], "resize": "squash", "interpolation": "lanczos"},
    "squash and crop": {"size": [24, 40], "resize": "squash", "resize_size": [31, 45]},
    "letterbox": {"size": [40, 40], "resize": "letterbox", "pad_value": 114},
    "larger": {"size": [200, 200], "interpolation": "bicubic"},
    "nearest": {"size": [33, 20], "interpolation": "nearest"},
    "bgr, last": {"size": [32, 32], "channels": "BGR", "layout": "NHWC", "mean": [1.0, 2, 3], "scale": 1.0},
    "grey": {"size": [32, 32], "channels": "L", "std": [0.25]},
    "whole numbers": {"size": [32, 32], "dtype": "int8", "scale": 1.0, "mean": [128.0] * 3},
    "long": {"size": [32, 32], "dtype": "int64", "scale": 1.0},
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_prepared_as_python_prepares_them(name: str, page: Any) -> None:
    how, photo = Preprocess.from_dict(CASES[name]), np.asarray(Image.open(CAT))
    for shape in ((61, 90), (90, 61), (32, 32)):
        picture = photo[100 : 100 + shape[0], 100 : 100 + shape[1]]
        wanted, geometry = how.apply(Image.fromarray(picture))
        got = page.evaluate(
            """async ([pixels, [height, width], how]) => {
              const { prepare } = await import("./preprocess.js");
              const data = new Uint8ClampedArray(4 * height * width).fill(255);
              for (let i = 0; i < height * width; i++) data.set(pixels.slice(3 * i, 3 * i + 3), 4 * i);
              const { array, dims, geometry } = prepare({ data, width, height }, [height, width], how);
              return { array: Array.from(array, Number), dims, geometry };
            }""",
            [picture.ravel().tolist(), list(shape), json.loads(how.to_json())],
        )
        assert got["dims"] == list(wanted.shape)
        # Pillow's newer versions sum columns first for some sizes, and round in between.
        levels = np.abs(np.array(got["array"]).reshape(wanted.shape) - wanted) * min(how.std) / how.scale
        assert levels.max() < 2.5
        assert levels.mean() < 0.3
        assert got["geometry"]["offset"] == list(geometry.offset)
        assert got["geometry"]["scale"] == list(geometry.scale)


def test_a_transparent_picture_for_a_model_that_takes_opacity(page: Any) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (50, 70, 4), np.uint8)
    how = Preprocess.from_dict({"size": [20, 20], "channels": "RGBA", "interpolation": "bicubic"})
    wanted, _ = how.apply(Image.fromarray(picture))
    got = page.evaluate(
        """async ([pixels, how]) => {
          const { prepare } = await import("./preprocess.js");
          const image = { data: Uint8ClampedArray.from(pixels), width: 70, height: 50 };
          return Array.from(prepare(image, [50, 70], how).array);
        }""",
        [picture.ravel().tolist(), json.loads(how.to_json())],
    )
    np.testing.assert_array_equal(np.array(got, np.float32), wanted.ravel())


def test_the_file_that_is_served_is_a_plain_compiled_model(lite: Site) -> None:
    proto = onnx.load(lite.folder / "model.onnx")
    assert {"relcam_targets"} < {value.name for value in proto.graph.input}
    assert sum(file.stat().st_size for file in lite.folder.rglob("*") if file.is_file()) <= 45e6
