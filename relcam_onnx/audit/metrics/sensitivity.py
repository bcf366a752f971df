"""What a map hangs on: the class that is asked, and what the network has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

LINEAR = frozenset({
    "Attention", "Conv", "ConvInteger", "ConvTranspose", "DynamicQuantizeMatMul", "FusedConv", "FusedGemm",
    "FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QLinearConv", "QLinearMatMul",
})  # fmt: skip
"""Ops that have a weight among their inputs: what is stored and has more than one axis."""
PASSING = frozenset({
    "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""What may stand between a weight as it is stored and as it is read."""


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Pearson's r of two maps of one size; 0 where one alone is the same everywhere, NaN where both are."""
    first, second = (np.asarray(heat, np.float64).reshape(-1) - np.mean(heat, dtype=np.float64) for heat in (a, b))
    mine, theirs = first @ first, second @ second
    if not mine and not theirs:
        return float("nan")
    return float(first @ second / np.sqrt(mine * theirs)) if mine and theirs else 0.0


def weights_from_the_top(model: onnx.ModelProto) -> list[str]:
    """The weights of the linear layers as they are stored, each once, the one nearest to the scores first."""
    held = stored(model.graph)
    before = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in PASSING}

    def origin(name: str) -> str:
        while name in before:
            name = before[name]
        return name

    found = [origin(name) for node in model.graph.node if node.op_type in LINEAR for name in node.input]
    return list(dict.fromkeys(name for name in reversed(found) if name in held and len(held[name].dims) > 1))


def stored(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """What a graph holds, as initializers or as constants among its nodes."""
    constants = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    }
    return {**constants, **{tensor.name: tensor for tensor in graph.initializer}}


def randomised(model: onnx.ModelProto, count: int, seed: int = 0) -> onnx.ModelProto:
    """The model with its top ``count`` weights drawn anew, normal with each one's own mean and deviation: see `drawn`.

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
    held = stored(copy.graph)
    for name in names[:count]:
        anew = drawn(numpy_helper.to_array(held[name]), rng)
        held[name].CopyFrom(numpy_helper.from_array(anew, held[name].name))
    return copy


def drawn(value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Normal numbers with an array's mean and deviation, of its own type.

    Quantised ones are whole numbers of the file's own, whose scales stay. What the type does not hold is its end; the
    ends of types that NumPy has not (bfloat16, int4) are those of the values.
    """
    exact = value.astype(np.float64)
    anew = rng.normal(exact.mean(), exact.std(), exact.shape)
    ends = (float(exact.min()), float(exact.max()))
    if value.dtype.kind in "iuf":
        info = np.finfo(value.dtype) if value.dtype.kind == "f" else np.iinfo(value.dtype)
        ends = (float(info.min), float(info.max))
    if "int" in value.dtype.name:
        anew = np.rint(anew)
    return anew.clip(*ends).astype(value.dtype)
