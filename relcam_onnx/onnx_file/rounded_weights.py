"""Weights that onnxruntime rounds by itself, between activations that a file rounds: rounded in the file, as there.

Of a Conv, ConvTranspose or Gemm that reads what a DequantizeLinear makes, and whose result goes to a QuantizeLinear
alone (or by way of Relu or Clip), onnxruntime's optimiser makes float weights 8-bit integers and the bias 32-bit ones.
It does not where anything else reads the result, as the walk of a compiled file does, which so told other scores than
the file; and relevance has to be shared by the weights that ran. Source: onnxruntime's WeightBiasQuantization.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from relcam_onnx.onnx_file.protos import attribute, reads, stored
from relcam_onnx.onnx_file.weights import HERE, is_large

PASSED = ("Relu", "Clip")


def round_weights(proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write what onnxruntime would round as integers and DequantizeLinear, in place; the large weights then."""
    if not any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        return dict(weights)
    writing = Rounding(proto, weights)
    for node in list(proto.graph.node):
        if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 1:
            writing.visit(node)
    return writing.finish()


class Rounding:
    """One pass over a file."""

    def __init__(self, proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> None:
        self.graph, self.weights = proto.graph, dict(weights)
        self.stored = stored(self.graph)
        self.makers: dict[str, onnx.NodeProto] = {}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            self.makers |= dict.fromkeys(node.output, node)
            for name in set(reads(node)):
                self.readers[name].append(node)
        self.before: dict[str, list[onnx.NodeProto]] = defaultdict(list)

    def visit(self, node: onnx.NodeProto) -> None:
        """Round what onnxruntime would round of one node."""
        data, weight, bias = (*node.input, "")[:3]
        scale = self.scale_of(data)
        if scale is None or scale.size != 1 or not self.is_rounded_alone(node):
            return
        if bias and (bias not in self.stored or len(self.stored[bias].dims) != 1):
            return
        scales = self.scale_of(weight)
        by_column = node.op_type == "Gemm" and not attribute(node, "transB", 0)
        if scales is None:
            kind = self.stored[weight].data_type if weight in self.stored else None
            if kind != TensorProto.FLOAT:
                return
            scales = self.round_weight(node)
        elif scales.size > 1 and (scales.ndim > 1 or attribute(self.makers[weight], "axis", 1) != by_column):
            return
        if bias:
            both = np.float32(scale.reshape(())) * scales.astype(np.float32)
            whole = np.rint(self.values(bias) / both).astype(np.int32)
            self.put(node, 2, whole, both, None)

    def scale_of(self, name: str) -> np.ndarray | None:
        """The scale by which a tensor is dequantised, where it is and a constant tells."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[1] not in self.stored:
            return None
        return None if attribute(maker, "block_size", 0) else self.values(maker.input[1])

    def is_rounded_alone(self, node: onnx.NodeProto) -> bool:
        """Whether a node's result goes to a QuantizeLinear and nowhere else."""
        readers = self.readers[node.output[0]]
        while len(readers) == 1 and readers[0].op_type in PASSED:
            readers = self.readers[readers[0].output[0]]
        return len(readers) == 1 and readers[0].op_type == "QuantizeLinear"

    def values(self, name: str) -> np.ndarray:
        """What is stored by a name."""
        apart = self.weights.get(name)
        return numpy_helper.to_array(self.stored[name]) if apart is None else apart

    def round_weight(self, node: onnx.NodeProto) -> np.ndarray:
        """A float weight in 8 bits, one scale for all of it, which is returned."""
        values = self.values(node.input[1])
        low, high = min(np.float32(0), values.min()), max(np.float32(0), values.max())
        scale = np.float32(1) if low == high else (high - low) / np.float32(255)
        zero = np.rint(np.clip(np.float32(-128) - low / scale, -128, 127)).astype(np.int8)
        whole = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
        self.put(node, 1, whole, np.asarray(scale), zero)
        return np.asarray(scale)

    def put(
        self, node: onnx.NodeProto, place: int, whole: np.ndarray, scale: np.ndarray, zero: np.ndarray | None
    ) -> None:
        """Let an input of a node be integers that are dequantised, along their first axis where scales are several."""
        made = f"{node.input[place]}:rounded:{node.output[0]}"  # as one of a kind as what the node makes
        parts = {f"{made}:integers": whole, f"{made}:scale": np.asarray(scale, np.float32)}
        if zero is not None:
            parts[f"{made}:zero"] = zero
        axis = 0 if scale.size > 1 else None
        self.before[node.output[0]].append(helper.make_node("DequantizeLinear", [*parts], [made], made, axis=axis))
        for name, array in parts.items():
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor = self.graph.initializer.add(name=name, data_type=kind, dims=array.shape)
            if is_large(tensor):
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value=HERE)
                self.weights[name] = array
            else:
                tensor.raw_data = array.tobytes()
        self.readers[node.input[place]].remove(node)
        node.input[place] = made

    def finish(self) -> dict[str, np.ndarray]:
        """Put the nodes in order, and forget what nothing reads any more."""
        nodes = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend(part for node in nodes for part in (*self.before[node.output[0]], node))
        return self.weights
