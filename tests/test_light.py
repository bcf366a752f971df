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


LARGE = frozenset({"bvlc_alexnet", "vgg19", "zfnet512"})
"""Up to 144 million weights, nearly all of them in dense layers: these are tried at a quarter of their width."""


def read(name: str) -> onnx.ModelProto:
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    return narrow(model) if name in LARGE else model


def narrow(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every width but the number of classes is a quarter: in the shapes of weights, in Reshape's, of stored biases."""
    for tensor in model.graph.initializer:
        held = numpy_helper.to_array(tensor)
        if held.dtype == np.int64:
            held = np.where((held >= 48) & (held != 1000), held // 4, held)
        elif held.ndim == 1:
            held = held[: len(held) // 4]
        tensor.CopyFrom(numpy_helper.from_array(held, tensor.name))
    for value in model.graph.input:
        if value.name in (stored := {tensor.name: tensor.dims for tensor in model.graph.initializer}):
            del value.type.tensor_type.shape.dim[:]
            for size in stored[value.name]:
                value.type.tensor_type.shape.dim.add(dim_value=size)
    return model


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


METHODS = {"paper": None, "gradient": "relevance-cam"}
"""Preset -> method; the default's maps of these models are in test_compile_networks.py, eager beside compiled."""


@pytest.mark.parametrize("name", LIGHT)
def test_seeded_weights_give_maps_at_every_stage(name: str) -> None:
    model = seeded(read(name))
    for preset, method in METHODS.items():
        with Explainer(model, preset=preset, method=method, backend="eager") as explainer:
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
