"""One node with inputs, as it runs in onnxruntime and as the engine's table describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from numpy.typing import NDArray

from relcam_onnx.backends.eager import Eager
from relcam_onnx.ops import Call, Record, lookup

OPSET = 21
BEYOND_ONNXRUNTIME = frozenset({"Swish"})
"""Ops whose forward pass only onnx.reference has here."""

Array = NDArray[Any]


@dataclass(frozen=True, repr=False)
class Case:
    """A node over computed inputs, ``values`` by name; its other inputs are constants.

    Attributes
    ----------
    node
        With one output.
    values
        What its computed inputs hold.
    opset
        Of the standard domain.
    options
        onnxruntime's; they may name a library of custom ops.
    """

    node: gs.Node
    values: dict[str, Array]
    opset: int = OPSET
    options: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        inputs = ["-" if t.is_empty() else f"{t.name} {tuple(t.shape)}" for t in self.node.inputs]
        return f"{self.node.op}({', '.join(inputs)}, {dict(self.node.attrs)})"

    def with_values(self, values: Mapping[str, Array]) -> Case:
        """The same node over other inputs."""
        return Case(self.node, dict(values), self.opset, self.options)

    def model(self) -> onnx.ModelProto:
        """The node as a model of its own."""
        inputs = [gs.Variable(name, value.dtype, value.shape) for name, value in self.values.items()]
        by_name = {t.name: t for t in inputs}
        node = gs.Node(
            self.node.op, "node", dict(self.node.attrs), [by_name.get(t.name, t) for t in self.node.inputs],
            [gs.Variable("y", self.node.outputs[0].dtype)], self.node.domain,
        )  # fmt: skip
        domains = [onnx.helper.make_opsetid(self.node.domain, 1)] if self.node.domain else []
        graph = gs.Graph([node], inputs=inputs, outputs=node.outputs, opset=self.opset)
        model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
        model.opset_import.extend(domains)
        return model

    def forward(self, values: Mapping[str, Array] | None = None) -> Array:
        """The node's output for these inputs, its own where none are given, by onnxruntime."""
        one = self if values is None else self.with_values(values)
        if self.node.op in BEYOND_ONNXRUNTIME:
            return reference(one.model(), one.values)
        return np.asarray(session(one.model(), self.options).run(None, one.values)[0])

    def exact(self, values: Mapping[str, Array]) -> Array:
        """The node's output in float64, by onnx.reference: all that is float32 in the model is widened."""
        values = {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in values.items()}
        model = self.with_values(values).model()
        wide, narrow = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT
        for info in (*model.graph.input, *model.graph.output):
            if info.type.tensor_type.elem_type == narrow:
                info.type.tensor_type.elem_type = wide
        for tensor in model.graph.initializer:
            if tensor.data_type == narrow:
                array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
                tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
        return reference(model, values)

    def describe(self, targets: int = 1) -> tuple[Eager, Call, Record]:
        """What the table makes of the node in this run."""
        f, y = Eager(targets), self.forward()
        inputs = tuple(
            None if t.is_empty() else self.values.get(t.name, getattr(t, "values", None)) for t in self.node.inputs
        )
        nonnegative = frozenset(i for i, value in enumerate(inputs) if value is not None and bool((value >= 0).all()))
        call = Call(self.node, inputs, y, nonnegative)
        return f, call, lookup(self.node).build(f, call)


def session(model: onnx.ModelProto, options: Any = None) -> onnxruntime.InferenceSession:
    """A session on the CPU."""
    if options is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def reference(model: onnx.ModelProto, feed: Mapping[str, Array]) -> Array:
    """The output by onnx.reference."""
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - slow to import

    (y,) = ReferenceEvaluator(model).run(None, dict(feed))
    return np.asarray(y)


def fixed(array: Any) -> gs.Constant:
    """An input that stands in the file; `case` names it."""
    return gs.Constant("", np.asarray(array))


def case(op: str, *inputs: Any, opset: int = OPSET, options: Any = None, **attrs: Any) -> Case:
    """A case: arrays are computed inputs, `fixed` ones constants, None an optional input left out.

    Ops of other domains are named ``"domain::Op"``, as in the table.
    """
    tensors: list[gs.Tensor] = []
    values = {}
    for index, value in enumerate(inputs):
        if value is None:
            tensors.append(gs.Variable.empty())
        elif isinstance(value, gs.Constant):
            tensors.append(gs.Constant(f"c{index}", value.values))
        else:
            values[f"x{index}"] = np.asarray(value)
            tensors.append(gs.Variable(f"x{index}", values[f"x{index}"].dtype, values[f"x{index}"].shape))
    domain, _, name = op.rpartition("::")
    dtype = {"QuantizeLinear": np.uint8, "Shape": np.int64, "Size": np.int64}.get(name, np.float32)
    node = gs.Node(name, "node", dict(attrs), tensors, [gs.Variable("y", dtype)], domain or None)
    one = Case(node, values, opset, options)
    node.outputs[0].shape = one.forward().shape
    return one
