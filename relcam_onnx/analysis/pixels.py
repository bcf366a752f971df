"""Distances of levels that a file multiplies by their strides itself: they are in pixels, others in cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from relcam_onnx.analysis.heads import BOX, STRIDES
from relcam_onnx.analysis.kinds import Kind, positions, product
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.model import Model
from relcam_onnx.onnx_file.protos import stored

MOVES = {*RESHAPES, "Transpose", "Identity", "Cast"}
ROUNDED = 1.5
"""Cells, each times its stride squared, are the picture's pixels in each level, but for those at its edge."""


def multiplied(model: Model, boxes: Kind) -> list[int]:
    """The strides that four distances were multiplied by, level by level; none where they were not.

    The file is read and no rewritten graph: a factor behind a convolution is part of that there.
    """
    cells = [product(positions(level, boxes.axis)) for level in boxes.levels]
    if boxes.count != BOX or len(cells) < 2 or None in cells:
        return []
    makers = {output: node for node in model.proto.graph.node for output in node.output}
    constants, found = stored(model.proto.graph), []
    for level, places in zip(boxes.levels, cells, strict=True):
        found.append([(factor, factor**2 * (places or 0)) for factor in factors(makers, constants, level.name)])
    for strides in zip(*found, strict=False):
        pixels = [each for _, each in strides]
        distinct = len({factor for factor, _ in strides}) == len(strides) == len(cells)
        if distinct and all(factor in STRIDES for factor, _ in strides) and max(pixels) <= ROUNDED * min(pixels):
            return [int(factor) for factor, _ in strides]
    return []


def factors(
    makers: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto], name: str
) -> Iterator[float]:
    """The numbers that a tensor was multiplied by last, from the last one on."""
    while (node := makers.get(name)) is not None and node.op_type in MOVES | {"Mul"}:
        name = node.input[0]
        if node.op_type == "Mul":
            known = [each for each in node.input if each in constants]
            if len(known) != 1 or np.prod(constants[known[0]].dims, dtype=int) != 1:
                return
            (name,) = (each for each in node.input if each not in constants)
            yield float(numpy_helper.to_array(constants[known[0]]).reshape(()))
