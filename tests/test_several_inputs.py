"""Several inputs: each picture has maps of its own, however the file spells their encoder; vectors go beside."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import pytest
import siamese
import torch
from compare import agree, same_maps
from nets import Net, picture, run
from siamese import PARTINGS, early, ints, joined, late, towers, with_vector
from test_compile import explained, results
from torch.nn import functional

import relcam_onnx as rc

BOTH = {"left": picture(2, 3, 16, 16), "right": picture(2, 3, 16, 16, seed=1)}
TARGETS = np.array([[0, -1], [1, 2]])
ALL = ("stages", "fused", "input")
BACKENDS = ["eager", "compiled"]
pytestmark = pytest.mark.filterwarnings("ignore:the map of", "ignore:seed 'one-hot'")


@pytest.mark.parametrize("head", ["classes", "one", "distance"])
@pytest.mark.parametrize("shared", [True, False])
def test_each_picture_has_its_own_maps(shared: bool, head: str) -> None:
    model = towers(shared=shared, head=head)
    targets = TARGETS if head == "classes" else 0
    wanted = explained(model, BOTH, targets, layers=ALL)
    names = [f"{layer}/{name}" for layer in ("stride2", "stride4", "input", "fused") for name in BOTH]
    assert list(wanted.maps) == names
    assert {source.name: source.picture for source in wanted.settings.layers} == {n: n.split("/")[1] for n in names}
    with rc.Explainer(model, ALL) as explainer:
        same_maps(explainer(BOTH, targets), wanted)
    assert {row.stage: row.share for row in rc.layers(model) if row.stage} == dict.fromkeys(names[:4], 1)


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("parting", PARTINGS)
def test_pictures_joined_in_the_batch_are_two_towers(parting: str, batch: int | str) -> None:
    model = joined(PARTINGS[parting], batch)
    both = {name: value[:1] for name, value in BOTH.items()} if batch == 1 else BOTH
    targets = TARGETS[: len(both["left"])]
    np.testing.assert_allclose(run(model, **both)[0], run(towers(), **both)[0], atol=1e-6)
    wanted = explained(towers(), both, targets, layers=ALL)
    for backend in BACKENDS:
        with rc.Explainer(model, ALL, backend=backend) as explainer:
            same_maps(explainer(both, targets), wanted)


def test_what_mixes_the_pictures_in_the_batch_is_no_tower() -> None:
    """The rows of both are subtracted from their mean over all: nothing may be taken apart."""
    net = Net("N", 3, 16, 16, name="left")
    siamese.pair(net, "N")
    both = net.conv(net("Concat", "left", "right", axis=0), 3, 8, stride=2)
    both = net("Sub", both, net("ReduceMean", both, ints(0), keepdims=1))
    parts = siamese.split(net, net("Flatten", net("GlobalAveragePool", net("Relu", both))))
    with pytest.raises(rc.UnsupportedModelError):
        rc.Explainer(net.model(net.dense(net("Concat", *parts, axis=1), 16, 5, name="scores")))


SPELLINGS = {"towers": towers, "late": late, "early": early, **{n: partial(joined, siamese.split, n) for n in ("N", 2)}}


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_bare_file(name: str) -> None:
    """Several images and targets at once, the pictures joined in the batch or not."""
    model = SPELLINGS[name]()
    compiled = rc.compile_model(model, ALL, heatmap=True)
    onnx.checker.check_model(compiled, full_check=True)
    got = results(compiled, **BOTH, relcam_targets=TARGETS)
    wanted = explained(model, BOTH, TARGETS, layers=ALL)
    for layer, value in wanted.maps.items():
        agree(got[f"relevance/{layer}" if layer.startswith("input") else f"cam/{layer}"], value)
        assert layer.startswith("input") or got[f"heatmap/{layer}"].shape == (2, 2, 16, 16)


def test_the_gradient_is_pytorchs() -> None:
    model = towers(shared=True)
    layers = {w.name: torch.tensor(onnx.numpy_helper.to_array(w)) for w in model.graph.initializer}
    own = [layers[f"w{number}"] for number in range(4)]
    pictures = {name: torch.tensor(value, requires_grad=True) for name, value in BOTH.items()}
    both = []
    for x in pictures.values():
        inner = functional.conv2d(x, *own[:2], stride=2, padding=1).relu()
        both.append(functional.conv2d(inner, *own[2:], stride=2, padding=1).relu().mean((2, 3)))
    scores = functional.linear(torch.cat(both, 1), layers["w4"], layers["w5"])
    scores[:, 1].sum().backward()
    for backend in BACKENDS:
        with rc.Explainer(model, "input", preset="gradient", method="lrp", backend=backend) as explainer:
            maps = explainer(BOTH, 1).maps
        for name, x in pictures.items():
            assert x.grad is not None
            np.testing.assert_allclose(maps[f"input/{name}"][:, 0], x.grad.numpy(), atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_pictures_hold_the_score(backend: str) -> None:
    """Without biases a composite keeps it all: at the inputs, and at each cut of both towers."""
    with rc.Explainer(towers(bias=False), ALL, preset="epsilon-plus", backend=backend) as explainer:
        e = explainer(BOTH, TARGETS)
    score = np.take_along_axis(e.scores, e.targets, axis=1)
    for layer in ("input", "stride2", "stride4"):
        both = sum(e.maps[f"{layer}/{name}"].reshape(2, 2, -1).sum(axis=2) for name in BOTH)
        np.testing.assert_allclose(both, score, rtol=1e-3, err_msg=layer)


def test_where_pictures_meet_a_stage_is_of_both() -> None:
    e = explained(late(), BOTH, 0, layers=(*ALL, "last"))
    assert list(e.maps) == ["stride2/left", "stride2/right", "stride4", "stride8", "input/left", "input/right",
                            "fused/left", "fused/right"]  # fmt: skip
    np.testing.assert_array_equal(e.maps["last"], e.maps["stride8"])
    assert np.abs(e.maps["fused/left"] - e.maps["fused/right"]).max() > 0.1
    e = explained(early(), BOTH, 0)
    assert list(e.maps) == ["stride2", "fused"]
    np.testing.assert_array_equal(e.maps["fused/right"], e.maps["fused"])


def test_stages_of_some_pictures() -> None:
    """Two meet before the third: what is of two says so, what is of all does not."""
    net = Net("N", 3, 16, 16, name="a")
    own = {name: net("Relu", net.conv(net.input(name, "N", 3, 16, 16), 3, 4, stride=2)) for name in ("b", "c")}
    own["a"] = net("Relu", net.conv("a", 3, 4, stride=2))
    x = net("Relu", net.conv(net("Add", own["a"], own["b"]), 4, 4, stride=2))
    c = net("Relu", net.conv(own["c"], 4, 4, stride=2))
    both = net("Relu", net.conv(net("Concat", x, c, axis=1), 8, 4, stride=2))
    stages = [row.stage for row in rc.layers(net.model(net.head(both, 4))) if row.stage]
    assert set(stages) == {"stride2/a", "stride2/b", "stride2/c", "stride4/a+b", "stride4/c", "stride8"}


def test_names_of_layers() -> None:
    with rc.Explainer(towers(), ["stride4/right", "fused/left", "input/right"]) as explainer:
        assert list(explainer(BOTH, 0).maps) == ["stride4/right", "input/right", "fused/left"]
    with pytest.raises(rc.LayerError, match="did you mean 'fused/left'"):
        rc.Explainer(towers(), "fused/lef")
    with pytest.raises(rc.LayerError, match=r"'rise' alters one picture, .* reads several \('left', 'right'\)"):
        rc.Explainer(towers(), method="rise")


FEEDS = {"image": BOTH["left"], "age": picture(2, 4), "dose": picture(2)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_takes_no_part_in_stages(backend: str) -> None:
    with rc.Explainer(with_vector(bias=False), ALL, preset="epsilon-plus", backend=backend) as explainer:
        e = explainer(FEEDS, TARGETS)
    shapes = {name: values.shape[2:] for name, values in e.maps.items() if name.startswith("input")}
    assert list(e.maps) == ["stride2", "stride4", "input/image", "input/age", "input/dose", "fused"]
    assert shapes == {"input/image": (3, 16, 16), "input/age": (4,), "input/dose": ()}
    np.testing.assert_array_equal(e.maps["input"], e.maps["input/image"])
    score = np.take_along_axis(e.scores, e.targets, axis=1)
    held = sum(e.maps[f"input/{name}"].reshape(2, 2, -1).sum(axis=2) for name in FEEDS)
    np.testing.assert_allclose(held, score, rtol=1e-3)


def test_methods_that_ask_again_alter_the_picture() -> None:
    with rc.Explainer(with_vector(), method="occlusion") as explainer:
        assert list(explainer(FEEDS, TARGETS).maps) == ["input/image"]
