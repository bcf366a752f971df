"""Which tensor relevance starts at: the scores before any softmax, of the output that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.support import check_supported, problem
from relcam_onnx.errors import OptionError, UnsupportedModelError, nearest
from relcam_onnx.model import Model, producer, static_shape
from relcam_onnx.ops import TABLE, key

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
AROUND = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Identity", "Dropout"})


@dataclass(frozen=True)
class Scores:
    """The scores of a model.

    Attributes
    ----------
    tensor
        Where relevance starts, before ``squashed_by``.
    output
        The name of the model's output that it leads to.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid" or None: what stood between them and was stepped over.
    """

    tensor: gs.Tensor
    output: str
    squashed_by: str | None


def find_scores(model: Model, output: str | None = None) -> Scores:
    """The scores of ``output``, or of the only output that has the shape of scores.

    Raises
    ------
    OptionError
        There is no such output, or several could be meant.
    UnsupportedModelError
        No output is (N, classes); the message lists them.
    """
    outputs = {t.name: t for t in model.graph.outputs}
    if output is not None and output not in outputs:
        there = listed(outputs.values())
        raise OptionError(f"no output is called {output!r}{nearest(output, outputs)}; there are {there}")
    named = [outputs[output]] if output is not None else list(outputs.values())
    fitting = [t for t in named if looks_like_scores(t) and holds_scores(t)]
    if not fitting:
        if any(t.shape is None for t in named):
            # An op that nobody knows hides every shape behind it: that is what to say then.
            check_supported(model, (node for node in model.graph.nodes if key(node) not in TABLE))
        what = f"output {output!r} is no" if output is not None else "no output is a"
        others = [t for t in outputs.values() if t.name != output and looks_like_scores(t) and holds_scores(t)]
        todo = f"Name one with output=: {listed(others)}" if others else "Explain a classifier"
        whole = "" if all(map(holds_scores, named)) else ", and whole numbers are classes that are chosen already"
        raise UnsupportedModelError(
            f"{what} table of scores (N, classes), the batch first; the outputs are {listed(named)}{whole}. {todo}"
        )
    found = [step_back(t) for t in fitting]
    if len({id(s.tensor) for s in found}) > 1:
        nodes = {s.output: Paths(model, s.tensor).nodes for s in found}
        usable = [t for t in fitting if not any(map(problem, nodes[t.name]))]
        if not usable:  # naming one would only lead to this
            check_supported(model, {id(node): node for each in nodes.values() for node in each}.values())
        raise OptionError(f"several outputs could be the scores; name one with output=: {listed(usable)}")
    return found[0]


def step_back(tensor: gs.Tensor) -> Scores:
    """Step over a final Softmax, LogSoftmax or Sigmoid and the shape ops and casts around it."""
    name, squashed, current = tensor.name, None, tensor
    scores = tensor
    while (node := producer(current)) is not None:
        if node.op in SQUASHING and squashed is None:
            squashed = node.op
            current = scores = node.inputs[0]
        elif node.op in AROUND and looks_like_scores(node.inputs[0]):
            current = node.inputs[0]
            if squashed:
                scores = current
        else:
            break
    return Scores(scores, name, squashed)


def looks_like_scores(tensor: gs.Tensor) -> bool:
    """(N, classes), or with axes of length one beside the class axis."""
    shape = static_shape(tensor)
    return shape is not None and len(shape) >= 2 and sum(d != 1 for d in shape[1:]) <= 1


def holds_scores(tensor: gs.Tensor) -> bool:
    """Whether a tensor's values are no whole numbers, such as the class that was chosen."""
    # onnx-graphsurgeon has ONNX's number where NumPy has no such type; all of those are floats.
    return tensor.dtype is None or isinstance(tensor.dtype, int) or np.dtype(tensor.dtype).kind not in "iub"


def listed(outputs: Iterable[gs.Tensor]) -> str:
    """Outputs with their shapes, for an error."""
    return ", ".join(f"{t.name!r} {shape_text(t)}" for t in outputs)


def shape_text(tensor: gs.Tensor) -> str:
    """A shape as it stands in the file: ``(batch, 1000)``."""
    return f"({', '.join(map(str, tensor.shape))})" if tensor.shape is not None else "(unknown shape)"
