"""A scale and a shift that stand before layers go into all that read them: W (s x + t) + b is W s x + W t + b."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import Affine, affine_of, carries
from relcam_onnx.canon.axes import RESHAPES
from relcam_onnx.canon.edit import detach, fold, fresh, is_op, is_output, read_instead, reshaped, view
from relcam_onnx.canon.taking import reads, reweigh
from relcam_onnx.model import Model, consumers
from relcam_onnx.ops import TABLE, key, lookup


def down(model: Model, node: gs.Node, into_layers: bool) -> bool:
    """Fold an affine node into all the layers that read it."""
    result = node.outputs[0]
    leaves: list[tuple[gs.Node, Affine]] = []
    branches: list[gs.Node] = []
    if not sinks(model, result, affine_of(node), leaves, branches) or not leaves:
        return False
    for layer_node, affine in leaves:
        layer = lookup(layer_node).layer_of(layer_node)
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
    for reader in consumers(result):
        read_instead(reader, result, source)
    for branch in branches:  # each behind the one that it reads
        before, old = branch.inputs[0], branch.outputs[0]
        name = fresh(model, f"{old.name}/before")
        if is_op(branch, *RESHAPES):
            new = reshaped(model, before, old, name)
        else:
            told = (t.values if isinstance(t, gs.Constant) else None for t in branch.inputs[1:])
            new = view(model, old, name, branch.op, before, *told, **branch.attrs)
        branch.outputs[0] = new
        fold(model, old, leaves[0][0].outputs[0])
        for reader in consumers(old):
            read_instead(reader, old, new)
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
        layer = lookup(reader).layer_of(reader)
        if layer is not None and lookup(reader).role_of(reader) == "conv":
            if not reads(reader, tensor, affine):
                return False
            leaves.append((reader, affine.over(layer.counts(reader)[0])))
        elif carries(reader) and (pushed := affine.pushed(reader)) is not None:
            branches.append(reader)
            if not sinks(model, reader.outputs[0], pushed, leaves, branches):
                return False
        else:
            return False
    return True
