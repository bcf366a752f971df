"""The nine light models of the onnx package: published architectures, with weights that files need not carry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from relcam_onnx.explainer import Explainer

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT = sorted(path.stem.removeprefix("light_") for path in FOLDER.glob("light_*.onnx"))


def read(name: str) -> onnx.ModelProto:
    return onnx.load(FOLDER / f"light_{name}.onnx")


def seeded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every ConstantOfShape weight becomes seeded values: He-scaled; variances and scales positive; small biases."""
    rng, graph = np.random.default_rng(0), model.graph
    value: np.ndarray
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    positive = {
        name for node in graph.node if node.op_type == "BatchNormalization" for name in (node.input[1], node.input[4])
    } | {node.input[1] for node in graph.node if node.op_type == "Mul"}
    for node in [n for n in graph.node if n.op_type == "ConstantOfShape"]:
        shape, name = [int(n) for n in shapes[node.input[0]]], node.output[0]
        if name in positive:
            value = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len([n for n in shape if n > 1]) < 2:
            value = rng.standard_normal(shape, np.float32) * np.float32(0.05)
        else:
            value = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
        graph.initializer.append(numpy_helper.from_array(value, name))
        graph.node.remove(node)
    return model


def image(explainer: Explainer) -> np.ndarray:
    """Seeded values of the size that the model takes."""
    return np.random.default_rng(1).standard_normal((1, *explainer.inputs[0].shape[1:]), np.float32)


def test_all_nine_are_there() -> None:
    assert len(LIGHT) == 9


METHODS = {"default": None, "paper": None, "gradient": "relevance-cam"}
LARGE = frozenset({"bvlc_alexnet", "vgg19", "zfnet512"})
"""Hundreds of megabytes of dense weights, which the compiled backend would write into a file once more."""


@pytest.mark.parametrize("name", LIGHT)
def test_seeded_weights_give_maps_at_every_stage(name: str) -> None:
    model = seeded(read(name))
    for preset, method in METHODS.items():
        backend = "compiled" if preset == "default" and name not in LARGE else "eager"
        with Explainer(model, preset=preset, method=method, backend=backend) as explainer:
            maps = explainer(image(explainer)).maps
            strides = [float(layer.stride or 0) for layer in explainer.layers.stages]
        assert len(strides) == len(maps) - 1 >= 3
        assert strides == sorted(set(strides))
        for stage, array in maps.items():
            assert np.isfinite(array).all(), (preset, stage)
            assert np.abs(array).max() > 0, (preset, stage)


@pytest.mark.parametrize("name", LIGHT)
def test_constant_weights_give_finite_maps(name: str) -> None:
    """As they are, all outputs of these models are equal."""
    with Explainer(read(name), backend="eager") as e:
        maps = e(image(e)).maps
    assert all(np.isfinite(array).all() for array in maps.values())
