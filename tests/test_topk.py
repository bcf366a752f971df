"""TopK on the way to the scores: its values are those at its indices, which get what arrives."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from compare import agree
from nets import Net, picture
from onnx import numpy_helper

import relcam_onnx as rc

KEPT = 3


def largest() -> onnx.ModelProto:
    """Scores of the three largest positions of each channel."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="feature")
    flat = net("Reshape", x, np.array([0, 8, -1]))
    net.nodes.append(onnx.helper.make_node("TopK", [flat, net.constant(np.array([KEPT]))], ["best", "where"], axis=2))
    return net.model(net.dense(net("Flatten", "best"), 8 * KEPT, 5))


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_the_gradient_is_pytorchs(backend: str) -> None:
    model, x = largest(), picture(2, 3, 16, 16)
    w = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    convolved, dense = (next(n for n in model.graph.node if n.op_type == op) for op in ("Conv", "Gemm"))
    leaf = torch.from_numpy(x).requires_grad_()
    feature = torch.relu(torch.nn.functional.conv2d(leaf, *(w[i] for i in convolved.input[1:]), stride=2, padding=1))
    best = feature.flatten(2).topk(KEPT).values.flatten(1)
    (best @ w[dense.input[1]].T + w[dense.input[2]])[:, 1].sum().backward()
    assert leaf.grad is not None
    with rc.Explainer(model, "input", "lrp", "gradient", backend=backend) as explainer:
        agree(explainer(x, [[1], [1]]).maps["input"], leaf.grad.numpy()[:, None], 1e-5)


def test_relevance_goes_to_what_was_kept() -> None:
    model, x = largest(), picture(2, 3, 16, 16)
    found = rc.Explainer(model, "feature", "lrp")(x, [[1], [2]]).maps["feature"]
    assert ((found != 0).sum(axis=(3, 4)) <= KEPT).all()
    assert found.any()
