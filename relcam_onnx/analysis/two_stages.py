"""Detectors of two stages: the second reads regions of features that the first one found, and has a row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.paths import has_weights
from relcam_onnx.errors import UnsupportedModelError
from relcam_onnx.model import producer, variables

READS_REGIONS = frozenset({"RoiAlign", "MaxRoiPool", "CropAndResize"})
"""What makes a row of each region."""
SCORED = {"TopK": 0, "NonMaxSuppression": 1}
"""What the first stage's scores go to, and which input they are."""
MOST = 3
"""So many scores are named."""


def check_one_stage(outputs: Iterable[gs.Tensor]) -> None:
    """Refuse outputs that have a row for each region, with what can be named instead: `UnsupportedModelError`."""
    regions = next((node for node in behind(outputs) if node.op in READS_REGIONS), None)
    if regions is None:
        return
    scored = [node.inputs[SCORED[node.op]] for node in behind(regions.inputs) if node.op in SCORED]
    layers = [node.outputs[0] for node in behind(scored, has_weights) if has_weights(node)]
    names = ", ".join(repr(t.name) for t in (layers or regions.inputs)[:MOST])
    raise UnsupportedModelError(
        f"the outputs have a row for each region that {regions.op} node {regions.name!r} reads, none for the picture: "
        f"the second stage of a detector is not explained, by no method. Name what the first stage says with output= "
        f"and head='segmenter': {names}"
    )


def behind(tensors: Iterable[gs.Tensor], ends: Callable[[gs.Node], bool] = lambda node: False) -> Iterator[gs.Node]:
    """The nodes that tensors are made by, those near to them first; behind one that ``ends`` there are no more."""
    waiting, seen = list(tensors), set[int]()
    for tensor in waiting:
        node = producer(tensor)
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += [] if ends(node) else [read for _, read in variables(node)]
