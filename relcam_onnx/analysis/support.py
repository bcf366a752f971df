"""Which nodes relevance cannot pass, all in one error."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import rows_over
from relcam_onnx.analysis.paths import Paths, receiving
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import Model, static_shape
from relcam_onnx.onnx_file.contrib_ops import BLOCKED
from relcam_onnx.ops import TABLE, key, lookup

SHOWN = 2
"""How many nodes of a kind an error names; its ``nodes`` has all."""

SAVED = frozenset(f"com.microsoft::{op}" for op in ("NhwcFusedConv", "NhwcMaxPool", "QLinearConv"))
"""Others that it writes at the same level."""


def problem(node: gs.Node) -> str | None:
    """Why relevance cannot pass a node; None where it can."""
    if key(node) in TABLE:
        return lookup(node).refuses(node)
    if node.domain == BLOCKED or key(node) in SAVED:
        return (
            "onnxruntime saved this file for one kind of processor; give the file that it was made from, or save it at "
            "ORT_ENABLE_EXTENDED"
        )
    return "the engine does not know this op"


def check_supported(model: Model, nodes: Iterable[gs.Node], down_to: Callable[[], str | None] = lambda: None) -> None:
    """No node lacks an entry in the table or has a form that its entry refuses; one error names all that there are.

    ``down_to`` tells, where some do, the layer nearest to the picture that can be explained all the same.
    """
    refused = [(node, reason) for node in nodes if (reason := problem(node))]
    kinds: dict[str, list[str]] = {}
    for node, reason in refused:
        kinds.setdefault(f"{key(node)}: {reason}", []).append(node_text(model, node))
    if not refused:
        return
    causes = "; ".join(f"{cause} ({counted(named)})" for cause, named in kinds.items())
    lowest = down_to()
    above = f"explain layers above, down to {lowest!r}" if lowest else "explain layers above"
    raise UnsupportedModelError(
        f"relevance cannot pass {causes}. Teach the engine an op with relcam_onnx.op, {above}, or take method 'rise' "
        "or 'occlusion', which need no rules",
        nodes=tuple(f"{node_text(model, node)}: {reason}" for node, reason in refused),
    )


def lowest_explained(paths: Paths, placed: Container[str], *, gradient: bool) -> str | None:
    """The tensor nearest to the picture that all relevance can come down to, of those that are ``placed`` on it."""
    blocked: set[str] = set()
    for node in reversed(paths.reached(gradient=gradient)):
        if problem(node) or node.outputs[0].name in blocked:
            blocked.update(t.name for _, t in receiving(node, gradient=gradient))
    blocked.add(paths.scores.name)
    found = (t for t in paths.tensors if t.name in placed and t.name not in blocked)
    return next((t.name for t in found if all(has_one_row(t, image) for image in paths.images)), None)


def has_one_row(tensor: gs.Tensor, image: gs.Tensor) -> bool:
    """Whether a tensor has one row for each image, as far as the file tells."""
    (rows, *_), (batch, *_) = static_shape(tensor) or (None,), static_shape(image) or (None,)
    return rows_over(tensor, image) == 1 and (rows is None or batch is None or rows == batch)


def counted(named: Sequence[str]) -> str:
    """How many nodes there are, and the first of them."""
    if len(named) <= SHOWN:
        return ", ".join(named)
    return f"{len(named)} nodes, {', '.join(named[:SHOWN])}, ...; all of them with --debug"


def node_text(model: Model, node: gs.Node) -> str:
    """A node as errors name it: its op, its name and its module."""
    path = model.scopes.get(node.outputs[0].name)
    where = f" in module {path!r}" if path else ""
    return f"{key(node)} node {node.name or node.outputs[0].name!r}{where}"
