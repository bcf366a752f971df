"""What `Explainer` refuses: options, targets and inputs, each with one clear error."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import Net, picture, plain

import relcam_onnx as rc

X = picture(3, 3, 32, 32)

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "grad-cam": ({"method": "grad-cam", "preset": "paper"}, "method 'grad-cam' needs preset 'gradient', not 'paper'"),
    "method": ({"method": "gradcam"}, "did you mean 'grad-cam'"),
    "preset": ({"preset": "defualt"}, "did you mean 'default'"),
    "seed": ({"seed": "logits"}, "did you mean 'logit'"),
    "provider": ({"providers": ["gpu"]}, "no provider 'gpu'"),
    "layers": ({"layers": 3}, "layers must be a text, or a list of texts, not 3"),
    "one of the layers": ({"layers": ["last", 3]}, r"not \['last', 3\]"),
    "providers": ({"providers": 3}, "providers must be names, .* not 3"),
    "one of the providers": ({"providers": ["cpu", 3]}, r"providers must be names, .* not \['cpu', 3\]"),
    "no preset": ({"preset": 3}, "no preset is called 3"),
    "preprocess": ({"preprocess": 3}, "preprocess must be fields, a name"),
    "backend": ({"backend": "numpy"}, "no backend is called 'numpy'"),
}


@pytest.mark.parametrize("option", BAD)
def test_options_that_do_not_exist(option: str) -> None:
    arguments, says = BAD[option]
    with pytest.raises(rc.OptionError, match=says):
        rc.Explainer(plain(), **arguments)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (5, "target 5 is out of range: this model has 5 classes, 0 to 4"),
        (-6, "target -6 is out of range.*--top 5 asks for all"),
        ([1, 2], r"targets of shape \(2,\) do not fit 3 image\(s\).*write \[\[1, 2\]\]"),
        (0.5, "whole numbers"),
        ([], "whole numbers"),
        ([[0], [1, 2], [3]], "targets must be as many for each image"),
    ],
)
def test_targets_that_do_not_fit(targets: Any, says: str) -> None:
    with rc.Explainer(plain()) as explainer, pytest.raises(rc.TargetError, match=says):
        explainer(X, targets)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_a_batch_that_the_file_only_pretends_to_take(backend: str) -> None:
    """What a node inside tells of it is the batch: pictures are explained one at a time."""
    net = Net("N", 3, 16, 16)
    means = net("GlobalAveragePool", net("Relu", net("Conv", net.x, net.normal(4, 3, 3, 3), strides=[2, 2])))
    model = net.model(net("Reshape", means, np.array([1, 4])))
    x = picture(2, 3, 16, 16)
    with rc.Explainer(model, backend=backend) as explainer:
        both, second = explainer(x), explainer(x[1:])
    assert both.maps["fused"].shape[:2] == (2, 1)
    np.testing.assert_array_equal(both.maps["fused"][1:], second.maps["fused"])


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X.astype(np.float64), r"float64 .* the model takes float32 .*astype\('float32'\)"),
        (X[0], r"add the batch axis: x\[None\]"),
        (X[:, :2], r"\(3, 2, 32, 32\), the model takes float32 \(N, 3, 32, 32\)"),
        (np.full_like(X, np.nan), "NaN or infinite"),
        ({"y": X}, "no input is called 'y'"),
        (X[:0], "empty"),
    ],
    ids=["dtype", "rank", "channels", "NaN", "name", "empty"],
)
def test_inputs_that_do_not_fit(x: Any, says: str) -> None:
    with rc.Explainer(plain()) as explainer, pytest.raises(rc.InputError, match=says):
        explainer(x)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
@pytest.mark.parametrize("count", [1, 3])
def test_targets_that_do_not_fit_the_seeds(backend: str, count: int) -> None:
    seed = np.ones((3, count, 5), np.float32)
    with rc.Explainer(plain(), "stages", preset="paper", seed="given", backend=backend) as explainer:
        with pytest.raises(rc.TargetError, match=f"2 targets for {count} seeds of each image; leave targets out"):
            explainer(X, [[0, 1]] * 3, seed=seed)
        assert explainer(X, seed=seed).maps["stage4"].shape[1] == count


@pytest.mark.parametrize("pass_on", [pickle.dumps, copy.deepcopy])
def test_an_explainer_is_of_one_process(pass_on: Callable[[Any], Any]) -> None:
    with (
        rc.Explainer(plain()) as explainer,
        pytest.raises(TypeError, match="neither pickled nor copied"),
    ):
        pass_on(explainer)


def test_one_format_is_a_format(tmp_path: Path) -> None:
    """It was read letter by letter: no format is called 'g'."""
    made = rc.Explainer(plain())(X)
    made.save(tmp_path, "npz")
    assert any(tmp_path.glob("*.npz"))
    with pytest.raises(rc.OptionError, match="formats must be a text, or a list of texts, not 3"):
        made.save(tmp_path, 3)  # type: ignore[arg-type]


def test_a_map_is_seen_with_pixels() -> None:
    with rc.Explainer(plain()) as explainer, pytest.raises(rc.InputError, match=r"at least 1, not at \(0, 5\)"):
        explainer(X).heat(size=(0, 5))


def test_closed_means_closed() -> None:
    with rc.Explainer(plain()) as explainer:
        explainer(X)
    with pytest.raises(rc.OptionError, match="closed"):
        explainer(X)
