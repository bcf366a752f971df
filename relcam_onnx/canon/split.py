"""Split becomes one Slice for each output, so that every op has one output that matters."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.model import Model, static_shape


def slice_splits(model: Model) -> None:
    """Rewrite every Split (opset 18) whose parts are known; others stay and are reported."""
    for node in [n for n in model.graph.nodes if n.op == "Split"]:
        ends = part_ends(node)
        if ends is None:
            continue
        axis, source, results = int(node.attrs.get("axis", 0)), node.inputs[0], list(node.outputs)
        node.outputs.clear()
        for number, result in enumerate(results):
            start = ends[number - 1] if number else 0
            bounds = [
                gs.Constant(f"{result.name}/{what}", np.array([value], np.int64))
                for what, value in (("start", start), ("end", ends[number]), ("axis", axis))
            ]
            name = f"{result.name}/slice"
            model.graph.nodes.append(gs.Node("Slice", name, inputs=[source, *bounds], outputs=[result]))
        node.inputs.clear()
        model.graph.nodes.remove(node)
    model.graph.toposort()


def part_ends(node: gs.Node) -> list[int] | None:
    """Where each part of a Split ends; None where only a run knows."""
    sizes = node.inputs[1] if len(node.inputs) > 1 else None
    if isinstance(sizes, gs.Constant):
        return [int(v) for v in np.cumsum(sizes.values)]
    shape = static_shape(node.inputs[0])
    size = shape[int(node.attrs.get("axis", 0))] if shape else None
    if size is None or (sizes is not None and not sizes.is_empty()):
        return None
    # Equal parts, the last one smaller where the size does not divide.
    step = -(-size // len(node.outputs))
    return [min(size, step * (number + 1)) for number in range(len(node.outputs))]
