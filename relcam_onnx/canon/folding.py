"""Scales and shifts go where they belong: into the layer that they stand behind, else into those that read them.

Behind a layer y = W x + b a scale s and a shift t make s W x + s b + t, also where ops that only move values stand
between them, or a sum, for a shift. Before a layer without padding they make W s x + W t + b. A shift of a term of a
sum is one of the sum. What reaches no layer stays, one node for all that follow each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import AFFINE, Affine, affine_of, carries, read, write
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import (
    bypass,
    detach,
    fold,
    fresh,
    is_op,
    is_output,
    only_reader,
    read_instead,
    sweep,
    take_over,
    view,
)
from relcam_onnx.canon.moving import undone
from relcam_onnx.canon.picking import picks
from relcam_onnx.canon.shifts import behind_concat, behind_product, behind_sum, split_constants
from relcam_onnx.canon.sinking import down
from relcam_onnx.canon.taking import scale_layer, scale_norm, takes
from relcam_onnx.model import Model, consumers, producer, variables
from relcam_onnx.ops import lookup


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
        for step in (up, before_concat, down, behind_sum, behind_product, behind_concat) if into_layers else (up,):
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
    while meets_alone(model, reader, tensor, affine):
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
        pulled = affine.pulled(node) if carries(node) else None
        if pulled is None:
            return None
        between.append(node)
        reader, tensor, affine = node, node.inputs[0], pulled
    return None


def meets_alone(model: Model, reader: gs.Node, tensor: gs.Tensor, affine: Affine) -> bool:
    """Whether a node alone reads what an affine changes of a tensor: others may pick other channels of it."""
    if only_reader(model, tensor) is reader:
        return True
    if affine.axis is None or is_output(model, tensor) or picks(reader) is None:
        return False
    changed = (affine.scale != 1) | (affine.shift != 0)
    others = (picks(other) or {} for other in consumers(tensor) if other is not reader)
    return all(affine.axis in kept and not changed[kept[affine.axis](len(changed))].any() for kept in others)


def before_concat(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Let what is done to a Concat of layers be done to each of them, where each can take its part."""
    whole, result, affine = node.inputs[0], node.outputs[0], affine_of(node)
    join = producer(whole)
    if not is_op(join, "Concat") or only_reader(model, whole) is not node or whole.shape is None:
        return False
    axis, start, shares = join.attrs["axis"] % len(whole.shape), 0, []
    for part in join.inputs:
        count = part.shape[axis] if part.shape is not None else None
        if not isinstance(count, int) or join.inputs.count(part) > 1:
            return False
        span = slice(start, start := start + count) if affine.axis == axis else slice(None)
        shares.append(Affine(affine.axis, affine.scale[span], affine.shift[span]))
    if any(climb(model, join, part, own, into_layers) is None for part, own in zip(join.inputs, shares, strict=True)):
        return False
    for index, (part, own) in enumerate(zip(list(join.inputs), shares, strict=True)):
        name, rank = fresh(model, f"{result.name}/part{index}"), len(part.shape)
        scale, shift = (own.shaped(side, rank).astype(np.float32) for side in (own.scale, own.shift))
        scaled = view(model, part, f"{name}/scaled", "Mul", part, scale)
        join.inputs[index] = view(model, part, name, "Add", scaled, shift)
        shifted = gs.Node(AFFINE, name, {"affine": own}, [part], [join.inputs[index]])
        model.graph.nodes.append(shifted)
        up(model, shifted, into_layers)
    take_over(model, join, node)
    return True


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
            affine = affine.pulled(inner) or affine
            if moves(inner):
                new = undone(model, inner, above, old, name)
            else:  # what is left out has a value too
                sides = (
                    affine.shaped(side, len(old.shape)).astype(np.float32) for side in (affine.scale, affine.shift)
                )
                new = view(
                    model, old, name, "Add", view(model, old, f"{name}/scaled", "Mul", old, next(sides)), next(sides)
                )
        inner.outputs[0] = above
        for reader in consumers(old):
            read_instead(reader, old, new)
        fold(model, old, result)
        above = new
    way.end.outputs[0] = above
