"""Identity and Dropout in inference hand their input on: they go, and their output's name means the input."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from relcam_onnx.model import Model

IDENTITIES = frozenset({"Identity", "Dropout"})


def drop_identities(model: Model) -> None:
    """Every reader of such an output reads the input; graph outputs keep their node."""
    for node in list(model.graph.nodes):
        if node.op not in IDENTITIES or getattr(node, "domain", None) not in (None, "", "ai.onnx"):
            continue
        source, result = node.inputs[0], node.outputs[0]
        if any(result is output for output in model.graph.outputs) or isinstance(source, gs.Constant):
            continue
        for reader in list(result.outputs):
            for index, tensor in enumerate(reader.inputs):
                if tensor is result:
                    reader.inputs[index] = source
        node.outputs.clear()
        node.inputs.clear()
        model.graph.nodes.remove(node)
        model.replaced[result.name] = source.name
