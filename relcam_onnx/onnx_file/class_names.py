"""Names of classes that a file looks up itself: ZipMap, LabelEncoder, a list of words behind the chosen class."""

from __future__ import annotations

import json
from collections.abc import Mapping

import onnx
from onnx import numpy_helper

TOLD = ("relcam.labels", "names")
"""Metadata that tell labels."""


def with_class_names(metadata: Mapping[str, str], graph: onnx.GraphProto) -> dict[str, str]:
    """Metadata, and as labels the only names that nodes of a graph look up, where no metadata tell any."""
    words = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.STRING}
    lists = {tuple(names) for node in graph.node if (names := looked_up(node, words))}
    if len(lists) != 1 or any(key in metadata for key in TOLD):
        return dict(metadata)
    return {**metadata, TOLD[0]: json.dumps(*lists)}


def looked_up(node: onnx.NodeProto, words: Mapping[str, onnx.TensorProto]) -> list[str]:
    """The names of classes 0, 1, 2, ... among which a node picks; none where it does not."""
    told = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    names = told.get("classlabels_strings", []) if node.op_type == "ZipMap" else []
    if node.op_type == "LabelEncoder":  # in its first version a list alone
        values = told.get("values_strings", [])
        names = values if told.get("keys_int64s") == [*range(len(values))] else told.get("classes_strings", [])
    elif node.op_type in ("ArrayFeatureExtractor", "Gather") and node.input[0] in words:
        names = numpy_helper.to_array(words[node.input[0]]).reshape(-1).tolist()
    return [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names]
