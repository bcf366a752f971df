"""Where the tensors between the pictures and the scores have positions, and which of them may be stages."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

import onnx_graphsurgeon as gs

from relcam_onnx.analysis.frames import rows_for
from relcam_onnx.analysis.layout import Layout
from relcam_onnx.analysis.lines import along
from relcam_onnx.analysis.paths import Paths, has_weights, receivers
from relcam_onnx.analysis.positions import SPATIAL, follow, reduced
from relcam_onnx.analysis.rows import leaves_row
from relcam_onnx.canon.axes import moves
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.rows import CURVED
from relcam_onnx.canon.unsquashing import MADE
from relcam_onnx.model import consumers, producer, variables
from relcam_onnx.ops import TABLE, Grid, key, lookup
from relcam_onnx.ops.product import is_product

JOINS = ("Concat", "Slice", "Resize")


class Stages:
    """The layouts, grids and strides of one model's paths, and what may be a stage of it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    @cached_property
    def _nodes(self) -> tuple[gs.Node, ...]:
        """Those on paths, and on the way to attention's weights: what it makes lies where its queries do."""
        return self.paths.reached(gradient=True)

    @cached_property
    def _followed(self) -> tuple[dict[str, Layout], dict[str, tuple[Grid, ...]]]:
        """The layouts, and the grids that moves make."""
        return follow(self._nodes, self.paths.images)

    @property
    def layouts(self) -> dict[str, Layout]:
        """Tensor with positions -> where they are."""
        return self._followed[0]

    @cached_property
    def grids(self) -> dict[str, tuple[Grid, ...]]:
        """Tensor with positions -> where they lie in the image, on each of its axes.

        Where paths meet the coarsest grid counts; centres that differ (a crop beside padding) take the mean.
        """
        images = [t.name for t in self.paths.images if t.name in self.layouts]
        grids = {name: (Grid(),) * len(self.layouts[name].axes) for name in images}
        for node in self._nodes:
            arriving = [t for t in self._carriers(node) if t.name in grids]
            if arriving:
                merged = tuple(map(meeting, zip(*(grids[t.name] for t in arriving), strict=False)))
                own = self._own_grids(node, arriving[0])[-len(merged) :]
                own = (Grid(),) * (len(merged) - len(own)) + own
                grids[node.outputs[0].name] = tuple(grid.on(base) for grid, base in zip(own, merged, strict=True))
        # An axis that went on the way, of time as a rule, was one of the first.
        return {name: grid[-self.layouts[name].places :] for name, grid in grids.items() if name in self.layouts}

    def _carriers(self, node: gs.Node) -> Sequence[gs.Variable]:
        """The inputs whose positions are those of what a node makes: of a product's factors the one that it keeps."""
        if not is_product(node):
            placed = [t for t in receivers(node) if t.name in self.layouts]
            return placed or receivers(node)
        own = self.layouts.get(node.outputs[0].name)
        return [t for _, t in variables(node) if own is not None and self.layouts.get(t.name) == own][:1]

    def _own_grids(self, node: gs.Node, tensor: gs.Variable) -> tuple[Grid, ...]:
        """Where positions of what a node makes lie on those of a tensor that it reads; () where they are the same."""
        if (coarser := self._followed[1].get(node.outputs[0].name)) is not None:
            return coarser
        entry, layout = lookup(node).grids if key(node) in TABLE else None, self.layouts.get(tensor.name)
        if entry is None:
            return ()
        if layout is not None and layout.grid:
            place = along(layout)
            row = () if place is None or not is_op(node, *SPATIAL) else entry(node, list(layout.axes))
            return tuple(row[0] if i == place else Grid() for i in range(layout.places)) if row else ()
        # Where positions were torn apart, an op that thins out finds them where ONNX has them.
        axes = tuple(range(2, len(tensor.shape or ()) or 4)) if layout is None else layout.axes
        # Windows lie along every axis behind the channels, be it one of length one that a picture has not.
        through = list(range(2, len(tensor.shape or ()))) if is_op(node, *SPATIAL) and tensor.shape else sorted(axes)
        told = dict(zip(through, entry(node, through), strict=False))
        return tuple(told.get(axis, Grid()) for axis in axes)

    @cached_property
    def strides(self) -> dict[str, Fraction]:
        """Tensor with positions -> its stride: pixels per position, the largest of its axes.

        Pixels are those that the first layers read: a file that resizes the picture itself, to a size of its own, names
        its stages as it would without, whatever the picture's size.
        """
        before = {t.name for t in self.paths.images} | set(self.paths.raw)

        def stride(name: str, grids: Sequence[Grid]) -> Fraction:
            sides = [abs(grid.stride) for grid in grids]
            if name in before or len(sides) != len(self._resized):
                return max(sides)
            return max(side / pixel for side, pixel in zip(sides, self._resized, strict=True))

        return {name: stride(name, grids) for name, grids in self.grids.items()}

    @cached_property
    def _resized(self) -> tuple[Fraction, ...]:
        """The strides of the picture where the file resizes it before its first layers; () where not, or twice."""
        raw = self.paths.raw
        resized: dict[str, tuple[Fraction, ...]] = {}
        for name, node in raw.items():
            if is_op(node, "Resize") and name in self.grids:
                resized[name] = tuple(abs(grid.stride) for grid in self.grids[name])
            elif (own := next((t.name for t in receivers(node) if t.name in resized), None)) is not None:
                resized[name] = resized[own]
        first = (node for node in self._nodes if node.outputs[0].name in self.paths.first)
        pictures = {t.name for t in self.paths.images}
        read = {resized.get(t.name, ()) for node in first for t in receivers(node) if t.name in pictures | set(raw)}
        return next(iter(read)) if len(read) == 1 else ()

    @cached_property
    def pooled(self) -> frozenset[str]:
        """The tensors that an average over several positions makes, up to the next layer that mixes positions."""
        pooled: set[str] = set()
        for node in self.paths.nodes:
            role = lookup(node).role_of(node) if key(node) in TABLE else None
            average = role == "average" and not is_op(node, "Resize") and not self._beside_positions(node)
            inherited = role != "batch-norm" and all(t.name in pooled for t in receivers(node))
            inherited = inherited and not self.mixes(node)
            if average or inherited:
                pooled.add(node.outputs[0].name)
        return frozenset(pooled)

    def _beside_positions(self, node: gs.Node) -> bool:
        """Whether a reduction goes over channels, or a stack of them, and leaves every position."""
        layout = self.layouts.get(node.inputs[0].name)
        return node.op.startswith("Reduce") and layout is not None and not reduced(node) & {0, *layout.axes}

    @cached_property
    def told(self) -> frozenset[str]:
        """The tensors that hold the scores, or what is moved, joined, added, bent or enlarged to be them: no layers."""
        told = {self.paths.scores.name}
        for node in reversed(self.paths.nodes):
            if node.outputs[0].name in told and hands_on(node):
                told.update(t.name for t in receivers(node))
        return frozenset(told)

    @cached_property
    def spread(self) -> frozenset[str]:
        """The tensors whose channels become blocks of positions, bent or not: the layer is a transposed convolution."""
        spread: set[str] = set()
        for node in reversed(self.paths.nodes):
            result = node.outputs[0].name
            if is_op(node, "DepthToSpace") or (result in spread and (moves(node) or is_op(node, "Gather", *CURVED))):
                spread.update(t.name for t in receivers(node) if len(consumers(t)) == 1)
        return frozenset(spread)

    @cached_property
    def candidates(self) -> tuple[gs.Variable, ...]:
        """The tensors that may be a stage, in order: behind the first layer and before the scores, of positions.

        What is pooled or padded is none, and what only moves values no layer of its own; nor what is of a clip where
        frames are.
        """
        frames = self.paths.frames
        begun = {t.name for t in self.paths.images} | set(self.paths.raw) | self.told | self.spread
        return tuple(
            t
            for t in self.paths.tensors
            if t.name in self.reaching & self.strides.keys() - begun - self.pooled
            and not is_moved(t)
            and (frames == 1 or rows_for(t, self.paths.scores) == frames)
        )

    @cached_property
    def levels(self) -> set[Fraction]:
        """The strides of what a head's scores are moved or joined from."""
        made = (node for node in self.paths.nodes if node.outputs[0].name in self.told & self.strides.keys())
        return {self.strides[node.outputs[0].name] for node in made if not hands_on(node)}

    @cached_property
    def reaching(self) -> frozenset[str]:
        """The tensors of whose positions the scores read some: behind the last block it may be a token alone."""
        reaching = {self.paths.scores.name}
        for node in reversed(self.paths.nodes):
            result, mixed = node.outputs[0].name, self.mixes(node)
            for tensor in receivers(node):
                layout = self.layouts.get(tensor.name)
                if layout is None or leaves_row(node, layout):
                    continue
                if mixed or result not in self.layouts or result in reaching:
                    reaching.add(tensor.name)
        return frozenset(reaching)

    def mixes(self, node: gs.Node) -> bool:
        """Whether a node makes each position of several: of a kernel, by attention, or of a product over positions."""
        if is_product(node):
            return True
        if not has_weights(node):
            return False
        arriving = [t.name in self.layouts for t in receivers(node)]
        return reads_several(node) or (any(arriving) and node.outputs[0].name not in self.layouts)


def reads_several(node: gs.Node) -> bool:
    """Whether a convolution makes some of its output's positions of several of its input's."""
    if not is_op(node, "Conv", "ConvTranspose"):
        return False
    kernel = node.attrs.get("kernel_shape") or node.inputs[1].shape[2:]
    # Transposed, windows that lie side by side make each position of one.
    steps = (node.attrs.get("strides") if is_op(node, "ConvTranspose") else None) or [1] * len(kernel)
    return any(size > step for size, step in zip(kernel, steps, strict=True))


def hands_on(node: gs.Node) -> bool:
    """Whether a node only moves, joins, adds, bends or enlarges what a head's scores are made of."""
    bends = node.op in CURVED and len(list(variables(node))) == 1
    picks = is_op(node, "Gather") and isinstance(node.inputs[1], gs.Constant)
    return bends or picks or moves(node) or is_op(node, *JOINS) or node.outputs[0].name.startswith(MADE)


def meeting(grids: Sequence[Grid]) -> Grid:
    """Where positions lie that come by several paths."""
    stride = max((grid.stride for grid in grids), key=abs)
    offsets = [grid.offset for grid in grids if grid.stride == stride]
    return Grid(stride, sum(offsets, Fraction(0)) / len(offsets))


def is_moved(tensor: gs.Tensor) -> bool:
    """Whether a tensor only holds another's values elsewhere, or with zeros around them."""
    node = producer(tensor)
    return moves(node) or is_op(node, "Pad") or (node is not None and reorders(node))


def reorders(node: gs.Node) -> bool:
    """Whether a Gather reads all there is along its axis once, in another order."""
    indices = node.inputs[1] if is_op(node, "Gather") else None
    if not isinstance(indices, gs.Constant) or indices.values.ndim != 1 or not node.inputs[0].shape:
        return False
    size = node.inputs[0].shape[int(node.attrs.get("axis", 0))]
    return isinstance(size, int) and sorted(indices.values % max(size, 1)) == list(range(size))
