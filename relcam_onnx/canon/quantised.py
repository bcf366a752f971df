"""Quantised activations: QuantizeLinear and DequantizeLinear in a row round, and relevance does not see rounding.

What ran behind the pair are the rounded values, so the pair's output is what its producer makes here. Where that only
moves values, what it reads is made rounded, for whoever steps over the move reads that.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import bypass, detach, fresh, is_op, is_output, read_instead, reshaped, sweep, view
from relcam_onnx.canon.identity import handed_on, merge_twins
from relcam_onnx.canon.integers import meaning
from relcam_onnx.canon.qoperators import Quantised
from relcam_onnx.model import Model, consumers, producer


def step_over_rounding(model: Model) -> None:
    """Producer + QuantizeLinear + DequantizeLinear -> the producer, making the rounded values.

    Integers that are outputs are made of those, whether or not the file says what they mean.
    """
    if not any(is_op(node, "QuantizeLinear", "DequantizeLinear") for node in model.graph.nodes):
        return
    merge_twins(model)  # onnxruntime's optimiser dequantises once for each reader
    for output in model.graph.outputs:
        node = producer(output)
        if is_op(node, "QuantizeLinear") and not any(is_op(reader, "DequantizeLinear") for reader in consumers(output)):
            Quantised(model).read(output, meaning(node, 1, 2, int(node.attrs.get("axis", 1))))
    for node in list(model.graph.nodes):
        quantize = producer(node.inputs[0]) if is_op(node, "DequantizeLinear") else None
        if not is_op(quantize, "QuantizeLinear"):
            continue
        pass_on(model, quantize)
        exact, rounded = quantize.inputs[0], node.outputs[0]
        if not takes_name(model, exact):
            continue  # the two stay, and relevance passes them
        detach(node)
        if not is_output(model, quantize.outputs[0]):
            detach(quantize)
        make_rounded(model, exact, rounded)
        model.rounded.add(rounded.name)
    sweep(model)


def pass_on(model: Model, quantize: gs.Node) -> None:
    """Let a QuantizeLinear read what computes its values, not what hands them on unchanged."""
    while (maker := producer(quantize.inputs[0])) is not None:
        source = handed_on(maker)
        if source is None or not bypass(model, maker, source):
            return


def takes_name(model: Model, exact: gs.Tensor) -> bool:
    """Whether what makes a tensor, and what computes the values where that moves them, can make another."""
    maker = producer(exact)
    if maker is None or is_output(model, exact) or len(maker.outputs) > 1:
        return False
    return not moves(model, maker) or takes_name(model, maker.inputs[0])


def make_rounded(model: Model, exact: gs.Tensor, rounded: gs.Tensor) -> None:
    """Let what makes a tensor make its rounded values, for all who read it; of what is moved before that."""
    maker = exact.inputs[0]
    for reader in consumers(exact):
        read_instead(reader, exact, rounded)
    maker.outputs[0] = rounded
    model.replaced[exact.name] = rounded.name
    if moves(model, maker):
        make_rounded(model, maker.inputs[0], moved_back(model, maker, rounded))


def moves(model: Model, node: gs.Node) -> bool:
    """Whether a node only moves all values of a tensor that is not rounded already."""
    source = node.inputs[0] if is_op(node, *RESHAPES, "Transpose") else None
    return source is not None and source.shape is not None and not model.rounds(source.name)


def moved_back(model: Model, move: gs.Node, rounded: gs.Tensor) -> gs.Variable:
    """The rounded values as they stand before a move."""
    source = move.inputs[0]
    name = fresh(model, f"{source.name}/rounded")
    if is_op(move, "Transpose"):
        back = [int(axis) for axis in np.argsort(permutation(move))]
        return view(model, source, name, "Transpose", rounded, perm=back)
    return reshaped(model, rounded, source, name)
