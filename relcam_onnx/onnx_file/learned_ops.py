"""Linear models of domain ``ai.onnx.ml``, as scikit-learn's converter writes them behind a network, in standard ops.

Source: ONNX's operators of that domain, versions 1 to 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from relcam_onnx.onnx_file.writing import Writer

DOMAIN = "ai.onnx.ml"
SQUASHED = {"SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def scaler(w: Writer) -> None:
    """Scaler: (x - offset) · scale, a number for each feature or one for all."""
    x = w("Cast", w.input(0), to=onnx.TensorProto.FLOAT)
    moved = w("Sub", x, w.numbers(w.attribute("offset", [0.0])))
    w("Mul", moved, w.numbers(w.attribute("scale", [1.0])), last=True)


def normalizer(w: Writer) -> None:
    """Normalizer: a row over its length."""
    norm = w.attribute("norm", "MAX")
    if norm == "MAX":
        w.keep()
        return
    x = w("Cast", w.input(0), to=onnx.TensorProto.FLOAT)
    w("LpNormalization", x, axis=-1, p=int(norm[1]), last=True)


def linear(w: Writer, rows: int) -> str:
    """What rows of coefficients make of features, and intercepts."""
    x = w("Cast", w.input(0), to=onnx.TensorProto.FLOAT)
    product = w("MatMul", x, w.numbers(coefficients(w, rows).T))
    intercepts: Sequence[float] = w.attribute("intercepts", [])
    return w("Add", product, w.numbers(intercepts)) if intercepts else product


def coefficients(w: Writer, rows: int) -> np.ndarray:
    """(rows, features)."""
    return np.array(w.attribute("coefficients", []), np.float32).reshape(rows, -1)


def linear_regressor(w: Writer) -> None:
    """LinearRegressor, a number for each target."""
    if w.attribute("post_transform", "NONE") != "NONE" or not w.attribute("coefficients", []):
        w.keep()
    else:
        w("Identity", linear(w, w.attribute("targets", 1)), last=True)


def linear_classifier(w: Writer) -> None:
    """LinearClassifier with a row for each class: the label of the largest score, and all scores."""
    labels = w.attribute("classlabels_ints", []) or w.attribute("classlabels_strings", [])
    squash, rows = w.attribute("post_transform", "NONE"), len(w.attribute("intercepts", []))
    if rows != len(labels) or rows < 2 or squash not in ("NONE", *SQUASHED):
        w.keep()
        return
    scores = told = linear(w, rows)
    op = SQUASHED.get(squash, "Identity")  # a Softmax goes along the last axis
    if squash == "LOGISTIC" and is_one_score(w):  # the sigmoid of a score, and what is left of one
        share = w("Sigmoid", w("Slice", scores, w.integers(1), w.integers(2), w.integers(1)))
        told, op = w("Concat", w("Sub", w.numbers(1.0), share), share, axis=1), "Identity"
    named = [*w.node.output, ""][:2]
    if named[1]:
        w.also(op, named[1], told)
    if named[0]:
        kind = np.int64 if w.attribute("classlabels_ints", []) else object
        best = w("ArgMax", scores, axis=-1, keepdims=0)
        w.also("Gather", named[0], w.numbers(np.array(labels, kind)), best)


def is_one_score(w: Writer) -> bool:
    """Whether a classifier of two classes has one score and its negative, as scikit-learn's binary models."""
    intercepts = np.array(w.attribute("intercepts", []), np.float32)[:, None]
    numbers = np.concatenate([coefficients(w, len(intercepts)), intercepts], axis=1)
    return len(numbers) == 2 and bool((numbers[0] == -numbers[1]).all())


SPELLINGS = {
    "Scaler": scaler,
    "Normalizer": normalizer,
    "LinearRegressor": linear_regressor,
    "LinearClassifier": linear_classifier,
}
"""The ops that have a standard spelling."""
