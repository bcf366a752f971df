"""Where a map's cells lie in the picture: followed through a network, and drawn there."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, canonical
from PIL import Image

import relcam_onnx as rc
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.scores import find_scores
from relcam_onnx.analysis.stages import Stages
from relcam_onnx.pictures.geometry import Field, Geometry, lay_out


def fields(proto: onnx.ModelProto) -> dict[str, tuple[float, ...]]:
    """Tensor -> stride and offset down, stride and offset across."""
    model = canonical(proto)
    grids = Stages(Paths(model, find_scores(model).tensor)).grids
    return {name: tuple(float(v) for grid in each for v in grid) for name, each in grids.items()}


def spot_net(kernel: int, *, size: int = 128, pad: int = 0, layers: int = 3) -> onnx.ModelProto:
    """Averages of the channels at stride 2: class c is how much of colour c stands out from the grey anywhere."""
    net = Net("N", 3, size, size)
    x = net.x
    for i in range(layers):
        weight = np.zeros((3, 3, kernel, kernel), np.float32)
        weight[range(3), range(3)] = 1 / kernel**2
        if i == 0:
            weight -= np.float32(0.5 / kernel**2)
        bias = np.full(3, -0.05 if i == 0 else 0, np.float32)
        x = net("Relu", net("Conv", x, weight, bias, strides=[2, 2], pads=[pad] * 4), name=f"layer{i}")
    pooled = net("Flatten", net("GlobalAveragePool", x))
    net("Gemm", pooled, (np.eye(3) * 50 - 5).astype(np.float32), np.zeros(3, np.float32), name="scores")
    return net.model("scores")


def spotted(size: int, down: int, across: int) -> np.ndarray:
    pixels = np.full((size, size, 3), 90, np.uint8)
    pixels[down - 8 : down + 8, across - 8 : across + 8] = (255, 0, 0)
    return pixels


def middle(heat: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(heat > heat.max() / 2)
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize(("kernel", "pad"), [(7, 0), (3, 0), (5, 1), (3, 1)])
@pytest.mark.parametrize("layers", ["last", "fused"])
def test_a_map_lies_on_what_it_shows(kernel: int, pad: int, layers: str) -> None:
    with rc.Explainer(spot_net(kernel, pad=pad), layers=layers) as explainer:
        for down, across in ((20, 20), (108, 108), (20, 108), (64, 64)):
            e = rc.explain(explainer, spotted(128, down, across), 0, preprocess="unit")
            # One position of the deepest layer covers 8 pixels.
            np.testing.assert_allclose(middle(e.heat()), (down, across), atol=8)


def test_crop_and_resize_are_undone_beneath_the_field() -> None:
    pixels = np.full((192, 256, 3), 90, np.uint8)
    pixels[140:172, 60:92] = (255, 0, 0)
    how = {"size": (128, 128), "resize": "shorter", "resize_size": 144}
    e = rc.explain(spot_net(7), Image.fromarray(pixels), 0, preprocess=how, layers="last")
    np.testing.assert_allclose(middle(e.heat()), (156, 76), atol=8 * 192 / 144)


def test_an_array_is_drawn_at_its_place_too() -> None:
    x = (spotted(128, 20, 108) / np.float32(255)).transpose(2, 0, 1)[None]
    with rc.Explainer(spot_net(7), layers="last", preprocess="unit") as explainer:
        e = explainer(x, 0)
    grey = Image.new("RGB", (256, 256), (128, 128, 128))
    changed = np.abs(np.asarray(e.overlay(image=grey), float) - 128).sum(axis=2)
    np.testing.assert_allclose(middle(changed), (40, 216), atol=16)


def test_an_array_is_seen_at_any_size_as_a_picture_of_it_is() -> None:
    pixels = spotted(128, 20, 108)
    with rc.Explainer(spot_net(7), layers="last", preprocess="unit") as explainer:
        shown = rc.explain(explainer, pixels, 0).heat(size=(64, 96))
        bare = explainer((pixels / np.float32(255)).transpose(2, 0, 1)[None], 0)
    np.testing.assert_allclose(bare.heat(size=(64, 96)), shown, atol=1e-6 * shown.max())
    np.testing.assert_allclose(middle(shown), (10, 81), atol=8)
    assert bare.heat().shape == bare.maps["last"].shape[2:]


def test_fields_come_with_an_explanation() -> None:
    with rc.Explainer(spot_net(7), layers=("stages", "fused", "input")) as explainer, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise shows this network nothing, and its maps are empty
        e = explainer(np.random.default_rng(0).random((2, 3, 128, 128), np.float32), [[0, 1], [2, 0]])
    # Windows of 7 at stride 2: the first is centred on pixel 3 of what it reads.
    assert e.fields["stride8"] == Field((128, 128), (8.0, 8.0), (21.0, 21.0))
    assert e.fields["fused"] == e.fields["stride2"] == Field((128, 128), (2.0, 2.0), (3.0, 3.0))
    assert e.fields["input"] == Field((128, 128), (1.0, 1.0), (0.0, 0.0))
    assert e.single(1).fields == e.fields


def test_padding_tiles_the_picture() -> None:
    net = Net("N", 3, 64, 48)
    stem = net("Relu", net.conv(net.x, 3, 8, 7, 2), name="stem")
    pool = net("MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], name="pool")
    short = net.conv(pool, 8, 8, 1, 2)
    deep = net("Relu", net("Add", net.conv(net.conv(pool, 8, 8, 3, 2), 8, 8, 3), short), name="deep")
    net.head(deep, 8, 4)
    found = fields(net.model("scores"))
    for name, stride in (("stem", 2), ("pool", 4), ("deep", 8)):
        tiled = Field.tiling((64, 48), (64 // stride, 48 // stride))
        assert found[name] == (stride, tiled.offset[0], stride, tiled.offset[1])


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize(("before", "beyond"), [(0, 1), (1, 1), (1, 0)])
def test_a_pad_belongs_to_what_reads_it(mode: str, before: int, beyond: int) -> None:
    net = Net("N", 3, 64, 64)
    x, channels = net.x, 3
    for i in range(3):
        amounts = np.array([0, 0, before, before, 0, 0, beyond, beyond])
        padded = net("Pad", x, amounts, mode=mode)
        x = net("Relu", net("Conv", padded, net.normal(4, channels, 3, 3), strides=[2, 2]), name=f"deep{i}")
        channels = 4
    net.head(x, 4, 2)
    found = fields(net.model("scores"))
    assert [found[f"deep{i}"][:2] for i in range(3)] == [(2, 0.5), (4, 1.5), (8, 3.5)]


def test_paths_that_differ_meet_in_between_and_upsampling_goes_back() -> None:
    net = Net("N", 3, 33, 33)
    deep = net("Relu", net("Conv", net.x, net.normal(4, 3, 3, 3), strides=[2, 2]), name="deep")
    valid = net("Conv", deep, net.normal(4, 4, 3, 3), name="valid")
    cut = net("Slice", deep, np.array([0, 0]), np.array([14, 14]), np.array([2, 3]), name="cut")
    net("Add", valid, cut, name="sum")
    net("Resize", "sum", None, np.array([1, 1, 2, 2], np.float32), mode="nearest", name="up",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    net.head("up", 4, 2)
    found = fields(net.model("scores"))
    assert found["deep"] == (2, 1, 2, 1)
    assert found["valid"] == (2, 3, 2, 3)
    assert found["cut"] == (2, 1, 2, 1)
    assert found["sum"] == (2, 2, 2, 2)
    assert found["up"] == (1, 1.5, 1, 1.5)


def test_channels_last_pictures_have_the_same_field() -> None:
    net = Net("N", 40, 40, 3)
    padded = net("Pad", net.x, np.array([0, 2, 0, 0, 0, 0, 0, 0]), name="padded")
    turned = net("Transpose", padded, perm=[0, 3, 1, 2])
    net("Relu", net("Conv", turned, net.normal(4, 3, 5, 5), strides=[2, 2]), name="deep")
    net.head("deep", 4, 2)
    assert fields(net.model("scores"))["deep"] == (2, 0, 2, 2)


@pytest.mark.parametrize("size", [(224, 224), (97, 130)])
def test_a_tiling_field_is_what_undo_assumes(size: tuple[int, int]) -> None:
    geometry, _ = lay_out((120, 80), size, "letterbox", None)
    values: Any = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    np.testing.assert_array_equal(geometry.undo(values, Field.tiling(size, (7, 5))), geometry.undo(values))


def test_cells_are_read_at_their_centres() -> None:
    values = np.arange(9, dtype=np.float32).reshape(3, 3)
    placed = Geometry.whole((20, 20)).undo(values, Field((20, 20), (4.0, 4.0), (5.0, 6.0)))
    np.testing.assert_array_equal(placed[5::4, 6::4][:3, :3], values)
    np.testing.assert_array_equal(placed[:6, :7], 0)  # before the first centre its value goes on
    assert placed[7, 6] == 1.5


SIZE = 32
ORDERS: dict[str, tuple[np.ndarray, bool]] = {
    "in order": (np.arange(SIZE), True),
    "reversed": (np.arange(SIZE)[::-1], True),
    "every other": (np.arange(0, SIZE, 2), True),
    "each twice": (np.arange(SIZE).repeat(2), True),
    "counted from the end": (np.arange(-SIZE, 0), True),
    "rolled": (np.roll(np.arange(SIZE), SIZE // 2), False),
    "shuffled": (np.random.default_rng(0).permutation(SIZE), False),
}


@pytest.mark.parametrize("op", ["Gather", "GatherElements"])
@pytest.mark.parametrize("order", ORDERS)
def test_positions_that_are_picked_lie_where_they_came_from(order: str, op: str) -> None:
    """Or nowhere: maps behind an order that is no grid are none of the picture."""
    places, evenly = ORDERS[order]
    net = Net(1, 3, SIZE, SIZE)
    x = net("Relu", net("Conv", net.x, np.array([1, -1, -1], np.float32)[None, :, None, None]), name="red")
    if op == "GatherElements":
        picked = net(op, x, np.broadcast_to(places, (1, 1, SIZE, len(places))).copy(), axis=3)
    else:
        picked = net(op, x, places.astype(np.int64), axis=3)
    x = net("Relu", net("AveragePool", picked, kernel_shape=[2, 2], strides=[2, 2]), name="behind")
    model = net.model(net("Flatten", net("GlobalAveragePool", x)))
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    image[4:12, 2:10] = (255, 0, 0)
    e = rc.explain(model, image, 0, "unit", seed="logit")
    for layer in e.settings.layers:
        heat = e.heat(layer.name)
        assert set(np.nonzero((heat > heat.max() / 2).any(axis=0))[0]) <= set(range(1, 11))
    found = {layer.tensor for layer in rc.layers(model) if layer.stage}
    assert ("behind" in found) <= (evenly and op == "Gather")


@pytest.mark.parametrize("longer", ["Pad", "Gather", "Tile"])
def test_a_row_that_was_lengthened_is_no_grid(longer: str) -> None:
    net = Net("N", 3, 8, 8)
    x = net("Reshape", net("Relu", net.conv(net.x, 3, 4), name="stem"), np.array([0, 4, 64]))
    x = {
        "Pad": lambda: net("Pad", x, np.array([0, 0, 0, 0, 0, 8])),
        "Gather": lambda: net("Gather", x, np.r_[np.arange(64), np.zeros(8, int)], axis=2),
        "Tile": lambda: net("Tile", x, np.array([1, 1, 2])),
    }[longer]()
    x = net("Relu", net.conv(net("Reshape", x, np.array([0, 4, -1, 8])), 4, 4), name="behind")
    model = net.model(net.head(x, 4))
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    for backend in ("eager", "compiled"):
        assert rc.Explainer(model, ["stem", "input"], backend=backend)(x).maps["stem"].any()


def test_picking_a_channel_leaves_positions_alone() -> None:
    """Of three parts on an axis of their own, as of queries, keys and values: a convolution behind it has positions."""
    net = Net("N", 3, 16, 16)
    x = net("Reshape", net("Relu", net.conv(net.x, 3, 12)), np.array([0, 3, 4, 16, 16]))
    part = net("Gather", x, np.array(1), axis=1)
    model = net.model(net.head(net("Relu", net.conv(part, 4, 8, stride=2), name="behind"), 8))
    assert "behind" in {layer.tensor for layer in rc.layers(model) if layer.stage}
