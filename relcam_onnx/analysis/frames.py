"""Rows of several for one: frames of a clip that are folded into the batch, by the caller or within the model."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.size_rules import factors, ratio
from relcam_onnx.model import Model, consumers, static_shape, variables
from relcam_onnx.ops.product import HELD

COLOURS = (1, 3, 4)
"""How many channels pictures have."""


class Rows(NamedTuple):
    """How images lie along the first axes of what goes in.

    Attributes
    ----------
    frames
        How many rows are one image: a clip's.
    shared
        The inputs that are the same for all images: texts beside pictures, a batch of their own.
    """

    frames: int = 1
    shared: frozenset[str] = frozenset()


ONE = Rows()
"""A row for each image, in every input."""


def shared_inputs(model: Model) -> frozenset[str]:
    """The inputs that factors are made of that products hold for all images."""
    nodes = [node for node in model.graph.nodes if HELD in node.attrs]
    waiting = [node.inputs[int(node.attrs[HELD])] for node in nodes]
    seen: set[str] = set()
    while waiting:
        tensor = waiting.pop()
        if tensor.name not in seen:
            seen.add(tensor.name)
            waiting += [t for node in tensor.inputs for _, t in variables(node)]
    return frozenset(t.name for t in model.graph.inputs if t.name in seen)


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
