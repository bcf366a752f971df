"""How a fused node is written in standard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Writer:
    """Spells one fused node: each call adds a node and returns the name of what it makes."""

    def __init__(self, node: onnx.NodeProto, opset: int, truths: frozenset[str] = frozenset()) -> None:
        self.node, self.opset, self.truths = node, opset, truths
        self.nodes: list[onnx.NodeProto] = []
        self.result = node.output[0]
        self._attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute, texts as ``str``."""
        value = self._attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def kept(self, *names: str) -> dict[str, Any]:
        """Attributes that a standard op has too."""
        return {name: self._attributes[name] for name in names if name in self._attributes}

    def input(self, index: int) -> str:
        """An input, "" where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def constant(self, value: float) -> str:
        """A number of the file."""
        return self._stored(np.array(value, np.float32))

    def integers(self, *values: int) -> str:
        """Whole numbers of the file, as axes and shapes are."""
        return self._stored(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """One of them, as an index is."""
        return self._stored(np.array(value, np.int64))

    def _stored(self, value: np.ndarray) -> str:
        name = f"{self.result}/number{len(self.nodes)}"
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name)))
        return name

    def keep(self) -> None:
        """The fused node stays."""
        self.nodes = [self.node]

    def __call__(self, op: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        """A node; the last one makes the fused node's output, and has its name."""
        name = self.result if last else f"{self.result}/{op.lower()}{len(self.nodes)}"
        label = self.node.name if last else ""
        self.nodes.append(helper.make_node(op, inputs, [name], label, **attributes))
        return name
