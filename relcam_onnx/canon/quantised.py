"""Quantised activations: QuantizeLinear and DequantizeLinear in a row round, and relevance does not see rounding.

What ran behind the pair are the rounded values, so the pair's output is what its producer makes here.
"""

from __future__ import annotations

from relcam_onnx.canon.edit import detach, is_op, is_output, read_instead, sweep
from relcam_onnx.canon.identity import merge_twins
from relcam_onnx.canon.qoperators import Quantised, meaning
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
        exact, rounded = quantize.inputs[0], node.outputs[0]
        maker = producer(exact)
        if maker is None or is_output(model, exact) or len(maker.outputs) > 1:
            continue  # it keeps its name: the two stay, and relevance passes them
        for reader in consumers(exact):
            read_instead(reader, exact, rounded)
        detach(node)
        if not is_output(model, quantize.outputs[0]):
            detach(quantize)
        maker.outputs[0] = rounded
        model.replaced[exact.name] = rounded.name
        model.rounded.add(rounded.name)
    sweep(model)
