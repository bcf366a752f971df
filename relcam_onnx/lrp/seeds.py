"""What relevance starts as at the scores z, (N, classes), before any softmax.

Each seed is one formula over ``z`` and ``hot``, both (K·N, classes): the scores and 1 at the target. docs/methods.md
says when to use which. Sources: CLRP, Gu et al. 2018, arXiv:1812.02100, in the form of Relevance-CAM (Lee et al. 2021);
SGLRP, Iwana et al. 2019, arXiv:1908.04351; rivals has the form of Finer-CAM, Zhang et al. 2025, arXiv:2501.11309, with
equal weights and a number of rivals that follows from the number of classes; finer is Finer-CAM itself; contrast is
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from onnx import TensorProto

from relcam_onnx.ops.backend import Backend, Size, Value

Seed: TypeAlias = Callable[[Backend, Value, Value], Value]
FINER = 3
"""Classes that Finer-CAM compares with."""
POWERS = 2 ** np.arange(31, dtype=np.int64)
"""What the number of classes is compared with, where only a run tells it."""


def class_scores(f: Backend, z: Value, *, paired: bool, middle: float = 0.0) -> Value:
    """The score of each class: its own, or both sides of the one that a negative and a positive class share."""
    if not paired:
        return z
    return f.Concat(2 * middle - z if middle else -z, z, axis=-1)


def at_target(f: Backend, z: Value, hot: Value) -> Value:
    """z_t, (K·N, 1)."""
    return f.ReduceSum(z * hot, [1], keepdims=1)


def logit(f: Backend, z: Value, hot: Value) -> Value:
    """z_t at t."""
    return z * hot


def one_hot(f: Backend, z: Value, hot: Value) -> Value:
    """1 at t."""
    return hot


def clrp(f: Backend, z: Value, hot: Value) -> Value:
    """z_t at t, -z_t / (classes - 1) elsewhere."""
    classes = f.dims(z)[1]
    if classes == 1:
        return logit(f, z, hot)
    share = (1.0 - hot) / f.number(classes - 1)
    return at_target(f, z, hot) * (hot - share)


def official(f: Backend, z: Value, hot: Value) -> Value:
    """1 at t, -1 / classes elsewhere: the authors' published code."""
    classes = f.dims(z)[1]
    return hot if classes == 1 else hot - (1.0 - hot) / f.number(classes)


def sglrp(f: Backend, z: Value, hot: Value) -> Value:
    """p_t (1 - p_t) at t, -p_t p_c elsewhere, p the softmax over all; with one class p is the sigmoid."""
    if f.dims(z)[1] == 1:
        p = f.Sigmoid(z)
        return p * (1.0 - p)
    p = f.Softmax(z, axis=1)
    return at_target(f, p, hot) * (hot - p)


def rivals(f: Backend, z: Value, hot: Value) -> Value:
    """z_t at t, -z_c / n at the n other classes whose scores lie nearest to z_t, n = ⌈log2 classes⌉.

    The sum is the target's margin over the mean of its nearest rivals; ranks have no temperature, and no single class
    can turn the map over.
    """
    if f.dims(z)[1] == 1:
        return logit(f, z, hot)
    return z * (hot - nearest_others(f, z, hot, *rival_count(f, f.dims(z)[1])))


def finer(f: Backend, z: Value, hot: Value) -> Value:
    """1 at t, -1/n at the n = 3 other classes whose scores lie nearest to z_t, or as many as there are."""
    classes = f.dims(z)[1]
    if classes == 1:
        return hot
    if isinstance(classes, int):
        return hot - nearest_others(f, z, hot, [min(FINER, classes - 1)], float(min(FINER, classes - 1)))
    count = f.Min(f.sizes([classes]) - 1, np.int64(FINER))
    return hot - nearest_others(f, z, hot, count, f.Cast(count, to=TensorProto.FLOAT))


def nearest_others(f: Backend, z: Value, hot: Value, count: Any, places: Any) -> Value:
    """1/n at the n classes whose scores lie nearest to z_t; those that are equally near share what places are left."""
    distance = f.Where(f.Greater(hot, 0.0), float("inf"), f.Abs(z - at_target(f, z, hot)))
    nearest, _ = f.TopK(distance, count, axis=1, largest=0)
    edge, none = f.ReduceMax(nearest, [1], keepdims=1), hot * 0.0
    nearer, level = (f.Where(compare(distance, edge), 1.0, none) for compare in (f.Less, f.Equal))
    left: Value = places - f.ReduceSum(nearer, [1], keepdims=1)
    share = left / f.ReduceSum(level, [1], keepdims=1)
    chosen: Value = (nearer + level * share) / places
    return chosen


def rival_count(f: Backend, classes: Size) -> tuple[Any, Any]:
    """⌈log2 classes⌉ as TopK takes it, and as a number to compute with."""
    if isinstance(classes, int):
        count = (classes - 1).bit_length()
        return [count], float(count)
    # The powers of two below it: exact, where a logarithm would round.
    below = f.Cast(f.Less(POWERS, f.sizes([classes])), to=TensorProto.INT64)
    told = f.ReduceSum(below, [0], keepdims=1)
    return told, f.Cast(told, to=TensorProto.FLOAT)


def contrast(f: Backend, z: Value, hot: Value) -> Value:
    """z_t at t, -p_c z_c at every other class c, p the softmax over the others alone.

    The sum is the target's margin over its competitors in logits. The target is masked out of the softmax, not
    subtracted from it, so the seed does not vanish where the model is sure.
    """
    if f.dims(z)[1] == 1:
        return logit(f, z, hot)
    p = f.Softmax(f.Where(f.Greater(hot, 0.0), float("-inf"), z), axis=1)
    return z * (hot - p)


SEEDS: dict[str, Seed] = {
    "rivals": rivals,
    "contrast": contrast,
    "finer": finer,
    "logit": logit,
    "one-hot": one_hot,
    "clrp": clrp,
    "official": official,
    "sglrp": sglrp,
}
"""The seeds that a name picks; ``given`` is an array that the caller brings."""

GIVEN = "given"
PROPORTIONAL = frozenset({"rivals", "logit", "contrast", "one-hot"})
"""Seeds that suit ε at the scores: each entry is proportional to its score, or there is only one."""
SCALED = frozenset({"rivals", "logit", "contrast"})
"""Seeds whose entries are each a number times its score: what many scores have a mean of shares an entry as they do."""
CONTRASTIVE = frozenset({"rivals", "contrast", "finer", "clrp", "official", "sglrp"})
"""Seeds that take the other classes for rivals, which classes with a sigmoid each are not."""
EVEN = frozenset({"one-hot", "finer", "official", "sglrp"})
"""Seeds that with one class ask as much of -z as of z; all others ask its opposite."""


def starting(f: Backend, seed: str, z: Value, hot: Value, *, paired: bool, gradient: bool) -> Value:
    """What relevance starts as at the scores z, (K·N, scores), for targets ``hot``, (K·N, classes).

    Of two classes that share one score z, the negative one has the score -z. Relevance of -z is relevance at z, as a
    rule passes it through a single weight; its gradient is turned over.
    """
    if not paired:
        return SEEDS[seed](f, z, hot)
    start = SEEDS[seed](f, z, f.ReduceMax(hot, [1], keepdims=1))
    sign = f.MatMul(hot, np.array([[-1], [1]], np.float32))
    return start if (seed in EVEN) != gradient else start * sign
