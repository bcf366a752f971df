"""Raise a model to the working opset: 18, or its own where that is newer.

``onnx.version_converter`` does the work; `relcam_onnx.onnx_file.old_ops` rewrites what it lacks or gets wrong. It runs
on a skeleton, the model without its larger weights: quick, free of the 2 GiB limit, and no weight can change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx
from onnx import version_converter

from relcam_onnx.errors import ModelFileError
from relcam_onnx.onnx_file.old_ops import join_rows, repair, rewrite
from relcam_onnx.onnx_file.protos import has_shape, nodes
from relcam_onnx.onnx_file.stale import forget_stale

WORKING_OPSET = 18
_PER_CHANNEL_GROUP_NORM = 21  # GroupNormalization scales groups before this opset, channels from it on
_SMALL = 128  # elements; constants up to this size stay, since shapes are computed from them
_SAME_SHAPE = frozenset({"GroupNormalization"})  # ops that onnx infers nothing for, whose output is like their input
_REMADE = ("node", "output", "value_info")  # what conversion and shape inference change in a graph


def raise_opset(proto: onnx.ModelProto) -> None:
    """Bring a model, in place, to the working opset and infer the shapes of its tensors.

    Inputs and outputs, tensor names, weights, metadata and the imports of other domains stay. The IR version
    becomes the oldest that the opset allows, so that older runtimes take it.

    Parameters
    ----------
    proto
        A model that `relcam_onnx.onnx_file.checks` accepts, without functions and external data.

    Raises
    ------
    ModelFileError
        The model is older than 18 and holds something that cannot be raised.
    """
    opset = next(entry for entry in proto.opset_import if not entry.domain)
    grouped = any(node.op_type == "GroupNormalization" for node in nodes(proto))
    target = max(opset.version, _PER_CHANNEL_GROUP_NORM if grouped else WORKING_OPSET)
    skeleton = _skeleton(proto)
    forget_stale(skeleton)
    if opset.version < target:
        skeleton.graph.CopyFrom(_converted(skeleton, opset.version, target))
        opset.version = target
        del skeleton.opset_import[:]
        skeleton.opset_import.extend(proto.opset_import)
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
    _infer_shapes(skeleton)
    join_rows(skeleton.graph)
    for part in _REMADE:
        proto.graph.ClearField(part)
        getattr(proto.graph, part).extend(getattr(skeleton.graph, part))
    stored = {tensor.name for tensor in proto.graph.initializer}
    proto.graph.initializer.extend(t for t in skeleton.graph.initializer if t.name not in stored)


def sized_skeleton(proto: onnx.ModelProto, sizes: Mapping[str, Sequence[int | None]]) -> onnx.ModelProto:
    """A model without its larger weights, for inputs of these sizes behind the batch: every shape inferred anew."""
    skeleton = _skeleton(proto)
    graph = skeleton.graph
    graph.ClearField("value_info")
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim[1:], sizes.get(value.name, ()), strict=False):
            if size is not None:
                dim.dim_value = size
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    _infer_shapes(skeleton)
    for output, told in zip(graph.output, proto.graph.output, strict=True):
        if not has_shape(output):
            output.type.tensor_type.shape.CopyFrom(told.type.tensor_type.shape)
    return skeleton


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with inputs of the same type in the place of its larger weights."""
    # Before IR version 4 every initializer had to be an input too.
    skeleton = onnx.ModelProto(ir_version=max(proto.ir_version, 4), opset_import=proto.opset_import)
    graph = skeleton.graph
    graph.name = proto.graph.name
    for part in (*_REMADE, "input"):
        getattr(graph, part).extend(getattr(proto.graph, part))
    for tensor in proto.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return skeleton


def _converted(proto: onnx.ModelProto, version: int, target: int) -> onnx.GraphProto:
    """Return the skeleton's graph in opset ``target``."""
    repairs = rewrite(proto, version)
    try:
        graph = version_converter.convert_version(proto, target).graph
    except (version_converter.ConvertError, onnx.shape_inference.InferenceError, RuntimeError) as error:
        reason = str(error).strip().rpartition(" failed: ")[-1]
        raise ModelFileError(
            f"opset {version} cannot be raised to {target} ({reason}); export the model again with "
            f"opset_version={target} or newer"
        ) from error
    repair(graph, repairs)
    return graph


def _infer_shapes(proto: onnx.ModelProto) -> None:
    """Add what shape inference finds; it is a help, so a model that defeats it goes on without."""
    blind = [node for node in proto.graph.node if node.op_type in _SAME_SHAPE]
    while True:
        try:
            inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError):
            return
        proto.graph.CopyFrom(inferred.graph)
        told = {value.name: value for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)}
        more = [n for n in blind if has_shape(told.get(n.input[0])) and not has_shape(told.get(n.output[0]))]
        if not more:
            return
        for node in more:
            value = told.get(node.output[0]) or proto.graph.value_info.add(name=node.output[0])
            value.type.CopyFrom(told[node.input[0]].type)
