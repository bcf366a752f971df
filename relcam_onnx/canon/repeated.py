"""A constant with a row for each picture of a fixed batch, all alike, has one: broadcasting brings the rest.

Exporters write the query of a pooling attention so, or a table that is expanded to the batch.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.leading import EACH
from relcam_onnx.model import Model, fixed_batch, variables


def trim_repeated(model: Model) -> None:
    """Take the first row of such constants wherever they meet tensors of their rank."""
    batch = fixed_batch(model.graph.inputs)
    if batch is None or batch == 1:
        return
    for node in model.graph.nodes:
        if is_op(node, "MatMul", *EACH) and variables(node):
            for index, tensor in enumerate(node.inputs):
                if isinstance(tensor, gs.Constant) and is_repeated(tensor, batch, len(node.outputs[0].shape or ())):
                    node.inputs[index] = gs.Constant(f"{tensor.name}/one", tensor.values[:1])


def is_repeated(tensor: gs.Constant, batch: int, rank: int) -> bool:
    """Whether a constant of this rank has the same row for each picture."""
    if rank < 2 or len(tensor.shape) != rank or tensor.shape[0] != batch:
        return False
    values: np.ndarray = tensor.values
    return bool((values == values[:1]).all())
