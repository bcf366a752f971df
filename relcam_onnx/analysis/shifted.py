"""What is taken from all scores alike before a softmax, which that does not change: their largest, their mean."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.activations import ELEMENTWISE
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.cut import pieces, places
from relcam_onnx.model import Model, static_shape

OPS = ELEMENTWISE | {
    "BatchNormalization", "Cast", "Concat", "Expand", "Gather", "Gemm", "HardSigmoid", "Identity", "LogSoftmax",
    "LpNormalization", "MatMul", "Mean", "ReduceL1", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceSum",
    "Slice", "Softmax", "Sum", "Transpose", *RESHAPES,
}  # fmt: skip
"""What it is made of."""
SAME = 1e-5
"""Shares that are the same differ by less, as a part of them."""
FEW = 8
"""Positions, and pictures, that numbers are drawn for; from -1 to 1, and so much further."""


def softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    """Of scores that are not large."""
    return np.asarray(np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True))


def unshifted(model: Model, scores: gs.Tensor, axis: int) -> gs.Tensor:
    """The scores furthest back that a softmax makes the same shares of."""
    shape = static_shape(scores)
    if shape is None or shape[axis] in (None, 1):  # of one class alone a softmax tells nothing
        return scores
    sizes = [size or FEW if place == axis % len(shape) else min(size or FEW, FEW) for place, size in enumerate(shape)]
    rng = np.random.default_rng(0)
    runs = [rng.uniform(-1, 1, sizes) * far for far in (1, FEW)]
    for piece in pieces(scores, places(model.graph), OPS):
        values = [piece.run(x) for x in runs] if static_shape(piece.source) == shape else []
        pairs = [(softmax(x, axis), softmax(y, axis)) for x, y in zip(runs, values, strict=False) if y is not None]
        if len(pairs) == len(runs) and all(np.allclose(*pair, rtol=SAME, atol=0) for pair in pairs):
            scores = piece.source
    return scores
