"""What outputs tell of a detector's levels, one thing in each kind: tables, grids, grids with anchors.

Each is brought to tables (N, places, numbers), which the graph gets where the file does not have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.analysis.positions import follow
from relcam_onnx.canon.axes import RESHAPES, permutation
from relcam_onnx.canon.edit import is_op
from relcam_onnx.canon.unsquashing import all_unsquashed, made, part, unsquashed
from relcam_onnx.model import Model, producer, static_shape

AXES = {2: (1,), 3: (2, 1), 4: (1, 3), 5: (4,)}
"""By an output's rank, which axis may hold numbers: (places, numbers), grids, grids with anchors before the numbers."""
TABLE, GRID = 3, 4
"""The ranks of (N, places, numbers) and of grids of those."""


@dataclass(frozen=True)
class Kind:
    """What all levels of a model tell one thing in.

    Attributes
    ----------
    model
        It gets what it does not have.
    levels
        An output each, in the order of the first kind's.
    axis
        Of the numbers in it.
    numbers
        How many there are of each place.
    anchors
        So many places stand at each position along that axis.
    span
        From which on and up to which of them are meant.
    """

    model: Model = field(compare=False, repr=False)
    levels: tuple[gs.Tensor, ...]
    axis: int
    numbers: int
    anchors: int = 1
    span: tuple[int, int] | None = None

    @property
    def count(self) -> int:
        """How many are meant."""
        return self.numbers if self.span is None else self.span[1] - self.span[0]

    def part(self, first: int, end: int) -> Kind:
        """Some of the numbers."""
        return replace(self, span=(first, end))

    def split(self, anchors: int) -> Kind:
        """The same, where several places stand at each position."""
        return replace(self, anchors=anchors, numbers=self.numbers // anchors)

    @cached_property
    def tables(self) -> list[gs.Tensor]:
        """The levels as (N, places, numbers)."""
        return [self.meant(self.table(level)) for level in self.levels]

    @cached_property
    def scores(self) -> list[gs.Tensor] | None:
        """What stands before the sigmoids, as tables; None where there are none."""
        found = [self.before(level) for level in self.levels]
        known = [table for table in found if table is not None]
        return known if len(known) == len(found) else None

    def before(self, level: gs.Tensor) -> gs.Tensor | None:
        """What stands before one's sigmoids."""
        span = self.span or (0, self.numbers)
        own = unsquashed(self.model, level, self.axis, *span) if self.anchors == 1 else None
        if own is not None:
            return self.table(own, self.count)
        whole = all_unsquashed(self.model, level)
        return None if whole is None else self.meant(self.table(whole))

    def meant(self, table: gs.Tensor) -> gs.Tensor:
        """The numbers that are meant of a table with all."""
        return table if self.span is None else part(self.model, table, 2, *self.span)

    def table(self, level: gs.Tensor, count: int | None = None) -> gs.Tensor:
        """One of the levels as a table, or what stands before its sigmoids, so many numbers of each place."""
        count, rank = count or self.numbers, len(level.shape)
        if (rank, self.axis, self.anchors) == (3, 2, 1):
            return level
        cells = product(positions(level, self.axis))
        places = None if cells is None else cells * self.anchors
        if rank == 2:
            return made(self.model, "Reshape", [level, np.array([1, -1, count])], (1, places, count))
        after = (level.shape[0], places, count)
        if self.axis == 1:
            apart = np.array([0, self.anchors, count, -1])
            shape = (after[0], self.anchors, count, cells)
            level = made(self.model, "Reshape", [level, apart], shape)
            level = made(self.model, "Transpose", [level], [shape[i] for i in (0, 3, 1, 2)], perm=[0, 3, 1, 2])
        return made(self.model, "Reshape", [level, np.array([0, -1, count])], after)


def in_rows(model: Model, grid: gs.Tensor) -> gs.Tensor | None:
    """A grid of numbers, wherever they stand in it, as a table; None where it has no positions of the picture."""
    layout = follow(model.graph.nodes, model.graph.inputs)[0].get(grid.name)
    if layout is None or layout.grid or len(layout.axes) != GRID - 2 or layout.axes != tuple(sorted(layout.axes)):
        return None
    (axis,) = layout.channels
    count = (static_shape(grid) or (None,) * GRID)[axis]
    return None if count is None else Kind(model, (grid,), axis, count).tables[0]


def axis_of_classes(model: Model, table: gs.Tensor) -> int | None:
    """The axis of a table, or a grid, that is no position of the picture; None where that is not known."""
    layout = follow(model.graph.nodes, model.graph.inputs)[0].get(table.name)
    return layout.channels[0] if layout is not None and len(layout.channels) == 1 else None


def shorter(table: gs.Tensor) -> int:
    """The axis of classes in a table, or a grid, that nothing tells of: there are fewer of them than places."""
    _, first, *_, last = static_shape(table) or (None, None, 0)
    return 1 if first is not None and (last is None or first < last) else len(table.shape) - 1


def candidates(model: Model, outputs: Sequence[gs.Tensor], *, whole: bool) -> Iterator[list[Kind]]:
    """The ways in which all outputs may be kinds of levels; or the tables among them, where they are not the whole."""
    for rank, axes in AXES.items():
        some = [t for t in outputs if rank_of(t) == rank]
        fits = len(some) == len(outputs) if whole else rank == TABLE
        if fits and (rank > 2 or all(without_batch(model, t) for t in some)):
            for axis in axes if some else ():
                if kinds := kinds_of(model, some, axis):
                    yield kinds


def rank_of(tensor: gs.Tensor) -> int:
    """How many axes there are; 0 where that is not known."""
    return len(tensor.shape or ())


def without_batch(model: Model, tensor: gs.Tensor) -> bool:
    """Whether the first axis of a table is not the batch."""
    batches = {t.shape[0] for t in model.graph.inputs if t.shape}
    return batches == {1} and tensor.shape[0] != 1


def kinds_of(model: Model, outputs: Sequence[gs.Tensor], axis: int) -> list[Kind]:
    """Outputs with their numbers along one axis, by what they tell; none where they are no levels."""
    by_numbers: dict[int | None, list[gs.Tensor]] = {}
    for tensor in outputs:
        shape = static_shape(tensor)
        by_numbers.setdefault(None if shape is None else shape[axis], []).append(tensor)
    if None in by_numbers:
        return []
    fewest = min(map(len, by_numbers.values()))
    kinds = [
        Kind(model, tuple(levels), axis, count)
        for count, some in by_numbers.items()
        if count is not None
        for levels in sequences(some, axis, fewest)
    ]
    where = [positions(level, axis) for level in kinds[0].levels]
    alike = [in_order(kind, where) for kind in kinds]
    return alike if are_levels(where, [kind.numbers for kind in alike]) and all(kind.levels for kind in alike) else []


def sequences(outputs: Sequence[gs.Tensor], axis: int, fewest: int) -> list[list[gs.Tensor]]:
    """Outputs with as many numbers, by which of several things they tell."""
    if any(None in positions(t, axis) for t in outputs):
        return [list(outputs[i : i + fewest]) for i in range(0, len(outputs), fewest)]
    found: list[list[gs.Tensor]] = []
    for tensor in outputs:
        where = positions(tensor, axis)
        own = next((some for some in found if where not in [positions(t, axis) for t in some]), None)
        if own is None:
            found.append(own := [])
        own.append(tensor)
    return found


def in_order(kind: Kind, where: Sequence[tuple[int | None, ...]]) -> Kind:
    """A kind whose levels have these positions, in this order; without any where it has others."""
    own = {positions(level, kind.axis): level for level in kind.levels}
    if len(own) < len(where):  # sizes that only a run knows: as they stand
        return kind if set(own) == set(where) and len(kind.levels) == len(where) else replace(kind, levels=())
    return replace(kind, levels=tuple(own[at] for at in where) if set(own) == set(where) else ())


def positions(tensor: gs.Tensor, axis: int) -> tuple[int | None, ...]:
    """The sizes of the axes that are neither the batch nor numbers."""
    sizes = static_shape(tensor) or ()
    return tuple(size for place, size in enumerate(sizes) if place != axis and (place or len(sizes) == 2))


def product(sizes: Sequence[int | None]) -> int | None:
    """How many that makes; None where only a run knows."""
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def are_levels(levels: Sequence[tuple[int | None, ...]], numbers: Sequence[int]) -> bool:
    """Whether these are positions of levels, or of all in rows: all but anchors get fewer, numbers are fewer."""
    sides = [side for side in zip(*levels, strict=True) if len(levels[0]) < 3 or len(set(side)) > 1]
    if not sides or (len(levels) == 1 and len(levels[0]) > 1):
        return False
    if any(None in side for side in sides):
        return all(None in side for side in sides)
    fewer = all(len(set(side)) == len(side) for side in sides)
    return fewer and (len(sides) > 1 or max(side or 0 for side in sides[0]) > max(numbers))


def widths(kind: Kind) -> list[int]:
    """How many numbers each operand has of the Concats that make up the levels; none where there are no such."""
    return alike([put_side_by_side(level, kind.axis) for level in kind.levels])


def alike(found: Sequence[list[int]]) -> list[int]:
    """What is the same of all; nothing where they differ."""
    return found[0] if all(each == found[0] for each in found) else []


def put_side_by_side(tensor: gs.Tensor, axis: int) -> list[int]:
    """How long the operands are of the Concat along an axis that makes up a tensor, behind moves of other axes."""
    node = producer(tensor)
    before = None if node is None else static_shape(node.inputs[0])
    if node is None or before is None:
        return []
    if is_op(node, "Concat") and int(node.attrs["axis"]) % len(tensor.shape) != axis:  # levels in rows
        return alike([put_side_by_side(t, axis) for t in node.inputs])
    if is_op(node, "Concat"):
        sizes = [(static_shape(t) or (None,) * len(before))[axis] for t in node.inputs]
        return [size for size in sizes if size is not None]
    if is_op(node, "Transpose"):
        return put_side_by_side(node.inputs[0], permutation(node)[axis])
    own = [place for place, size in enumerate(before) if place and size == tensor.shape[axis]]
    return put_side_by_side(node.inputs[0], own[0]) if is_op(node, *RESHAPES) and len(own) == 1 else []
