"""Channels that become blocks of positions, and blocks that become channels: DepthToSpace and SpaceToDepth.

As PixelShuffle (Shi et al. 2016), patch expansion and patch merging spell them: Reshape, Transpose, Reshape, or slices
that are joined; channels in any order, on axis 1 or last, positions in rows and columns or all in one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isqrt
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from relcam_onnx.canon.edit import Step, is_op, written
from relcam_onnx.canon.places import Moved
from relcam_onnx.model import Model

Grid = tuple[int, int, int]
"""Channels, height, width."""


class Face(NamedTuple):
    """How a grid may stand in a tensor: its channels last, its positions in one row."""

    grid: Grid
    last: bool
    row: bool

    def seen(self, values: np.ndarray) -> np.ndarray:
        """Values of one image as (channels, height, width)."""
        channels, height, width = self.grid
        return values.reshape(height, width, channels).transpose(2, 0, 1) if self.last else values.reshape(self.grid)


def is_shuffle(model: Model, node: gs.Node, chain: Moved) -> bool:
    """Write a node's chain as such an op, with moves around it; False where it is none."""
    _, sizes, came, nodes = chain
    if {len(sizes), came.ndim} - {3, 4} or came.shape[0] != sizes[0] or came.size != np.prod(sizes):
        return False
    if any(is_op(step, "DepthToSpace", "SpaceToDepth") for step in nodes):
        return False  # it is written so already
    told = {size for step in nodes for size in step.outputs[0].shape or () if isinstance(size, int)}
    own, sides = came[0], {a * b for a in told for b in {1, *told}}  # of a row of blocks both numbers stand there
    if not np.array_equal(came, own + own.size * np.arange(len(came)).reshape(-1, *[1] * own.ndim)):
        return False
    for before in faces(sizes, sides):
        for behind in faces(came.shape, sides):
            side = block(before.grid, behind.grid)
            steps = steps_of(before.seen(np.arange(own.size)), behind.seen(own), side) if side else None
            if steps is not None:
                written(model, node, chain.source, [*apart(before), *steps, *together(behind)])
                return True
    return False


def faces(sizes: Sequence[int], sides: Iterable[int]) -> Iterator[Face]:
    """The ways to see a tensor of these sizes; rows of a row's positions have a length that the chain names."""
    _, first, *rest = sizes
    if len(rest) == 2:
        yield Face((first, rest[0], rest[1]), last=False, row=False)
        yield Face((rest[1], first, rest[0]), last=True, row=False)
        return
    for channels, length, last in ((first, rest[0], False), (rest[0], first, True)):
        for height in sides:
            if length % height == 0:
                yield Face((channels, height, length // height), last=last, row=True)


def block(before: Grid, behind: Grid) -> int:
    """The side of the blocks that a grid has as channels of another, which is no line; 0 where it has none."""
    fine, coarse = sorted((before, behind))
    side = isqrt(coarse[0] // fine[0])
    blocks = coarse == (fine[0] * side**2, fine[1] // max(side, 1), fine[2] // max(side, 1))
    whole = fine[1] % max(side, 1) == fine[2] % max(side, 1) == 0
    return side if blocks and whole and side > 1 and min(coarse[1:]) > 1 else 0


def steps_of(before: np.ndarray, behind: np.ndarray, side: int) -> list[Step] | None:
    """The ops on (N, channels, height, width) that make one grid of another; None where they are none such."""
    channels, grid = max(len(before), len(behind)), (*behind.shape,)
    each = np.arange(channels).reshape(-1, side**2).T.reshape(-1)  # one channel of all blocks after the other
    if len(behind) < len(before):
        order = picked(in_blocks(behind, side), before)
        if order is None:
            return None
        if np.array_equal(order, np.argsort(each)):
            return [("DepthToSpace", grid, (), {"blocksize": side, "mode": "DCR"})]
        step: Step = ("DepthToSpace", grid, (), {"blocksize": side, "mode": "CRD"})
        return [*in_order(order, (*before.shape,)), step]
    order = picked(behind, in_blocks(before, side)[each])
    return None if order is None else [("SpaceToDepth", grid, (), {"blocksize": side}), *in_order(order, grid)]


def in_blocks(fine: np.ndarray, side: int) -> np.ndarray:
    """A grid with each channel's blocks as channels, one after the other."""
    channels, height, width = fine.shape
    apart = fine.reshape(channels, height // side, side, width // side, side)
    return apart.transpose(0, 2, 4, 1, 3).reshape(-1, height // side, width // side)


def picked(some: np.ndarray, every: np.ndarray) -> np.ndarray | None:
    """Which channel of a grid each channel of another is; None where one is none of them."""
    first = every[:, 0, 0]
    sort = np.argsort(first)
    found = sort[np.searchsorted(first, some[:, 0, 0], sorter=sort).clip(max=len(sort) - 1)]
    return found if np.array_equal(some, every[found]) else None


def in_order(order: np.ndarray, grid: Grid) -> list[Step]:
    """Channels in another order, where it is one."""
    same = np.array_equal(order, np.arange(len(order)))
    return [] if same else [("Gather", grid, (order.astype(np.int64),), {"axis": 1})]


def apart(face: Face) -> list[Step]:
    """The moves that make a grid (N, channels, height, width) of a tensor."""
    channels, *positions = face.grid
    sizes = (*positions, channels) if face.last else face.grid
    row: list[Step] = [("Reshape", sizes, (np.array([0, *sizes]),), {})] if face.row else []
    last: list[Step] = [("Transpose", face.grid, (), {"perm": [0, 3, 1, 2]})] if face.last else []
    return row + last


def together(face: Face) -> list[Step]:
    """The moves that make a tensor of such a grid."""
    channels, height, width = face.grid
    last: list[Step] = [("Transpose", (height, width, channels), (), {"perm": [0, 2, 3, 1]})] if face.last else []
    sizes = (height * width, channels) if face.last else (channels, height * width)
    row: list[Step] = [("Reshape", sizes, (np.array([0, *sizes]),), {})] if face.row else []
    return last + row
