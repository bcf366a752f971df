"""Old op forms that ``onnx.version_converter`` lacks or gets wrong, before and after it runs.

`rewrite` spells them with ops that the converter raises well, one function per op; `repair` puts right the
attributes that a Resize made from an old op must have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from relcam_onnx.onnx_file.protos import attribute, graphs, has_shape, stored

Attributes = Mapping[str, str]


def rewrite(proto: onnx.ModelProto, version: int) -> dict[str, Attributes]:
    """Rewrite a model of opset ``version``, in place.

    Returns
    -------
    dict[str, Attributes]
        For `repair`: the output of each old Upsample or Resize -> the attributes its successor must have.
    """
    used = {value.name for value in proto.graph.output}
    used.update(name for graph in graphs(proto.graph) for node in graph.node for name in node.input)
    repairs: dict[str, Attributes] = {}
    for graph in graphs(proto.graph):
        constants = stored(graph)
        rewritten: list[onnx.NodeProto] = []
        for node in graph.node:
            if not node.domain:
                if node.op_type in ("Upsample", "Resize") and (attributes := _sampling(node, version, constants)):
                    repairs[node.output[0]] = attributes
                if node.op_type == "Dropout" and len(node.output) > 1 and node.output[1] not in used:
                    del node.output[1]  # the mask was of another type before opset 10
                if rule := _RULES.get(node.op_type):
                    rewritten += rule(node, version)
                    continue
            rewritten.append(node)
        del graph.node[:]
        graph.node.extend(rewritten)
    return repairs


def repair(graph: onnx.GraphProto, repairs: Mapping[str, Attributes]) -> None:
    """Set the attributes that `rewrite` noted, in place, once the converter has run."""
    for inner in graphs(graph):
        for node in inner.node:
            if node.op_type == "Resize" and (attributes := repairs.get(node.output[0])):
                kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
                del node.attribute[:]
                node.attribute.extend([*kept, *(helper.make_attribute(*item) for item in attributes.items())])


def join_rows(graph: onnx.GraphProto) -> None:
    """Let a Softmax over the last axis be one again, in place, where a converter that knew no rank made rows first.

    Before opset 13 axes from ``axis`` on were one, which the converter spells as Flatten, Softmax and Reshape.
    """
    makers = {name: node for node in graph.node for name in node.output}
    told = {value.name: value for value in (*graph.value_info, *graph.input)}
    ranks = {name: len(value.type.tensor_type.shape.dim) for name, value in told.items() if has_shape(value)}
    for node in graph.node:
        squashing, shape = (makers.get(name) for name in node.input) if node.op_type == "Reshape" else (None, None)
        rows = makers.get(squashing.input[0]) if squashing and squashing.op_type in ("Softmax", "LogSoftmax") else None
        if squashing is None or rows is None or shape is None or (rows.op_type, shape.op_type) != ("Flatten", "Shape"):
            continue
        x, axis = rows.input[0], attribute(rows, "axis", 1)
        last = axis in (-1, ranks.get(x, 0) - 1) and attribute(squashing, "axis", -1) in (-1, 1)
        if last and list(shape.input) == [x] and not shape.attribute:
            node.CopyFrom(helper.make_node(squashing.op_type, [x], node.output, squashing.name, axis=-1))
            squashing.name = ""


def _sampling(node: onnx.NodeProto, version: int, constants: Mapping[str, onnx.TensorProto]) -> Attributes:
    """Say how an old Upsample or Resize picks its samples, in the attributes of today's Resize.

    Before opset 11 there was one way: coordinates scaled from the corner, nearest rounded down, or up where
    it shrinks. Opset 11 had a mode for TensorFlow's half pixels: rounded down, it is half_pixel rounded up.
    """
    if version < 11:
        scales = constants.get(node.input[1]) if node.op_type == "Resize" else None
        shrinks = scales is not None and bool((numpy_helper.to_array(scales) < 1).any())
        return {
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "ceil" if shrinks else "floor",
        }
    mode = attribute(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "tf_half_pixel_for_nn" and attribute(node, "nearest_mode", "round_prefer_floor") == "floor":
        return {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
    return {}


def _hardmax(node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Flatten as before opset 13, when axes from ``axis`` on were one; the converter forgets that."""
    if version >= 13:
        return [node]
    [x], [y] = node.input, node.output
    return [
        helper.make_node("Shape", [x], [f"{y}/shape"]),
        helper.make_node("Flatten", [x], [f"{y}/flat"], axis=attribute(node, "axis", 1)),
        helper.make_node("Hardmax", [f"{y}/flat"], [f"{y}/max"], node.name, axis=1),
        helper.make_node("Reshape", [f"{y}/max", f"{y}/shape"], [y]),
    ]


def _batch_normalization(node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Spell out the ``spatial=0`` of opsets before 9: statistics per position, not per channel."""
    if version >= 9 or attribute(node, "spatial", 1):
        return [node]
    (x, scale, bias, mean, var), y = node.input, node.output[0]
    epsilon = np.array(attribute(node, "epsilon", 1e-5), np.float32)
    return [
        helper.make_node("Constant", [], [f"{y}/epsilon"], value=numpy_helper.from_array(epsilon)),
        helper.make_node("Add", [var, f"{y}/epsilon"], [f"{y}/stabilized"]),
        helper.make_node("Sqrt", [f"{y}/stabilized"], [f"{y}/deviation"]),
        helper.make_node("Div", [scale, f"{y}/deviation"], [f"{y}/factor"]),
        helper.make_node("Sub", [x, mean], [f"{y}/centred"]),
        helper.make_node("Mul", [f"{y}/centred", f"{y}/factor"], [f"{y}/scaled"], node.name),
        helper.make_node("Add", [f"{y}/scaled", bias], [y]),
    ]


def _group_normalization(node: onnx.NodeProto, version: int) -> list[onnx.NodeProto]:
    """Repeat scale and bias for every channel; before opset 21 they stood per group."""
    (x, *parameters), y = node.input, node.output[0]
    groups = numpy_helper.from_array(np.array([attribute(node, "num_groups", 1)]))
    column, flat, one = (numpy_helper.from_array(np.array(shape)) for shape in ([-1, 1], [-1], [1]))
    added = [
        helper.make_node("Shape", [x], [f"{y}/channels"], start=1, end=2),
        helper.make_node("Constant", [], [f"{y}/groups"], value=groups),
        helper.make_node("Div", [f"{y}/channels", f"{y}/groups"], [f"{y}/times"]),
        helper.make_node("Constant", [], [f"{y}/one"], value=one),
        helper.make_node("Concat", [f"{y}/one", f"{y}/times"], [f"{y}/repeats"], axis=0),
        helper.make_node("Constant", [], [f"{y}/column"], value=column),
        helper.make_node("Constant", [], [f"{y}/flat"], value=flat),
    ]
    for index, name in enumerate(parameters, start=1):
        stem = f"{y}/parameter{index}"
        added += [
            helper.make_node("Reshape", [name, f"{y}/column"], [f"{stem}/column"]),
            helper.make_node("Expand", [f"{stem}/column", f"{y}/repeats"], [f"{stem}/rows"]),
            helper.make_node("Reshape", [f"{stem}/rows", f"{y}/flat"], [stem]),
        ]
        node.input[index] = stem
    return [*added, node]


_RULES: dict[str, Callable[[onnx.NodeProto, int], list[onnx.NodeProto]]] = {
    "Hardmax": _hardmax,
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
}
