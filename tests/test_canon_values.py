"""Every tensor of a canonical graph has the value that the file's tensor of its name has, or that its view makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
import pytest
from nets import canonical, picture
from spelling import SIZE, drawn

from relcam_onnx.backends.eager import Eager
from relcam_onnx.lrp.walk import seen
from relcam_onnx.model import Model, View
from relcam_onnx.onnx_file.load import load

TOLERANCE = 1e-4
"""Of the largest value: folded weights are rounded to float32 once more, and sums are taken in another order."""


def file_values(model: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    """All tensors that the raised file computes, by onnxruntime."""
    proto = load(model).proto
    names = [name for node in proto.graph.node for name in node.output if name]
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in {o.name for o in proto.graph.output}
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"x": x}), strict=True)) | {"x": x}


def computed(node: gs.Node, inputs: list[np.ndarray | None]) -> np.ndarray:
    """A node's output in NumPy, the engine's own forms included: a third input is a bias, norms have ``axes``."""
    f, attrs = Eager(), dict(node.attrs)
    x: Any = inputs[0]
    if node.op in ("MatMul", "Einsum"):
        y, bias = getattr(f, node.op)(*inputs[:2], **attrs), inputs[2] if len(inputs) > 2 else None
        if bias is None:
            return np.asarray(y)
        axis = 1 if node.op == "Einsum" and y.ndim == 4 else -1
        if node.op == "MatMul" and isinstance(node.inputs[0], gs.Constant):
            axis = -2
        return np.asarray(y + bias.reshape([-1 if i == axis % y.ndim else 1 for i in range(y.ndim)]))
    if node.op == "BatchNormalization":
        scale, shift, mean, variance = (np.asarray(v, np.float64) for v in inputs[1:5])
        across = [-1 if i == attrs.get("axis", 1) else 1 for i in range(x.ndim)]
        factor = scale / np.sqrt(variance + attrs.get("epsilon", 1e-5))
        return np.asarray(x * factor.reshape(across) + (shift - mean * factor).reshape(across))
    if node.op in ("LayerNormalization", "RMSNormalization"):
        axes = tuple(attrs.get("axes") or range(attrs.get("axis", -1) % x.ndim, x.ndim))
        rest = x - x.mean(axes, keepdims=True) if node.op == "LayerNormalization" else x
        y = rest / np.sqrt(np.square(rest).mean(axes, keepdims=True) + attrs.get("epsilon", 1e-5)) * inputs[1]
        return np.asarray(y + inputs[2] if len(inputs) > 2 and inputs[2] is not None else y)
    if node.op == "Reshape" and len(inputs) == 1:
        return np.asarray(x.reshape([d if isinstance(d, int) else -1 for d in node.outputs[0].shape]))
    attrs.pop("scale", None)
    result = getattr(f, node.op)(*inputs, **attrs)
    return np.asarray(result[0] if isinstance(result, tuple) else result)


def value_of(model: Model, name: str, values: dict[str, np.ndarray]) -> np.ndarray:
    """A tensor's value by the file, or by its view."""
    view: View | None = model.views.get(name)
    if view is None:
        return values[name]
    return np.asarray(seen(Eager(), view, lambda part: value_of(model, part, values)))


def read(model: Model, tensor: gs.Tensor, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """What a node reads there."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    return None if tensor.is_empty() else value_of(model, tensor.name, values)


def values_stay(spelled: onnx.ModelProto, x: np.ndarray, *, batch_norm: bool = True) -> Model:
    """The canonical form, each node of which makes of the file's values the file's value."""
    values, model = file_values(spelled, x), canonical(spelled, batch_norm=batch_norm)
    for node in model.graph.nodes:
        inputs = [read(model, tensor, values) for tensor in node.inputs]
        wanted = value_of(model, node.outputs[0].name, values)
        got = computed(node, inputs)
        assert got.shape == wanted.shape, node
        most = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=TOLERANCE * most, err_msg=str(node))
    return model


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("number", range(24))
def test_tensors_keep_their_values(number: int, batch_norm: bool) -> None:
    # Of fixed sizes: a Reshape of the canonical graph has no target, but what its output's shape tells.
    _, spelled = drawn(number, free=False)
    model = values_stay(spelled, picture(1, 3, SIZE, SIZE, seed=number), batch_norm=batch_norm)
    assert len(model.graph.nodes) > 5
