"""Files whose batch is open in name only: what one picture was exported for, and was opened afterwards."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture

import relcam_onnx as rc

LAYERS = ("stages", "fused", "input")


def tokens(batch: int | str | None, spelling: str) -> onnx.ModelProto:
    """A layer over tokens that only works for one picture."""
    net = Net(batch, 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 6))
    x = net("Transpose", x, perm=[0, 2, 3, 1])
    if spelling == "windows":
        x = net("Reshape", x, np.array([-1, 32, 6]))
        x = net("Reshape", net("MatMul", x, net.normal(6, 6)), np.array([1, 64, 6]))
    elif spelling == "elements":
        x = net("Reshape", x, np.array([1, 64, 6]))
    else:
        x = net("Concat", net.normal(1, 1, 6), net("Reshape", x, np.array([0, 64, 6])), axis=1)
    x = net("Relu", net("Add", net("MatMul", x, net.normal(6, 6)), net.normal(6)))
    return net.model(net.dense(net("ReduceMean", x, np.array([1]), keepdims=0), 6, 5, name="scores"))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("spelling", ["elements", "windows", "joined"])
@pytest.mark.parametrize("batch", ["N", None])
def test_a_batch_that_is_open_in_name_only_is_what_the_nodes_say(
    batch: str | None, spelling: str, backend: str
) -> None:
    x = picture(3, 3, 8, 8)
    fixed = rc.Explainer(tokens(1, spelling), LAYERS, backend=backend)(x, [[0, 1]] * 3)
    opened = rc.Explainer(tokens(batch, spelling), LAYERS, backend=backend)(x, [[0, 1]] * 3)
    assert list(opened.maps) == list(fixed.maps)
    for name, maps in fixed.maps.items():
        agree(opened.maps[name], maps)


def test_a_compiled_file_tells_the_batch_that_it_works_for() -> None:
    compiled = rc.compile_model(tokens("N", "elements"))
    assert compiled.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
