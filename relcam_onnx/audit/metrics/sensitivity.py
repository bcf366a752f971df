"""What a map hangs on: the class that is asked, and what the network has learned."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Ops whose second input is a weight."""


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's r of two maps of one size; NaN where one is the same everywhere."""
    first, second = (np.asarray(heat, np.float64).reshape(-1) - np.mean(heat, dtype=np.float64) for heat in (a, b))
    norm = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / norm) if norm else float("nan")


def weights_from_the_top(model: onnx.ModelProto) -> list[str]:
    """The weights of the linear layers, each once, the one nearest to the scores first."""
    stored = {tensor.name for tensor in model.graph.initializer}
    found = [name for node in model.graph.node if node.op_type in LINEAR for name in node.input if name in stored]
    shapes = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    return list(dict.fromkeys(name for name in reversed(found) if shapes[name] > 1))


def randomised(model: onnx.ModelProto, count: int, seed: int = 0) -> onnx.ModelProto:
    """The model with its top ``count`` weights drawn anew, normal with each one's own mean and deviation.

    One: the classifier alone. More and more of them: cascading randomisation, the model parameter randomisation test
    of Adebayo et al. 2018 (arXiv:1810.03292).

    Raises
    ------
    ValueError
        The model has fewer weights.
    """
    names = weights_from_the_top(model)
    if not 0 <= count <= len(names):
        raise ValueError(f"the model has {len(names)} weights of linear layers, not {count}")
    copy, rng = onnx.ModelProto(), np.random.default_rng(seed)
    copy.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    for name in names[:count]:
        value = numpy_helper.to_array(stored[name])
        drawn = rng.normal(value.mean(), value.std(), value.shape).astype(value.dtype)
        stored[name].CopyFrom(numpy_helper.from_array(drawn, name))
    return copy
