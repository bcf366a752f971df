"""What becomes of relevance on its way through whole networks: conservation, gates, presets and ops of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import Net, inverted, picture, plain, residual

import relcam_onnx as rc
from relcam_onnx.ops import TABLE, Backend, Call, Relay

X = picture(2, 3, 32, 32)


@pytest.mark.parametrize("seed", ["logit", "one-hot"])
def test_without_bias_a_plain_net_keeps_all_relevance(seed: str) -> None:
    """1.000 at every stage, the input included: ε takes less than 1e-3 of it."""
    layers = ("stages", "input")
    with rc.Explainer(plain(bias=False), layers, "lrp", "paper", seed) as explainer:
        result = explainer(X)
    start = 1.0 if seed == "one-hot" else result.scores.max(axis=1)
    for name, relevance in result.maps.items():
        np.testing.assert_allclose(relevance[:, 0].sum(axis=(1, 2, 3)) / start, 1, atol=1e-3, err_msg=name)


def test_biases_take_their_share() -> None:
    """z⁺ with the positive bias loses some on the way down, and never gains."""
    with rc.Explainer(plain(), "stages", "lrp", "default", "one-hot") as explainer:
        maps = explainer(X).maps
    left = [maps[name].sum(axis=(1, 2, 3, 4)) for name in ("stage4", "stage2", "stage1")]
    assert (left[1] < left[0]).all()
    assert (left[2] < left[1]).all()
    assert (left[2] > 0).all()


@pytest.mark.parametrize("seed", ["logit", "contrast", "rivals"])
@pytest.mark.parametrize("build", [plain, residual, inverted])
def test_local_relevance_cam_keeps_the_sum(build: Callable[..., onnx.ModelProto], seed: str) -> None:
    """|ΣM - ΣR| ≤ 2 % of Σ_p |Σ_k R_k(p)|, per image and target, at every stage."""
    x, model, targets = picture(2, 3, 96, 96), build(size=96), [[-1, 2]] * 2
    with rc.Explainer(model, "stages", seed=seed) as local, rc.Explainer(model, "stages", "lrp", seed=seed) as lrp:
        maps, relevance = local(x, targets).maps, lrp(x, targets).maps
    for name, m in maps.items():
        r = relevance[name].sum(axis=2)
        off = np.abs(m.sum(axis=(2, 3)) - r.sum(axis=(2, 3)))
        assert (off <= 0.02 * np.abs(r).sum(axis=(2, 3))).all(), name


def test_relevance_meets_before_it_passes() -> None:
    """x + x is 2x: both of Add's inputs are one tensor, which gets all."""
    net = Net("N", 3, 8, 8)
    y = net("Relu", net.conv(net.x, 3, 4, bias=False), name="y")
    single = net.model(net.head(y, 4, bias=False))
    net = Net("N", 3, 8, 8)
    y = net("Relu", net.conv(net.x, 3, 4, bias=False), name="y")
    twice = net.model(net.head(net("Add", y, y), 4, bias=False))
    x = picture(2, 3, 8, 8)
    maps = []
    for model in (single, twice):
        with rc.Explainer(model, "y", "lrp", seed="one-hot") as explainer:
            maps.append(explainer(x, 1).maps["y"])
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-4 * np.abs(maps[0]).max())


def test_a_gate_gets_nothing_and_its_signal_all() -> None:
    with rc.Explainer(inverted(), ("gated1", "depthwise1"), "lrp") as explainer:
        maps = explainer(X).maps
    np.testing.assert_allclose(maps["gated1"], maps["depthwise1"], atol=1e-5 * np.abs(maps["gated1"]).max())


def test_a_product_without_a_gate_is_halved() -> None:
    net = Net("N", 3, 8, 8)
    a, b = net("Relu", net.conv(net.x, 3, 4), name="a"), net("Relu", net.conv(net.x, 3, 4), name="b")
    model = net.model(net.head(net("Mul", a, b, name="product"), 4))
    with rc.Explainer(model, ("a", "b", "product"), "lrp") as explainer:
        maps = explainer(picture(2, 3, 8, 8)).maps
    for name in ("a", "b"):
        np.testing.assert_allclose(maps[name], maps["product"] / 2, rtol=1e-5)


def test_quantised_pairs_are_passed_straight_through() -> None:
    """A QDQ model's maps are the float model's but for the rounding of activations (scale 0.02)."""

    def build(*, quantised: bool) -> onnx.ModelProto:
        net = Net("N", 3, 16, 16)

        def pair(x: str) -> str:
            if not quantised:
                return x
            scale = (np.float32(0.02), np.uint8(128))
            return net("DequantizeLinear", net("QuantizeLinear", x, *scale), *scale)

        y = net("Relu", net.conv(pair(net.x), 3, 4), name="y")
        return net.model(net.head(pair(y), 4))

    x = picture(1, 3, 16, 16).clip(-2, 2)
    maps = []
    for quantised in (False, True):
        with rc.Explainer(build(quantised=quantised), ("y", "input"), "lrp", seed="one-hot") as explainer:
            maps.append(explainer(x, 1).maps)
    for name in ("y", "input"):
        a, b = (m[name].ravel().astype(np.float64) for m in maps)
        assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.99


@pytest.mark.parametrize("opset", range(7, 22))
def test_every_opset(opset: int) -> None:
    """The same network in each opset gives the same maps, 1e-5 of their largest value."""
    with rc.Explainer(plain(opset=opset, final="Sigmoid")) as old, rc.Explainer(plain(final="Sigmoid")) as new:
        got, wanted = old(X, 1).maps, new(X, 1).maps
    for name in ("stage1", "stage2", "stage4"):
        np.testing.assert_allclose(got[name], wanted[name], rtol=0, atol=1e-5 * np.abs(wanted[name]).max())


def test_a_preset_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'seed = "logit"\nmethod = "lrp"\n'
        '[[rules]]\nmatch = "dense"\nrule = "epsilon"\n'
        '[[rules]]\nmatch = "average"\nrule = "norm"\n'
        '[[rules]]\nmatch = "*"\nrule = "z-plus"\n'
    )
    with rc.Explainer(plain(), preset=str(path)) as own, rc.Explainer(plain(), preset="epsilon-plus") as known:
        got, wanted = own(X), known(X)
    assert got.settings.preset == "mine"
    np.testing.assert_array_equal(got.maps["stage1"], wanted.maps["stage1"])


def custom() -> onnx.ModelProto:
    """Two nodes of an op that the engine lacks."""
    net = Net("N", 3, 8, 8)
    y = net("Asinh", net.conv(net.x, 3, 4), name="a")
    return net.model(net.head(net("Asinh", net.conv(y, 4, 4), name="b"), 4))


def test_every_op_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(rc.UnsupportedModelError) as raised:
        rc.Explainer(custom(), "input")
    said = str(raised.value)
    assert "Asinh: the engine does not know this op" in said
    assert "Asinh node 'a'" in said
    assert "Asinh node 'b'" in said
    assert "relcam_onnx.op" in said


def test_many_nodes_of_a_kind_are_one_cause_and_a_number() -> None:
    """What is refused is said once, and how often; every node is in the error's attribute."""
    net = Net("N", 6, 8)
    y = net.x
    for _ in range(40):
        y = net("Sinh", y)
    pooled = net("ReduceMean", y, np.array([1]), keepdims=0)
    model = net.model(net("Gemm", pooled, net.normal(8, 5), name="scores"))
    with pytest.raises(
        rc.UnsupportedModelError, match=r"Sinh: the engine does not know this op \(40 nodes, .*\)"
    ) as raised:
        rc.Explainer(model, "input")
    assert len(str(raised.value)) < 500
    assert len(set(raised.value.nodes)) == 40


def test_a_refusal_names_the_lowest_layer_that_can_be_explained_and_a_method_that_always_can() -> None:
    net = Net("N", 3, 8, 8)
    x = net("Sinh", net("Relu", net.conv(net.x, 3, 4)), name="bent")
    x = net("Relu", net.conv(x, 4, 4, name="above"), name="last")
    model, x = net.model(net.head(x, 4)), picture(2, 3, 8, 8)
    with pytest.raises(rc.UnsupportedModelError, match=r"explain layers above, down to 'bent', or take method 'rise'"):
        rc.Explainer(model, "input", method="lrp")
    for options in ({"layers": "bent"}, {"method": "rise", "samples": 8}):
        with rc.Explainer(model, **options) as explainer:
            assert all(value.any() for value in explainer(x).maps.values())


def test_a_refusal_names_no_layer_that_has_windows_in_the_place_of_images() -> None:
    net = Net("N", 3, 8, 8)
    x = net("Relu", net.conv(net.x, 3, 4), name="first")
    halves = net("Reshape", net("Sinh", x), np.array([-1, 4, 4, 8]), name="halves")
    halves = net("Relu", net.conv(halves, 4, 4), name="within")
    x = net("Reshape", net("Transpose", halves, perm=[0, 1, 2, 3]), np.array([-1, 4, 8, 8]), name="whole")
    x = net("Relu", net.conv(x, 4, 4), name="last")
    model = net.model(net.head(x, 4))
    with pytest.raises(rc.UnsupportedModelError, match=r"down to '(\w+)'") as raised:
        rc.Explainer(model, "input", method="lrp")
    named = str(raised.value).split("down to '")[1].split("'")[0]
    assert named not in ("halves", "within")
    assert rc.Explainer(model, named)(picture(2, 3, 8, 8)).maps[named].any()


@pytest.fixture
def asinh() -> Iterator[None]:
    """The op taught: relevance passes, the gradient is 1 / √(x² + 1)."""

    @rc.op("Asinh")
    def build(f: Backend, call: Call) -> Relay:
        return Relay(lambda m: {0: m}, lambda g: {0: g * f.each(1.0 / f.Sqrt(call.x * call.x + 1.0))})

    yield
    del TABLE["Asinh"]


@pytest.mark.usefixtures("asinh")
def test_an_op_of_ones_own() -> None:
    x, step = picture(1, 3, 8, 8), 1e-2
    with rc.Explainer(custom(), "input", "lrp", "gradient") as explainer:
        gradient = explainer(x, 2).maps["input"][0, 0]
        ahead, behind = (explainer(x + s * step * gradient[None], 2).scores[0, 2] for s in (1, -1))
    # The score grows along its gradient by the gradient's square: central differences in float32.
    assert (ahead - behind) / (2 * step) == pytest.approx((gradient.astype(np.float64) ** 2).sum(), rel=1e-2)
    with rc.Explainer(custom(), ("a", "b")) as explainer:
        assert all(np.abs(value).max() > 0 for value in explainer(x).maps.values())
