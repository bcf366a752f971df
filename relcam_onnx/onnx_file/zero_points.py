"""Quantised weights that share their zero points get one each, as TensorFlow Lite's converters do not write them.

onnxruntime makes int8 weights unsigned where 8-bit products are to be exact, and their zero points with them, under
names made of the old ones: it refuses a file where two weights name the same one.
"""

from __future__ import annotations

from collections import Counter

import onnx

from relcam_onnx.onnx_file.protos import nodes

BEHIND_WEIGHT = {"DequantizeLinear": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
"""Op -> where its weight stands among its inputs; the scale and the zero point come behind it."""


def part_zero_points(proto: onnx.ModelProto) -> None:
    """Give each stored weight a zero point that nothing else reads, in place."""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    readers = Counter(name for node in nodes(proto) for name in node.input)
    for node in proto.graph.node:
        place = BEHIND_WEIGHT.get(node.op_type)
        if place is None or len(node.input) < place + 3 or node.input[place] not in stored:
            continue
        name = node.input[place + 2]
        if readers[name] < 2 or name not in stored or stored[name].data_location == onnx.TensorProto.EXTERNAL:
            continue
        readers[name] -= 1
        own = proto.graph.initializer.add()
        own.CopyFrom(stored[name])
        own.name = node.input[place + 2] = f"{name}:{node.output[0]}"  # as one of a kind as what it makes
