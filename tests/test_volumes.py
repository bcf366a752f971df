"""Segmenters of volumes, (N, classes, D, H, W): the same head with one axis more."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture

import relcam_onnx as rc

BACKENDS = ["eager", "compiled"]
SIDES = (8, 16, 12)


def unet(*, chosen: bool = False) -> onnx.ModelProto:
    """One level down and up again, three classes."""
    net = Net("N", 1, *SIDES)

    def conv(x: str, before: int, after: int, kernel: int = 3, stride: int = 1) -> str:
        weight = net.normal(after, before, *[kernel] * 3, scale=(2 / before / kernel**3) ** 0.5)
        return net("Conv", x, weight, net.normal(after, scale=0.1), strides=[stride] * 3, pads=[kernel // 2] * 6)

    fine = net("Relu", conv(net.x, 1, 4))
    coarse = net("Relu", conv(fine, 4, 8, 3, 2))
    up = net("ConvTranspose", coarse, net.normal(8, 4, 2, 2, 2, scale=0.3), strides=[2] * 3)
    scores = conv(net("Concat", fine, net("Relu", up), axis=1), 8, 3, 1)
    return net.model(net("ArgMax", scores, axis=1, keepdims=0) if chosen else net("Softmax", scores, axis=1))


def test_each_voxel_is_a_place() -> None:
    x = picture(2, 1, *SIDES)
    maps: dict[str, Any] = {}
    for backend in BACKENDS:
        with rc.Explainer(unet(), backend=backend) as explainer:
            assert explainer.settings.head == "segmenter"
            found = explainer(x, [[-1, -2]] * 2)
        assert {name: value.shape for name, value in found.maps.items()} == {
            "stride1": (2, 2, *SIDES), "stride2": (2, 2, 4, 8, 6), "fused": (2, 2, *SIDES)
        }  # fmt: skip
        for name, value in maps.items():
            agree(found.maps[name], value)
        maps = dict(found.maps)
    chosen = rc.Explainer(unet(chosen=True))(x, [[-1, -2]] * 2)
    np.testing.assert_array_equal(chosen.targets, found.targets)
    for name, value in maps.items():
        agree(chosen.maps[name], value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_part_of_a_volume_is_named_by_a_mask(backend: str) -> None:
    """A corner of two voxels a side: the gradient of its mean score reaches no further than the kernels do."""
    mask = np.zeros(SIDES, bool)
    mask[:2, :2, :2] = True
    options: dict[str, Any] = {"preset": "gradient", "method": "lrp", "seed": "one-hot", "backend": backend}
    with rc.Explainer(unet(), ["input"], **options) as explainer:
        found = explainer(picture(1, 1, *SIDES), targets={"mask": mask, "label": 1})
        assert found.targets.tolist() == [[1]]
        slope = found.maps["input"][0, 0, 0]
        assert slope[:3, :3, :3].any()
        assert not slope[5:].any()
        assert not slope[:, 5:].any()
        with pytest.raises(rc.RelcamError, match="by a mask"):
            explainer(picture(1, 1, *SIDES), targets={"box": (0, 0, 4, 4)})
        with pytest.raises(rc.RelcamError, match="three axes"):
            explainer(picture(1, 1, *SIDES), targets={"mask": mask[0]})


@pytest.mark.parametrize("form", ["squeezed", "summed"])
def test_voxels_of_one_class_without_its_axis(form: str) -> None:
    def model(form: str) -> onnx.ModelProto:
        net = Net("N", 1, *SIDES)
        x = net("Relu", net("Conv", net.x, net.normal(8, 1, 3, 3, 3, scale=0.3), pads=[1] * 6))
        scores = net("Conv", x, net.normal(1, 8, 1, 1, 1))
        if form == "squeezed":
            return net.model(net("Squeeze", net("Sigmoid", scores), np.array([1])))
        if form == "summed":
            return net.model(net("Sigmoid", net("ReduceSum", scores, np.array([1]), keepdims=0)))
        return net.model(net("Sigmoid", scores))

    wanted, found = (rc.Explainer(model(each), ["stages", "input"])(picture(1, 1, *SIDES)) for each in ("plain", form))
    assert found.settings.head == "segmenter"
    for name, value in wanted.maps.items():
        agree(found.maps[name], value)
