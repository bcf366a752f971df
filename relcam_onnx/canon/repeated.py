"""A constant with a row for each picture of a fixed batch, all alike, has one: broadcasting brings the rest.

Exporters write the query of a pooling attention so, or a table that is expanded to the batch. One of a single value, as
large as what it meets (JAX's zeros), is that number.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import is_op, sweep
from relcam_onnx.canon.leading import EACH
from relcam_onnx.model import Model, fixed_batch, producer, variables


def trim_repeated(model: Model) -> None:
    """Take the first row of such constants wherever they meet tensors of their rank, and the number of others."""
    for node in model.graph.nodes:
        if is_op(node, *EACH):
            for index, tensor in enumerate(node.inputs):
                if tells_no_shape(node, index) and (number := number_of(tensor)) is not None:
                    node.inputs[index] = gs.Constant(f"{tensor.name}/number", number)
    sweep(model)
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


def tells_no_shape(node: gs.Node, index: int) -> bool:
    """Whether another input of a node that works element by element is as large as its result."""
    shape = list(node.outputs[0].shape or ())
    return bool(shape) and any(list(t.shape or ()) == shape for place, t in variables(node) if place != index)


def number_of(tensor: gs.Tensor) -> np.ndarray | None:
    """The number that a tensor is everywhere, constant or made as large as others; None where it is not one."""
    node, value = producer(tensor), tensor
    if is_op(node, "Expand"):
        value = node.inputs[0]
    elif is_op(node, "ConstantOfShape"):
        value = node.attrs.get("value", gs.Constant("", np.zeros(1, np.float32)))
    if not isinstance(value, gs.Constant) or (value is tensor and np.prod(value.shape) < 2):
        return None
    values: np.ndarray = np.asarray(value.values).reshape(-1)
    return values[:1].reshape(()) if len(values) and (values == values[0]).all() else None
