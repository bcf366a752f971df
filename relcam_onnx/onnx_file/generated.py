"""Names that onnxruntime gives to what it makes: files that it wrote have them, and it would give them once more."""

from __future__ import annotations

import onnx

GIVEN = ("gemm_input_shape", "gemm_output_shape")
"""How names begin that it gives to stored tensors, without looking whether there are such."""


def rename_given(proto: onnx.ModelProto) -> None:
    """Call stored tensors of such names otherwise, in place."""
    taken = {tensor.name for tensor in proto.graph.initializer if tensor.name.startswith(GIVEN)}
    outputs = {output.name for output in proto.graph.output}
    renamed = {name: f"stored/{name}" for name in taken - outputs}
    for tensor in proto.graph.initializer if renamed else ():
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in proto.graph.node if renamed else ():
        node.input[:] = [renamed.get(name, name) for name in node.input]
