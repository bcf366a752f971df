"""Files that resize the picture themselves, whatever its size, before their first layer: stages as without."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture
from onnx import TensorProto, helper

import relcam_onnx as rc

LAYERS = ("stages", "fused")
SIDE = 32


def network(form: str) -> onnx.ModelProto:
    """A classifier of pictures of 32 pixels, behind what makes such of others."""
    net = Net("N", 3, SIDE, SIDE)
    x = net.x
    if form != "plain":
        shape = ["N", "H", "W", 3] if form == "bytes, channels last" else ["N", 3, "H", "W"]
        kind = TensorProto.FLOAT if form == "floats" else TensorProto.UINT8
        net.inputs[0] = helper.make_tensor_value_info("x", kind, shape)
        x = x if form == "floats" else net("Cast", x, to=TensorProto.FLOAT)
        x = net("Transpose", x, perm=[0, 3, 1, 2]) if form == "bytes, channels last" else x
        size = net("Concat", net("Shape", x, end=2), np.array([SIDE, SIDE]), axis=0)
        x = net("Resize", x, None, None, size, mode="linear", name="resized")
    x = net("Relu", net.conv(net("Sub", net("Div", x, np.float32(255)), np.float32(0.5)), 3, 8, stride=2))
    x = net("Relu", net.conv(net("Relu", net.conv(x, 8, 8, stride=2)), 8, 8, stride=2))
    return net.model(net.dense(net("Flatten", net("GlobalAveragePool", x)), 8, 5))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("form", ["floats", "bytes", "bytes, channels last"])
def test_stages_have_the_names_of_the_resized_picture(form: str, backend: str) -> None:
    model = network(form)
    wanted = ["stride2", "stride4", "stride8"]
    assert [layer.stage for layer in rc.layers(model) if layer.stage] == wanted
    with rc.Explainer(model, LAYERS, backend=backend) as explainer:
        for height, width in ((SIDE, SIDE), (50, 75), (20, 64)):
            x = (
                np.abs(picture(1, 3, height, width) * 80)
                .clip(0, 255)
                .astype(np.float32 if form == "floats" else np.uint8)
            )
            found = explainer(x.transpose(0, 2, 3, 1) if form.endswith("last") else x, 1)
            assert list(found.maps) == [*wanted, "fused"]
            if (height, width) == (SIDE, SIDE):
                same_maps(found, rc.Explainer(network("plain"), LAYERS)(x.astype(np.float32), 1))
    with rc.Explainer(model, "stride4", backend=backend) as explainer:
        assert list(explainer(x.transpose(0, 2, 3, 1) if form.endswith("last") else x, 1).maps) == ["stride4"]


def test_a_branch_that_is_resized_leaves_the_others_their_names() -> None:
    """A pyramid of the picture: its whole size and half of it, each with a convolution of its own."""
    net = Net("N", 3, SIDE, SIDE)
    half = net("Resize", net.x, None, np.array([1, 1, 0.5, 0.5], np.float32), mode="linear")
    whole = net("Relu", net.conv(net.x, 3, 8, stride=2), name="whole")
    x = net("Add", whole, net("Relu", net.conv(half, 3, 8), name="half"), name="both")
    model = net.model(net.head(net("Relu", net.conv(x, 8, 8, stride=2)), 8))
    strides = {layer.tensor: layer.stride for layer in rc.layers(model)}
    assert (strides["whole"], strides["half"], strides["both"]) == (2, 2, 2)
