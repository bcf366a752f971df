"""Names of classes that a file tells elsewhere than as labels: ZipMap, LabelEncoder, words that it looks up, lines."""

from __future__ import annotations

import json
from collections.abc import Mapping

import onnx
from onnx import numpy_helper

TOLD = ("relcam.labels", "names")
"""Metadata that tell labels."""
LINES = "character"
"""Those of RapidAI's models, one a line; of a recogniser without the blank before them and the space behind."""


def with_class_names(metadata: Mapping[str, str], graph: onnx.GraphProto) -> dict[str, str]:
    """Metadata, and as labels the only names that nodes of a graph look up, or lines of them, where none tell any."""
    words = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.STRING}
    lists = {tuple(names) for node in graph.node if (names := looked_up(node, words))}
    if not lists and LINES in metadata:
        lists = {tuple(names) for names in [of_lines(metadata[LINES], graph)] if names}
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


def of_lines(lines: str, graph: onnx.GraphProto) -> list[str]:
    """The names that stand on lines, as many as an output has classes; none where they fit no output."""
    names = lines.splitlines()
    sizes = {dim.dim_value for output in graph.output for dim in output.type.tensor_type.shape.dim[1:]}
    fitting = (names, ["blank", *names], ["blank", *names, " "])
    return next((each for each in fitting if len(each) in sizes), [])
