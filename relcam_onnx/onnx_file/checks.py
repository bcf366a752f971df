"""Checks of a model that was read: whether it hangs together, and whether its weights are numbers.

Protocol buffers parse leniently: a file that was cut off or made by a faulty tool may still parse. What is
wrong is said here, once and by name, instead of by a crash further down.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import TensorProto, checker, numpy_helper

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.protos import nodes, reads, subgraphs, tensors
from relcam_onnx.onnx_file.weights import is_large
from relcam_onnx.onnx_file.windows import check_windows

_FLOATS = {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
}
_REPAIR = "export the model again"


def check_structure(proto: onnx.ModelProto) -> None:
    """Check that a model is complete and its opset known; nodes out of order are put in order, in place.

    Raises
    ------
    ModelFileError
        No IR version, opset, nodes or outputs; an opset newer than the installed onnx; an unknown op; sparse
        weights; an input without a type; a tensor that nothing makes or two nodes make; a cycle; a window of nothing.
    """
    if any(isinstance(text, bytes) for text in _texts(proto)):
        raise ModelFileError("some of its names are no UTF-8 text; the file is damaged: copy it again")
    graph = proto.graph
    opset = next((entry.version for entry in proto.opset_import if not entry.domain), 0)
    parts = {
        "IR version": proto.ir_version,
        "nodes": graph.node,
        "outputs": graph.output,
        "standard opset": opset,
    }
    if absent := [part for part, value in parts.items() if not value]:
        raise ModelFileError(f"this is no complete ONNX model: it has no {' and no '.join(absent)}; {_REPAIR}")
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise ModelFileError(
            f"the installed onnx {onnx.__version__} knows opsets 1 to {newest}, not {opset}; "
            f"upgrade onnx and onnxruntime, or export the model with opset_version={newest} or lower"
        )
    if graph.sparse_initializer:
        raise ModelFileError("sparse initializers are not supported; store the weights densely")
    if untyped := [repr(value.name) for value in graph.input if _untyped(value)]:
        raise ModelFileError(f"the inputs {_listed(untyped)} have no type of element; {_REPAIR}")
    _check_names(graph)
    _check_nodes(proto)
    check_windows(nodes(proto))


def _untyped(value: onnx.ValueInfoProto) -> bool:
    kind = value.type
    return kind.WhichOneof("value") in (None, "tensor_type") and not kind.tensor_type.elem_type


def _texts(message: Message) -> Iterator[str | bytes]:
    """Yield the texts in a message; protobuf hands over ``bytes`` where one is no UTF-8."""
    if isinstance(message, TensorProto):
        yield message.name
        return
    for field, value in message.ListFields():
        values = [value] if isinstance(value, str | bytes | Message) else value
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from values
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in values:
                yield from _texts(inner)


def _check_names(graph: onnx.GraphProto) -> None:
    """Check that every tensor has one maker, and bring the nodes into an order in which all can run."""
    values = {value.name for value in (*graph.input, *graph.initializer)}
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers or name in values:
                raise ModelFileError(f"tensor {name!r} is made twice, by {_describe(node)} too; {_REPAIR}")
            makers[name] = index
    names = values | makers.keys()
    missing = [f"{name!r} of {_describe(node)}" for node in graph.node for name in reads(node) if name not in names]
    missing += [f"output {value.name!r}" for value in graph.output if value.name not in names]
    if missing:
        raise ModelFileError(f"nothing makes {_listed(missing)}; {_REPAIR}")
    needs = {i: [makers[name] for name in reads(n) if name in makers] for i, n in enumerate(graph.node)}
    if any(maker >= index for index, before in needs.items() for maker in before):
        try:
            order = list(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            cycle = [_describe(graph.node[index]) for index in error.args[1]]
            raise ModelFileError(f"the graph has a cycle through {_listed(cycle)}; {_REPAIR}") from error
        ordered = [graph.node[index] for index in order]
        del graph.node[:]
        graph.node.extend(ordered)


def _check_nodes(proto: onnx.ModelProto) -> None:
    """Check every node's op, arity and attributes against its opset, as onnxruntime will."""
    context = checker.C.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    for node in proto.graph.node:
        # Subgraphs need the graph around them, and runtimes still take ops that are merely deprecated.
        if any(subgraphs(node)) or _is_deprecated(node, context.opset_imports.get(node.domain, 0)):
            continue
        try:
            checker.check_node(node, context)
        except checker.ValidationError as error:
            reason = str(error).partition("\n")[0]
            raise ModelFileError(f"{_describe(node)} is no valid node ({reason}); {_REPAIR}") from error


def _is_deprecated(node: onnx.NodeProto, version: int) -> bool:
    exists = onnx.defs.has(node.op_type, version, node.domain)
    return exists and onnx.defs.get_schema(node.op_type, version, node.domain).deprecated


def check_weights(proto: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> None:
    """Check that every stored tensor is as long as its shape says and holds finite numbers.

    A single number may be infinite: it is a limit (Clip) or a filler (Pad), not a weight. What holds -infinity beside
    nothing above 0 is a mask, for a softmax: it gets numbers that are as good, in place.

    Parameters
    ----------
    proto
        The model.
    weights
        Those of its large weights that were taken out of it by name; the others are added.

    Raises
    ------
    ModelFileError
        A tensor's data does not fit its shape and type, or NaN or infinity stands among the weights.
    """
    weights |= {t.name: _decoded(t.name, t) for t in proto.graph.initializer if is_large(t) and t.name not in weights}
    faulty = [name for name, large in weights.items() if large.dtype.kind == "f" and not _is_usable(large)]
    weights |= {name: _bounded(weights[name]) for name in faulty if _is_mask(weights[name])}
    for large in weights.values():
        large.flags.writeable = False
    for name, tensor in tensors(proto):
        if name in weights:
            continue
        values = _decoded(name, tensor)
        if tensor.data_type not in _FLOATS or _is_usable(values):
            continue
        if _is_mask(values):
            tensor.CopyFrom(numpy_helper.from_array(_bounded(values), tensor.name))
        else:
            faulty.append(name)
    faulty = [name for name in faulty if name not in weights or not _is_usable(weights[name])]
    faulty += [name for name, found in _told(proto) if not _is_usable(found)]
    if faulty:
        raise ModelFileError(
            f"NaN or infinity stands in the weights {_listed([repr(name) for name in faulty])}; export the "
            "model from a checkpoint whose values are finite"
        )


def _decoded(name: str, tensor: TensorProto) -> NDArray[Any]:
    """The values of a stored tensor."""
    try:
        if min(tensor.dims, default=0) < 0:
            raise ValueError("negative size")
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(
            f"the data of tensor {name!r} does not fit its type and shape {list(tensor.dims)} ({error}); "
            f"the file is damaged: copy it again or {_REPAIR}"
        ) from error


def _told(proto: onnx.ModelProto) -> Iterator[tuple[str, NDArray[Any]]]:
    """The numbers that Constant nodes tell without a tensor."""
    for node in nodes(proto):
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name in ("value_float", "value_floats"):
                    yield node.output[0], np.array(onnx.helper.get_attribute_value(attribute))


def _is_usable(values: NDArray[Any]) -> bool:
    if values.size == 1 and values.ndim < 2:
        return not np.isnan(values).any()
    with np.errstate(all="ignore"):
        # A sum is finite of finite numbers alone, and takes a third of the time.
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _is_mask(values: NDArray[Any]) -> bool:
    """Whether infinities among some numbers are meant: all below 0, no row of them alone, nothing else above it."""
    low = np.isneginf(values)
    return bool(np.isfinite(values.max()) and values.max() <= 0 and low.any() and not low.all(axis=-1).any())


def _bounded(values: NDArray[Any]) -> NDArray[Any]:
    """A mask whose sum with scores, or with another mask, is a number still."""
    return np.where(np.isneginf(values), np.finfo(values.dtype).min / 4, values).astype(values.dtype)


def _describe(node: onnx.NodeProto) -> str:
    return f"{node.op_type} {node.name or ', '.join(node.output)!r}"


def _listed(items: Collection[str], most: int = 5) -> str:
    """Join the first few items and say how many more there are."""
    shown = ", ".join(list(items)[:most])
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown
