"""What the laws compute with: random values, inner products, and how near is near."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from relcam_onnx.laws.case import Array, Case
from relcam_onnx.ops import ZERO, Backend, Linear, Message, Record
from relcam_onnx.rules import RULES, Gradient, Pass, Rule
from relcam_onnx.rules.base import pass_back


def noise(seed: int, *shape: int) -> Array:
    """Signed float32 values, spread around 0."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def inner(a: Array, b: Array) -> float:
    """Σ a · b in float64."""
    return float((a.astype(np.float64) * b).sum())


def close(got: float, wanted: float, scale: float, share: float = 1e-4) -> None:
    """Float32 sums of a few hundred products round to about 1e-6 of the sum of magnitudes; 1e-4 is generous."""
    if not abs(got - wanted) <= share * scale + 1e-6:
        raise AssertionError(f"{got} is not {wanted}, where magnitudes sum to {scale}")


def rules_for(record: Record) -> list[Rule]:
    """Every rule that takes this op; pass needs equal shapes."""
    if not isinstance(record, Linear):
        return [Rule(), Gradient()]
    fits = len(record.terms) == 1 and np.asarray(record.terms[0].x).shape == np.asarray(record.y).shape
    return [make() for make in RULES.values() if fits or make is not Pass]


def pass_through(rule: Rule, f: Backend, record: Record, message: Message) -> Mapping[int, Message]:
    """What each input gets that gets something."""
    return {i: m for i, m in pass_back(f, rule, record, message).items() if m.value is not ZERO}


def relevance_of(rule: Rule, f: Any, record: Record, message: Message) -> dict[int, Array]:
    """The same, as arrays of R itself."""
    return {i: np.asarray(m.relevance(f)) for i, m in pass_through(rule, f, record, message).items()}


def slope(case: Case, direction: Mapping[str, Array]) -> tuple[Array, Array]:
    """The derivative of a case along a direction of at most 1, and how far off it may be, both in the output's shape.

    In float64 by onnx.reference, at a step of 1e-3, where that agrees with onnxruntime and half the step says the same;
    else (some ops are missing there, some wrong, some computed in float32 whatever they get) by onnxruntime in float32
    at 1e-2, to its last bit times 18 / 12 h.
    """
    y = case.forward()
    try:
        fine, finer = (differences(case, case.exact, direction, h, np.float64) for h in (1e-3, 5e-4))
        if near(case.exact(case.values), y, 1e-4) and near(fine, finer, 1e-6):
            return fine, np.zeros_like(fine)
    except Exception:  # whatever the reference lacks: each op fails in its own way
        pass
    return differences(case, case.forward, direction, 1e-2, np.float32), np.abs(y) * 3e-5


def near(a: Array, b: Array, share: float) -> bool:
    """Whether two arrays differ by no more than this share of the largest value, or of 1."""
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= share * max(1.0, np.abs(b).max(initial=0)))


def differences(
    case: Case, run: Callable[[Mapping[str, Array]], Array], direction: Mapping[str, Array], h: float, kind: Any
) -> Array:
    """Of fourth order: (8 (y(h) - y(-h)) - (y(2 h) - y(-2 h))) / 12 h."""
    wide = {name: x.astype(np.float64) for name, x in case.values.items()}
    at = {
        n: run({name: (x + n * h * direction[name]).astype(kind) for name, x in wide.items()}).astype(np.float64)
        for n in (-2, -1, 1, 2)
    }
    return np.asarray((8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h))
