"""How a fused node is written in standard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

CAST_LIKE = 15
"""The opset from which on there is one."""


class Writer:
    """Spells one fused node: each call adds a node and returns the name of what it makes.

    In a file of ``half`` precision numbers are cast to what the node's first input is; where the node is ``raised`` all
    that it reads is float32 instead, and what it makes is cast back: it is computed so inside the fused op.
    ``truths`` and ``packed`` name tensors of truth values and of bytes.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        opset: int,
        truths: frozenset[str] = frozenset(),
        packed: frozenset[str] = frozenset(),
        *,
        half: bool = False,
        raised: bool = False,
    ) -> None:
        self.node, self.opset, self.truths, self.packed = node, opset, truths, packed
        self.half, self.raised = half and not raised, half and raised
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
        name = self.node.input[index] if index < len(self.node.input) else ""
        return self("Cast", name, to=onnx.TensorProto.FLOAT) if name and self.raised else name

    def constant(self, value: float) -> str:
        """A number of the file."""
        stored = self._stored(np.array(value, np.float32))
        return self.like_first(stored) if self.half else stored

    def like_first(self, name: str, **result: bool) -> str:
        """A tensor in the type of the node's first input."""
        if self.opset < CAST_LIKE:
            return self("Cast", name, to=onnx.TensorProto.FLOAT16, **result)
        return self("CastLike", name, self.node.input[0], **result)

    def numbers(self, values: Any) -> str:
        """Several numbers, or texts, of the file."""
        array = np.asarray(values)
        return self._stored(array.astype(np.float32) if array.dtype.kind == "f" else array)

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

    def also(self, op: str, result: str, *inputs: str, **attributes: Any) -> None:
        """A node that makes one of several outputs of the fused one."""
        self.nodes.append(helper.make_node(op, inputs, [result], result, **attributes))

    def keep(self) -> None:
        """The fused node stays."""
        self.nodes = [self.node]

    def __call__(self, op: str, *inputs: str, last: bool = False, **attributes: Any) -> str:
        """A node; the last one makes the fused node's output, and has its name."""
        if last and self.raised and op not in ("Cast", "CastLike"):
            return self.like_first(self(op, *inputs, **attributes), last=True)
        name = self.result if last else f"{self.result}/{op.lower()}{len(self.nodes)}"
        label = self.node.name if last else ""
        self.nodes.append(helper.make_node(op, inputs, [name], label, **attributes))
        return name
