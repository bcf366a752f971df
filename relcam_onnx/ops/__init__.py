"""What the engine knows of each ONNX op; importing this package fills the table."""

from relcam_onnx.ops import (
    activation,
    arithmetic,
    conv,
    einsum,
    elementary,
    indexing,
    linear,
    movement,
    norm,
    pool,
    product,
    sampling,
    select,
    sizes,
)
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.grids import Grid
from relcam_onnx.ops.layer import Layer
from relcam_onnx.ops.records import Call, Linear, Message, Record, Relay, Term, meet
from relcam_onnx.ops.table import TABLE, Op, key, lookup, op
from relcam_onnx.ops.zero import ZERO

__all__ = [
    "TABLE",
    "ZERO",
    "Backend",
    "Call",
    "Grid",
    "Layer",
    "Linear",
    "Message",
    "Op",
    "Record",
    "Relay",
    "Size",
    "Term",
    "Value",
    "activation",
    "arithmetic",
    "conv",
    "einsum",
    "elementary",
    "indexing",
    "key",
    "linear",
    "lookup",
    "meet",
    "movement",
    "norm",
    "op",
    "pool",
    "product",
    "sampling",
    "select",
    "sizes",
]
