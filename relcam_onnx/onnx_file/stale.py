"""Sizes that a file tells from before its inputs' were changed.

Who frees the batch or the picture's size of an exported file, or sets another one, often edits the inputs alone: of
the tensors inside, and of the outputs, the old sizes are still told. onnxruntime finds its own; what believes those
writes a file for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

WINDOWED = frozenset({"AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool"})
"""Ops whose result is as large as what they read decides, on all axes behind the channels."""


def forget_stale(skeleton: onnx.ModelProto) -> None:
    """Forget all shapes but the inputs', in place, where one tells another size than the inputs', or one that is open.

    Parameters
    ----------
    skeleton
        A model whose large weights may be inputs.
    """
    told = {value.name: value for value in (*skeleton.graph.value_info, *skeleton.graph.output)}
    if not any(dim.HasField("dim_value") for value in told.values() for dim in sizes(value)):
        return
    anew = onnx.ModelProto()
    anew.CopyFrom(skeleton)
    forget(anew.graph)
    names = set(named(anew.graph))
    try:
        graph = onnx.shape_inference.infer_shapes(anew, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return
    known = {value.name: sizes(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    for name, axis, size in decided(graph, known, names):
        dim = sizes(told[name])[axis] if name in told and axis < len(sizes(told[name])) else None
        if dim is not None and dim.HasField("dim_value") and dim.dim_value != size:
            forget(skeleton.graph)
            return


def decided(
    graph: onnx.GraphProto, known: Mapping[str, list[onnx.TensorShapeProto.Dimension]], names: set[str]
) -> Iterator[tuple[str, int, int | None]]:
    """Tensors, their axes, and the sizes that the inputs decide there; None where they leave them open."""
    for name, dims in known.items():
        yield from ((name, axis, dim.dim_value) for axis, dim in enumerate(dims) if dim.HasField("dim_value"))
        yield from ((name, axis, None) for axis, dim in enumerate(dims) if dim.dim_param in names)
    for node in graph.node:
        if node.op_type in WINDOWED:
            read = enumerate(known.get(node.input[0], ()))
            yield from ((node.output[0], axis, None) for axis, dim in read if axis > 1 and dim.dim_param in names)


def forget(graph: onnx.GraphProto) -> None:
    """Tell no shape but the inputs'; types stay."""
    for value in (*graph.value_info, *graph.output):
        value.type.tensor_type.ClearField("shape")


def named(graph: onnx.GraphProto) -> Iterator[str]:
    """The names of the inputs' open axes, given where they have none."""
    for value in graph.input:
        for axis, dim in enumerate(sizes(value)):
            if not dim.HasField("dim_value"):
                dim.dim_param = dim.dim_param or f"{value.name}/{axis}"
                yield dim.dim_param


def sizes(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    """What is told of a tensor's axes."""
    return list(value.type.tensor_type.shape.dim)
