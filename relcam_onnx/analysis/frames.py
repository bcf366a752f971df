"""Rows of several for one: frames of a clip that are folded into the batch, by the caller or within the model."""

from __future__ import annotations

from fractions import Fraction

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.size_rules import factors, ratio
from relcam_onnx.model import consumers, static_shape

COLOURS = (1, 3, 4)
"""How many channels pictures have."""


def rows_over(tensor: gs.Tensor, other: gs.Tensor) -> Fraction:
    """By what the leading size of a tensor exceeds another's: 1 as a rule, and where nothing tells.

    Of a batch whose name was lost on the way, and another one made up, the numbers of times still tell.
    """
    if not tensor.shape or not other.shape:
        return Fraction(1)
    own, base = tensor.shape[0], other.shape[0]
    told = ratio(own, base)
    if told is None and isinstance(own, str) and isinstance(base, str) and factors(base)[0] == 1:
        return factors(own)[0]
    return told or Fraction(1)


def rows_for(tensor: gs.Tensor, scores: gs.Tensor) -> int:
    """How many rows a tensor has for each row of the scores."""
    rows = rows_over(tensor, scores)
    return int(rows) if rows.denominator == 1 else 1


def frames_first(tensor: gs.Tensor) -> bool:
    """Whether an input is (N, T, C, H, W), not (N, C, T, H, W): where both could be, no convolution reads it."""
    shape = static_shape(tensor)
    if shape is None or len(shape) != 5 or shape[2] not in COLOURS:
        return False
    return shape[1] not in COLOURS or not any(is_op(node, "Conv") for node in consumers(tensor))
