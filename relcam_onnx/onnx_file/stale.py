"""Sizes that a file tells from before its inputs' were changed.

Who frees the batch or the picture's size of an exported file, or sets another one, often edits the inputs alone: of
the tensors inside, and of the outputs, the old sizes are still told. onnxruntime finds its own; what believes those
writes a file for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

FIRST, OTHER = 7, 736
"""What open axes are set to, the first of an input and the others: sizes that no file is told to have by chance."""


def forget_stale(skeleton: onnx.ModelProto) -> None:
    """Forget all shapes but the inputs', in place, where one tells another size than these make, or one that they open.

    Parameters
    ----------
    skeleton
        A model whose large weights may be inputs.
    """
    told = {value.name: numbers(value) for value in (*skeleton.graph.value_info, *skeleton.graph.output)}
    if not any(told.values()):
        return
    known = probed(skeleton)
    if any(known.get(name, {}).get(axis, size) != size for name, axes in told.items() for axis, size in axes.items()):
        forget(skeleton.graph)


def probed(skeleton: onnx.ModelProto) -> Mapping[str, Mapping[int, int]]:
    """All tensors' sizes where open axes have those, as far as inference goes."""
    anew = onnx.ModelProto()
    anew.CopyFrom(skeleton)
    forget(anew.graph)
    for value in anew.graph.input:
        for axis, dim in enumerate(sizes(value)):
            if not dim.HasField("dim_value"):
                dim.dim_value = OTHER if axis else FIRST
    try:
        graph = onnx.shape_inference.infer_shapes(anew, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return {}
    return {value.name: numbers(value) for value in (*graph.value_info, *graph.output)}


def forget(graph: onnx.GraphProto) -> None:
    """Tell no shape but the inputs' and the constants'; types stay."""
    stored = {tensor.name for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.output):
        if value.name not in stored and value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def numbers(value: onnx.ValueInfoProto) -> dict[int, int]:
    """A tensor's sizes that are told, by axis."""
    return {axis: dim.dim_value for axis, dim in enumerate(sizes(value)) if dim.HasField("dim_value")}


def sizes(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    """What is told of a tensor's axes."""
    return list(value.type.tensor_type.shape.dim) if value.type.HasField("tensor_type") else []
