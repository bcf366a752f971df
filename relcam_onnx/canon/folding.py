"""Scales and shifts go where they belong: into the layer that they stand behind, else into those that read them.

Behind a layer y = W x + b a scale s and a shift t make s W x + s b + t, also where ops that only move values stand
between them, or a sum, for a shift. Before a layer without padding they make W s x + W t + b. A shift of a term of a
sum is one of the sum. What reaches no layer stays, one node for all that follow each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import AFFINE, Affine, along, number, read, write
from relcam_onnx.canon.axes import moves, permutation
from relcam_onnx.canon.edit import (
    bypass,
    detach,
    fold,
    fresh,
    is_op,
    is_output,
    only_reader,
    read_instead,
    reshaped,
    sweep,
    take_over,
    view,
)
from relcam_onnx.model import Derived, Model, consumers, producer, variables
from relcam_onnx.ops import TABLE, key, lookup


class Way(NamedTuple):
    """From an affine node up: the nodes between, the nearest first, where it ends, and the affine as it is there."""

    between: tuple[gs.Node, ...]
    end: gs.Node
    affine: Affine


def fold_affine(model: Model, *, into_layers: bool) -> None:
    """Fold every scale and shift that the rules above allow.

    Without ``into_layers`` only a shift directly behind a layer becomes its bias, and what follows each other is one.
    """
    for node in list(model.graph.nodes):
        if (spelled := read(node)) is not None:
            x, affine = spelled
            node.op, node.attrs, node.inputs = AFFINE, {"affine": affine}, [x]
        elif into_layers and is_op(node, "Add", "Sum"):
            split_constants(model, node)
    again = True
    while again:
        again = False
        for step in (up, down, behind_sum) if into_layers else (up,):
            for node in list(model.graph.nodes):
                if node.op == AFFINE and node.inputs and step(model, node, into_layers):
                    again = True
    for node in model.graph.nodes:
        if (
            node.op == AFFINE
            and node.inputs
            and not (affine_of(node).is_identity and bypass(model, node, node.inputs[0]))
        ):
            write(node, affine_of(node))
    sweep(model)


def affine_of(node: gs.Node) -> Affine:
    """The scale and shift of an affine node."""
    affine: Affine = node.attrs["affine"]
    return affine


def up(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Fold an affine node into what it stands behind."""
    way = climb(model, node, node.inputs[0], affine_of(node), into_layers)
    if way is None:
        return False
    end = way.end
    if end.op == AFFINE:
        joined = affine_of(end).then(way.affine)
        assert joined is not None
        end.attrs["affine"] = joined
    elif lookup(end).role_of(end) == "norm":
        scale_norm(end, way.affine)
    else:
        scale_layer(model, end, way.affine, node.outputs[0].name)
    hand_down(model, node, way)
    return True


def climb(model: Model, reader: gs.Node, tensor: gs.Tensor, affine: Affine, into_layers: bool) -> Way | None:
    """The way up to something that takes an affine whose node, or what leads to it, is ``reader``."""
    between: list[gs.Node] = []
    while only_reader(model, tensor) is reader:
        node = producer(tensor)
        if node is None:
            return None
        if node.op == AFFINE:
            return Way(tuple(between), node, affine) if affine_of(node).then(affine) is not None else None
        if takes(node, affine, only_shift=not into_layers):
            return Way(tuple(between), node, affine)
        if not into_layers:
            return None
        if is_op(node, "Add", "Sum") and affine.is_shift:
            return through_sum(model, node, affine, tuple(between))
        pulled = affine.pulled(node) if moves(node) else None
        if pulled is None:
            return None
        between.append(node)
        reader, tensor, affine = node, node.inputs[0], pulled
    return None


def through_sum(model: Model, node: gs.Node, affine: Affine, between: tuple[gs.Node, ...]) -> Way | None:
    """The way of a shift to a layer among the terms of a sum: the deepest layer, whatever the order of the terms."""
    ways = []
    for _, term in variables(node):
        if list(term.shape or ()) != list(node.outputs[0].shape or ()):
            continue
        way = climb(model, node, term, affine, into_layers=True)
        if way is not None and way.end.op != AFFINE and lookup(way.end).role_of(way.end) != "norm":
            ways.append(way)
    if not ways:
        return None
    deepest = max(ways, key=lambda way: depth(way.end))
    return Way((*between, node, *deepest.between), deepest.end, deepest.affine)


def depth(node: gs.Node) -> int:
    """How many nodes lead to a node, at most."""
    levels: dict[int, int] = {}
    waiting = [node]
    while waiting:
        last = waiting[-1]
        before = [p for t in last.inputs if (p := producer(t)) is not None]
        open_ = [p for p in before if id(p) not in levels]
        if open_:
            waiting.extend(open_)
            continue
        waiting.pop()
        levels[id(last)] = 1 + max((levels[id(p)] for p in before), default=0)
    return levels[id(node)]


def takes(node: gs.Node, affine: Affine, *, only_shift: bool) -> bool:
    """Whether a layer can take an affine of its output into its weight and bias."""
    if key(node) not in TABLE or (only_shift and not affine.is_shift) or node.outputs[0].shape is None:
        return False
    entry, rank = lookup(node), len(node.outputs[0].shape)
    if entry.role_of(node) == "norm":
        return not only_shift and norm_takes(node, affine)
    layer = entry.layer
    if layer is None or entry.role_of(node) != "conv" or entry.refuses(node) is not None or layer.offset(node) is None:
        return False
    return affine.fits(layer.channels(node, rank), layer.counts(node)[1])


def scale_layer(model: Model, node: gs.Node, affine: Affine, name: str) -> None:
    """Take scale and shift of a layer's output into its weight and bias."""
    layer = lookup(node).layer
    assert layer is not None
    offset = layer.offset(node)
    assert offset is not None
    wide = affine.over(layer.counts(node)[1])
    reweigh(model, node, layer.per_output(node, wide.scale), offset * wide.scale + wide.shift, name)


def reweigh(model: Model, node: gs.Node, factor: np.ndarray, bias: np.ndarray, name: str) -> None:
    """Multiply a layer's weight by a factor that broadcasts to it, and give it a bias."""
    layer = lookup(node).layer
    assert layer is not None
    old = node.inputs[layer.weight(node)]
    weight = old
    if not np.all(factor == 1):
        weight = gs.Constant(fresh_weight(model, name), (old.values * factor.astype(np.float32)).astype(np.float32))
        origin = model.derived.get(old.name, Derived(old.name, old.dtype, np.ones(1)))
        model.derived[weight.name] = origin._replace(factor=origin.factor * factor)
    layer.put(node, weight, gs.Constant(f"{name}/folded/bias", bias.astype(np.float32)))


def fresh_weight(model: Model, name: str) -> str:
    """A name for a weight that was made: one tensor may be folded into several times."""
    weight = f"{name}/folded/weight"
    while weight in model.derived:
        weight += "'"
    return weight


def norm_takes(node: gs.Node, affine: Affine) -> bool:
    """Whether a norm's gain and shift are constants that this can be taken into."""
    if len(node.inputs) < 3 or not all(isinstance(t, gs.Constant) for t in node.inputs[1:3]):
        return False
    return is_op(node, "LayerNormalization") or affine.fits(1, node.inputs[1].values.size)


def scale_norm(node: gs.Node, affine: Affine) -> None:
    """Take scale and shift of a norm's output into its gain and shift."""
    name, rank = node.outputs[0].name, len(node.outputs[0].shape)
    gain, shift = (np.asarray(t.values, np.float64) for t in node.inputs[1:3])
    if is_op(node, "LayerNormalization"):
        scale, offset = (affine.shaped(v, rank) for v in (affine.scale, affine.shift))
    else:
        wide = affine.over(gain.size)
        scale, offset = wide.scale, wide.shift
    node.inputs[1] = gs.Constant(f"{name}/gain", trimmed(gain * scale).astype(np.float32))
    node.inputs[2] = gs.Constant(f"{name}/shift", trimmed(shift * scale + offset).astype(np.float32))


def trimmed(value: np.ndarray) -> np.ndarray:
    """A value without the leading axes of length one that broadcasting brings anyway."""
    while value.ndim > 1 and value.shape[0] == 1:
        value = value[0]
    return value


def hand_down(model: Model, node: gs.Node, way: Way) -> None:
    """Give every tensor between an affine node and where it went its new value; the last keeps the affine's name."""
    result = node.outputs[0]
    if not way.between:
        take_over(model, way.end, node)
        return
    detach(node)
    above, affine = result, affine_of(node)
    for place, inner in enumerate(way.between):
        maker = way.between[place + 1] if place + 1 < len(way.between) else way.end
        old = maker.outputs[0]
        name = fresh(model, f"{result.name}/{place}")
        if is_op(inner, "Add", "Sum"):
            shift = affine.shaped(affine.shift, len(old.shape)).astype(np.float32)
            new = view(model, old, name, "Add", old, shift)
        else:
            new = undone(model, inner, above, old, name)
            affine = affine.pulled(inner) or affine
        inner.outputs[0] = above
        read_instead(inner, old, new)
        fold(model, old, result)
        above = new
    way.end.outputs[0] = above


def undone(model: Model, node: gs.Node, moved: gs.Tensor, like: gs.Tensor, name: str) -> gs.Variable:
    """The tensor that a moving node makes ``moved`` of, in the shape of ``like``."""
    if is_op(node, "Transpose"):
        perm = permutation(node)
        return view(model, like, name, "Transpose", moved, perm=[perm.index(axis) for axis in range(len(perm))])
    return reshaped(model, moved, like, name)


def down(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Fold an affine node into all the layers that read it."""
    result = node.outputs[0]
    leaves: list[tuple[gs.Node, Affine]] = []
    branches: list[gs.Node] = []
    if not sinks(model, result, affine_of(node), leaves, branches) or not leaves:
        return False
    for layer_node, affine in leaves:
        layer = lookup(layer_node).layer
        assert layer is not None
        offset, name = layer.offset(layer_node), layer_node.outputs[0].name
        factor = layer.per_input(layer_node, affine.scale)
        carried = layer.carried(layer_node, affine.shift) if affine.shift.any() else 0.0
        assert offset is not None
        assert factor is not None
        assert carried is not None
        reweigh(model, layer_node, factor, offset + carried, name)
    source = node.inputs[0]
    fold(model, result, leaves[0][0].outputs[0])
    renamed: dict[str, gs.Tensor] = {result.name: source}
    for branch in branches:
        old = branch.outputs[0]
        before = renamed[branch.inputs[0].name]
        name = fresh(model, f"{old.name}/before")
        if is_op(branch, "Transpose"):
            new = view(model, old, name, "Transpose", before, perm=permutation(branch))
        else:
            new = reshaped(model, before, old, name)
        branch.inputs[0], branch.outputs[0] = before, new
        fold(model, old, leaves[0][0].outputs[0])
        for reader in consumers(old):
            read_instead(reader, old, new)
        renamed[old.name] = new
    for reader in consumers(result):
        read_instead(reader, result, source)
    detach(node)
    return True


def sinks(
    model: Model, tensor: gs.Tensor, affine: Affine, leaves: list[tuple[gs.Node, Affine]], branches: list[gs.Node]
) -> bool:
    """Whether all that reads a tensor are layers that take an affine of it, or lead to such by moving values alone."""
    if is_output(model, tensor) or tensor.shape is None:
        return False
    for reader in consumers(tensor):
        if key(reader) not in TABLE:
            return False
        layer = lookup(reader).layer
        if layer is not None and lookup(reader).role_of(reader) == "conv":
            if not reads(reader, tensor, affine):
                return False
            leaves.append((reader, affine.over(layer.counts(reader)[0])))
        elif moves(reader) and (pushed := affine.pushed(reader)) is not None:
            branches.append(reader)
            if not sinks(model, reader.outputs[0], pushed, leaves, branches):
                return False
        else:
            return False
    return True


def reads(node: gs.Node, tensor: gs.Tensor, affine: Affine) -> bool:
    """Whether a layer can take an affine of its input into its weight and bias."""
    layer = lookup(node).layer
    if layer is None or lookup(node).refuses(node) is not None or layer.offset(node) is None:
        return False
    axis, inputs = layer.reads(node, len(tensor.shape)), layer.counts(node)[0]
    if list(node.inputs).count(tensor) != 1 or not affine.fits(axis, inputs):
        return False
    wide = affine.over(inputs)
    return layer.per_input(node, wide.scale) is not None and (
        affine.is_scale or layer.carried(node, wide.shift) is not None
    )


def split_constants(model: Model, node: gs.Node) -> None:
    """Let the constants of a sum that run along one axis stand behind it; what varies over positions stays a term."""
    summed = node.outputs[0]
    if summed.shape is None or len(list(variables(node))) < 2:
        return
    total = number(1.0)
    kept: list[gs.Tensor] = []
    for operand in node.inputs:
        vector = along(operand, summed) if isinstance(operand, gs.Constant) else None
        joined = total.then(Affine(vector[0], np.ones_like(vector[1]), vector[1])) if vector is not None else None
        total, kept = (total, [*kept, operand]) if joined is None else (joined, kept)
    if len(kept) < len(node.inputs):
        node.inputs = kept
        shift_behind(model, node, total)


def shift_behind(model: Model, node: gs.Node, affine: Affine) -> None:
    """Let an affine node that adds make what a node made; the node itself makes as much less."""
    summed = node.outputs[0]
    shift = affine.shaped(affine.shift, len(summed.shape)).astype(np.float32)
    bare = view(model, summed, fresh(model, f"{summed.name}/sum"), "Sub", summed, shift)
    node.outputs[0] = bare
    model.graph.nodes.append(gs.Node(AFFINE, f"{summed.name}/shift", {"affine": affine}, [bare], [summed]))


def behind_sum(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Let a shift of one term of a sum be one of the sum, where it may meet others, or a layer."""
    result, affine = node.outputs[0], affine_of(node)
    total = only_reader(model, result)
    if total is None or not affine.is_shift or not is_op(total, "Add", "Sum") or list(total.inputs).count(result) != 1:
        return False
    summed = total.outputs[0]
    if summed.shape is None or list(result.shape or ()) != list(summed.shape):
        return False
    read_instead(total, result, node.inputs[0])
    fold(model, result, summed)
    detach(node)
    shift_behind(model, total, affine)
    return True
