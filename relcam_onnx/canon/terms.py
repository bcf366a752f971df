"""A sum that has one tensor several times has it once, so many times: b + w (a - b) is w a + (1 - w) b."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.affine import read
from relcam_onnx.canon.edit import is_op, only_reader, result_of, sweep
from relcam_onnx.model import Model, producer, variables

SUMS = ("Add", "Sub", "Sum")
Term = tuple[gs.Tensor, float]
"""A tensor, and how many times it is there."""


def gather_terms(model: Model) -> None:
    """Rewrite every such sum of tensors as large as it."""
    for node in list(model.graph.nodes):
        if is_op(node, *SUMS) and node.outputs and (found := gathered(model, node)) is not None:
            write(model, node, found)
    sweep(model)


def gathered(model: Model, node: gs.Node) -> list[Term] | None:
    """The terms of a sum, each once; None where none is there twice, or one is of another size."""
    terms, shape = list(terms_of(model, node)), list(node.outputs[0].shape or ())
    counts = Counter(tensor.name for tensor, _ in terms)
    alike = all(isinstance(tensor, gs.Variable) and list(tensor.shape or ()) == shape for tensor, _ in terms)
    if not shape or not alike or max(counts.values()) < 2:
        return None
    total: dict[str, float] = {}
    for tensor, times in terms:
        total[tensor.name] = total.get(tensor.name, 0.0) + times
    tensors = {tensor.name: tensor for tensor, _ in terms}
    left = [(tensors[name], times) for name, times in total.items() if not np.isclose(times, 0, atol=1e-7)]
    return left or None


def terms_of(model: Model, node: gs.Node, times: float = 1.0) -> Iterator[Term]:
    """All that is added, over sums and factors that nothing else reads."""
    for index, tensor in enumerate(node.inputs):
        yield from of_tensor(model, node, tensor, -times if is_op(node, "Sub") and index else times)


def of_tensor(model: Model, reader: gs.Node, tensor: gs.Tensor, times: float) -> Iterator[Term]:
    """A tensor that a node reads, or what it is made of."""
    inner = producer(tensor) if only_reader(model, tensor) is reader else None
    spelled = None if inner is None or is_op(inner, "Sum") or len(list(variables(inner))) != 1 else read(inner)
    if inner is not None and is_op(inner, *SUMS) and len(list(variables(inner))) == len(inner.inputs):
        yield from terms_of(model, inner, times)
    elif inner is not None and spelled is not None and spelled[1].is_scale and spelled[1].axis is None:
        source, affine = spelled
        yield from of_tensor(model, inner, source, times * float(affine.scale[0]))
    else:
        yield tensor, times


def write(model: Model, node: gs.Node, terms: list[Term]) -> None:
    """Make a node the sum of these."""
    name, inputs = node.outputs[0].name, []
    for index, (tensor, times) in enumerate(terms):
        one = np.isclose(times, 1)
        factor = np.array(times, np.float32)
        inputs.append(tensor if one else result_of(model, tensor, f"{name}/term{index}", "Mul", tensor, factor))
    node.attrs, node.inputs = {}, inputs
    node.op = {1: "Identity", 2: "Add"}.get(len(inputs), "Sum")
