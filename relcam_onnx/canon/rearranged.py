"""Moves that have a name are written by it: channels in another order or as blocks, positions copied or left out.

They are known by where the values go, not by the nodes that take them there (Reshape, Transpose, Slice, Concat, ...).
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.cut import places
from relcam_onnx.canon.edit import bypass, is_op, sweep
from relcam_onnx.canon.places import MOVING, Moved, chains_to
from relcam_onnx.canon.shuffles import is_shuffle
from relcam_onnx.canon.thinned import slice_steps
from relcam_onnx.model import Model, consumers, variables


def name_rearranged(model: Model) -> None:
    """Rewrite every chain of moves that ends in a known one."""
    order = places(model.graph)
    for node in reversed(list(model.graph.nodes)):
        if is_op(node, *MOVING) and node.outputs and not all(map(goes_on, consumers(node.outputs[0]))):
            grids, rows = ([*chains_to(node.outputs[0], order, rank)] for rank in (4, 3))
            any(
                is_gather(model, node, chain) or is_upsampling(node, chain) or is_thinning(node, chain)
                for chain in grids
            ) or any(is_shuffle(model, node, chain) for chain in (*grids, *rows))
    sweep(model)


def goes_on(node: gs.Node) -> bool:
    """Whether a chain of moves goes on through a node: what joins it with others ends it."""
    return is_op(node, *MOVING) and len(list(variables(node))) == 1


def is_gather(model: Model, node: gs.Node, chain: Moved) -> bool:
    """Make a node the Gather of channels that its chain is, as a channel shuffle; False where it is none."""
    source, sizes, came, _ = chain
    if list(came.shape) != sizes or list(node.outputs[0].shape) != list(source.shape):
        return False
    order = came[0, :, 0, 0] // np.prod(sizes[2:], dtype=int)
    every = list(range(sizes[1]))
    if sorted(order) != every or not np.array_equal(came, numbered(sizes)[:, order]):
        return False
    if list(order) == every and bypass(model, node, source):
        return True
    node.op, node.attrs = "Gather", {"axis": 1}
    node.inputs = [source, gs.Constant(f"{node.outputs[0].name}/order", order.astype(np.int64))]
    return True


def is_upsampling(node: gs.Node, chain: Moved) -> bool:
    """Make a node the Resize that its chain is: each position over a block of positions; False where it is none."""
    source, sizes, came, _ = chain
    if came.ndim != 4 or list(came.shape[:2]) != sizes[:2]:
        return False
    factors = [after // before for before, after in zip(sizes, came.shape, strict=True)]
    if factors[2:] == [1, 1] or 0 in factors:
        return False
    spread = numbered(sizes).repeat(factors[2], axis=2).repeat(factors[3], axis=3)
    if not np.array_equal(came, spread):
        return False
    node.op = "Resize"
    node.attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = gs.Constant(f"{node.outputs[0].name}/scales", np.array(factors, np.float32))
    node.inputs = [source, gs.Variable.empty(), scales]
    return True


def is_thinning(node: gs.Node, chain: Moved) -> bool:
    """Make a node the Slice that its chain is: every so manieth position; False where it is none."""
    source, sizes, came, _ = chain
    if came.ndim != 4 or list(came.shape[:2]) != sizes[:2]:
        return False
    steps = [
        max(1, int(row[1]) // apart) if len(row) > 1 else size
        for row, apart, size in ((came[0, 0, :, 0], sizes[3], sizes[2]), (came[0, 0, 0], 1, sizes[3]))
    ]
    if max(steps) == 1 or not np.array_equal(came, numbered(sizes)[:, :, :: steps[0], :: steps[1]]):
        return False
    node.inputs = [source]
    slice_steps(node, steps)
    return True


def numbered(sizes: list[int]) -> np.ndarray:
    """The elements of a shape as `traced` numbers them."""
    return np.arange(np.prod(sizes, dtype=int)).reshape(sizes)
