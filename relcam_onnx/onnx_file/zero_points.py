"""Quantised weights that share their zero points, as TensorFlow Lite's converters have them, or have none: one each.

onnxruntime makes int8 weights unsigned where 8-bit products are to be exact, and their zero points with them, under
names made of the old ones: it refuses a file where two weights name the same one, and where a weight has none it
invents one number for scales of any shape.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx

from relcam_onnx.onnx_file.protos import nodes, stored

BEHIND_WEIGHT = {"DequantizeLinear": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Op -> where its weight stands among its inputs; the scale and the zero point come behind it."""


def part_zero_points(proto: onnx.ModelProto) -> None:
    """Give each stored weight a zero point that nothing else reads, in place."""
    add_zero_points(proto)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    readers = Counter(name for node in nodes(proto) for name in node.input)
    for node in proto.graph.node:
        place = BEHIND_WEIGHT.get(node.op_type)
        if place is None or len(node.input) < place + 3 or node.input[place] not in weights:
            continue
        name = node.input[place + 2]
        if readers[name] < 2 or name not in weights or weights[name].data_location == onnx.TensorProto.EXTERNAL:
            continue
        readers[name] -= 1
        own = proto.graph.initializer.add()
        own.CopyFrom(weights[name])
        own.name = node.input[place + 2] = f"{name}:{node.output[0]}"  # as one of a kind as what it makes


def add_zero_points(proto: onnx.ModelProto) -> None:
    """Give each stored int8 weight that DequantizeLinear reads without a zero point one of zeros, in place."""
    held = stored(proto.graph)
    for node in proto.graph.node:
        named = [*node.input, ""][:3]
        if node.op_type != "DequantizeLinear" or named[2] or not held.keys() >= set(named[:2]):
            continue
        if held[named[0]].data_type == onnx.TensorProto.INT8:
            name = f"{named[0]}:zero:{node.output[0]}"
            sizes = tuple(held[named[1]].dims)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(sizes, np.int8), name))
            node.input[:] = [*named[:2], name]
