"""Embeddings: what makes a picture like another one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from compare import agree
from nets import Net, picture, run
from PIL import Image
from test_cli import relcam

import relcam_onnx as rc
from relcam_onnx.runners.starting import Starter

X, OTHERS = picture(2, 3, 16, 16), picture(3, 3, 16, 16)
BACKENDS = ["eager", "compiled"]
LAYERS = ["stages", "fused", "input"]


def embedding(*, normalised: bool = False) -> onnx.ModelProto:
    """Six numbers a picture, perhaps of length one."""
    net = Net("N", 3, 16, 16)
    x = net("Relu", net.conv(net.x, 3, 8, stride=2), name="first")
    z = net("Flatten", net("GlobalAveragePool", net("Relu", net.conv(x, 8, 8), name="second")))
    z = net.dense(z, 8, 6, name="dense")
    return net.model(net("LpNormalization", z, axis=1, p=2, name="unit") if normalised else z)


def embedded(x: np.ndarray) -> np.ndarray:
    return np.asarray(run(embedding(), "dense", x=x)[0])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
    return np.asarray(a @ b.T)


@pytest.mark.parametrize("backend", BACKENDS)
def test_relevance_of_the_cosine_starts_as_its_terms(backend: str) -> None:
    vectors = embedded(OTHERS)[:2]
    with rc.Explainer(embedding(), ["dense", "input"], "lrp", "epsilon-plus", backend=backend) as explainer:
        found = explainer(X, [[{"like": vectors[0]}, {"like": OTHERS[1:2]}]] * 2)
    wanted = cosines(embedded(X), vectors)
    np.testing.assert_allclose(found.probability, wanted, rtol=1e-4)
    np.testing.assert_allclose(found.margin, wanted, rtol=1e-4)
    z = embedded(X)
    for k, vector in enumerate(vectors):
        terms = z * vector / np.linalg.norm(z, axis=1, keepdims=True) / np.linalg.norm(vector)
        np.testing.assert_allclose(found.maps["dense"][:, k], terms, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.relevance_kept["dense"], 1, rtol=1e-4)
    assert found.settings.head == "embedding"
    assert found.doubt() is None


def test_each_image_may_be_like_another_one() -> None:
    vectors = embedded(OTHERS)[:2]
    asked = [[{"like": vectors[0], "name": "ann"}], [{"like": vectors[1], "name": "bob"}]]
    for most in (None, 1):
        found = rc.Explainer(embedding(), "stages", max_batch=most)(X, asked)
        assert [found.label(found.targets[n, 0]) for n in (0, 1)] == ["like ann", "like bob"]
        np.testing.assert_allclose(found.probability[:, 0], np.diag(cosines(embedded(X), vectors)), rtol=1e-4)


def test_another_pictures_vector_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    scores = Starter.scores
    monkeypatch.setattr(Starter, "scores", lambda self, inputs: runs.append(1) or scores(self, inputs))
    with rc.Explainer(embedding(), "stages", max_batch=1) as explainer:
        explainer(X, {"like": OTHERS[:1]})
        explainer(X, {"like": OTHERS[:1]})
    assert len(runs) == 1 + 4


def test_the_head_can_be_named() -> None:
    with pytest.raises(rc.TargetError, match=r"for embeddings, tables .* is a classifier"):
        rc.Explainer(embedding(), "stages", head="classifier")(X, {"like": embedded(OTHERS)[0]})
    with pytest.raises(rc.TargetError, match="say what to be like"):
        rc.Explainer(embedding(), "stages", head="embedding")(X)
    with pytest.raises(rc.TargetError, match="not by -1; --like goes without --target and --top"):
        rc.Explainer(embedding(), "stages")(X, [[{"like": embedded(OTHERS)[0]}, -1]] * 2)
    assert rc.Explainer(embedding(), "stages", head="embedding")(X, {"like": embedded(OTHERS)[0]}).maps


def test_a_compiled_file_of_an_embedding_takes_a_seed() -> None:
    with pytest.raises(rc.OptionError, match=r"seed 'given' .* relcam_seed, .* --like"):
        rc.compile_model(embedding(), head="embedding")
    made = rc.compile_model(embedding(), "stages", head="embedding", seed="given")
    z, vector = embedded(X), embedded(OTHERS)[0]
    terms = z * vector / np.linalg.norm(z, axis=1, keepdims=True) / np.linalg.norm(vector)
    wanted = rc.Explainer(embedding(), "stages")(X, {"like": vector}).maps["stride2"]
    agree(run(made, "cam/stride2", x=X, relcam_seed=terms[:, None])[0], wanted)


def test_backends_agree_and_targets_are_each_alone() -> None:
    vectors = embedded(OTHERS)
    asked = [[{"like": v} for v in vectors]] * 2
    made = [rc.Explainer(embedding(), LAYERS, backend=backend)(X, asked) for backend in BACKENDS]
    alone = rc.Explainer(embedding(), LAYERS)(X, {"like": vectors[2]})
    for layer, values in made[0].maps.items():
        agree(made[1].maps[layer], values)
        agree(alone.maps[layer], values[:, 2:])


def test_the_gradient_is_the_cosines_with_the_length_held_fixed() -> None:
    vector = embedded(OTHERS)[0]
    with rc.Explainer(embedding(), "input", "lrp", "gradient") as explainer:
        found = explainer(X[:1], {"like": vector}).maps["input"][0, 0]
    length = np.linalg.norm(embedded(X[:1])) * np.linalg.norm(vector)
    step = 1e-3 * np.random.default_rng(0).standard_normal(X[:1].shape).astype(np.float32)
    ahead, behind = (float(embedded(X[:1] + sign * step)[0] @ vector / length) for sign in (1, -1))
    scale = float(np.abs(found * step[0]).sum())
    assert ahead - behind == pytest.approx(2 * float((found * step[0]).sum()), abs=1e-2 * scale)


def test_an_embedding_of_length_one_is_asked_in_the_same_way() -> None:
    vector = embedded(OTHERS)[0]
    found = [rc.Explainer(embedding(normalised=n), ["stages"])(X, {"like": vector}) for n in (False, True)]
    np.testing.assert_allclose(found[1].probability, found[0].probability, rtol=1e-4)
    for layer, values in found[0].maps.items():
        assert np.corrcoef(found[1].maps[layer].ravel(), values.ravel())[0, 1] > 0.999


def test_pictures_to_be_like_are_prepared_like_any_other(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(file := tmp_path / f"{number}.png")
        files.append(file)
    onnx.save(embedding(), tmp_path / "m.onnx")
    found = rc.explain(tmp_path / "m.onnx", files[0], [[{"like": str(f)} for f in files]], preprocess="unit")
    assert found.probability[0, 0] == pytest.approx(1, abs=1e-5)
    assert found.label(1) == "like 1.png"
    assert "like 2.png" in str(found)
    out = tmp_path / "out"
    likes = ["--like", files[1], "--like", files[2]]
    assert relcam("explain", tmp_path / "m.onnx", files[0], "-o", out, "--preprocess", "unit", *likes).exit_code == 0
    results = json.loads((out / "results.json").read_text())
    assert (results["options"]["head"], results["options"]["seed"]) == ("embedding", "logit")
    (image,) = results["images"]
    assert [target["label"] for target in image["targets"]] == ["like 1.png", "like 2.png"]
    np.testing.assert_allclose([t["probability"] for t in image["targets"]], found.probability[0, 1:], rtol=1e-5)


@pytest.mark.parametrize(
    ("like", "said"),
    [
        (np.ones(5), "a vector of 6 numbers"),
        (np.zeros(6), "not all 0"),
        (np.full(6, np.nan), "a vector of 6 numbers"),
    ],
)
def test_vectors_that_are_none(like: Any, said: str) -> None:
    with rc.Explainer(embedding(), "stages") as explainer, pytest.raises(rc.TargetError, match=said):
        explainer(X, {"like": like})


UNITS: dict[str, Callable[[Net, str], str]] = {
    "no shorter than": lambda net, z: net("Div", z, net("Max", net("ReduceL2", z, np.array([1])), np.float32([1e-6]))),
    "by the root": lambda net, z: net("Div", z, net("Sqrt", net("ReduceSumSquare", z, np.array([1])))),
    "times a number": lambda net, z: net("Mul", net("LpNormalization", z, axis=1, p=2), np.float32(64)),
}


@pytest.mark.parametrize("name", UNITS)
def test_vectors_of_one_length_however_that_is_written(name: str) -> None:
    """Pieces of such a norm are a norm of root mean squares with a gain to the engine: nothing was said of those."""
    net = Net("N", 3, 16, 16)
    z = net.head(net("Relu", net.conv(net.x, 3, 8, stride=2)), 8, 6)
    with pytest.warns(UserWarning, match="vectors of one length"):
        rc.Explainer(net.model(UNITS[name](net, z)), "stages")(X)


def test_vectors_of_length_one_asked_for_classes_are_said_to_be_none() -> None:
    with rc.Explainer(embedding(normalised=True), "stages") as explainer:
        with pytest.warns(UserWarning, match="say what to be like"):
            explainer(X)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            explainer(X, {"like": embedded(OTHERS)[0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rc.Explainer(embedding(), "stages")(X)
        rc.Explainer(embedding(normalised=True), "stages", head="classifier")(X)
