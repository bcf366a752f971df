"""The model as the engine sees it.

A `Model` holds one network twice. ``proto`` is what onnxruntime runs: the file itself, raised to the working opset.
``graph`` is what the engine reads: an onnx-graphsurgeon graph of the same nodes that `relcam_onnx.canon` brings into
one canonical form. Rewrites touch only ``graph``; every tensor of it has the same name and value in ``proto``, or is a
`View` of such, so activations are exposed by name and the model's own outputs stay the file's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs


class Derived(NamedTuple):
    """A float32 weight by what it was made of: (a weight of the file - zero) · factor.

    Attributes
    ----------
    origin, dtype
        The weight's name and element type; no name where none of the file will do.
    factor
        float64, broadcasts to the weight; () for 1.
    zero
        What the file's weight holds for 0, where it is quantised and that is not 0.
    """

    origin: str
    dtype: np.dtype[Any]
    factor: np.ndarray
    zero: np.ndarray | None = None


class View(NamedTuple):
    """How a tensor that only the canonical graph has is made of tensors of the file.

    ``op`` is an ONNX op over ``inputs``: tensors, which may be views, or constants. ``"Like"`` stands for Reshape to
    the sizes of the second input, of which nothing but the sizes is read. ``"Part"`` stands for the rows of the first
    that are those of the ``part``-th of several images of one batch, the second input being one of them.
    """

    op: str
    inputs: tuple[gs.Variable | np.ndarray, ...]
    attrs: dict[str, Any]


class Scaling(NamedTuple):
    """``x · scale + shift``, each one number or one a channel, in the order of the file."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]


@dataclass
class Model:
    """One loaded network.

    Attributes
    ----------
    proto
        The runnable file, opset 18 or newer, shapes inferred where they can be. Of its large weights it has the names.
    weights
        Those, read-only: the analysis and all sessions of this model share them.
    graph
        The same nodes for analysis; `relcam_onnx.canon` rewrites it. It alone tells sizes: those that the file leaves
        open may be fixed here (`relcam_onnx.onnx_file.load.with_sizes`).
    metadata
        The file's ``metadata_props`` (onnx-graphsurgeon does not keep them), and as labels the names that it looks up.
    scopes
        Tensor name -> dotted path of the PyTorch module whose node makes it, where the file tells.
    sha256
        Hex digest of the file's bytes; of a file with weights beside it, of its bytes and the digest of theirs.
    path
        Where it came from, or None for bytes and protos.
    replaced
        Tensor that a rewrite removed -> the tensor that holds the same value (Dropout, Identity).
    folded
        Tensor that folding removed -> the tensor that it was folded into (a convolution before its batch norm).
    views
        Tensor that a rewrite made -> how its value comes from the file's tensors.
    derived
        Weight that folding made -> what it was made of: a compiled file multiplies where it would otherwise store
        the weight twice.
    scalings
        Input -> what the file scales and shifts it by before anything else, which folding removes.
    rounded
        Tensors that hold what their node makes but for rounding to 8 bits: `rounds`.
    """

    proto: onnx.ModelProto
    weights: dict[str, np.ndarray]
    graph: gs.Graph
    metadata: dict[str, str]
    scopes: dict[str, str]
    sha256: str
    path: Path | None = None
    replaced: dict[str, str] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)
    scalings: dict[str, Scaling] = field(default_factory=dict)
    rounded: set[str] = field(default_factory=set)

    @property
    def opset(self) -> int:
        """The version of the standard domain that ``proto`` imports."""
        return int(next(o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")))

    def current(self, name: str) -> str:
        """The tensor that today holds the value of tensor ``name``: rewrites followed."""
        while name in self.replaced:
            name = self.replaced[name]
        return name

    def rounds(self, name: str) -> bool:
        """Whether a tensor holds rounded values, or is a view of such."""
        parts = self.views[name].inputs if name in self.views else ()
        return name in self.rounded or any(self.rounds(part.name) for part in parts if isinstance(part, gs.Tensor))


def is_constant(tensor: gs.Tensor) -> bool:
    """Whether a tensor's value stands in the file."""
    return isinstance(tensor, gs.Constant)


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that makes a tensor; None for inputs and constants."""
    return tensor.inputs[0] if tensor.inputs else None


def consumers(tensor: gs.Tensor) -> list[gs.Node]:
    """The nodes that read a tensor, each once."""
    return list({id(node): node for node in tensor.outputs}.values())


def variables(node: gs.Node) -> Iterator[tuple[int, gs.Variable]]:
    """The inputs of a node whose values only a run knows, with their positions."""
    for index, tensor in enumerate(node.inputs):
        if isinstance(tensor, gs.Variable) and not tensor.is_empty():
            yield index, tensor


def captured(node: gs.Node) -> list[gs.Variable]:
    """The tensors of the graph that the subgraphs of a node read (If, Loop, Scan)."""
    graphs = [value for value in node.attrs.values() if isinstance(value, gs.Graph)]
    if not graphs:
        return []
    inner = [n for graph in graphs for n in graph.nodes]
    inside = {id(t) for n in inner for t in n.outputs}
    read = [t for n in inner for t in (*(v for _, v in variables(n)), *captured(n))]
    return [t for t in read if id(t) not in inside]


def static_shape(tensor: gs.Tensor) -> tuple[int | None, ...] | None:
    """A tensor's shape with None for sizes that only a run knows; None where even the rank is unknown."""
    if tensor.shape is None:
        return None
    return tuple(d if isinstance(d, int) and d >= 0 else None for d in tensor.shape)


def fixed_batch(inputs: Iterable[gs.Tensor]) -> int | None:
    """The batch size that the file fixes, or None."""
    sizes = {shape[0] for t in inputs if (shape := static_shape(t))}
    return next((size for size in sizes if size is not None), None)
