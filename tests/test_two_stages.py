"""Detectors of two stages: refused in words that name what can be explained, never taken for something else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from nets import Net, picture
from onnx import helper

import relcam_onnx as rc

X = picture(1, 3, 32, 32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def two_stages(*, chosen: bool) -> onnx.ModelProto:
    """Eight of 64 places become regions, whose features have four classes; or what is chosen among those."""
    net = Net(1, 3, 32, 32)
    seen = net("Relu", net.conv(net("Relu", net.conv(net.x, 3, 4, stride=2)), 4, 6, stride=2))
    there = net("Reshape", net("Sigmoid", net.conv(seen, 6, 1, 1, name="first")), whole(1, 64))
    sides = net("Reshape", net("Exp", net.conv(seen, 6, 4, 1)), whole(4, 64))
    down, across = np.mgrid[0:8, 0:8].reshape(2, 64) * 4 + 2
    corners = net("Mul", sides, np.array([[-6.0], [-6.0], [6.0], [6.0]]))
    boxes = net("Transpose", net("Add", corners, np.stack([across, down] * 2).astype(np.float32)), perm=[1, 0])
    net.nodes.append(helper.make_node("TopK", [there, net.constant(whole(8))], ["best", "places"], "best"))
    regions = net("Gather", boxes, net("Reshape", "places", whole(8)), axis=0)
    aligned = net("RoiAlign", seen, regions, whole(*[0] * 8), output_height=2, output_width=2, spatial_scale=0.25,
                  name="aligned")  # fmt: skip
    shares = net("Softmax", net.dense(net("Flatten", aligned), 24, 4), axis=1, name="scores")
    if not chosen:
        return net.model(net("Identity", regions, name="boxes"), shares)
    turned = net("Unsqueeze", net("Transpose", shares, perm=[1, 0]), whole(0))
    kept = net("NonMaxSuppression", net("Unsqueeze", regions, whole(0)), turned, whole(3), np.float32([0.5]))
    index = net("Gather", kept, np.int64(2), axis=1)
    return net.model(
        net("Gather", regions, index, axis=0, name="boxes"), net("Gather", kept, np.int64(1), axis=1, name="labels")
    )


@pytest.mark.parametrize("method", [None, "rise"])
@pytest.mark.parametrize("chosen", [False, True])
def test_the_first_stage_is_named(chosen: bool, method: str | None) -> None:
    """Without that a corner of a chosen box was a class, and `rise` gave its map."""
    model = two_stages(chosen=chosen)
    with pytest.raises(rc.UnsupportedModelError, match=r"region that RoiAlign node 'aligned'.*: 'first'"):
        rc.Explainer(model, method=method)
    e = rc.Explainer(model, output="first", head="segmenter")(X)
    assert e.maps["stride4"].any()
