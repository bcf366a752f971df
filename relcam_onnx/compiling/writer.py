"""Writing the reverse walk into a model: targets and seeds, the walk, and every output.

Relevance has a leading axis of K·N and activations have N. Where K or N is one the two meet by broadcasting. Where
neither is, a file of free batch repeats its images K times before it runs, so that both have K·N; in a file of fixed
batch the activations are repeated where they meet relevance. `relcam_onnx.Explainer` never gets there: it runs such a
call image by image, so that K targets share one forward pass. Tensors with several rows for one image (frames folded
into the batch) never broadcast: where a walk reads such, N counts as more than one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto

from relcam_onnx import __version__
from relcam_onnx.analysis.frames import rows_for
from relcam_onnx.analysis.layers import Layer
from relcam_onnx.backends.emit import Emit
from relcam_onnx.backends.symbols import Symbol
from relcam_onnx.compiling.assembly import Assembly
from relcam_onnx.compiling.beginning import SCORES, SEED, TARGETS, Beginning
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.lrp.fusing import resize, to_unit
from relcam_onnx.lrp.heads import as_scores
from relcam_onnx.lrp.laid import positions
from relcam_onnx.lrp.maps import make_maps
from relcam_onnx.lrp.seeds import GIVEN
from relcam_onnx.lrp.walk import activation, activations
from relcam_onnx.ops import Size
from relcam_onnx.ops.records import product
from relcam_onnx.prepare import SOURCE, Prepared


class Writer:
    """One compilation."""

    def __init__(self, prepared: Prepared, *, single: bool) -> None:
        self.prepared, self.single = prepared, single
        self.batch, self.nonnegative = prepared.clips, prepared.maps.nonnegative
        seen = (part for view in prepared.model.views.values() for part in view.inputs if isinstance(part, gs.Tensor))
        self.tensors = {**{tensor.name: tensor for tensor in seen}, **prepared.model.graph.tensors()}
        self.assembly = Assembly(prepared.model)
        nodes = {node.name for node in prepared.model.proto.graph.node}
        self.f = Emit(self.assembly.taken | nodes, prepared.model.derived)
        self.f.single = single
        if not single:
            self._agree()

    def _agree(self) -> None:
        """See the module: how K·N and N come to agree."""
        f = self.f
        self.k = f.Slice(f.Shape(self._asked()), [1], [2])
        if self.batch is None:
            n = f.Slice(f.Shape(self._asked()), [0], [1])
            many = f.Greater(self.k, 1)
            if not self.prepared.joins_batch:
                many = f.And(many, f.Greater(n, 1))
            self.assembly.repeat_images(f, f.Where(many, self.k, f.sizes([1])), n, self._rows)
        elif self.batch > 1 or self.prepared.joins_batch:
            f.repeat = self.k

    def _rows(self, name: str) -> int:
        """How many rows a tensor of the model has for each of the scores'."""
        return rows_for(self.tensors[name], self.prepared.scores.tensor) if name in self.tensors else 1

    def _asked(self) -> Symbol:
        """The input that names the targets."""
        if self.prepared.seed == GIVEN:
            return self.f.symbol(SEED, np.float32)
        return self.f.symbol(TARGETS, np.int64)

    @np.errstate(all="ignore")  # what is constant is computed at once
    def write(
        self, *, weights: bool = False, heatmap: bool = False, scores: bool = False, told: Sequence[str] = ()
    ) -> onnx.ModelProto:
        """The compiled model; its large weights are the model's (`relcam_onnx.onnx_file.weights`).

        Of the tensors inside some may be ``told`` too.
        """
        f, prepared = self.f, self.prepared
        values = {
            name: self._told(name, value) for name, value in activations(f, prepared.maps.plan, self._symbol).items()
        }
        raw = values[prepared.scores.tensor.name]
        begun = Beginning(f, prepared, self.assembly, raw, single=self.single)
        start, valid = begun.by_seed() if prepared.seed == GIVEN else begun.by_targets()
        made = make_maps(f, prepared.maps, values, as_scores(f, prepared.choices.head, start, f.dims(raw)), valid)
        maps = made.maps
        for name in told:
            read = self._told(name, activation(f, prepared.maps.plan, self._symbol, values, name))
            self.assembly.add_output(f, told_output(name), read, f.dims(read))
        shapes = {layer.name: self._shape(layer, values) for layer in prepared.maps.walked}
        for name, stages in prepared.maps.fused.items():
            frames = (stages[0].frames,) if stages[0].frames > 1 else ()
            shapes[name] = (*frames, *positions(f, stages[0], values))
        for name, value in maps.items():
            self._add(map_output(prepared, name), value, shapes[name])
        if heatmap:
            pictures = {layer.tensor.name: layer for layer in prepared.layers.pictures}
            flat = {layer.name for layer in prepared.maps.walked if layer.stride is None or layer.is_input}
            for source in (source for source in prepared.maps.sources if source.name not in flat):
                picture = pictures.get(source.picture or "", prepared.layers.picture)
                size = positions(f, picture, {picture.tensor.name: self._symbol(picture.tensor.name)})
                self._add(f"heatmap/{source.name}", self._heat(source.name, maps[source.name], size), size)
        if weights:
            for layer in prepared.maps.walked:
                if layer.name in made.weights:
                    self._add(f"weights/{layer.name}", made.weights[layer.name], [self._channels(layer, values)])
        if scores:
            if begun.rows is None:
                self.assembly.add_output(f, SCORES, self.assembly.own_rows(f, begun.flat), [None, begun.columns])
            else:
                self._add(SCORES, begun.rows, [begun.table.classes])
            for layer in prepared.maps.walked:
                if layer.layout is not None and layer.name in made.tokens:
                    self._add(f"tokens/{layer.name}", made.tokens[layer.name], [layer.layout.tokens])
        # One target and the model's own batch: shape inference sees that relevance has the activations' sizes, and
        # onnxruntime keeps products of the two in its blocked layout.
        batch = prepared.scores.tensor.shape[0] if self.single else "N"
        shape = [batch or "N", 1 if self.single else "K"]
        if prepared.seed == GIVEN:
            self.assembly.add_input(SEED, TensorProto.FLOAT, [*shape, prepared.choices.columns or "classes"])
        else:
            self.assembly.add_input(TARGETS, TensorProto.INT64, shape)
        return self.assembly.finish(f, self._metadata())

    def _channels(self, layer: Layer, values: Mapping[str, Symbol]) -> Size:
        """How many channels a layer has."""
        dims, layout = self.f.dims(values[layer.tensor.name]), layer.layout
        return dims[1] if layout is None else product([dims[axis] for axis in layout.channels])

    def _shape(self, layer: Layer, values: Mapping[str, Symbol]) -> Sequence[Size]:
        """The sizes of a layer's map behind N and K."""
        dims, places = self.f.dims(values[layer.tensor.name]), positions(self.f, layer, values)
        places = (layer.frames, *places) if layer.frames > 1 else places
        if not self.prepared.maps.has_channels(layer.name):
            return places
        if len(dims) < 3:
            return dims[1:]
        return (self._channels(layer, values), *places)

    def _symbol(self, name: str) -> Symbol:
        """A tensor of the model as the emitter sees it; floats of other sizes are cast to float32."""
        plain = self.f.symbol(self.assembly.inside(name), self.tensors[name].dtype or np.float32)
        dims = self._dims(name, plain)
        if plain.dtype.kind == "f" and plain.dtype != np.float32:
            plain = self.f.Cast(plain, to=TensorProto.FLOAT)
        return replace(plain, dims=dims, nonnegative=name in self.nonnegative)

    def _told(self, name: str, value: Symbol) -> Symbol:
        """A value with the sizes that its tensor has in the canonical graph: a view's own are not tracked."""
        return value if value.dims is not None else replace(value, dims=self._dims(name, value))

    def _dims(self, name: str, symbol: Symbol) -> tuple[Size, ...]:
        """The sizes of a tensor; those that only a run knows are read from ``symbol``."""
        shape = self.tensors[name].shape
        if shape is None:
            raise UnsupportedModelError(
                f"nothing tells the rank of tensor {name!r}, which the reverse walk reads: take backend='eager', "
                "--backend eager"
            )
        return tuple(
            d
            if isinstance(d, int) and d >= 0
            else self.f.size(symbol, axis, d if isinstance(d, str) else f"{name}:{axis}")
            for axis, d in enumerate(shape)
        )

    def _add(self, name: str, value: Any, shape: Sequence[Size]) -> None:
        """Add an output from (K·N, ...), as (N, K, ...)."""
        f = self.f
        if self.single:
            self.assembly.add_output(f, name, f.Unsqueeze(value, [1]), [None, 1, *shape])
            return
        apart = f.Reshape(value, f.Concat(self.k, f.sizes([-1, *shape]), axis=0))
        swapped = f.Transpose(apart, perm=[1, 0, *range(2, 2 + len(shape))])
        self.assembly.add_output(f, name, swapped, [None, None, *shape])

    def _heat(self, name: str, value: Any, size: Sequence[Size]) -> Any:
        """A map's positive part over its maximum, at the size of the input."""
        f = self.f
        if self.prepared.maps.has_channels(name):
            value = f.ReduceSum(value, [1], keepdims=0)
        return to_unit(f, resize(f, f.Relu(value), size), len(size))

    def _metadata(self) -> dict[str, str]:
        """What the file tells of how it was made."""
        prepared = self.prepared
        facts = {}
        # What stands beside the file, or was given, would be lost; what stands in it is carried over as it is.
        present = prepared.model.metadata
        if prepared.preprocess is not None and (prepared.facts.preprocess_given or "relcam.preprocess" not in present):
            facts["relcam.preprocess"] = prepared.preprocess.to_json()
        labels = prepared.facts.usable_labels
        if labels is not None and "relcam.labels" not in present:
            facts["relcam.labels"] = json.dumps(labels)
        return {
            **facts,
            "relcam.version": __version__,
            "relcam.preset": prepared.preset.name,
            "relcam.method": prepared.method,
            "relcam.seed": prepared.seed,
            "relcam.layers": json.dumps([source.told() for source in prepared.maps.sources]),
            SOURCE: prepared.model.sha256,
        }


def told_output(name: str) -> str:
    """The output of the compiled model that is a tensor inside."""
    return f"told/{name}"


def map_output(prepared: Prepared, name: str) -> str:
    """The output of the compiled model that holds a map."""
    return f"{'relevance' if prepared.maps.has_channels(name) else 'cam'}/{name}"
