"""Which tensor relevance starts at: the scores before any softmax, of the output that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.heads import (
    CLASSIFIER,
    KINDS,
    Head,
    beside_scores,
    detector,
    has_boxes,
    joined,
    of_levels,
    segmenter,
    with_objectness,
)
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.support import check_supported, problem
from relcam_onnx.canon.edit import is_op
from relcam_onnx.errors import OptionError, UnsupportedModelError, nearest
from relcam_onnx.model import Model, is_constant, producer, static_shape, variables
from relcam_onnx.ops import TABLE, key

SQUASHING = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
AROUND = frozenset({
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
INVERSE = {"Exp": "LogSoftmax", "Log": "Softmax"}
"""What makes one squashing of another."""
ENLARGED = AROUND | {"Resize"}
"""What stands behind a choice of pixels."""
CHOOSING = frozenset({"ArgMax", "TopK", "ReduceMax", "ZipMap", "ArrayFeatureExtractor"})
"""What chooses among scores, or names them."""


@dataclass(frozen=True)
class Scores:
    """The scores of a model.

    Attributes
    ----------
    tensor
        Where relevance starts, before ``squashed_by``.
    output
        The name of the model's output that it leads to, or of the tensor that was named.
    squashed_by
        "Softmax", "LogSoftmax", "Sigmoid" or None: what stood between them and was stepped over.
    head
        How they are seen.
    """

    tensor: gs.Tensor
    output: str
    squashed_by: str | None
    head: Head = CLASSIFIER


def find_scores(model: Model, output: str | None = None, head: str | None = None) -> Scores:
    """The scores of ``output``, an output or a tensor inside, or of the only output that has the shape of scores.

    ``head`` names what the model does; None: a classifier where an output is a table (N, classes), else what its
    outputs look like.

    Raises
    ------
    OptionError
        There is no such output or head, or several could be meant.
    UnsupportedModelError
        No output is (N, classes), nor scores of pixels or anchors; the message lists them.
    """
    if head is not None and head not in KINDS:
        raise OptionError(f"no head is called {head!r}{nearest(head, KINDS)}; there are {', '.join(KINDS)}")
    outputs = {t.name: t for t in model.graph.outputs}
    if output is not None:
        tensors = model.graph.tensors()
        if (inside := model.current(output)) not in tensors:
            there = listed(outputs.values())
            raise OptionError(f"no output is called {output!r}{nearest(output, outputs)}; there are {there}")
        outputs.setdefault(output, tensors[inside])
    named = [outputs[output]] if output is not None else list(outputs.values())
    fitting = {
        t.name: scores for t in named if is_table(scores := chosen_from(t)) and not is_column(t, outputs.values())
    }
    if head not in (None, "classifier", "embedding") or not fitting:
        found = of_places(model, named, list(outputs.values()), head)
        if found is not None:
            return found
        raise no_table(model, named, output)
    starts = {name: step_back(scores) for name, scores in fitting.items()}
    if len({id(s.tensor) for s in starts.values()}) > 1:
        nodes = {name: Paths(model, s.tensor).nodes for name, s in starts.items()}
        usable = [outputs[name] for name in fitting if not any(map(problem, nodes[name]))]
        if not usable:  # naming one would only lead to this
            check_supported(model, {id(node): node for each in nodes.values() for node in each}.values())
        raise OptionError(f"several outputs could be the scores; name one with output=: {listed(usable)}")
    name, scores = next(iter(starts.items()))
    return replace(scores, output=name)


def of_places(
    model: Model, named: Sequence[gs.Tensor], outputs: Sequence[gs.Tensor], kind: str | None
) -> Scores | None:
    """The first of some outputs whose scores have places, for what ``kind`` of head; None where none has."""
    by_name = kind == "detector"
    levels = of_levels(model, named, named=by_name) if kind in (None, "detector") and len(named) > 1 else None
    if levels is not None:
        return Scores(levels[0], levels[1].levels[0], "Sigmoid", levels[1])
    for output in sorted(named, key=lambda tensor: beside_scores(tensor, outputs)):
        others = [t for t in outputs if t is not output]
        alone = kind in (None, "detector") and not has_boxes(output, outputs)
        together = joined(output) or with_objectness(model, output) if alone else None
        if together is not None:
            return Scores(together[0], output.name, "Sigmoid", together[1])
        chosen, told = chosen_among(output)
        scores = step_back(chosen, places=True)
        if not holds_scores(scores.tensor):
            continue
        told = told if told is not None else along(scores)
        head = segmenter(scores.tensor, told) if kind in (None, "segmenter") else None
        if head is None and kind in (None, "detector") and chosen is output:
            head = detector(scores.tensor, others, told, named=by_name)
        if head is not None:
            return replace(scores, output=output.name, head=head)
    return None


def chosen_among(tensor: gs.Tensor) -> tuple[gs.Tensor, int | None]:
    """What an ArgMax chose from, and along which axis; an output that chooses nothing, as it is."""
    current = tensor
    while (node := producer(current)) is not None and node.op in ENLARGED:
        current = node.inputs[0]
    return (node.inputs[0], int(node.attrs.get("axis", 0))) if is_op(node, "ArgMax") else (tensor, None)


def along(scores: Scores) -> int | None:
    """The axis that a Softmax behind goes along."""
    behind = (node for node in scores.tensor.outputs if node.op in ("Softmax", "LogSoftmax"))
    return next((int(node.attrs.get("axis", -1)) for node in behind if scores.squashed_by == node.op), None)


def no_table(model: Model, named: Sequence[gs.Tensor], output: str | None) -> UnsupportedModelError:
    """What is said of outputs that are no scores."""
    if any(t.shape is None for t in named):
        # An op that nobody knows hides every shape behind it: that is what to say then.
        check_supported(model, (node for node in model.graph.nodes if key(node) not in TABLE))
    what = f"output {output!r} is no" if output is not None else "no output is a"
    others = [t for t in model.graph.outputs if t.name != output and is_table(t)]
    known = "Explain a classifier, or a segmenter, a detector or an embedding whose outputs docs/heads.md lists"
    todo = f"Name one with output=: {listed(others)}" if others else known
    whole = "" if all(map(holds_scores, named)) else ", and whole numbers are classes that are chosen already"
    return UnsupportedModelError(
        f"{what} table of scores (N, classes), the batch first; the outputs are {listed(named)}{whole}. {todo}"
    )


def chosen_from(tensor: gs.Tensor) -> gs.Tensor:
    """The table that the values of an output were chosen from: over ArgMax, TopK or ZipMap and what is around them."""
    current = tensor
    while (node := producer(current)) is not None and node.op in CHOOSING | AROUND:
        # ArrayFeatureExtractor looks names up: what is computed are the indices.
        current = next((t for _, t in variables(node)), current)
        if node.op in CHOOSING:
            if is_table(current):
                tensor = current
            elif node.op not in {"ZipMap", "ArrayFeatureExtractor"}:
                break
        elif len(tensor.shape or ()) == 1 and is_table(current):
            tensor = current  # a file for one image may drop the batch's axis at the end
    return tensor


def step_back(tensor: gs.Tensor, *, places: bool = False) -> Scores:
    """Step over a final Softmax, LogSoftmax or Sigmoid and the shape ops, casts and factors around it.

    Where scores have ``places`` their axes are told by the ops that stay: nothing but the squashing is stepped over.
    """
    squashed, current, scores = None, tensor, tensor
    while (node := producer(current)) is not None:
        if node.op in SQUASHING and squashed is None:
            squashed = node.op
            current = scores = node.inputs[0]
        elif squashed is None and node.op in INVERSE and is_op(producer(node.inputs[0]), INVERSE[node.op]):
            current = node.inputs[0]
        elif places or not (node.op in AROUND or (squashed is None and scales(node))):
            break
        elif looks_like_scores(node.inputs[0]):
            current = node.inputs[0]
            if squashed:
                scores = current
        else:
            break
    return Scores(scores, tensor.name, squashed)


def scales(node: gs.Node) -> bool:
    """Whether a node multiplies with a number above 0, or divides by one."""
    values = [t.values for t in node.inputs[node.op == "Div" :] if is_constant(t)] if node.op in {"Mul", "Div"} else []
    return len(values) == 1 and values[0].size == 1 and bool((values[0] > 0).all())


def is_table(tensor: gs.Tensor) -> bool:
    """Whether a tensor may hold scores."""
    return looks_like_scores(tensor) and holds_scores(tensor)


def is_column(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output (N, places, 1) is a detector's of one class, the boxes beside it."""
    shape = static_shape(tensor) or ()
    return len(shape) == 3 and shape[2] == 1 and shape[1] != 1 and has_boxes(tensor, outputs)


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
