"""Files that take a picture without a batch or without channels, and put these axes there themselves, in any order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from compare import same_maps
from nets import Net, picture

import relcam_onnx as rc

SIZE = 32
First = Callable[[Net, str], str]


def image(first: First, *shape: int, classes: int = 3, bytes_: bool = False, batch: bool = False) -> onnx.ModelProto:
    """A classifier behind what a file does first; scores without a batch unless there is one."""
    net = Net(*shape)
    channels = 1 if 3 not in shape else 3
    y = net("Relu", net.conv(first(net, net.x), channels, 6, stride=2))
    scores = net.head(net("Relu", net.conv(y, 6, 8, stride=2)), 8, classes)
    model = net.model(scores if batch else net("Squeeze", scores, np.array([0])))
    if bytes_:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
        del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def in_front(net: Net, x: str) -> str:
    return net("Unsqueeze", x, np.array([0]))


@pytest.mark.parametrize("classes", [3, 5])
def test_as_many_classes_as_channels_are_no_batch(classes: int) -> None:
    with rc.Explainer(image(in_front, 3, SIZE, SIZE, classes=classes), "stages") as explainer:
        maps = explainer(picture(3, SIZE, SIZE), 0).maps
    assert {name: heat.shape for name, heat in maps.items()} == {"stride2": (1, 1, 16, 16), "stride4": (1, 1, 8, 8)}


def last_first(net: Net, x: str) -> str:
    """The batch, then the channels in front."""
    y = net("Transpose", in_front(net, x), perm=[0, 3, 1, 2])
    return net("Cast", y, to=onnx.TensorProto.FLOAT)


def first_last(net: Net, x: str) -> str:
    """The channels in front, then the batch."""
    y = in_front(net, net("Transpose", x, perm=[2, 0, 1]))
    return net("Cast", y, to=onnx.TensorProto.FLOAT)


def test_bytes_without_a_batch_may_be_turned_before_they_get_one() -> None:
    """(H, W, C), as cameras give them."""
    x = (np.clip(picture(SIZE, SIZE, 3), 0, 1) * 255).astype(np.uint8)
    results = []
    for first in (last_first, first_last):
        with rc.Explainer(image(first, SIZE, SIZE, 3, bytes_=True), ["stages", "fused"]) as explainer:
            results.append(explainer(x, 0))
    assert results[0].maps["fused"].shape == (1, 1, 16, 16)
    same_maps(*results)


def channel_first(net: Net, x: str) -> str:
    return net("Transpose", net("Unsqueeze", x, np.array([1])), perm=[0, 1, 3, 2])


def turned_first(net: Net, x: str) -> str:
    return net("Unsqueeze", net("Transpose", x, perm=[0, 2, 1]), np.array([1]))


def test_a_spectrogram_may_be_turned_before_it_gets_a_channel() -> None:
    """(N, frames, mel), as the Audio Spectrogram Transformer takes it."""
    results = []
    for first in (channel_first, turned_first):
        with rc.Explainer(image(first, 1, SIZE, 2 * SIZE, batch=True), ["stages", "fused"]) as explainer:
            results.append(explainer(picture(1, SIZE, 2 * SIZE), 0))
    assert results[0].maps["fused"].shape[:2] == (1, 1)
    assert len(results[0].maps["fused"].shape) == 4
    same_maps(*results)
