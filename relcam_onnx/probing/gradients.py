"""Probes that average gradients: around the picture, or on the way to it from what stands for nothing."""

from __future__ import annotations

import numpy as np

from relcam_onnx.errors import OptionError
from relcam_onnx.probing.subject import Floats, Subject, parts

NOISE = 0.15
"""SmoothGrad's deviation, of the picture's range."""


def smoothgrad(subject: Subject) -> Floats:
    """abs(mean of the gradient at x + noise), the noise normal, 15 % of the picture's range; (K, C, H, W).

    Smilkov et al. 2017, arXiv:1706.03825, equation 1.
    """
    x = subject.x
    total = np.zeros((len(subject.own), *x.shape))
    for part in parts(subject.samples, subject.size):
        noise = subject.rng.standard_normal((part.stop - part.start, *x.shape), np.float32)
        total += subject.gradients(x + noise * (NOISE * (x.max() - x.min()))).sum(axis=0, dtype=np.float64)
    return np.abs(total / subject.samples).astype(np.float32)


def integrated_gradients(subject: Subject) -> Floats:
    """(x − b) · ∫ gradient at b + α (x − b), α from 0 to 1, by Gauss and Legendre; (K, C, H, W).

    Sundararajan et al. 2017, arXiv:1703.01365, equation 1; b is 0, or the mean over the baselines that were given. The
    map sums to the value's difference between x and b.
    """
    points, weights = np.polynomial.legendre.leggauss(subject.samples)
    baselines = subject.baselines if len(subject.baselines) else np.zeros_like(subject.x)[None]
    total = np.zeros((len(subject.own), *subject.x.shape))
    for baseline in baselines:
        total += along(subject, np.repeat(baseline[None], len(points), axis=0), (points + 1) / 2, weights / 2)
    return (total / len(baselines)).astype(np.float32)


def expected_gradients(subject: Subject) -> Floats:
    """The mean of (x − b) · gradient at b + α (x − b) over random baselines b and α; (K, C, H, W).

    Erion et al. 2021, arXiv:1906.10670, equation 3.

    Raises
    ------
    OptionError
        No baselines were given.
    """
    if not len(subject.baselines):
        raise OptionError(
            "method 'expected-gradients' draws from baselines: give baselines=, pictures that stand for the usual, or "
            "take 'integrated-gradients'"
        )
    drawn = subject.rng.integers(0, len(subject.baselines), subject.samples)
    shares = np.full(subject.samples, 1 / subject.samples)
    return along(subject, subject.baselines[drawn], subject.rng.random(subject.samples), shares).astype(np.float32)


def along(subject: Subject, baselines: Floats, alphas: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ_i w_i · (x − b_i) · gradient at b_i + α_i (x − b_i), float64."""
    ways = subject.x - baselines
    total = np.zeros((len(subject.own), *subject.x.shape))
    for part in parts(len(ways), subject.size):
        row = (-1, *[1] * subject.x.ndim)
        found = subject.gradients(baselines[part] + alphas[part].astype(np.float32).reshape(row) * ways[part])
        total += np.tensordot(weights[part], found * ways[part][:, None], 1)
    return total
