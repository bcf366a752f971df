"""What a file does to its pictures before the first layer: the normalisation that stands in the graph."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import Affine, along, number, read
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import is_op
from relcam_onnx.model import Scaling, variables
from relcam_onnx.ops import TABLE, key, lookup

SAME = ("Cast", "Identity", "Pad", "QuantizeLinear", "DequantizeLinear")
"""Ops that leave values as they are, rounding and what a Pad adds aside."""


def image_scalings(graph: gs.Graph) -> dict[str, Scaling]:
    """Input -> the constants that it is scaled and shifted by before anything else is done to it.

    Inputs are left out to which nothing of the kind is done, or not the same along every path.
    """
    scalings = {tensor.name: scaling_of(graph, tensor) for tensor in graph.inputs}
    return {name: scaling for name, scaling in scalings.items() if scaling is not None}


def scaling_of(graph: gs.Graph, image: gs.Tensor) -> Scaling | None:
    """The same of one input."""
    scaled = {image.name: number(1.0)}
    ends: set[Scaling] = set()
    for node in graph.nodes:
        taken = lookup(node).receivers(node) if key(node) in TABLE else [index for index, _ in variables(node)]
        read_here = [node.inputs[index].name for index in taken if node.inputs[index].name in scaled]
        if not read_here:
            continue
        behind = followed(node, scaled[read_here[0]]) if len(taken) == 1 else None
        if behind is None:
            ends |= {Scaling(*(tuple(v.tolist()) for v in (scaled[n].scale, scaled[n].shift))) for n in read_here}
        else:
            scaled[node.outputs[0].name] = behind
    if len(ends) != 1:
        return None
    scaling = ends.pop()
    return None if np.allclose(scaling.scale, 1) and np.allclose(scaling.shift, 0) else scaling


def followed(node: gs.Node, affine: Affine) -> Affine | None:
    """Scale and shift behind a node, from those before it; None where it does anything else."""
    if is_op(node, *SAME):
        return affine
    if moves(node):
        return affine.pushed(node)
    step = read(node, roughly)
    return None if step is None else affine.then(step[1])


def roughly(constant: gs.Constant, x: gs.Tensor) -> tuple[int | None, np.ndarray]:
    """A constant as values along one axis; one that varies otherwise, such as a mean picture, as its mean."""
    return along(constant, x) or (None, np.asarray(constant.values, np.float64).mean(keepdims=True).reshape(1))
