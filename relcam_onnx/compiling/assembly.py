"""The file that a compilation ends in: the model's own graph, what was emitted, inputs, outputs and metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper

from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.errors import OptionError
from relcam_onnx.model import Model, producer
from relcam_onnx.ops import Size

SCOPES_KEY = "relcam.scopes"


class Assembly:
    """A copy of a model that grows: nodes before it, nodes behind it, more inputs and outputs."""

    def __init__(self, model: Model) -> None:
        self.model, self.proto = model, sized_copy(model)
        graph = self.proto.graph
        names = {name for node in graph.node for name in node.output}
        self.taken = frozenset(names | {v.name for v in (*graph.input, *graph.initializer)})
        self._renamed: dict[str, str] = {}
        self._before = 0
        self._rows: Symbol | None = None
        self._per: Callable[[str], int] = lambda name: 1
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def inside(self, name: str) -> str:
        """What a tensor of the model is called within the file."""
        return self._renamed.get(name, name)

    def repeat_images(self, f: Emit, times: Any, rows: Any, per: Callable[[str], int]) -> None:
        """Let the model run on every input repeated; its own outputs keep the first ``rows``, ``per`` image."""
        graph = self.proto.graph
        for value in graph.input:
            rank = len(value.type.tensor_type.shape.dim)
            if rank == 0:
                continue  # one number for all images
            whole = f.symbol(value.name, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
            amounts = f.Concat(times, f.sizes([1] * (rank - 1)), axis=0) if rank > 1 else times
            self._renamed[value.name] = f.Tile(whole, amounts).name
        for value in self._repeated_outputs():
            self._renamed[value.name] = f.fresh("own")
        self._before, self._rows, self._per = len(f.nodes), rows, per

    def _repeated_outputs(self) -> list[onnx.ValueInfoProto]:
        """The model's outputs whose rows are images: no constant of the file, no one number for all, no list."""
        graph = self.proto.graph
        constants = {tensor.name for tensor in graph.initializer}
        constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
        return [v for v in graph.output if v.name not in constants and is_tensor(v) and not is_scalar(v)]

    def own_rows(self, f: Emit, value: Symbol) -> Symbol:
        """The first N rows of something that may be repeated."""
        return value if self._rows is None else f.Slice(value, f.sizes([0]), self._rows, f.sizes([0]))

    def add_input(self, name: str, kind: int, shape: Sequence[int | str]) -> None:
        """One more input."""
        if name in self.taken:
            raise OptionError(f"the model has a tensor {name!r} already, which the compiled model needs: rename it")
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))

    def add_output(self, f: Emit, name: str, value: Any, shape: Sequence[Size | None]) -> None:
        """One more output, under a name that the model does not have; sizes that only a run knows stay open."""
        if name in self.taken:
            raise OptionError(
                f"the model has a tensor {name!r} already, which would be the name of a map: rename it, or ask for "
                "that layer by another of its names"
            )
        f.nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        sizes = [size if isinstance(size, int) else None for size in shape]
        self._outputs.append(helper.make_tensor_value_info(name, kind, sizes))

    def finish(self, f: Emit, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The whole file, without what was emitted and never used."""
        proto, graph = self.proto, self.proto.graph
        if self._rows is not None:
            for value in self._repeated_outputs():
                self._cut(f, self.inside(value.name), value.name)
            self._cut_before_lists(f)
        graph.input.extend(self._inputs)
        graph.output.extend(self._outputs)
        behind, wanted = used(f.nodes[self._before :], [value.name for value in graph.output])
        before, wanted = used(f.nodes[: self._before], [*wanted, *self._renamed.values()])
        own = list(graph.node)
        del graph.node[:]
        graph.node.extend([*before, *(self._rename(node) for node in own), *behind])
        graph.initializer.extend(tensor for tensor in f.initializers if tensor.name in wanted)
        self._tell_sizes(value for name, value in f.shapes.items() if name in wanted)
        graph.name = graph.name or "relcam"
        for stale in (graph.quantization_annotation, proto.training_info):  # they name tensors that may be renamed
            del stale[:]
        proto.producer_name, proto.producer_version = "relcam-onnx", ""
        kept = {**self.model.metadata, **metadata}
        if self.model.scopes:
            kept[SCOPES_KEY] = json.dumps({self.inside(k): v for k, v in self.model.scopes.items()})
        helper.set_model_props(proto, kept)
        return proto

    def _cut(self, f: Emit, whole: str, name: str) -> None:
        """Write the first rows of something repeated."""
        assert self._rows is not None
        starts, per = f.initializer_name(np.array([0], np.int64)), self._per(name)
        rows = self._rows if per == 1 else f.Mul(self._rows, np.array([per], np.int64))
        f.nodes.append(helper.make_node("Slice", [whole, starts, rows.name, starts], [name]))

    def _cut_before_lists(self, f: Emit) -> None:
        """Let what makes lists, which nothing cuts, read the first rows: ZipMap, which names scores."""
        graph = self.proto.graph
        lists = {value.name for value in graph.output if not is_tensor(value)}
        for node in [node for node in graph.node if lists.intersection(node.output)]:
            graph.node.remove(node)
            for i, name in enumerate(node.input):
                self._cut(f, self.inside(name), rows := f.fresh("own"))
                node.input[i] = rows
            f.nodes.append(node)

    def _rename(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """The same node of the model, by the names that its tensors have within the file."""
        for names in (node.input, node.output):
            names[:] = [self.inside(name) for name in names]
        return node

    def _tell_sizes(self, more: Iterable[onnx.ValueInfoProto]) -> None:
        """What is known of tensors within the file; rows that may be repeated get names of their own."""
        told = [value for value in self.proto.graph.value_info if value.name not in self._renamed]
        if self._rows is not None:
            for sizes in (value.type.tensor_type.shape.dim for value in told):
                if sizes and sizes[0].dim_param:
                    sizes[0].dim_param = f"relcam_rows/{sizes[0].dim_param}"
        del self.proto.graph.value_info[:]
        self.proto.graph.value_info.extend([*more, *told])


def is_tensor(value: onnx.ValueInfoProto) -> bool:
    """Whether an input or output is a tensor, as far as the file tells; ZipMap makes lists of maps."""
    return value.type.WhichOneof("value") in (None, "tensor_type")


def sized_copy(model: Model) -> onnx.ModelProto:
    """A copy of the runnable file that tells the sizes that the analysis graph tells, and no others."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph, tensors = proto.graph, model.graph.tensors()
    told = {name: info for name, tensor in tensors.items() if (info := value_info(tensor)) is not None}
    for value in (*graph.input, *graph.output):
        if value.name in told:
            value.type.CopyFrom(told[value.name].type)
    ports = {value.name for value in (*graph.input, *graph.output)}
    inner = [name for node in graph.node for name in node.output if name in told and name not in ports]
    del graph.value_info[:]
    graph.value_info.extend(told[name] for name in inner)
    for node in graph.node:
        rounds = any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute)
        twin = producer(tensors[node.output[0]]) if rounds and node.output[0] in tensors else None
        # One that has taken a Pad in reads another tensor.
        if twin is not None and twin.op == node.op_type and twin.inputs[0].name == node.input[0]:
            # The same windows, as runtimes count them too: see `relcam_onnx.canon.pools.round_down`.
            placed = ("ceil_mode", "kernel_shape", "pads")
            kept = [attribute for attribute in node.attribute if attribute.name not in placed]
            del node.attribute[:]
            windows = {name: twin.attrs[name] for name in placed if name in twin.attrs}
            node.attribute.extend([*kept, *(helper.make_attribute(*item) for item in windows.items())])
    return proto


def value_info(tensor: gs.Tensor) -> onnx.ValueInfoProto | None:
    """A computed tensor's type and sizes as a file has them; None where they are not known."""
    if isinstance(tensor, gs.Constant) or tensor.dtype is None or tensor.shape is None:
        return None
    kind = tensor.dtype if isinstance(tensor.dtype, int) else helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    sizes = [
        size if isinstance(size, str) or size >= 0 else None
        for size in (d if d is not None else -1 for d in tensor.shape)
    ]
    return helper.make_tensor_value_info(tensor.name, kind, sizes)


def used(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """Those of some nodes in order that tensors come from, and the names of all tensors that this takes."""
    names, kept = set(wanted), []
    for node in reversed(nodes):
        if names.intersection(node.output):
            names.update(node.input)
            kept.append(node)
    return kept[::-1], names


def is_scalar(value: onnx.ValueInfoProto) -> bool:
    """Whether an output is one number for all images."""
    kind = value.type.tensor_type
    return kind.HasField("shape") and not kind.shape.dim
