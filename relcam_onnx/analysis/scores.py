"""Which tensor relevance starts at: the scores before any softmax, of the output that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.anchors import are_anchors
from relcam_onnx.analysis.detectors import axis_of_boxes, has_boxes
from relcam_onnx.analysis.drawn import told_as_they_are
from relcam_onnx.analysis.heads import KINDS, Scores, holds_scores
from relcam_onnx.analysis.levels import of_levels
from relcam_onnx.analysis.masks import made_of
from relcam_onnx.analysis.paths import Paths
from relcam_onnx.analysis.placed import is_bare_column, of_places, of_selection
from relcam_onnx.analysis.shifted import unshifted
from relcam_onnx.analysis.stepping import chooser, chosen_from, class_axis, has_rows, is_table, step_back, tells_best
from relcam_onnx.analysis.support import check_supported, problem
from relcam_onnx.analysis.tails import before_tail, of_vector
from relcam_onnx.analysis.two_stages import check_one_stage
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import all_unsquashed, in_sigmoids
from relcam_onnx.errors import OptionError, UnsupportedModelError, nearest
from relcam_onnx.model import Model, producer, static_shape
from relcam_onnx.ops import TABLE, key
from relcam_onnx.ops.product import HELD


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
    if head in (None, "detector") and (choosing := of_selection(model, named)) is not None:
        return choosing
    if head in (None, "detector") and (levels := of_levels(model, named, named=bool(head), whole=True)) is not None:
        return levels
    check_one_stage(named)
    if head in (None, "detector") and are_anchors(named):
        raise UnsupportedModelError(
            f"outputs look like levels of a detector with anchors of their own number each, which no file tells (SSD "
            f"before its decoder): {listed(named)}. Export it with its decoder, or name one of them with output= and "
            "say what it is with head=, such as 'segmenter'"
        )
    asked = head in ("classifier", "embedding")
    fitting = {
        t.name: scores
        for t in named
        if is_table(scores := chosen_from(model, t))
        and has_rows(model, scores)
        and not is_number_beside(t, outputs.values())
        and not is_column(t, outputs.values())
        and (asked or not tells_places(t, model.graph.outputs))
        and (asked or not (is_bare_column(t, outputs.values()) and in_sigmoids(t)))
    }
    if not (head is None or asked) or not fitting:
        found = of_places(model, named, list(outputs.values()), head)
        if found is None and head in (None, "classifier"):
            found = only_vector(model, named)
        if found is not None:
            return found
        raise no_table(model, named, output, head)
    starts: Mapping[str, Scores] = {name: begin(model, scores) for name, scores in fitting.items()}
    if are_several(starts):
        nodes = {name: Paths(model, s.tensor).nodes for name, s in starts.items()}
        usable = [name for name in starts if not any(map(problem, nodes[name]))]
        if head != "embedding":
            starts = likely(starts, nodes, usable)
        if are_several(starts):
            told = [outputs[name] for name in starts if name in usable]
            if not told:  # naming one would only lead to this
                check_supported(model, {id(node): node for each in nodes.values() for node in each}.values())
            raise OptionError(f"several outputs could be the scores; name one with output=: {listed(told)}")
    name, scores = next(iter(starts.items()))
    return replace(scores, output=name)


def only_vector(model: Model, named: Sequence[gs.Tensor]) -> Scores | None:
    """The one score of outputs without an axis of classes, (N,); None where there is none."""
    vectors = [scores for t in named if (scores := of_vector(model, t)) is not None]
    made_of = {id(node.inputs[0] if is_op(node := producer(v.tensor), "Unsqueeze") else v.tensor) for v in vectors}
    if len(made_of) > 1:
        told = listed(t for t in named if any(scores.output == t.name for scores in vectors))
        raise OptionError(f"several outputs could be the score; name one with output=: {told}")
    return next(iter(vectors), None)


def are_several(starts: Mapping[str, Scores]) -> bool:
    """Whether outputs tell scores of more than one kind."""
    return len({id(scores.tensor) for scores in starts.values()}) > 1


def likely(
    starts: Mapping[str, Scores], nodes: Mapping[str, Sequence[gs.Node]], usable: Sequence[str]
) -> Mapping[str, Scores]:
    """Those that no other is made of, as of features; of pictures beside texts those of pictures."""
    read = {id(tensor) for each in nodes.values() for node in each for tensor in node.inputs}
    ends = {name: scores for name, scores in starts.items() if id(scores.tensor) not in read}
    beside = {name: ends[name] for name in ends if name in usable and any(HELD in node.attrs for node in nodes[name])}
    return beside or ends


def begin(model: Model, table: gs.Tensor) -> Scores:
    """The scores that a table tells, before what squashes them, however that is written."""
    found = step_back(table)
    if found.squashed_by is None:
        found = before_tail(model, table) or found
    if found.squashed_by in ("Softmax", "LogSoftmax"):
        return replace(found, tensor=unshifted(model, found.tensor, class_axis(found.tensor)))
    if found.squashed_by is None and (each := all_unsquashed(model, table, products=False)) is not None:
        return replace(found, tensor=each, squashed_by="Sigmoid")
    if found.squashed_by is not None:
        return found
    node = producer(found.tensor)
    if found.tensor is table and is_op(node, "Log") and is_table(node.inputs[0]):
        shares = told_as_they_are(model, node.inputs[0], class_axis(node.inputs[0]))
        if shares is not None:  # logarithms of shares that no squashing made, as of means
            return replace(found, tensor=node.inputs[0], squashed_by=shares)
    return replace(found, squashed_by=told_as_they_are(model, found.tensor, class_axis(found.tensor)))


def no_table(model: Model, named: Sequence[gs.Tensor], output: str | None, head: str | None) -> UnsupportedModelError:
    """What is said of outputs that are no scores, or none of the head that was asked for."""
    if any(t.shape is None for t in named):
        # An op that nobody knows hides every shape behind it: that is what to say then.
        check_supported(model, (node for node in model.graph.nodes if key(node) not in TABLE))
    inside = made_of(model, named) if head in (None, "segmenter") else None
    hint = "" if inside is None else f". Name the scores of pixels inside that it is made of, output={listed([inside])}"
    if head is None and of_places(model, named, list(model.graph.outputs), "detector") is not None:
        hint += ". head='detector' explains the class at each place of a table: a character, a slot, a query"
    if head in ("segmenter", "detector"):
        return UnsupportedModelError(
            f"no output looks like a {head}'s; the outputs are {listed(named)}. docs/heads.md tells what does{hint}"
        )
    what = f"output {output!r} is no" if output is not None else "no output is a"
    others = [t for t in model.graph.outputs if t.name != output and is_table(t) and has_rows(model, t)]
    others = [t for t in others if not tells_places(t, model.graph.outputs)]
    known = "Explain a classifier, or a segmenter, a detector or an embedding whose outputs docs/heads.md lists"
    todo = f"Name one with output=: {listed(others)}" if others else known
    whole = "" if all(map(holds_scores, named)) else ", and whole numbers are classes that are chosen already"
    return UnsupportedModelError(
        f"{what} table of scores (N, classes), the batch first; the outputs are {listed(named)}{whole}. {todo}{hint}"
    )


def is_number_beside(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output is one number for each image, and others have places: a count, no score."""
    ranks = [len(t.shape or ()) for t in outputs if t is not tensor and not is_table(t)]
    return len(tensor.shape or ()) == 1 and holds_scores(tensor) and any(rank > 2 for rank in ranks)


def tells_places(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output tells the best of each place, or of the best places, by the classes or boxes beside it."""
    return tells_best(tensor, outputs) or (is_op(chooser(tensor), "TopK") and is_bare_column(tensor, outputs))


def is_column(tensor: gs.Tensor, outputs: Iterable[gs.Tensor]) -> bool:
    """Whether an output (N, places, 1) is a detector's of one class, boxes beside it; or (N, 1, places) of sigmoids."""
    shape = static_shape(tensor) or ()
    if len(shape) != 3 or shape[1:] == (1, 1) or 1 not in shape[1:]:
        return False
    if shape[2] == 1:
        return has_boxes(tensor, outputs)
    others = (t for t in outputs if t is not tensor)
    return any(axis_of_boxes(t, shape[2]) is not None for t in others) and in_sigmoids(tensor)


def listed(outputs: Iterable[gs.Tensor]) -> str:
    """Outputs with their shapes, for an error."""
    return ", ".join(f"{t.name!r} {shape_text(t)}" for t in outputs)


def shape_text(tensor: gs.Tensor) -> str:
    """A shape as it stands in the file: ``(batch, 1000)``."""
    return f"({', '.join(map(str, tensor.shape))})" if tensor.shape is not None else "(unknown shape)"
