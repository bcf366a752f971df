"""`Explainer.forward`: the forward pass alone says what an explanation says, and makes no maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from nets import Net, picture, plain
from test_heads import pixels, planted, street

import relcam_onnx as rc


def embedding() -> onnx.ModelProto:
    net = Net()
    return net.model(net.head(net("Relu", net.conv(net.x, 3, 8)), 8, 6))


X = picture(3, 3, 32, 32)
STREET = np.stack([(street().transpose(2, 0, 1) / 255).astype(np.float32), np.zeros((3, 32, 32), np.float32)])
CASES: dict[str, tuple[Callable[[], onnx.ModelProto], Any, Any, dict[str, Any]]] = {
    "classifier": (plain, X, [[-1, -2]] * 3, {}),
    "softmax": (lambda: plain(final="Softmax"), X, None, {}),
    "fixed batch": (lambda: plain(batch=2), X, [0, 1, -1], {}),
    "free size": (lambda: plain(size="S"), picture(2, 3, 24, 24), None, {}),
    "segmenter": (pixels, picture(2, 3, 16, 16), [[-1, -2]] * 2, {}),
    "segmenter, a box": (pixels, picture(2, 3, 16, 16), {"box": (0, 0, 8, 8)}, {}),
    "detector": (lambda: planted("corners"), STREET, None, {"labels": ["red", "green"], "layers": "input"}),
    "detector, a label": (lambda: planted("joined"), STREET, {"label": 1}, {"layers": "input"}),
    "embedding": (embedding, X, {"like": np.arange(6.0)}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_an_explanation_says(case: str) -> None:
    """To 1e-5, the sessions differ."""
    build, x, targets, options = CASES[case]
    with rc.Explainer(build(), **options) as explainer:
        whole, alone = explainer(x, targets), explainer.forward()(x, targets)
    assert not alone.maps
    assert whole.maps
    np.testing.assert_array_equal(alone.targets, whole.targets)
    for name in ("scores", "probability", "margin"):
        np.testing.assert_allclose(getattr(alone, name), getattr(whole, name), rtol=1e-5, atol=1e-5)
    assert alone.detections == whole.detections
    for name, values in whole.outputs.items():
        np.testing.assert_allclose(alone.outputs[name], values, rtol=1e-5, atol=1e-5)
