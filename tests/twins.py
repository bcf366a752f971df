"""Slow, obvious twins of the rules: one loop over inputs and outputs of a dense layer, in float64.

They are written from the formulas alone, and know nothing of the rules' code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from relcam_onnx.rules import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Gradient,
    Halves,
    Norm,
    Rule,
    SignShare,
    Taylor,
    WSquare,
    ZBox,
    Zero,
    ZPlus,
)
from relcam_onnx.rules.published import PublishedConv

Vector: TypeAlias = np.ndarray
EPS = 1e-6


def stab(z: float, eps: float = EPS) -> float:
    return z + eps if z >= 0 else z - eps


def pos(v: float) -> float:
    return max(v, 0.0)


def neg(v: float) -> float:
    return min(v, 0.0)


def up(x: float, w: float) -> float:
    """What pushes up: positive times positive, negative times negative."""
    return pos(x) * pos(w) + neg(x) * neg(w)


def down(x: float, w: float) -> float:
    return pos(x) * neg(w) + neg(x) * pos(w)


Share = Callable[[float, float], float]


def shared(x: Vector, w: Vector, r: Vector, share: Share, rest: Vector, eps: float = EPS) -> Vector:
    """R_i = Σ_j n_ij R_j / stab(Σ_i n_ij + rest_j), loop by loop."""
    handed = np.zeros_like(x)
    for j in range(len(r)):
        z = sum(share(x[i], w[i, j]) for i in range(len(x))) + rest[j]
        for i in range(len(x)):
            handed[i] += share(x[i], w[i, j]) * r[j] / stab(z, eps)
    return handed


def epsilon(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(x, w, r, lambda x, w: x * w, b)


def norm(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(x, w, r, lambda x, w: x * w, 0 * b)


def zero(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    z = x @ w + b
    reached = [j for j in range(len(r)) if z[j] != 0]
    return shared(x, w[:, reached], r[reached], lambda x, w: x * w, b[reached], eps=0.0)


def z_plus(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(x, w, r, up, np.array([pos(v) for v in b]))


def z_plus_without_bias(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(x, w, r, up, 0 * b)


def alpha2_beta1(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    negative = shared(x, w, r, down, np.array([neg(v) for v in b]))
    return np.asarray(2 * z_plus(x, w, b, r) - negative)


def gamma(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    g, z = 0.25, x @ w + b
    handed = np.zeros_like(x)
    for j in range(len(r)):
        one, rj = w[:, [j]], r[[j]]
        if z[j] > 0:
            handed += shared(
                x, one, rj,
                lambda x, w: pos(x) * (w + g * pos(w)) + neg(x) * (w + g * neg(w)),
                np.array([b[j] + g * pos(b[j])]),
            )  # fmt: skip
        elif z[j] < 0:
            handed += shared(
                x, one, rj,
                lambda x, w: pos(x) * (w + g * neg(w)) + neg(x) * (w + g * pos(w)),
                np.array([b[j] + g * neg(b[j])]),
            )  # fmt: skip
    return handed


def flat(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return np.full(len(x), sum(rj / stab(float(len(x))) for rj in r))


def w_square(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(np.ones_like(x), w, r, lambda x, w: w * w, 0 * b)


LOW, HIGH = -1.5, 2.0


def z_box(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return shared(x, w, r, lambda x, w: x * w - LOW * pos(w) - HIGH * neg(w), 0 * b)


def z_box_of_the_image(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    low, high = x.min(), x.max()
    return shared(x, w, r, lambda x, w: x * w - low * pos(w) - high * neg(w), 0 * b)


def sign_share(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    z = x @ w + b
    handed = np.zeros_like(x)
    for j in range(len(r)):
        if z[j] != 0:
            side = up if z[j] > 0 else down
            handed += shared(x, w[:, [j]], r[[j]], side, np.zeros(1))
    return handed


def gradient(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    return np.array([sum(w[i, j] * r[j] for j in range(len(r))) for i in range(len(x))])


def published_conv(x: Vector, w: Vector, b: Vector, r: Vector) -> Vector:
    """Each of the two convolutions has the signed bias, so it counts twice; nothing passes an exact 0."""
    handed = np.zeros_like(x)
    for j in range(len(r)):
        z = sum(up(x[i], w[i, j]) for i in range(len(x))) + 2 * b[j]
        handed += np.array([up(x[i], w[i, j]) * r[j] / z if z else 0.0 for i in range(len(x))])
    return handed


Twin = Callable[[Vector, Vector, Vector, Vector], Vector]

TWINS: dict[str, tuple[Rule, Twin]] = {
    "epsilon": (Epsilon(), epsilon),
    "epsilon without bias": (Epsilon(bias=False), norm),
    "zero": (Zero(), zero),
    "norm": (Norm(), norm),
    "z-plus": (ZPlus(), z_plus),
    "z-plus without bias": (ZPlus(bias=False), z_plus_without_bias),
    "alpha-beta": (AlphaBeta(), alpha2_beta1),
    "alpha1-beta0": (AlphaBeta(1.0, 0.0), z_plus),
    "gamma": (Gamma(0.25), gamma),
    "flat": (Flat(), flat),
    "w-square": (WSquare(), w_square),
    "z-box": (ZBox(LOW, HIGH), z_box),
    "z-box of the image": (ZBox(), z_box_of_the_image),
    "sign-share": (SignShare(), sign_share),
    "halves": (Halves(), epsilon),
    "taylor": (Taylor(), epsilon),
    "gradient": (Gradient(), gradient),
    "published-conv": (PublishedConv(), published_conv),
    "published-conv without bias": (
        PublishedConv(bias=False), lambda x, w, b, r: published_conv(x, w, 0 * b, r),
    ),
}  # fmt: skip
