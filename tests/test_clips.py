"""Clips: frames that are rows of the batch, made by the caller or the model, or stand along time; one map each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree, same_maps
from nets import Net, picture
from PIL import Image
from siamese import ints
from test_batch_axis import clips, frame_scores, frames
from test_cli import refused, relcam
from test_cli import results as told
from test_compile import explained, results

import relcam_onnx as rc
from relcam_onnx.pictures.finding import natural

FRAMES, ALL, BACKENDS = 3, ("stages", "fused", "input"), ["eager", "compiled"]
X = picture(2 * FRAMES, 3, 16, 16)
TARGETS = np.array([[0, -1], [1, 2]])
pytestmark = pytest.mark.filterwarnings("ignore:the map of", "ignore:seed 'one-hot'")


def folded(batch: int | str) -> onnx.ModelProto:
    """The caller folds frames into the batch: what `test_batch_axis.clips` computes."""
    net = Net(batch, 3, 16, 16)
    apart = net("Reshape", frame_scores(net, net.x), ints(-1, FRAMES, 5))
    return net.model(net("ReduceMean", apart, ints(1), keepdims=0, name="scores"), "each")


def shifted(batch: int | str) -> onnx.ModelProto:
    """Two channels of each frame are those of the next one: a temporal shift inside a 2-D network."""
    net = Net(batch, 3, 16, 16)
    x = net("Reshape", net("Relu", net.conv(net.x, 3, 8), name="fine"), ints(-1, FRAMES, 8, 16, 16))
    later = net("Pad", net("Slice", x, ints(1, 0), ints(FRAMES, 2), ints(1, 2)), ints(0, 0, 0, 0, 0, 0, 1, 0, 0, 0))
    x = net("Concat", later, net("Slice", x, ints(2), ints(8), ints(2)), axis=2)
    x = net("Relu", net.conv(net("Reshape", x, ints(-1, 8, 16, 16)), 8, 8, stride=2), name="coarse")
    apart = net("Reshape", net.head(x, 8, name="each"), ints(-1, FRAMES, 5))
    return net.model(net("ReduceMean", apart, ints(1), keepdims=0, name="scores"))


def volume(time: int, *, stride: int = 1, length: int = FRAMES) -> onnx.ModelProto:
    """Convolutions over time too, of so many frames."""
    net = Net("N", 3, length, 16, 16)
    pads = [time // 2, 1, 1] * 2
    x = net("Relu", net("Conv", net.x, net.normal(8, 3, time, 3, 3, scale=0.2), pads=pads, strides=[1, 2, 2]))
    x = net("Conv", x, net.normal(8, 8, time, 3, 3, scale=0.15), pads=pads, strides=[stride, 2, 2])
    return net.model(net.head(net("Relu", x), 8))


def flat() -> onnx.ModelProto:
    """The same for single frames, where nothing is mixed over time."""
    net = Net("N", 3, 16, 16)
    pads = {"pads": [1] * 4, "strides": [2, 2]}
    x = net("Relu", net("Conv", net.x, net.normal(8, 3, 1, 3, 3, scale=0.2)[:, :, 0], **pads))
    x = net("Relu", net("Conv", x, net.normal(8, 8, 1, 3, 3, scale=0.15)[:, :, 0], **pads))
    return net.model(net.head(x, 8))


@pytest.mark.parametrize("build", [folded, shifted])
@pytest.mark.parametrize("batch", [3, 6, "N"])
def test_frames_have_maps_and_clips_have_targets(batch: int | str, build: Any) -> None:
    options: dict[str, Any] = {"layers": ALL, "output": "scores"}
    wanted = explained(build(batch), X, TARGETS, **options)
    shapes = {name: values.shape for name, values in wanted.maps.items()}
    coarse = {"stride1": (6, 2, 16, 16), "stride2": (6, 2, 8, 8), "input": (6, 2, 3, 16, 16), "fused": (6, 2, 16, 16)}
    assert shapes == coarse
    assert (wanted.targets.shape, wanted.frames) == ((2, 2), FRAMES)
    with rc.Explainer(build(batch), **options) as explainer:
        same_maps(explainer(X, TARGETS), wanted)
        alone = explainer(X[FRAMES:], TARGETS[1:])
        same_maps(alone, wanted.single(1))
        with pytest.raises(rc.InputError, match="clips of 3 frames, and 4 frames are no whole clips"):
            explainer(X[:4])


def test_the_bare_file_of_frames() -> None:
    """Its other outputs keep their rows, of frames as well, where images are repeated for several targets."""
    for model in (folded("N"), folded(6), shifted("N")):
        compiled = rc.compile_model(model, ALL, output="scores")
        onnx.checker.check_model(compiled, full_check=True)
        got = results(compiled, x=X, relcam_targets=TARGETS)
        wanted = explained(model, X, TARGETS, layers=ALL, output="scores")
        for name, value in wanted.maps.items():
            agree(got[f"relevance/{name}" if name == "input" else f"cam/{name}"], value)
        for name, value in wanted.outputs.items():
            np.testing.assert_allclose(got[name], value, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_of_each_frame(backend: str) -> None:
    """The mean over frames: each frame's own gradient over their number, which the network of frames gives."""
    options: dict[str, Any] = {"layers": ["input", "fine"], "preset": "gradient", "method": "lrp", "output": "scores"}
    with rc.Explainer(folded("N"), backend=backend, **options) as explainer:
        e = explainer(X, TARGETS)
    options.pop("output")
    each = explained(frames(), X, np.repeat(e.targets, FRAMES, axis=0), **options)
    for layer in ("input", "fine"):
        np.testing.assert_allclose(e.maps[layer], each.maps[layer] / FRAMES, atol=1e-7)


@pytest.mark.parametrize("method", ["local-relevance-cam", "lrp"])
@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_axis_of_frames_is_one_of_positions(backend: str, batch: int | str, method: str) -> None:
    """(N, T, C, H, W), folded by the model: the caller's own folding with another shape."""
    wanted = explained(folded("N"), X, TARGETS, layers=ALL, method=method, output="scores")
    with rc.Explainer(clips(batch), ALL, method=method, backend=backend) as explainer:
        e = explainer(X.reshape(2, FRAMES, 3, 16, 16), TARGETS)
    assert e.frames == FRAMES
    for name, value in wanted.maps.items():
        apart = value.reshape(2, FRAMES, *value.shape[1:])
        channels = name in wanted.maps.with_channels
        agree(e.maps[name], np.moveaxis(apart, 1, 3 if channels else 2))
    for layer, kept in wanted.relevance_kept.items():
        np.testing.assert_allclose(e.relevance_kept[layer], kept, rtol=1e-4)
    for frame in range(2 * FRAMES):
        np.testing.assert_allclose(e.heat("fused", frame, 1), wanted.heat("fused", frame, 1), atol=1e-5)


def test_volumes_are_clips() -> None:
    """(N, C, T, H, W): where convolutions do not reach over time, each frame's gradient is its own network's."""
    clip = np.moveaxis(X.reshape(2, FRAMES, 3, 16, 16), 1, 2)
    options: dict[str, Any] = {"layers": "input", "preset": "gradient", "method": "lrp"}
    e = explained(volume(1), clip, TARGETS, **options)
    each = explained(flat(), X, np.repeat(e.targets, FRAMES, axis=0), **options).maps["input"]
    wanted = np.moveaxis(each.reshape(2, FRAMES, *each.shape[1:]), 1, 3) / FRAMES
    np.testing.assert_allclose(e.maps["input"], wanted, atol=1e-7)
    with rc.Explainer(volume(3, stride=2, length=4), ALL) as explainer:
        x = picture(2, 3, 4, 16, 16)
        e = explainer(x, TARGETS)
        same_maps(e, explained(volume(3, stride=2, length=4), x, TARGETS, layers=ALL))
    assert e.maps["stride4"].shape == (2, 2, 2, 4, 4)
    first, _, third, last = (e.heat("stride4", 4 + frame) for frame in range(4))
    np.testing.assert_allclose(first, e.maps["stride4"][1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(third, 0.25 * first + 0.75 * last, atol=1e-6)


def test_one_maximum_for_a_clip() -> None:
    """A frame that says less than another has a darker map."""
    pixels = np.random.default_rng(0).integers(0, 256, (FRAMES, 16, 16, 3), np.uint8)
    pixels[1] //= 4
    e = rc.explain(folded("N"), list(pixels), 0, "unit", output="scores")
    most = [e.maps["fused"][frame].max() for frame in range(FRAMES)]
    assert min(most) < 0.5 * max(most)
    changed = [
        np.abs(np.asarray(e.overlay(index=frame), int) - pixels[frame]).max()
        for frame in (int(np.argmin(most)), int(np.argmax(most)))
    ]
    assert changed[0] < changed[1]
    assert e.sheet().height > FRAMES * 200


def test_natural_order() -> None:
    names = ["f10.png", "f2.png", "F1.png", "g.png", "f2b.png"]
    assert sorted(names, key=natural) == ["F1.png", "f2.png", "f2b.png", "f10.png", "g.png"]


def test_a_folder_of_frames(tmp_path: Path) -> None:
    """A result for each clip in order, its overlays as one moving picture; what is left over is said."""
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), np.uint8)
    for number, value in enumerate(pixels):
        Image.fromarray(value).save(tmp_path / "in" / f"f{number + 5}.png")
    onnx.save(folded("N"), tmp_path / "clips.onnx")
    command = ["explain", tmp_path / "clips.onnx", tmp_path / "in", "-o", tmp_path / "out", "--preprocess", "unit"]
    formats = [part for form in ("anim", "anim.gif", "sheet", "png", "html") for part in ("--format", form)]
    found = relcam(*command, *formats, "--output", "scores", "--target", 0)
    assert found.exit_code == 1
    assert "f11.png: 2 frames are left over, and a clip has 3" in found.stderr
    made = told(tmp_path / "out")
    assert [[Path(file).stem for file in image["frames"]] for image in made["images"]] == [
        ["f5", "f6", "f7"],
        ["f8", "f9", "f10"],
    ]
    for image in made["images"]:
        for form in ("anim", "anim.gif"):
            with Image.open(tmp_path / "out" / image[form][0]) as moving:
                assert (moving.n_frames, moving.size) == (3, (32, 24))
    entries = made["images"][1]["layers"]["fused"]
    assert [entry["frame"] for entry in entries] == [0, 1, 2]
    e = rc.explain(folded("N"), list(pixels[:6]), 0, "unit", output="scores")
    with Image.open(tmp_path / "out" / entries[2]["png"]) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(e.overlay(index=5)))
    page = (tmp_path / "out" / "index.html").read_text()
    assert "f8.webp" in page
    assert "fused, frame 2" in page


def test_what_is_no_clip(tmp_path: Path) -> None:
    onnx.save(frames(), tmp_path / "frames.onnx")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png")
    command = ["explain", tmp_path / "frames.onnx", tmp_path / "a.png", "-o", tmp_path / "out", "--preprocess", "unit"]
    assert "is for clips" in refused(*command, "--format", "anim")
    assert not (tmp_path / "out").exists()  # said before anything is computed
    onnx.save(folded("N"), tmp_path / "clips.onnx")
    command[1] = tmp_path / "clips.onnx"
    assert "'rise' alters one picture, and this model reads clips of 3" in refused(
        *command, "--method", "rise", "--output", "scores"
    )
