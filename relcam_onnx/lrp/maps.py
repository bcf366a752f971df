"""From activations and a seed to maps: the walk, the method at each layer, the fused map; one text for each backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from relcam_onnx.analysis.layers import Layer, unique
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.lrp.laid import activations, channels_first, positions
from relcam_onnx.lrp.methods import METHODS, Probe, Walked
from relcam_onnx.lrp.plan import Plan
from relcam_onnx.lrp.walk import walk
from relcam_onnx.ops import Backend, Value


@dataclass(frozen=True)
class MapSource:
    """What a map is of.

    Attributes
    ----------
    name
        Of the map: its key in ``Explanation.maps``, and in the names of files.
    tensor
        The ONNX tensor; None for ``fused``, which is made of several.
    stride
        Input pixels per position; None for ``fused``, and for tensors without positions.
    picture
        The one picture that it is of, where a model reads several; None where it is of all.
    """

    name: str
    tensor: str | None = None
    stride: float | None = None
    picture: str | None = None

    def told(self) -> dict[str, Any]:
        """As files tell it: ``picture`` where there are several."""
        whole = asdict(self)
        return whole if self.picture else {name: value for name, value in whole.items() if name != "picture"}


@dataclass(frozen=True)
class MapPlan:
    """Which maps are made, and how.

    Attributes
    ----------
    plan
        The reverse walk to all layers.
    layers
        Those whose own maps are asked for.
    fused
        Fused map -> the stages that it is made of, finest first; one for each picture that has stages of its own.
    method
        The name of how a map is made of relevance.
    windows
        Layer name -> how many of its positions, a side, the model's deepest stage sees as one.
    frames
        How many rows of the input are one clip; 1 as a rule.
    """

    plan: Plan
    layers: tuple[Layer, ...]
    fused: Mapping[str, tuple[Layer, ...]]
    method: str
    windows: Mapping[str, int]
    frames: int = 1

    @property
    def stages(self) -> tuple[Layer, ...]:
        """Those that fused maps are made of; empty where none is asked for."""
        return unique(stage for stages in self.fused.values() for stage in stages)

    @property
    def walked(self) -> tuple[Layer, ...]:
        """Every layer that relevance is wanted at."""
        return unique((*self.layers, *self.stages))

    @property
    def names(self) -> list[str]:
        """The names of the maps, in order."""
        return [*(layer.name for layer in self.layers), *self.fused]

    @property
    def sources(self) -> tuple[MapSource, ...]:
        """What each map is of, in order."""
        strides = (None if layer.stride is None else float(layer.stride) for layer in self.layers)
        layers = (
            MapSource(layer.name, layer.tensor.name, stride, layer.picture)
            for layer, stride in zip(self.layers, strides, strict=True)
        )
        fused = (MapSource(name, picture=name.partition("/")[2] or None) for name in self.fused)
        return (*layers, *fused)

    @property
    def how(self) -> Walked | Probe:
        """The method itself."""
        return METHODS[self.method]

    @property
    def nonnegative(self) -> frozenset[str]:
        """The names of the tensors that the walk knows to be ≥ 0 whatever the picture."""
        read = {step.node.inputs[index].name for step in self.plan.steps for index in step.nonnegative}
        return self.plan.nonnegative | read

    def has_channels(self, name: str) -> bool:
        """Whether the map of this name keeps its channels: (N, K, C, h, w)."""
        inputs = [layer.name for layer in self.layers if layer.is_input]
        return name in inputs or (self.how.keeps_channels and name not in self.fused)


class Made(NamedTuple):
    """What is made of relevance, by layer.

    Attributes
    ----------
    maps
        (K·N, h, w), or (K·N, C, h, w) where `MapPlan.has_channels`.
    weights
        (K·N, C), of layers that have positions.
    tokens
        (K·N, T): the relevance of entries that stand in a row with the positions and are none, class tokens, in the
        order of the row; of layers that have such.
    """

    maps: dict[str, Value]
    weights: dict[str, Value]
    tokens: dict[str, Value]


def make_maps(
    f: Backend, maps: MapPlan, values: Mapping[str, Value], start: Value, exists: Value | None = None
) -> Made:
    """All maps that were asked for, and what else their layers hold.

    Parameters
    ----------
    f
        The backend.
    maps
        What is asked for.
    values
        Tensor name -> activation (N, ...), for ``maps.plan.tensors``.
    start
        What relevance starts as, (K·N, ...) in the shape of the scores.
    exists
        0 for a target that there is none of, (K·N, 1): its fused map is 0, as all others are.
    """
    how = maps.how
    assert isinstance(how, Walked)
    messages = walk(f, maps.plan, values, start, [layer.tensor for layer in maps.walked])
    by_layer, weights, tokens = {}, {}, {}
    for layer in maps.walked:
        activation = values[layer.tensor.name]
        message = messages.get(layer.tensor.name)
        # No path of the gradient leads here where every slope on the way is 0 by construction.
        relevance = f.each(activation) * 0.0 if message is None else message.relevance(f)
        if layer.layout is not None and layer.layout.tokens:
            tokens[layer.name] = beside_positions(f, layer.layout, relevance)
        relevance, activation = channels_first(f, layer, relevance, values), activations(f, layer, values)
        if layer.is_input:
            own = how.explains_input_alone
            by_layer[layer.name] = how.make(f, activation, relevance, 1) if own else relevance
            continue
        by_layer[layer.name] = how.make(f, activation, relevance, maps.windows[layer.name])
        if layer.stride is not None:
            kept = how.weights(f, activation, relevance)
            weights[layer.name] = f.Squeeze(kept, list(range(2, len(f.dims(activation)))))
            if layer.frames > 1:
                apart = f.Reshape(weights[layer.name], [-1, layer.frames, f.dims(activation)[1]])
                weights[layer.name] = f.ReduceMean(apart, [1], keepdims=0)
    for name, stages in maps.fused.items():
        parts = [by_layer[stage.name] for stage in stages]
        if how.keeps_channels:
            parts = [f.ReduceSum(part, [1], keepdims=0) for part in parts]
        sizes = [positions(f, stage, values) for stage in stages]
        # One maximum for the whole clip: a frame that says little has a dark map.
        frames = [stages[0].frames if maps.frames == 1 else maps.frames] * (stages[0].frames > 1 or maps.frames > 1)
        whole = [(*frames, *size) for size in sizes]
        parts = [f.Reshape(part, [-1, *size]) if frames else part for part, size in zip(parts, whole, strict=True)]
        fused = how.fuse(f, parts, whole)
        fused = fused if exists is None else fused * f.Unsqueeze(exists, list(range(2, 1 + len(whole[0]))))
        by_layer[name] = f.Reshape(fused, [-1, *sizes[0]]) if maps.frames > 1 else fused
    for layer in maps.walked:
        if layer.frames > 1:
            by_layer[layer.name] = of_clips(f, layer, by_layer[layer.name], values, maps)
    return Made(*({n: made[n] for n in maps.names if n in made} for made in (by_layer, weights, tokens)))


def of_clips(f: Backend, layer: Layer, value: Value, values: Mapping[str, Value], maps: MapPlan) -> Value:
    """The map of a layer whose rows are frames, (K·N·T, ...), with those on an axis in front of the positions."""
    places = positions(f, layer, values)
    if not maps.has_channels(layer.name):
        return f.Reshape(value, [-1, layer.frames, *places])
    channels = f.dims(activations(f, layer, values))[1]
    apart = f.Reshape(value, [-1, layer.frames, channels, *places])
    return f.Transpose(apart, perm=[0, 2, 1, *range(3, 3 + len(places))])


def beside_positions(f: Backend, layout: Layout, relevance: Value) -> Value:
    """What the entries before and behind a row of positions hold, each summed over its channels."""
    row, end = layout.axes[0], np.iinfo(np.int32).max
    parts = [f.Slice(relevance, [0], [layout.before], [row])] if layout.before else []
    parts += [f.Slice(relevance, [-layout.after], [end], [row])] if layout.after else []
    whole = parts[0] if len(parts) == 1 else f.Concat(*parts, axis=row)
    return f.ReduceSum(whole, list(layout.channels), keepdims=0)
