"""Large weights apart from the message that names them: one array each, for the analysis and for every session.

A message copies what is put into it, and parsing or serialising one copies all that it holds. So a loaded model's
message only refers to its large weights, which lie in memory once.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from relcam_onnx.onnx_file.protos import graphs, nodes

LARGE = 2**16
"""Bytes from which on a weight is kept apart; smaller ones, which shapes may hang on, stay where they are."""

PLAIN = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8,
    TensorProto.INT32, TensorProto.INT64,
})  # fmt: skip
"""Types that NumPy and onnxruntime hold alike."""
ALIGNED = 64
"""Bytes that weights start at a multiple of."""
HERE = "memory"
"""Where a reference says that its data lie: nowhere on a disk."""


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a stored tensor is kept apart."""
    kind = tensor.data_type
    return kind in PLAIN and prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize >= LARGE


def taken(proto: onnx.ModelProto, apart: Mapping[int, memoryview]) -> dict[str, np.ndarray]:
    """The weights of a model whose bytes were split from it, by name; what is not kept apart is put back.

    They share one buffer, which the system gives in large pages.
    """
    stored = {}
    for place, raw in apart.items():
        tensor = proto.graph.initializer[place]
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type) if is_large(tensor) else np.dtype(np.uint8)
        if is_large(tensor) and prod(tensor.dims) * kind.itemsize == len(raw):
            stored[tensor.name] = np.frombuffer(raw, kind.newbyteorder("<")).reshape(tensor.dims)
        else:
            tensor.raw_data = bytes(raw)
    starts = np.cumsum([0, *(-(-values.nbytes // ALIGNED) * ALIGNED for values in stored.values())])
    buffer = np.empty(starts[-1], np.uint8)
    for (name, values), start in zip(stored.items(), starts[:-1], strict=True):
        own = buffer[start : start + values.nbytes].view(values.dtype.newbyteorder("=")).reshape(values.shape)
        own[...] = values
        stored[name] = own
    return stored


def forget_unread(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take what nothing reads out of a message; the weights that are left.

    onnxruntime forgets such weights by itself, and refuses to be told where they lie.
    """
    read = {value.name for graph in graphs(proto.graph) for value in graph.output}
    read.update(name for node in nodes(proto) for name in node.input)
    stored = list(proto.graph.initializer)
    if any(tensor.name not in read for tensor in stored):
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(tensor for tensor in stored if tensor.name in read)
    return {name: values for name, values in weights.items() if name in read}


def light(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of a model that refers to these weights and holds all else."""
    copy = onnx.ModelProto()
    copy_others(proto, copy, "graph")
    copy_others(proto.graph, copy.graph, "initializer")
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            reference = copy.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            reference.data_location = TensorProto.EXTERNAL
            reference.external_data.add(key="location", value=HERE)
        else:
            copy.graph.initializer.append(tensor)
    return copy


def whole(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy of a model that holds the weights that it refers to."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return copy


def copy_others(source: onnx.ModelProto | onnx.GraphProto, target: object, left: str) -> None:
    """Copy every field of a message but one."""
    for field, value in source.ListFields():
        if field.name == left:
            continue
        held = getattr(target, field.name)
        if isinstance(value, int | str | bytes | float):
            setattr(target, field.name, value)
        elif hasattr(held, "MergeFrom"):
            held.MergeFrom(value)
