"""Layers beside each other that read one tensor and are summed are one layer, as re-parametrisation writes them.

W x + V x is (W + V) x where one window lies in the other, and x itself is a layer with ones on its diagonal (RepVGG,
Ding et al. 2021; MobileOne, Vasu et al. 2023; a position encoding that a depthwise convolution adds to x).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.axes import pull
from relcam_onnx.canon.branches import Branch, begun, branch_of, follow, is_diagonal, layer_of, moves_to, taps_in, way
from relcam_onnx.canon.edit import detach, fold, fresh, is_op, sweep, view
from relcam_onnx.canon.moving import transposed
from relcam_onnx.canon.taking import fresh_weight
from relcam_onnx.model import Derived, Model, producer


def merge_parallel(model: Model) -> bool:
    """Let one layer make what several terms of a sum make of one tensor; whether there were such sums."""
    merged = [merge(model, node) for node in model.graph.nodes if is_op(node, "Add", "Sum")]
    sweep(model)
    return any(merged)


def merge(model: Model, total: gs.Node) -> bool:
    """Merge such terms of one sum, among those that begin at one tensor; whether there were any."""
    times = Counter(id(term) for term in total.inputs)
    alike: dict[int, list[gs.Tensor]] = defaultdict(list)
    for term in total.inputs:
        if times[id(term)] == 1:
            for begin in {id(begun(tensor)) for tensor in (term, *read_by(term))}:
                alike[begin].append(term)
    gone: set[int] = set()
    for terms in alike.values():
        left = [term for term in terms if id(term) not in gone]
        gone.update(id(branch.term) for branch in merge_some(model, total, left))
    return bool(gone)


def read_by(term: gs.Tensor) -> list[gs.Tensor]:
    """What a layer reads that makes a term but for moves, or a scale and a shift that make it."""
    node = producer(begun(term))
    layer = layer_of(node)
    if node is not None and layer is not None:
        return [node.inputs[1 - layer.weight(node)]]
    made = producer(term)
    spelled = None if made is None else read(made)
    return [] if spelled is None else [spelled[0]]


def merge_some(model: Model, total: gs.Node, terms: Sequence[gs.Tensor]) -> list[Branch]:
    """Merge those of some terms that are layers of one tensor, and give them."""
    for x, axis in sources(terms) if len(terms) > 1 else ():
        found = [branch for term in terms if (branch := branch_of(model, total, term, x, axis)) is not None]
        if not found or axis not in (1, len(x.shape) - 1):
            continue
        widest = max(found, key=lambda branch: [(window.span, window) for window in branch.windows])
        like = (widest.rest, widest.order)
        beside = [
            branch for branch in found if (branch.rest, branch.order) == like and taps_in(branch, widest) is not None
        ]
        group = math.gcd(*(branch.group for branch in beside))
        if len(beside) > 1 and group in (branch.group for branch in beside) and not all(map(is_diagonal, beside)):
            put(model, total, x, axis, beside, widest._replace(group=group))
            return beside
    return []


def sources(terms: Sequence[gs.Tensor]) -> Iterator[tuple[gs.Tensor, int]]:
    """What layers among the terms read, before moves too, each once, with the axis of its channels.

    A term that is made of it by moves goes first: it has the sum's own axes.
    """
    seen: set[tuple[int, int]] = set()
    for term in terms:
        node = producer(begun(term))
        layer = layer_of(node)
        if node is None or layer is None:
            continue
        x = node.inputs[1 - layer.weight(node)]
        axis = layer.reads(node, len(x.shape)) if x.shape is not None else None
        vector = None if axis is None else (axis, np.arange(layer.counts(node)[0]))
        for other in terms if vector is not None else ():
            steps = way(x, other) if other is not term else None
            there = None if steps is None or vector is None else follow(steps, *vector)
            if there is not None and (id(other), there) not in seen:
                seen.add((id(other), there))
                yield other, there
        moves = moves_to(x)
        while vector is not None and (id(x), vector[0]) not in seen:
            seen.add((id(x), vector[0]))
            yield x, vector[0]
            move = next(moves, None)
            vector, x = (None, x) if move is None else (pull(move, vector), move.inputs[0])


def put(model: Model, total: gs.Node, x: gs.Tensor, axis: int, branches: Sequence[Branch], form: Branch) -> None:
    """Let one layer of this form make what these terms of a sum made."""
    summed = total.outputs[0]
    terms = {branch.term.name for branch in branches}
    others = [tensor for tensor in total.inputs if tensor.name not in terms]
    result, name = summed, summed.name
    if others:
        result = view(model, summed, fresh(model, f"{name}/branches"), "Sum", *(branch.term for branch in branches))
        total.inputs = [*others, result]
    else:
        detach(total)
    for tensor in (tensor for branch in branches for tensor in branch.made):
        fold(model, tensor, summed)
    weight = sum((spread(branch, form) for branch in branches), np.zeros(1))
    op, attrs = "Conv", attributes(form)
    if axis != 1 or len(x.shape) == 2:
        op, attrs, weight = "MatMul", {}, weight.reshape(weight.shape[:2]).T
    held = gs.Constant(fresh_weight(model, name), np.ascontiguousarray(weight, np.float32))
    model.derived[held.name] = Derived("", held.dtype, np.ones(()))
    bias = gs.Constant(f"{held.name}/bias", np.sum([branch.bias for branch in branches], axis=0, dtype=np.float32))
    made = result
    if list(form.order) != sorted(form.order):
        made = transposed(model, result, [form.order.index(axis) for axis in range(len(form.order))], f"{name}/before")
        model.graph.nodes.append(gs.Node("Transpose", f"{name}/order", {"perm": list(form.order)}, [made], [result]))
    model.graph.nodes.append(gs.Node(op, f"{name}/merged", attrs, [x, held, bias], [made]))


def spread(branch: Branch, form: Branch) -> np.ndarray:
    """A branch's weight in the form of a wider one: zeros for inputs of other groups, and for taps that it lacks."""
    values = branch.weight()
    outputs, inputs, *_ = values.shape
    whole = inputs * branch.group // form.group
    weight = np.zeros((outputs, whole, *(window.taps for window in form.windows)))
    first = (np.arange(outputs) * branch.group // outputs * inputs) % whole
    taps = taps_in(branch, form)
    assert taps is not None
    for output in range(outputs):
        weight[output][np.ix_(range(first[output], first[output] + inputs), *taps)] = values[output]
    return weight


def attributes(form: Branch) -> dict[str, object]:
    """A Conv's attributes."""
    windows = form.windows
    after = [rest + window.span - window.before for rest, window in zip(form.rest, windows, strict=True)]
    return {
        "kernel_shape": [window.taps for window in windows],
        "dilations": [window.step for window in windows],
        "pads": [*(window.before for window in windows), *after],
        "strides": [window.stride for window in windows],
        "group": form.group,
    }
