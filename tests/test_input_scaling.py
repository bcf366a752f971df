"""A normalisation in the graph is seen, and pictures go in as it wants them; integers and opacity too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, canonical, run
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.explaining import PictureExplainer
from relcam_onnx.model import Scaling

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def spread(values: Any, *, last: bool = False) -> np.ndarray:
    return np.asarray(values, np.float32).reshape((1, 1, 1, -1) if last else (1, -1, 1, 1))


def ended(net: Net, x: str) -> onnx.ModelProto:
    return net.model(net.head(net("Relu", net.conv(x, 3, 4, 3, 2)), 4))


def sub_div(net: Net, unit: float) -> str:
    return net("Div", net("Sub", net.x, spread(MEAN * unit)), spread(STD * unit))


def mul_add(net: Net, unit: float) -> str:
    return net("Add", net("Mul", spread(1 / (STD * unit)), net.x), spread(-MEAN / STD))


def batch_norm(net: Net, unit: float) -> str:
    ones = np.ones(3, np.float32)
    means, variances = ((MEAN * unit).astype(np.float32), ((STD * unit) ** 2).astype(np.float32))
    return net("BatchNormalization", net.x, ones, 0 * ones, means, variances, epsilon=0.0)


def in_steps(net: Net, unit: float) -> str:
    scaled = net("Mul", net.x, np.float32(1 / unit))
    padded = net("Pad", net("Sub", net("Identity", scaled), spread(MEAN)), np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    return net("Mul", padded, spread(1 / STD))


SPELLINGS = (sub_div, mul_add, batch_norm, in_steps)


def seen(proto: onnx.ModelProto) -> Scaling | None:
    return canonical(proto).scalings.get("x")


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("unit", [1.0, 255.0])
def test_every_spelling_is_seen(spell, unit: float) -> None:
    net = Net("N", 3, 16, 16)
    found = seen(ended(net, spell(net, unit)))
    assert found is not None
    np.testing.assert_allclose(found.scale, 1 / (STD * unit), rtol=1e-5)
    np.testing.assert_allclose(found.shift, -MEAN / STD, rtol=1e-5)


def test_channels_last_and_turned() -> None:
    net = Net("N", 16, 16, 3)
    scaled = net("Div", net("Sub", net.x, spread(MEAN, last=True)), spread(STD, last=True))
    found = seen(ended(net, net("Transpose", scaled, perm=[0, 3, 1, 2])))
    assert found is not None
    np.testing.assert_allclose(found.scale, 1 / STD, rtol=1e-5)


def test_a_mean_picture_counts_by_its_mean() -> None:
    net = Net("N", 3, 16, 16)
    found = seen(ended(net, net("Sub", net.x, net.rng.uniform(90, 130, (3, 16, 16)))))
    assert found is not None
    np.testing.assert_allclose((found.scale, found.shift), [(1,), (-110,)], atol=1)


@pytest.mark.parametrize("build", [lambda net: net.x, lambda net: net("Relu", net.x)])
def test_nothing_is_seen_where_nothing_stands(build) -> None:
    net = Net("N", 3, 16, 16)
    assert seen(ended(net, build(net))) is None


def test_paths_that_scale_differently_say_nothing() -> None:
    net = Net("N", 3, 16, 16)
    assert seen(ended(net, net("Max", net.x, net("Mul", net.x, np.float32(2))))) is None


def prepared(proto: onnx.ModelProto, words: str) -> Any:
    with rc.Explainer(proto, layers="last") as explainer, pytest.warns(UserWarning, match=words):
        return PictureExplainer(explainer).preprocess


@pytest.mark.parametrize("spell", SPELLINGS)
def test_pictures_go_in_as_the_graph_wants_them(spell) -> None:
    for unit, name, top in ((255.0, "raw", 255), (1.0, "unit", 1)):
        net = Net("N", 3, 16, 16)
        how = prepared(ended(net, spell(net, unit)), rf"its graph takes x · .* so pixels go in as 0..{top} \({name}\)")
        np.testing.assert_allclose(how.bounds, [[0] * 3, [top] * 3], rtol=1e-6)
        assert how.size == (16, 16)


def test_keras_rescaling_and_caffes_means() -> None:
    for scale, shift in ((1 / 127.5, -1), (1 / 255, 0), (1, -np.array([103.9, 116.8, 123.7]))):
        net = Net("N", 3, 16, 16)
        x = net("Mul", net.x, np.float32(scale)) if scale != 1 else net.x
        x = net("Add", x, spread(np.broadcast_to(shift, 3))) if np.any(shift) else x
        assert prepared(ended(net, x), r"0\.\.255").scale == 1


def test_a_learnt_normalisation_leaves_the_guess_and_is_told() -> None:
    net = Net("N", 3, 16, 16)
    x = net("BatchNormalization", net.x, *(net.rng.uniform(0.8, 1.2, 3) for _ in range(2)),
            net.normal(3, scale=0.1), net.rng.uniform(0.8, 1.2, 3))  # fmt: skip
    how = prepared(ended(net, x), "ImageNet's mean and deviation, though its graph takes x ·")
    np.testing.assert_allclose(how.mean, MEAN)


def test_what_is_written_down_wins() -> None:
    net = Net("N", 3, 16, 16)
    with warnings.catch_warnings(), rc.Explainer(ended(net, sub_div(net, 255.0)), layers="last") as explainer:
        warnings.simplefilter("error")
        assert PictureExplainer(explainer, "tensorflow").preprocess.mean == (0.5,) * 3


def counting(dtype: int, shape: tuple[Any, ...]) -> onnx.ModelProto:
    """A model of integers behind a Cast, channels last."""
    net = Net(*shape, name="pixels")
    net.inputs[0].type.tensor_type.elem_type = dtype
    cast = net("Cast", net.x, to=onnx.TensorProto.FLOAT)
    x = net("Transpose", net("Mul", cast, np.float32(1 / 255)), perm=[0, 3, 1, 2])
    return ended(net, x)


@pytest.mark.parametrize("kind", ["UINT8", "INT32", "INT64", "INT8"])
@pytest.mark.parametrize("backend", ["compiled", "eager"])
def test_integers_behind_a_cast(kind: str, backend: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 3), np.uint8)
    proto = counting(getattr(onnx.TensorProto, kind), ("N", "h", "w", 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = rc.explain(proto, pixels, backend=backend)
    given = (pixels.astype(int) - (128 if kind == "INT8" else 0)).astype(kind.lower())
    np.testing.assert_allclose(e.outputs["scores"], run(proto, pixels=given[None])[0], atol=1e-5)
    assert e.heat().shape == (20, 28)


def test_four_channels_take_the_opacity() -> None:
    net = Net("N", 4, 12, 12)
    proto = net.model(net.head(net("Relu", net.conv(net.x, 4, 4)), 4))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 4), np.uint8)
    e = rc.explain(proto, Image.fromarray(pixels), preprocess="unit", layers="last")
    expected = run(proto, x=(pixels / np.float32(255)).astype(np.float32).transpose(2, 0, 1)[None])[0]
    np.testing.assert_allclose(e.outputs["scores"], expected, atol=1e-5)
    assert e.pictures[0].pixels.image.mode == "RGB"
    shown = pixels[..., :3] * (pixels[..., 3:] / 255) + 255 - pixels[..., 3:]  # on white
    np.testing.assert_allclose(np.asarray(e.pictures[0].pixels.image), shown, atol=2)
