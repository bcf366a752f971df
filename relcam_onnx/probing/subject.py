"""What a probe may ask about one picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


class Subject(Protocol):
    """One picture, K targets, and a layer.

    A target's *value* is what the seed's gradient weighs of the scores: with seed ``one-hot`` the target's score.

    Attributes
    ----------
    x
        The picture as the model takes it, channels first: (C, H, W), or the input's own shape where it is no picture.
    own
        The value of each target on the picture itself, (K,).
    samples
        How many masks, noisy copies or steps.
    size
        So many rows at a time.
    rng
        Seeded; the same for every picture.
    baselines
        What stands for nothing, (B, C, H, W); () where none were given.
    """

    x: Floats
    own: Floats
    samples: int
    size: int
    rng: np.random.Generator
    baselines: Floats

    def values(self, pictures: Floats) -> Floats:
        """(M, C, H, W) to (M, K): the value of each target, or its probability where the method's paper has that."""

    def gradients(self, pictures: Floats) -> Floats:
        """(M, C, H, W) to (M, K, C, H, W): the gradient of each target's value."""

    def activation(self) -> Floats:
        """The layer's, (C, h, w)."""

    def values_with(self, activations: Floats) -> Floats:
        """(M, C, h, w) in the place of the layer's to (M, K)."""


def parts(count: int, size: int) -> Iterator[slice]:
    """``count`` rows in pieces of ``size``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
