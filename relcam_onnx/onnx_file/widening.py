"""bfloat16 becomes float32, of which every bfloat16 is a number: onnxruntime has next to no kernels of it for CPUs.

Activations are then those of the same weights without the rounding in between.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from relcam_onnx.onnx_file.protos import graphs, nodes, tensors

NAMED_TYPES = frozenset({"to", "dtype", "output_dtype", "stash_type"})
"""Attributes that name the type of what a node makes or computes with."""


def widen(proto: onnx.ModelProto) -> None:
    """Write a model's tensors, types and casts in float32 instead, in place."""
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            told = value.type.tensor_type
            if told.elem_type == TensorProto.BFLOAT16:
                told.elem_type = TensorProto.FLOAT
    for _, tensor in tensors(proto):
        if tensor.data_type == TensorProto.BFLOAT16:
            values = np.asarray(numpy_helper.to_array(tensor), np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.name in NAMED_TYPES and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
