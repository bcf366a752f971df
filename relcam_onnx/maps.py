"""From activations and a seed to maps: the walk, the method at each layer, the fused map; one text for each backend."""

from __future__ import annotations

from collections.abc import Mapping

from relcam_onnx import cam
from relcam_onnx.naming import FUSED, INPUT, Layer
from relcam_onnx.ops import Backend, Value
from relcam_onnx.prepare import Prepared
from relcam_onnx.walk import walk


def make_maps(
    f: Backend, prepared: Prepared, values: Mapping[str, Value], start: Value
) -> tuple[dict[str, Value], dict[str, Value]]:
    """All maps that were asked for, and the channel weights of the layers that have channels.

    Parameters
    ----------
    f
        The backend.
    values
        Tensor name -> activation (N, ...), for ``prepared.plan.tensors``.
    start
        What relevance starts as, (K·N, ...) in the shape of the scores.

    Returns
    -------
    maps, weights
        Layer name -> (K·N, h, w), with method "lrp" and for ``input`` (K·N, C, h, w); layer name -> (K·N, C).
    """
    messages = walk(f, prepared.plan, values, start, [layer.tensor for layer in prepared.walked])
    maps, weights = {}, {}
    for layer in prepared.walked:
        activation = values[layer.tensor.name]
        message = messages.get(layer.tensor.name)
        # No path of the gradient leads here where every slope on the way is 0 by construction.
        relevance = f.Mul(f.each(activation), 0.0) if message is None else message.relevance(f)
        activation, relevance = channels_first(f, layer, activation), channels_first(f, layer, relevance)
        if layer.name == INPUT:
            maps[layer.name] = relevance
            continue
        maps[layer.name] = cam.METHODS[prepared.method](f, activation, relevance, prepared.window(layer))
        if layer.stride is not None:
            weights[layer.name] = cam.channel_weights(f, activation, relevance)
    if prepared.fused:
        stages = [maps[stage.name] for stage in prepared.fused]
        if prepared.method == "lrp":
            stages = [f.ReduceSum(stage, [1], keepdims=0) for stage in stages]
        maps[FUSED] = cam.fused(f, stages, [positions(f, stage, values) for stage in prepared.fused])
    return {name: maps[name] for name in prepared.names}, {n: weights[n] for n in prepared.names if n in weights}


def channels_first(f: Backend, layer: Layer, value: Value) -> Value:
    """(N, positions..., C) as (N, C, positions...), where the layer is in that order."""
    if not layer.channels_last:
        return value
    rank = len(layer.tensor.shape)
    return f.Transpose(value, perm=[0, rank - 1, *range(1, rank - 1)])


def positions(f: Backend, layer: Layer, values: Mapping[str, Value]) -> tuple[Value, ...]:
    """The sizes of a layer's map."""
    dims = f.dims(values[layer.tensor.name])
    return tuple(dims[1:-1] if layer.channels_last else dims[2:])
