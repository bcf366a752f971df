"""Whether a piece is a function that is known but for a gain and a shift, told by numbers and not by its nodes.

y = n(x) · gain + shift, gain and shift constants: each of their elements is fitted to several random inputs, which more
of them must confirm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.cut import Piece
from relcam_onnx.canon.places import MOST
from relcam_onnx.model import static_shape

Function: TypeAlias = Callable[[np.ndarray], np.ndarray]

TRIALS = 4
"""Inputs that a fit is made on: two numbers are sought for each element, the others check them."""
TOLERANCE = 1e-5
"""Of float64 results, relative to the largest; ε stands in the file as float32, so it is off by 1e-7 of itself."""
SMALLEST = 1e-6
"""Of the mean of the squares that gains are fitted to: where a function varies less, it tells nothing."""
DIGITS = 1e-9
"""Of a fit that are no more than rounding."""


def trials(source: gs.Tensor, *, whole: bool = False) -> Iterator[list[np.ndarray]]:
    """Random inputs for a piece: few positions first, then the shape that the file tells.

    Channels, on axis 1 or the last, keep their number, since constants run along them; of three axes those on the last
    are tried alone first. Sizes that only a run knows are small. A piece whose constants need the sizes of the file
    refuses the small ones, or fits nothing there; ``whole`` leaves these out where one may be another function there.
    """
    shape = static_shape(source)
    if shape is None:
        return
    known = [3 + place if size is None else size for place, size in enumerate(shape)]
    last = len(shape) - 1
    few = [size if place in (1, last) else min(size, 3 + place) for place, size in enumerate(known)]
    fewer = [size if place == last else min(size, 3 + place) for place, size in enumerate(known)]
    for sizes in unique((*([fewer] if last == 2 else []), few, known)) if not whole else [known]:
        if np.prod(sizes) <= MOST:
            rng = np.random.default_rng(0)
            yield [rng.standard_normal(sizes) + 0.5 for _ in range(TRIALS)]


class Fit(NamedTuple):
    """Gain and shift, float64 in the rank of the source, of length one where they do not vary, and how far off."""

    gain: np.ndarray
    shift: np.ndarray
    error: float


def unique(shapes: Iterable[list[int]]) -> list[list[int]]:
    """Each of some shapes once, in order."""
    return [list(shape) for shape in dict.fromkeys(map(tuple, shapes))]


def made(piece: Piece, inputs: list[np.ndarray]) -> np.ndarray | None:
    """What a piece makes of some inputs; None where it does not take them."""
    results = [result for x in inputs if (result := piece.run(x)) is not None]
    return np.stack(results) if len(results) == len(inputs) else None


def fitted(y: np.ndarray, inputs: list[np.ndarray], function: Function) -> Fit | None:
    """The constants that make what a piece made a function of its inputs; None where none do."""
    n = np.stack([function(x) for x in inputs])
    spread = n - n.mean(axis=0)
    power = np.square(spread).sum(axis=0)
    if not (power > SMALLEST * power.mean()).all():
        return None
    gain = (spread * (y - y.mean(axis=0))).sum(axis=0) / power
    shift = y.mean(axis=0) - gain * n.mean(axis=0)
    most = float(np.abs(y).max())
    error = float(np.abs(y - (n * gain + shift)).max()) / max(1.0, most)
    if not gain.any() or not error <= TOLERANCE:
        return None
    return Fit(constant(gain, most), constant(shift, most), error)


def constant(values: np.ndarray, scale: float) -> np.ndarray:
    """A fitted constant without the axes that it does not vary on, nor the fit's last digits."""
    for axis, size in enumerate(values.shape):
        if size > 1 and np.allclose(values, values.take([0], axis), rtol=0, atol=TOLERANCE * scale):
            values = values.mean(axis=axis, keepdims=True)
    return np.where(np.abs(values) < DIGITS * scale, 0.0, np.round(values, 12))
