"""What only the file decides becomes a constant.

That is Shape of static sizes, Gather and Concat chains, ConstantOfShape, dequantised weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from onnx_graphsurgeon.logger import G_LOGGER

from relcam_onnx.backends.eager import Eager
from relcam_onnx.canon.identity import WHOLE
from relcam_onnx.model import Derived, Model
from relcam_onnx.onnx_file.protos import tensors as stored_tensors

SILENT, WARNINGS = 4, 2
"""Levels of onnxruntime's log; the second is its own. What goes wrong is in its exceptions, told in our words."""


def fold_constants(model: Model) -> None:
    """onnx-graphsurgeon evaluates constant subgraphs with onnxruntime; dequantised weights, which it spares, follow."""
    with G_LOGGER.suppress(G_LOGGER.CRITICAL), quiet_sessions(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name_casts(model)
        cut_shapes(model)
        dequantise(model)
        # It copies the graph even where it finds nothing. What it folds may be what is dequantised.
        while any(is_foldable(node) for node in model.graph.nodes):
            model.graph.fold_constants()
            if not dequantise(model):
                break
    narrow(model)
    model.graph.cleanup(remove_unused_graph_inputs=False)


@contextmanager
def quiet_sessions() -> Iterator[None]:
    """Keep what sessions of other libraries' making have to say of their optimisers from the terminal."""
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNINGS)


def name_casts(model: Model) -> None:
    """A CastLike whose type is told is a Cast: what it casts may be a constant."""
    for node in model.graph.nodes:
        if node.op == "CastLike" and node.inputs[1].dtype is not None and not isinstance(node.inputs[1].dtype, int):
            node.attrs = {"to": onnx.helper.np_dtype_to_tensor_dtype(np.dtype(node.inputs[1].dtype))}
            node.op, node.inputs = "Cast", [node.inputs[0]]


def cut_shapes(model: Model) -> None:
    """A Shape of some axes is a Slice of that of all, which onnx-graphsurgeon takes it for."""
    cut = [n for n in model.graph.nodes if n.op == "Shape" and {"start", "end"} & n.attrs.keys()]
    for node in cut:
        start, end = (int(node.attrs.pop(key, other)) for key, other in (("start", 0), ("end", WHOLE)))
        (result,) = node.outputs
        rank = len(node.inputs[0].shape or ()) or None
        whole = gs.Variable(f"{result.name}/whole", np.dtype(np.int64), None if rank is None else (rank,))
        node.outputs = [whole]
        bounds = zip(("start", "end", "axis"), (start, end, 0), strict=True)
        parts = [gs.Constant(f"{result.name}/{key}", np.array([value], np.int64)) for key, value in bounds]
        model.graph.nodes.append(gs.Node("Slice", f"{result.name}/cut", {}, [whole, *parts], [result]))
    if cut:
        model.graph.toposort()


def narrow(model: Model) -> None:
    """Numbers that the file holds in float32, and onnx-graphsurgeon as doubles (a Constant's value_float)."""
    doubles = {name for name, tensor in stored_tensors(model.proto) if tensor.data_type == onnx.TensorProto.DOUBLE}
    for tensor in model.graph.tensors().values():
        if isinstance(tensor, gs.Constant) and tensor.dtype == np.float64 and tensor.name not in doubles:
            tensor.values = tensor.values.astype(np.float32)


def is_foldable(node: gs.Node) -> bool:
    """Whether a node may have a value that only the file decides."""
    return node.op == "Shape" or all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs)


def dequantise(model: Model) -> bool:
    """QuantizeLinear and DequantizeLinear of constants -> their values; whether there were any."""
    seen = False
    stored = {tensor.name for tensor in model.proto.graph.initializer}
    for node in model.graph.nodes:
        constant = all(isinstance(t, gs.Constant) or t.is_empty() for t in node.inputs)
        if node.op not in ("QuantizeLinear", "DequantizeLinear") or not constant or not node.outputs:
            continue
        arrays = [None if t.is_empty() else np.asarray(t.values) for t in node.inputs]
        value = np.asarray(getattr(Eager(), node.op)(*arrays, **node.attrs))
        (result,) = node.outputs
        node.outputs.clear()
        result.to_constant(value)
        seen = True
        if node.op == "DequantizeLinear":
            # onnxruntime folds no DequantizeLinear: what is made of its result would be computed in every run.
            whole = node.inputs[0].name in stored and not node.attrs.get("block_size")
            model.derived[result.name] = spelled_out(node) if whole else Derived("", value.dtype, np.ones(()))
    return seen


def spelled_out(node: gs.Node) -> Derived:
    """What DequantizeLinear of a stored tensor does, as a difference and a product."""
    x, scale, *zero = (np.asarray(t.values) for t in node.inputs if not t.is_empty())
    axes = [1] * x.ndim
    if scale.size > 1:
        axes[node.attrs.get("axis", 1)] = -1
    shift = zero[0].reshape(axes).astype(np.float32) if zero and zero[0].any() else None
    return Derived(node.inputs[0].name, x.dtype, scale.reshape(axes).astype(np.float64), shift)
