"""The eager session computes a quantised file's integers as the compiled one does: it exposes what is read, no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, run
from test_quantised import straight, weights

import relcam_onnx as rc
from relcam_onnx.compiling.reading import unread
from relcam_onnx.onnx_file.load import load
from relcam_onnx.prepare import Prepared

STEP = np.float32(0.0371)  # no power of two, so that the order of a sum decides what is rounded up
LAYERS = ["stages", "fused", "input"]


def trained(*shape: int | str) -> onnx.ModelProto:
    """Convolutions as training in 8 bits leaves them: rounded weights and activations, biases that are floats."""
    net = Net(*shape)
    x = straight(net, net.x, STEP, 128)
    for before, after, stride in ((3, 32, 1), (32, 32, 2), (32, 32, 2)):
        weight = weights(net, "both", after, before, 3, 3)
        x = net("Conv", x, weight, net.normal(after), pads=[1] * 4, strides=[stride] * 2)
        x = straight(net, net("Relu", x), 4 * STEP, 0)
    return net.model(net.head(x, 32))


@pytest.mark.parametrize("preset", ["default", "epsilon-plus"])
@pytest.mark.parametrize("shape", [("N", 3, 64, 64), (2, 3, 64, 64), ("N", 3, "H", "W")], ids=str)
@pytest.mark.parametrize("seed", [1, 5])
@pytest.mark.filterwarnings("ignore:seed")
def test_no_activation_is_a_step_away(shape: tuple[Any, ...], preset: str, seed: int) -> None:
    """Of half a million activations a few lie so near to the middle of two steps that another kernel rounds them up."""
    model, rng = trained(*shape), np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, 64, 64)).astype(np.float32)
    with rc.Explainer(model, LAYERS, preset=preset, backend="eager") as explainer:
        wanted = explainer(x, [[0, -1]] * 2)
    with rc.Explainer(model, LAYERS, preset=preset, backend="compiled") as explainer:
        got = explainer(x, wanted.targets)
    # A layer whose own sums the walk reads is not fused, and may be a step away from the file's.
    np.testing.assert_allclose(wanted.outputs["scores"], run(model, x=x)[0], atol=1e-3)
    np.testing.assert_allclose(got.outputs["scores"], wanted.outputs["scores"], rtol=1e-6)
    for name, value in wanted.maps.items():
        assert np.isfinite(value).all()
        agree(got.maps[name], value)


def test_what_is_left_out_has_sizes_alone() -> None:
    prepared = Prepared(load(trained("N", 3, 64, 64)), LAYERS, None, "epsilon-plus", None, None, None)
    sizes = unread(prepared)
    assert set(sizes) < set(prepared.maps.plan.exposed)
    assert sizes
    assert all(first == "N" and min(rest) > 0 for first, *rest in sizes.values())
