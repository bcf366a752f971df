"""A model's own functions, written out as nodes."""

from __future__ import annotations

import onnx
from onnx import inliner

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.protos import subgraphs


def inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Write a model's functions out as nodes; those of another opset, too, where it has the same ops."""
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    for function in proto.functions:
        own = next((entry for entry in function.opset_import if not entry.domain), None)
        if own is not None and all(is_alike(node, own.version, opset) for node in function.node):
            own.version = opset
    try:
        return inliner.inline_local_functions(proto)
    except RuntimeError as error:
        raise ModelFileError(f"its functions cannot be inlined ({error}); export the model without them") from error


def is_alike(node: onnx.NodeProto, *opsets: int) -> bool:
    """Whether a node is the same in two opsets; those of other domains are."""
    if node.domain:
        return True
    if any(subgraphs(node)) or not all(onnx.defs.has(node.op_type, opset) for opset in opsets):
        return False
    schemas = [onnx.defs.get_schema(node.op_type, opset) for opset in opsets]
    told = {(*sorted(s.attributes), s.min_input, s.max_input, s.min_output, s.max_output) for s in schemas}
    changed = node.op_type in REDEFINED or min(opsets) < BROADCAST
    return len({s.since_version for s in schemas}) == 1 or (len(told) == 1 and not changed)


BROADCAST = 7
"""The opset from which on operands broadcast as NumPy's do."""
REDEFINED = frozenset({"BatchNormalization", "GroupNormalization", "Hardmax", "LogSoftmax", "Resize", "Softmax"})
"""Ops that mean something else in another opset though they are called in the same way."""
