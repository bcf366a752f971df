"""Products of floats with quantised weights: what dequantises those is written as a difference and a product.

Newer versions of onnxruntime fuse DequantizeLinear and MatMul into an op that rounds the activations to 8 bits inside,
where the file does not, unless a session asks that it does not. Plain arithmetic is fused by no runtime, and computed
once, when a session starts: the product that runs is the file's everywhere. Where the activations are dequantised too
the product is one of integers, and stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from relcam_onnx.onnx_file.protos import attribute, graphs, nodes, stored

HANDED_ON = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Ops that leave values as they are, past which onnxruntime looks."""
WEIGHTS = frozenset({
    TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16,
})  # fmt: skip
"""Types whose every number is one of float32 too."""


def spell_out(proto: onnx.ModelProto) -> None:
    """Write what dequantises the weights of products with floats as plain arithmetic, in place; opset 18 or newer."""
    if not any(node.op_type == "DequantizeLinear" for node in nodes(proto)):
        return
    makers: dict[str, onnx.NodeProto] = {}
    held: dict[str, onnx.TensorProto] = {}
    for graph in graphs(proto.graph):  # inner ones read what outer ones hold
        held |= stored(graph)
        for node in graph.node:
            makers |= dict.fromkeys(node.output, node)
    spelled: dict[str, list[onnx.NodeProto]] = {}
    for node in [node for graph in graphs(proto.graph) for node in graph.node]:
        if node.op_type not in ("MatMul", "Gemm") or is_dequantised(makers, *dequantising(makers, node, 0)):
            continue
        reader, place = dequantising(makers, node, 1)
        name = reader.input[place]
        if is_dequantised(makers, reader, place):
            if name not in spelled:
                spelled[name] = arithmetic(makers[name], held, makers)
            if spelled[name]:
                reader.input[place] = spelled[name][-1].output[0]
    if any(spelled.values()):
        read = {name for node in nodes(proto) for name in node.input}
        for graph in graphs(proto.graph):
            write(graph, spelled, read)


def dequantising(makers: Mapping[str, onnx.NodeProto], node: onnx.NodeProto, place: int) -> tuple[onnx.NodeProto, int]:
    """What reads the values that a node's input holds, before they are handed on to it, and at which of its inputs."""
    while (maker := makers.get(node.input[place])) is not None and maker.op_type in HANDED_ON:
        node, place = maker, 0
    return node, place


def is_dequantised(makers: Mapping[str, onnx.NodeProto], reader: onnx.NodeProto, place: int) -> bool:
    """Whether that is what a DequantizeLinear makes."""
    maker = makers.get(reader.input[place])
    return maker is not None and maker.op_type == "DequantizeLinear"


def arithmetic(
    node: onnx.NodeProto, held: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto]
) -> list[onnx.NodeProto]:
    """The nodes that make what a DequantizeLinear makes; none where that is no weight, or of another form."""
    whole, scale, *zero = filter(None, node.input)
    rounding = makers.get(whole)
    if rounding is not None and rounding.op_type == "QuantizeLinear":
        weight, kind = held.get(rounding.input[0]), held.get(rounding.input[2]) if len(rounding.input) > 2 else None
    else:
        weight = kind = held.get(whole)
    if weight is None or kind is None or kind.data_type not in WEIGHTS or not held.keys() >= {scale, *zero}:
        return []
    sizes, axis, block = list(weight.dims), attribute(node, "axis", 1), attribute(node, "block_size", 0)
    apart, around = sizes, [1] * len(sizes)  # the sizes as blocks; those of a scale for each of them
    if block:
        axis %= len(sizes)
        if sizes[axis] % block:
            return []
        apart = [*sizes[:axis], sizes[axis] // block, block, *sizes[axis + 1 :]]
        around = [1 if place == axis + 1 else size for place, size in enumerate(apart)]
    elif prod(held[scale].dims) > 1:
        around[axis] = -1
    made: list[onnx.NodeProto] = []

    def put(op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{node.output[0]}:{op}{len(made)}"  # as one of a kind as what the node makes
        made.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def shaped(name: str, shape: Sequence[int]) -> str:
        return put("Reshape", name, put("Constant", value=numpy_helper.from_array(np.array(shape, np.int64))))

    def floats(name: str) -> str:
        return put("Cast", name, to=TensorProto.FLOAT)

    value = floats(whole)
    value = shaped(value, apart) if block else value
    value = put("Sub", value, shaped(floats(zero[0]), around)) if zero else value
    value = put("Mul", value, shaped(floats(scale), around))
    value = shaped(value, sizes) if block else value
    result = attribute(node, "output_dtype", 0) or held[scale].data_type
    if result != TensorProto.FLOAT:
        put("Cast", value, to=result)
    return made


def write(graph: onnx.GraphProto, spelled: Mapping[str, list[onnx.NodeProto]], read: Collection[str]) -> None:
    """Put the arithmetic where its DequantizeLinear stands, which goes where nothing reads it any more."""
    read = {*read, *(value.name for value in graph.output)}
    own = list(graph.node)
    del graph.node[:]
    for node in own:
        made = spelled.get(node.output[0], []) if node.output else []
        graph.node.extend(made)
        if not made or node.output[0] in read:
            graph.node.append(node)
