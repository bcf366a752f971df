"""What the engine knows of each ONNX op; importing this package fills the table."""

from relcam_onnx.ops import activation, arithmetic, linear, movement, norm, pool, select
from relcam_onnx.ops.grids import Grid
from relcam_onnx.ops.records import Backend, Call, Linear, Message, Record, Relay, Term, Value, meet
from relcam_onnx.ops.table import TABLE, Op, key, lookup, op

__all__ = [
    "TABLE",
    "Backend",
    "Call",
    "Grid",
    "Linear",
    "Message",
    "Op",
    "Record",
    "Relay",
    "Term",
    "Value",
    "activation",
    "arithmetic",
    "key",
    "linear",
    "lookup",
    "meet",
    "movement",
    "norm",
    "op",
    "pool",
    "select",
]
