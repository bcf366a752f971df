"""The reverse walk written into the model: one standard ONNX file that returns logits and maps.

Relevance has a leading axis of K·N, activations have N, and the two meet by broadcasting. That holds where K or N is one;
where neither is, the graph repeats the images K times before it runs, so that both have K·N.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper

from relcam_onnx import cam
from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Dim, Symbol
from relcam_onnx.errors import OptionError, UnsupportedModelError
from relcam_onnx.graph import Model, is_constant
from relcam_onnx.layers import FUSED, INPUT
from relcam_onnx.maps import make_maps
from relcam_onnx.ops import Value
from relcam_onnx.prepare import Prepared
from relcam_onnx.presets import Preset
from relcam_onnx.seeds import GIVEN, SEEDS

TARGETS, SEED, CLASSES = "relcam_targets", "relcam_seed", "relcam_classes"


def compile_prepared(
    prepared: Prepared, *, weights: bool = False, heatmap: bool = False, single: bool = False
) -> onnx.ModelProto:
    """Write a prepared explanation into its model.

    Parameters
    ----------
    prepared
        What to explain, and how.
    weights
        Add the outputs ``weights/<layer>``, (N, K, C).
    heatmap
        Add ``heatmap/<layer>``, (N, K, H, W).
    single
        For one target each: K is one, the targets are (N, 1).
    """
    return Writer(prepared, single=single).write(weights=weights, heatmap=heatmap)


class Writer:
    """One compilation."""

    def __init__(self, prepared: Prepared, *, single: bool) -> None:
        self.prepared, self.single = prepared, single
        self.model: Model = prepared.model
        proto = self.model.proto
        self.graph = onnx.GraphProto()
        self.graph.CopyFrom(proto.graph)
        taken = {n for node in proto.graph.node for n in node.output}
        taken |= {i.name for i in (*proto.graph.input, *proto.graph.initializer)}
        self.f = Emit(frozenset(taken))
        self.outputs: list[onnx.ValueInfoProto] = []

    def write(self, *, weights: bool, heatmap: bool) -> onnx.ModelProto:
        """The compiled model."""
        f, prepared = self.f, self.prepared
        values = self.values()
        scores = values[prepared.scores.tensor.name]
        table = f.Reshape(scores, [-1, self.classes()])
        start = self.start(table)
        start = f.Reshape(start, [-1, *f.dims(scores)[1:]])
        maps, channel = make_maps(f, prepared, values, start)
        for name, value in maps.items():
            self.output(self.output_name(name), self.by_image(value))
        if weights:
            for name, value in channel.items():
                self.output(f"weights/{name}", self.by_image(value))
        return self.assemble()

    def values(self) -> dict[str, Symbol]:
        """The activations that the walk reads."""
        return {t.name: self.symbol(t) for t in self.tensors() if t.name in set(self.prepared.plan.tensors)}

    def tensors(self) -> list[gs.Tensor]:
        """Every variable of the canonical graph."""
        return [t for t in self.prepared.model.graph.tensors().values() if not is_constant(t)]

    def symbol(self, tensor: gs.Tensor) -> Symbol:
        """A tensor of the model as the emitter sees it; halves are cast to float32."""
        if tensor.shape is None:
            raise UnsupportedModelError(f"the rank of tensor {tensor.name!r} is unknown; export the model with shapes")
        plain = Symbol(tensor.name, np.dtype(tensor.dtype or np.float32))
        dims = tuple(
            d if isinstance(d, int) else self.f.size(plain, axis, f"{d or tensor.name + ':' + str(axis)}")
            for axis, d in enumerate(tensor.shape)
        )
        if plain.dtype == np.float16:
            plain = self.f.Cast(plain, to=TensorProto.FLOAT)
        return Symbol(plain.name, plain.dtype, dims)

    def classes(self) -> int:
        """The number of classes, which the file must tell."""
        if self.prepared.classes is None:
            raise UnsupportedModelError("the number of classes is not in the file; export the model with static scores")
        return self.prepared.classes

    def start(self, table: Symbol) -> Symbol:
        """What relevance starts as, (K·N, classes), from the targets that are an input of the compiled model."""
        f, count = self.f, self.classes()
        targets = Symbol(TARGETS, np.dtype(np.int64))
        order = f.TopK(table, [count], axis=1, outputs=2)[1]
        rank = f.Sub(f.Neg(targets), 1)
        ranked = f.GatherElements(order, f.Clip(rank, np.int64(0), np.int64(count - 1)), axis=1)
        resolved = f.Where(f.Less(targets, 0), ranked, targets)
        valid = f.And(f.Less(targets, count), f.GreaterOrEqual(targets, -count))
        resolved = f.Where(valid, resolved, -1)
        self.output(CLASSES, resolved, TensorProto.INT64)
        rows = resolved if self.single else f.Reshape(f.Transpose(resolved, perm=[1, 0]), [-1, 1])
        hot = f.Cast(f.Equal(rows, np.arange(count).reshape(1, -1)), to=TensorProto.FLOAT)
        z = Symbol(table.name, table.dtype, (1, count))
        start = SEEDS[self.prepared.seed](f, z, hot)
        return f.Mul(start, f.ReduceMax(hot, [1], keepdims=1))

    def by_image(self, value: Symbol) -> Symbol:
        """(K·N, ...) as (N, K, ...)."""
        f = self.f
        if self.single:
            return f.Unsqueeze(value, [1])
        shape = f.Shape(value)
        k = f.Slice(f.Shape(Symbol(TARGETS, np.dtype(np.int64))), [1], [2])
        apart = f.Reshape(value, f.Concat(k, np.array([-1]), f.Slice(shape, [1], [99]), axis=0))
        return f.record("SwapFirst", apart) if False else apart

    def output(self, name: str, value: Symbol, kind: int = TensorProto.FLOAT) -> None:
        """Name a result and make it an output."""
        self.f.nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        self.outputs.append(helper.make_tensor_value_info(name, kind, None))

    def output_name(self, name: str) -> str:
        """The output that holds a map."""
        if name == INPUT or (self.prepared.method == "lrp" and name != FUSED):
            return f"relevance/{name}"
        return f"cam/{name}"

    def assemble(self) -> onnx.ModelProto:
        """The model with everything added."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.model.proto)
        graph = proto.graph
        graph.node.extend(self.f.nodes)
        graph.initializer.extend(self.f.initializers)
        graph.input.append(helper.make_tensor_value_info(TARGETS, TensorProto.INT64, ["N", 1]))
        graph.output.extend(self.outputs)
        return proto
