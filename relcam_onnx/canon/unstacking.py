"""Pictures, or crops of one, that are concatenated along the batch to share one encoder get a copy of it each.

``encoder(concat(a, b))``, taken apart or averaged behind it, is ``encoder(a)`` and ``encoder(b)``. What the encoder
makes of each is a view of the file's tensor: some of its rows. They stand crop by crop, all images' first ones first,
or image by image, where an axis of crops behind the batch is put into it. Where a part of that is not known to work row
by row, all stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.axes import RESHAPES, Size
from relcam_onnx.canon.edit import detach, fresh, is_op, result_of, sweep, view
from relcam_onnx.canon.fronted import WRITE, Home, over, read
from relcam_onnx.canon.identity import WHOLE, integers
from relcam_onnx.canon.joining import joined_parts, told
from relcam_onnx.canon.leading import put
from relcam_onnx.canon.size_rules import factors, named, ratio
from relcam_onnx.canon.sizes import READS_SIZES
from relcam_onnx.model import Model, producer
from relcam_onnx.ops import TABLE, key


def unstack(model: Model) -> None:
    """Rewrite every such encoder."""
    images = [tensor for tensor in model.graph.inputs if tensor.shape and len(tensor.shape) > 1]
    batch = images[0].shape[0] if images else None
    if not isinstance(batch, int | str):
        return
    for node in list(model.graph.nodes):
        parts = joined_parts(node, batch) if node.inputs else []
        if len(parts) > 1:
            Stack(model, node.outputs[0], parts, batch, by_image=not is_op(node, "Concat")).take_apart()
    sweep(model)


class Stack:
    """Tensors whose rows are those of several images, one image's batch behind the other's, or all of one image."""

    def __init__(
        self, model: Model, joining: gs.Variable, parts: list[gs.Tensor], batch: int | str, *, by_image: bool
    ) -> None:
        self.model, self.batch, self.parts, self.by_image = model, batch, parts, by_image
        self.rows = times(len(self.parts), batch)
        self.stacked: dict[str, gs.Variable] = {}
        self.apart: dict[str, str] = {}  # what has an axis of parts beside the batch -> the stack that it was before
        self.merged: dict[str, gs.Variable] = {}  # what is reduced over its parts
        self._take(joining)

    def _take(self, tensor: gs.Variable) -> None:
        tensor.shape = [self.rows, *tensor.shape[1:]]
        self.stacked[tensor.name] = tensor

    def take_apart(self) -> None:
        """Write each node between joining and parting once for each part; nothing where one is not understood."""
        between: list[gs.Node] = []
        ends: list[tuple[gs.Node, list[int]]] = []
        for node in self.model.graph.nodes:
            reads = [t for t in node.inputs if t.name in self.stacked or t.name in self.apart]
            if not reads or node.outputs[0].name in self.stacked or is_op(node, "Shape", "Size"):
                continue
            if self.sets_apart(node):
                self.apart[node.outputs[0].name] = node.inputs[0].name
            elif self.by_rows(node):
                self._take(node.outputs[0])
                between.append(node)
            elif self.merges(node):
                self.merged[node.inputs[0].name] = node.inputs[0]
            elif places := self.parting(node):
                ends.append((node, places))
            else:
                return
        if ends or self.merged:
            self.write(between, ends)

    def by_rows(self, node: gs.Node) -> bool:
        """Whether a node makes each row of those of its inputs that have the same place."""
        result, shape = node.outputs[0], node.outputs[0].shape
        constants = [t for t in node.inputs if isinstance(t, gs.Constant)]
        if len(node.outputs) != 1 or not shape or any(t.name not in self.stacked for t in read(node)):
            return False
        if shape[0] != self.rows and isinstance(shape[0], int):
            return False
        if is_op(node, "Gemm"):
            return len(read(node)) == 1 and not node.attrs.get("transA")
        if not is_op(node, *WRITE):
            return key(node) in TABLE and not is_op(node, *READS_SIZES - {"Pad"})
        if any(len(t.shape) == len(shape) and t.shape[0] != 1 for t in constants) and not is_op(node, "MatMul"):
            return False
        result.shape = [self.rows, *shape[1:]]
        written = WRITE[node.op](self.rows, node, [Home()] * len(read(node)))
        result.shape = shape
        return written is not None and written[0] == Home()

    def sets_apart(self, node: gs.Node) -> bool:
        """Whether a node gives the parts an axis of their own, before the batch or behind it."""
        source, after = node.inputs[0], list(node.outputs[0].shape or ())
        if not is_op(node, *RESHAPES) or source.name not in self.stacked or len(after) < 2:
            return False
        own, batch = after[self.axis], after[1 - self.axis]
        told = own == len(self.parts) and (batch == self.batch or not isinstance(batch, int))
        return told and over(source.shape[1:], after[2:]) == 1

    @property
    def axis(self) -> int:
        """Where such an axis stands."""
        return int(self.by_image)

    def merges(self, node: gs.Node) -> bool:
        """Whether a node takes the mean, the largest or the like of all parts."""
        parted = node.inputs[0].name in self.apart
        axes = [self.axis if parted else 0] if parted or self.batch == 1 else None
        return node.op.startswith("Reduce") and integers(node, 1) == axes

    def parting(self, node: gs.Node) -> list[int]:
        """Which part each output of a node is; nothing where they are no parts."""
        count, axis = len(self.parts), int(node.attrs.get("axis", 0))
        if node.inputs[0].name in self.apart:
            first, along = integers(node, 1), integers(node, 3) if is_op(node, "Slice") else [axis]
            wide = is_op(node, "Slice") and integers(node, 2) == [n + 1 for n in first or ()]
            one = is_op(node, "Gather") and not node.inputs[1].shape
            return [n % count for n in first] if first and along == [self.axis] and (wide or one) else []
        if self.by_image and self.batch != 1:
            return []
        if is_op(node, "Split") and axis == 0:
            sizes = told(node.inputs[1]) if len(node.inputs) > 1 else [self.batch] * len(node.outputs)
            equal = sizes is not None and all(size == self.batch for size in sizes)
            return list(range(count)) if equal and len(node.outputs) == count else []
        if is_op(node, "Slice"):
            starts, ends, axes = (told(t) for t in node.inputs[1:4])
            if axes is None or starts is None or ends is None or list(axes) != [0]:
                return []
            start, end = self.place(starts[0]), self.place(ends[0])
            return [start] if start is not None and end == start + 1 else []
        if is_op(node, "Gather") and axis == 0 and self.batch == 1:
            index = integers(node, 1)
            return [index[0] % count] if index and not node.inputs[1].shape else []
        return []

    def place(self, row: Size) -> int | None:
        """The part that begins at a row; their number behind the last."""
        if isinstance(row, int | np.integer) and not isinstance(self.batch, int):
            return 0 if row == 0 else len(self.parts) if row >= WHOLE else None
        if row is None or isinstance(row, str) != isinstance(self.batch, str):
            return None
        share = Fraction(0) if row == 0 else ratio(row, self.batch)
        if share is None or share < 0 or (share.denominator > 1 and share < len(self.parts)):
            return None
        return min(int(share), len(self.parts))

    def write(self, between: Sequence[gs.Node], ends: Sequence[tuple[gs.Node, list[int]]]) -> None:
        """Put the copies, and let what parted them read its own."""
        made: dict[str, list[gs.Tensor]] = {next(iter(self.stacked)): list(self.parts)}
        for node in between:
            result = node.outputs[0]
            made[result.name] = [self.seen(result, number) for number in range(len(self.parts))]
            for number, part in enumerate(made[result.name]):
                inputs = [made[t.name][number] if t.name in made else t for t in node.inputs]
                if is_op(node, *RESHAPES):
                    put(self.model, "Reshape", {}, inputs[:1], part)
                else:
                    put(self.model, node.op, dict(node.attrs), inputs, part)
                    self.model.graph.nodes[-1].domain = node.domain
        for node, places in ends:
            source, results, one = node.inputs[0].name, list(node.outputs), is_op(node, "Gather")
            parts = made[self.apart.get(source, source)]
            if source in self.apart:
                rows = [self.batch] if one else [1, self.batch][:: 1 - 2 * self.axis]
                results[0].shape = [*rows, *node.inputs[0].shape[2:]]
            detach(node)
            for number, result in zip(places, results, strict=True):
                # An index drops an axis: that of the parts, or that of a batch of one.
                put(self.model, "Reshape" if one or source in self.apart else "Identity", {}, [parts[number]], result)

        for name, whole in self.merged.items():
            parts = made[self.apart.get(name, name)]
            axis = self.axis if name in self.apart else 0
            if name in self.apart:
                sizes = [self.batch, *whole.shape[2:]]
                lifted = [gs.Variable("", whole.dtype, [*sizes[:axis], 1, *sizes[axis:]]) for _ in parts]
                parts = [result_of(self.model, like, f"{name}/part", "Unsqueeze", part, np.array([axis]))
                         for like, part in zip(lifted, parts, strict=True)]  # fmt: skip
            detach(producer(whole))
            put(self.model, "Concat", {"axis": axis}, parts, whole)

    def seen(self, tensor: gs.Variable, number: int) -> gs.Variable:
        """The rows of one part, as a view of the file's tensor."""
        like = gs.Variable("", tensor.dtype, [self.batch, *tensor.shape[1:]])
        name = fresh(self.model, f"{tensor.name}/{self.parts[number].name}")
        if not self.by_image:
            return view(self.model, like, name, "Part", tensor, self.parts[number], part=number)
        every = [np.array([value], np.int64) for value in (number, WHOLE, 0, len(self.parts))]
        return view(self.model, like, name, "Slice", tensor, *every)


def times(count: int, size: int | str) -> int | str:
    """A multiple of a size."""
    number, name = factors(size)
    return named(count * number, name)
