"""Which nodes relevance cannot pass, all in one error."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import Model
from relcam_onnx.ops import TABLE, key, lookup


def problem(node: gs.Node) -> str | None:
    """Why relevance cannot pass a node; None where it can."""
    return lookup(node).refuses(node) if key(node) in TABLE else "the engine does not know this op"


def check_supported(model: Model, nodes: Iterable[gs.Node]) -> None:
    """Every node that has no entry in the table, or a form that its entry refuses, in one error."""
    problems = [f"{node_text(model, node)}: {reason}" for node in nodes if (reason := problem(node))]
    if problems:
        raise UnsupportedModelError(
            f"{len(problems)} node(s) stand in the way of relevance:\n  " + "\n  ".join(problems)
            + "\nTeach the engine an op with relcam_onnx.op, or explain only layers above these nodes"
        )  # fmt: skip


def node_text(model: Model, node: gs.Node) -> str:
    """A node as errors name it: its op, its name and its module."""
    path = model.scopes.get(node.outputs[0].name)
    where = f" in module {path!r}" if path else ""
    return f"{key(node)} node {node.name or node.outputs[0].name!r}{where}"
