"""Every size that the file decides is told, and what hangs on sizes alone becomes constant.

ONNX infers shapes over the file as it stands: behind a Reshape to sizes that are computed (Shape, Gather, Div, Concat)
it knows nothing. Here sizes flow forward through the folded graph, node by node: an op's rule gives the sizes of its
results, and where these are numbers Shape gives a constant, which the next Reshape reads. Sizes that only a run knows
keep the names that ONNX gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.baked import fix_batch, name_batch
from relcam_onnx.canon.constants import fold_constants
from relcam_onnx.canon.edit import is_op, sweep
from relcam_onnx.canon.pools import round_down
from relcam_onnx.canon.shape_rules import RULES
from relcam_onnx.canon.size_rules import CALCULATES, calculate, inferred, is_number, is_open, merged
from relcam_onnx.model import Model, captured

READS_SIZES = frozenset({"Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Tile"})
"""Ops whose result is as large as the values of an input say, which may be constant only once the graph is folded."""

SMALL = 4096
"""Elements; what is larger is no list of sizes, and is left to `fold_constants`."""


def infer_sizes(model: Model) -> None:
    """Fold constants, let sizes flow through the graph, and again where something large has become constant."""
    named = name_batch(model)
    fold_constants(model)
    if named or any(map(may_tell_more, model.graph.nodes)):
        flow(model)
    if fix_batch(model):
        flow(model)


def flow(model: Model) -> None:
    """Let sizes flow until no more becomes constant."""
    Flow(model).run()
    while fold_constants(model):
        Flow(model).run()


def tell_targets(model: Model) -> None:
    """Let a Reshape say -1 where one size alone is open, so that no tensor is read for its sizes any more.

    A Shape beside a layer would keep what follows that layer from being folded into it. Which picture of several a row
    belongs to is told by targets in full: that comes before.
    """
    for node in model.graph.nodes:
        read = is_op(node, "Reshape") and any(isinstance(t, gs.Variable) for t in node.inputs[1:])
        shape = node.outputs[0].shape if read else None
        if shape is not None and sum(map(is_open, shape)) == 1:
            target = np.array([-1 if is_open(size) else size for size in shape], np.int64)
            node.inputs[1] = gs.Constant(f"{node.outputs[0].name}/target", target)
            node.attrs["allowzero"] = 0
    sweep(model)


def may_tell_more(node: gs.Node) -> bool:
    """Whether there may be more to know of sizes here than ONNX inferred, as far as a glance shows."""
    if node.op in ("Shape", "Size") or node.attrs.get("ceil_mode") or any(t.shape is None for t in node.outputs):
        return True
    unnamed = [i for t in node.outputs for i, d in enumerate(t.shape) if is_open(d) and is_unnamed(d)]
    if not unnamed or node.op in READS_SIZES or node.op == "Flatten":
        return bool(unnamed)
    return max(unnamed) > 0 and not any(is_open(d) for t in node.inputs for d in (t.shape or ["rank"])[1:])


def is_unnamed(size: int | str | None) -> bool:
    """Whether a size has no name, or one that ONNX's inference made up."""
    return not isinstance(size, str) or size.startswith("unk__")


class Flow:
    """One pass over a graph, in the order of the forward pass."""

    def __init__(self, model: Model) -> None:
        self.graph, self.opset = model.graph, model.opset
        self.results = {id(t) for t in self.graph.outputs}
        self.lists: dict[int, np.ndarray] = {}  # id of a tensor -> a list of sizes that are not all numbers
        self.changed: set[int] = set()
        self.untold: set[int] = set()  # ids of tensors behind a wrong count, of which the file tells no better

    def run(self) -> None:
        """Let sizes flow."""
        if sum(self.compute(node) or self.infer(node) for node in list(self.graph.nodes)):
            self.graph.cleanup(remove_unused_graph_inputs=False)

    def values(self, node: gs.Node) -> list[np.ndarray | None]:
        """The inputs that are small constants or lists of sizes; None for the others."""
        return [
            np.asarray(t.values) if isinstance(t, gs.Constant) and prod(t.shape) <= SMALL else self.lists.get(id(t))
            for t in node.inputs
        ]

    def compute(self, node: gs.Node) -> bool:
        """Make a node's result constant, where it is; keep the sizes where it is a list of them."""
        shape = node.inputs[0].shape if node.inputs else None
        if node.op in ("Shape", "Size") and shape is not None:
            sizes = np.array([d if isinstance(d, str) or not is_open(d) else None for d in shape], object)
            span = slice(node.attrs.get("start", 0), node.attrs.get("end"))
            results = [sizes[span] if node.op == "Shape" else product(sizes)]
        else:
            results = calculate(node, self.values(node)) if node.op in CALCULATES else []
        if not results:
            return False
        [tensor] = node.outputs
        value = as_constant(results[0], tensor)
        if value is None or id(tensor) in self.results:
            self.lists[id(tensor)] = results[0]
            return False
        node.outputs.clear()
        tensor.to_constant(value)
        return True

    def infer(self, node: gs.Node) -> bool:
        """Tell the shapes of a node's results; False: nothing has become constant."""
        read = {id(t) for t in (*node.inputs, *captured(node))}
        known = {d for t in node.inputs for d in t.shape or () if not is_unnamed(d)}
        told = all(t.shape is not None and all(d in known or not is_open(d) for d in t.shape) for t in node.outputs)
        if told and not node.attrs.get("ceil_mode") and not read & self.changed:
            return False
        values = self.values(node)
        shapes = [RULES[node.op](node, values)] if node.op in RULES else inferred(node, values, self.opset)
        shapes += [None] * (len(node.outputs) - len(shapes))
        for tensor, shape in zip(node.outputs, shapes, strict=False):
            if read & self.untold or (node.attrs.get("ceil_mode") and disagree(tensor.shape, shape)):
                self.untold.add(id(tensor))
            better = merged(None if id(tensor) in self.untold else tensor.shape, shape)
            if better != tensor.shape:
                tensor.shape = better
                self.changed.add(id(tensor))
        if node.attrs.get("ceil_mode"):
            round_down(node)
        return False


def product(sizes: np.ndarray) -> np.ndarray:
    """The number of elements, or None."""
    return np.array(None if any(map(is_open, sizes)) else int(np.prod(sizes.astype(np.int64))), object)


def as_constant(found: np.ndarray, tensor: gs.Tensor) -> np.ndarray | None:
    """What was computed as an array of the tensor's type; None where some of it only a run knows."""
    if found.dtype == object and any(not is_number(n) for n in found.reshape(-1)):
        return None
    return found.astype(tensor.dtype or np.int64) if found.dtype == object else found


def disagree(told: Sequence[object] | None, shape: Sequence[object] | None) -> bool:
    """Whether two shapes of one tensor name different numbers."""
    if told is None or shape is None:
        return False
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in zip(told, shape, strict=True))
