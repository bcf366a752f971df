"""`rc.explain` and `Explanation`: pictures in, maps in the pictures' own pixels out."""

import json

import numpy as np
import onnx
import pytest
from nets import Net, plain
from PIL import Image

import relcam_onnx as rc

LABELS = ["cat", "dog", "crane", "ship", "crane"]
UNIT = {"size": [32, 32], "resize": "squash"}


def told(model: onnx.ModelProto, **preprocess) -> onnx.ModelProto:
    """The model with labels and preprocessing in its metadata."""
    props = {"relcam.labels": json.dumps(LABELS), "relcam.preprocess": json.dumps(UNIT | preprocess)}
    onnx.helper.set_model_props(model, props)
    return model


def lamp() -> onnx.ModelProto:
    """A network of positive weights whose only evidence is brightness; stages at strides 1 and 2, five classes."""
    net = Net("N", 3, "H", "W")
    x = net("Relu", net("Conv", net.x, np.full((2, 3, 1, 1), 1 / 3)), name="fine")
    x = net("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net("Relu", net("Conv", x, np.full((2, 2, 1, 1), 0.5)), name="coarse")
    flat = net("Flatten", net("GlobalAveragePool", x))
    return told(net.model(net("Gemm", flat, np.array([[1.0, 1.0], *[[0.1, 0.2]] * 4]), transB=1)))


def noise(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return told(plain())


def test_pixels_reach_the_model_as_the_metadata_says(model):
    pixels = noise()
    found = rc.explain(model, pixels)
    with rc.Explainer(model) as explainer:
        wanted = explainer((pixels.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None])
    assert list(found.maps) == list(wanted.maps)
    for name in wanted.maps:
        np.testing.assert_allclose(found.maps[name], wanted.maps[name], rtol=0, atol=1e-5 * wanted.maps[name].max())


def test_paths_images_and_arrays_are_the_same_picture(model, tmp_path):
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    wanted = rc.explain(model, pixels).maps["fused"]
    sources = [str(tmp_path / "a.png"), tmp_path / "a.png", Image.fromarray(pixels)]
    for source in sources:
        np.testing.assert_array_equal(rc.explain(model, source).maps["fused"], wanted)
    together = rc.explain(model, sources)
    assert together.maps["fused"].shape[0] == 3
    np.testing.assert_allclose(together.maps["fused"], wanted.repeat(3, axis=0), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("dog", [[1], [1]]), (["dog", 3], [[1], [3]]), ([["cat", "ship"], [4, "Dog"]], [[0, 3], [4, 1]]), (2, [[2], [2]])],
)
def test_labels_stand_for_targets(model, given, wanted):
    assert rc.explain(model, [noise(), noise(seed=1)], given).targets.tolist() == wanted


def test_a_label_of_two_classes_names_both(model):
    with pytest.raises(rc.TargetError, match=r"'crane' is the label of 2 classes: 2, 4"):
        rc.explain(model, noise(), "crane")


def test_a_ready_explainer_serves_and_stays_open(model):
    with rc.Explainer(model, layers="last") as explainer:
        first, second = (rc.explain(explainer, noise()) for _ in range(2))
        np.testing.assert_array_equal(first.maps["stage4"], second.maps["last"])
        with pytest.raises(rc.OptionError, match="give layers to it"):
            rc.explain(explainer, noise(), layers="fused")


def test_pictures_of_several_sizes():
    model = told(plain(size="S"), size=None)
    wide = rc.explain(model, noise(32, 48))
    assert wide.maps["fused"].shape == (1, 1, 32, 48)
    with pytest.raises(rc.InputError, match=r"different sizes \(\(3, 32, 32\), \(3, 32, 48\)\).*one at a time"):
        rc.explain(model, [noise(32, 48), noise()])


def test_an_empty_list_is_refused(model):
    with pytest.raises(rc.InputError, match="empty"):
        rc.explain(model, [])


def test_which_of_two_pictures_is_which_must_be_said():
    net = Net("N", 3, 32, 32)
    x = net("Add", net.x, net.input("other", "N", 3, 32, 32))
    with pytest.raises(rc.InputError, match=r"2 picture inputs \('x' .*, 'other' .*name what goes where"):
        rc.explain(net.model(net.head(net("Relu", net.conv(x, 3, 4)), 4)), noise(), preprocess="unit", layers="last")


def test_labels_must_fit_the_classes(model):
    with pytest.raises(rc.OptionError, match="2 labels for 5 classes"):
        rc.explain(model, noise(), labels=["a", "b"])


@pytest.mark.parametrize("final", ["", "Softmax", "Sigmoid"])
def test_probabilities_are_the_models_own(final):
    found = rc.explain(told(plain(final=final)), [noise(), noise(seed=1)], layers="last")
    (scores,) = found.outputs.values()
    exponentials = np.exp(scores.astype(np.float64))
    wanted = scores if final else exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resize", ["squash", "letterbox"])
@pytest.mark.parametrize("layer", ["fine", "coarse", "fused", "input"])
def test_what_lights_up_lies_where_it_is_in_the_original(resize, layer):
    pixels = np.zeros((90, 180, 3), np.uint8)
    pixels[15:45, 120:150] = 255
    model = told(lamp(), size=[48, 48], resize=resize)
    found = rc.explain(model, pixels, 0, layers=["stages", "input", "fused"], seed="logit")
    lit = np.abs(found.heat(layer)) > 0.5 * np.abs(found.heat(layer)).max()
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    # A cell of the coarsest map covers 2 of 48 input pixels: 7.5 pixels of the picture's longer side.
    np.testing.assert_allclose([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], [15, 45, 120, 150], atol=8)
    assert found.overlay(layer).size == (180, 90)


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("resize", ["squash", "letterbox", "shorter"])
def test_a_large_jpeg_is_explained_in_its_own_pixels(tmp_path, resize, turn):
    """Decoded at an eighth of its size, or in full: maps, sizes and overlays are those of the file's own pixels."""
    pixels = np.zeros((450, 901, 3), np.uint8)
    pixels[75:225, 380:530] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95, exif=exif)
    box = [75, 225, 380, 530] if turn == 1 else [380, 530, 450 - 225, 450 - 75]
    model = told(lamp(), size=[24, 24], resize=resize)
    for exact in (False, True):
        found = rc.explain(model, tmp_path / "a.jpg", 0, exact=exact, seed="logit")
        assert found.pictures[0].pixels.reduced is not exact
        heat = found.heat("fine")
        assert heat.shape == ((450, 901) if turn == 1 else (901, 450))
        lit = heat > 0.5 * heat.max()
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        # A cell of the map covers one of 24 pixels, 38 of the picture's longer side.
        np.testing.assert_allclose([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1], box, atol=40)
        found.save(tmp_path / f"{exact}", ["png"])
        image = json.loads((tmp_path / f"{exact}" / "results.json").read_text())["images"][0]
        assert (image["height"], image["width"]) == heat.shape
        drawn = Image.open(tmp_path / f"{exact}" / "a.stride1.png")
        assert drawn.size == heat.shape[::-1]
        beside = np.asarray(drawn)[heat <= 0]
        np.testing.assert_array_equal(beside, np.asarray(found.pictures[0].full())[heat <= 0])


def test_an_overlay_draws_on_another_picture_of_another_size(model):
    found = rc.explain(model, noise())
    assert found.overlay(image=noise(64, 96)).size == (96, 64)
    np.testing.assert_array_equal(np.asarray(found.overlay(image=noise())), np.asarray(found.overlay()))


def test_overlay_without_a_picture_says_so(model):
    with rc.Explainer(model) as explainer:
        found = explainer(np.zeros((1, 3, 32, 32), np.float32) + 0.5)
    with pytest.raises(rc.InputError, match="image="):
        found.overlay()
    assert found.overlay(image=noise(20, 30)).size == (30, 20)


def test_the_default_overlay_is_fused_else_the_last_layer(model):
    both = rc.explain(model, noise(), layers=["fused", "stages"])
    np.testing.assert_array_equal(both.heat(), both.heat("fused"))
    stages = rc.explain(model, noise())
    np.testing.assert_array_equal(rc.explain(model, noise(), layers="stages").heat(), stages.heat("stage4"))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"layer": "stage3"}, rc.LayerError),
        ({"index": 1}, rc.InputError),
        ({"target": 7}, rc.TargetError),
    ],
)
def test_what_is_not_there_is_named(model, arguments, error):
    with pytest.raises(error, match=str(next(iter(arguments.values())))):
        rc.explain(model, noise()).overlay(**arguments)


def test_lrp_pictures_show_the_sum_over_channels(model):
    found = rc.explain(model, noise(), layers=["stage2", "input"], method="lrp")
    assert found.maps["stage2"].shape == (1, 1, 12, 16, 16)
    assert found.maps["input"].shape == (1, 1, 3, 32, 32)
    np.testing.assert_array_equal(found.heat("input"), found.maps["input"][0, 0].sum(axis=0))


def test_channels_last_models_have_channels_first_maps():
    net = Net("N", 32, 32, 3)
    x = net("Relu", net.conv(net("Transpose", net.x, perm=[0, 3, 1, 2]), 3, 8, stride=2), name="stage")
    model = told(net.model(net.head(x, 8)))
    found = rc.explain(model, noise(40, 60), layers=["stage", "input"])
    assert found.maps["input"].shape == (1, 1, 3, 32, 32)
    assert found.overlay("input").size == (60, 40)


def test_saving_pictures(model, tmp_path):
    Image.fromarray(noise(40, 50)).save(tmp_path / "a.png")
    found = rc.explain(model, [tmp_path / "a.png", noise(24, 24)], [["dog", "cat"]] * 2)
    found.save(tmp_path / "out", ("png", "npz"), mask=True)
    results = json.loads((tmp_path / "out/results.json").read_text())
    first, second = results["images"]
    assert (first["file"], second["file"]) == (str(tmp_path / "a.png"), None)
    assert [target["label"] for target in first["targets"]] == ["dog", "cat"]
    assert Image.open(tmp_path / "out/a.stride1.1.png").size == (50, 40)
    assert Image.open(tmp_path / "out/image.fused.0.mask.png").size == (24, 24)
    with np.load(tmp_path / "out/a.npz") as maps:
        assert sorted(maps) == sorted(found.maps)
        np.testing.assert_array_equal(maps["stride4"], found.maps["stage4"][0])


def test_saving_arrays_keeps_the_maps(model, tmp_path):
    with rc.Explainer(model) as explainer:
        explainer(np.full((1, 3, 32, 32), 0.5, np.float32)).save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.jpg", "image.npz", "index.html", "results.json"]


def test_saving_where_a_file_stands_is_refused(model, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(rc.OptionError, match=r"out.*another folder"):
        rc.explain(model, noise()).save(tmp_path / "out")
    with pytest.raises(rc.OptionError, match="'gif'; there are sheet, png, npz, json, html"):
        rc.explain(model, noise()).save(tmp_path / "new", ["gif"])
