"""One node with inputs, as it runs in onnxruntime and as the engine's table describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from relcam_onnx.backends.eager import Eager
from relcam_onnx.ops import Call, Record, lookup

OPSET = 21
BEYOND_ONNXRUNTIME = frozenset({"Swish"})
"""Ops whose forward pass only onnx.reference has here."""


@dataclass(frozen=True, repr=False)
class Case:
    """A node over computed inputs, ``values`` by name; its other inputs are constants."""

    node: gs.Node
    values: dict[str, np.ndarray]
    opset: int = OPSET

    def __repr__(self) -> str:
        inputs = ["-" if t.is_empty() else f"{t.name} {tuple(t.shape)}" for t in self.node.inputs]
        return f"{self.node.op}({', '.join(inputs)}, {dict(self.node.attrs)})"

    def model(self) -> onnx.ModelProto:
        """The node as a model of its own."""
        inputs = [t for t in self.node.inputs if t.name in self.values]
        graph = gs.Graph([self.node], inputs=inputs, outputs=self.node.outputs[:1], opset=self.opset)
        model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
        return model

    def forward(self, values: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The node's output for these inputs, its own where none are given, by onnxruntime."""
        model, feed = self.model(), self.values if values is None else values
        if self.node.op in BEYOND_ONNXRUNTIME:
            return reference(model, feed)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, feed)[0])

    def exact(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """The node's output in float64, by onnx.reference: all that is float32 in the model is widened."""
        model = self.model()
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


def reference(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    """The output by onnx.reference."""
    (y,) = ReferenceEvaluator(model).run(None, feed)
    return np.asarray(y)


def fixed(array: Any) -> gs.Constant:
    """An input that stands in the file; `case` names it."""
    return gs.Constant("", np.asarray(array))


def case(op: str, *inputs: np.ndarray | gs.Constant | None, opset: int = OPSET, **attrs: Any) -> Case:
    """A case: arrays are computed inputs, `fixed` ones constants, None an optional input left out."""
    tensors: list[gs.Tensor] = []
    values = {}
    for index, given in enumerate(inputs):
        if given is None:
            tensors.append(gs.Variable.empty())
        elif isinstance(given, gs.Constant):
            tensors.append(gs.Constant(f"c{index}", given.values))
        else:
            values[f"x{index}"] = given
            tensors.append(gs.Variable(f"x{index}", given.dtype, given.shape))
    dtype = {"QuantizeLinear": np.uint8, "Shape": np.int64, "Size": np.int64}.get(op, np.float32)
    node = gs.Node(op, "node", dict(attrs), tensors, [gs.Variable("y", dtype)])
    made = Case(node, values, opset)
    node.outputs[0].shape = made.forward().shape
    return made


def noise(seed: int, *shape: int) -> np.ndarray:
    """Signed float32 values, spread around 0."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def apart(seed: int, *shape: int) -> np.ndarray:
    """Signed float32 values, no two of them closer than 0.01, none closer than that to a whole number or to 0."""
    size = int(np.prod(shape))
    order = np.random.default_rng([seed, *shape]).permutation(size)
    grid = (order - size // 2) * 0.0625 + 0.03
    return grid.astype(np.float32).reshape(shape)


SEED = st.integers(0, 2**16)
BATCH = st.integers(1, 3)
