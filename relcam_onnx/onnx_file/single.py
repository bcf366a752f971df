"""Files that take one picture without a batch, (3, H, W), as torchvision's detectors do: they get a batch of one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from relcam_onnx.onnx_file.protos import nodes, stored

COLOURS = (1, 3, 4)
AXES_AS_INPUT = 13
"""The opset from which Squeeze has its axes as an input."""


def give_batch(proto: onnx.ModelProto) -> None:
    """Make an input that is one picture a batch of one, in place, where that is all that the file takes."""
    pictures = [value for value in proto.graph.input if is_picture(value)]
    if len(proto.graph.input) != 1 or not pictures:
        return
    if kept_by(pictures[0], proto.graph.output) and not is_given_one(proto, pictures[0].name):
        return
    name, inner = pictures[0].name, f"{pictures[0].name}/single"
    for node in nodes(proto):
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = inner
    shape = pictures[0].type.tensor_type.shape
    sizes = list(shape.dim)
    del shape.dim[:]
    shape.dim.add().dim_value = 1
    shape.dim.extend(sizes)
    if max((entry.version for entry in proto.opset_import if not entry.domain), default=1) < AXES_AS_INPUT:
        squeeze = helper.make_node("Squeeze", [name], [inner], inner, axes=[0])
    else:
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{inner}/axes"))
        squeeze = helper.make_node("Squeeze", [name, f"{inner}/axes"], [inner], inner)
    proto.graph.node.insert(0, squeeze)


def is_picture(value: onnx.ValueInfoProto) -> bool:
    """Whether an input is one picture, its channels first or last."""
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
    if len(sizes) != 3:
        return False
    channels, sides = (sizes[0], sizes[1:]) if sizes[0] in COLOURS else (sizes[2], sizes[:2])
    return channels in COLOURS and all(side is None or side > max(COLOURS) for side in sides)


def kept_by(value: onnx.ValueInfoProto, outputs: Iterable[onnx.ValueInfoProto]) -> bool:
    """Whether an output has as many rows as the input has channels: those are a batch, then."""
    own = value.type.tensor_type.shape.dim[0]
    return any(own == output.type.tensor_type.shape.dim[0] for output in outputs if output.type.tensor_type.shape.dim)


def is_given_one(proto: onnx.ModelProto, name: str) -> bool:
    """Whether the file itself puts a batch before the input, as many classes as it may have channels."""
    told = stored(proto.graph)
    for node in proto.graph.node:
        if node.op_type == "Unsqueeze" and node.input[0] == name:
            axes = [axis for attribute in node.attribute for axis in attribute.ints]
            axes += [
                axis for read in node.input[1:] if read in told for axis in numpy_helper.to_array(told[read]).tolist()
            ]
            return 0 in axes
    return False
