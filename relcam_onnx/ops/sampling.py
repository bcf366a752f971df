"""Ops that read an input between its positions: Resize and GridSample, each one matrix of fixed coefficients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from relcam_onnx.model import producer
from relcam_onnx.ops.backend import Backend, Size, Value
from relcam_onnx.ops.grids import Grid, resize_grids, sizes_of
from relcam_onnx.ops.indexing import spread
from relcam_onnx.ops.pool import average
from relcam_onnx.ops.records import Call, Linear, product
from relcam_onnx.ops.table import Nonnegative, op


def resize_refuses(node: gs.Node) -> str | None:
    """What is cut out of the picture or keeps its aspect is not separable by sizes alone."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return "coordinate_transformation_mode tf_crop_and_resize"
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    return None if policy == "stretch" else f"keep_aspect_ratio_policy {policy}"


def resize_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Cubic interpolation overshoots."""
    return node.attrs.get("mode") != "cubic" and nonnegative(node.inputs[0])


@op("Resize", grids=resize_grids, nonnegative=resize_nonnegative, role="average", refuses=resize_refuses)
def resize(f: Backend, call: Call) -> Linear:
    """Resize, opset 18 and later: separable, so one matrix an axis, which resizing the identity gives."""
    x = call.x
    before, after = f.dims(x), f.dims(call.output)
    # Not the batch, which shape inference may call by another name behind a Resize.
    changed = [axis for axis in range(1, len(before)) if after[axis] != before[axis]]
    attrs = call.attributes(
        "mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias"
    )
    scales = call.numbers(2)
    matrices = {}
    for axis in changed:
        # Of four axes: onnxruntime has no other cubic kernel.
        grid = f.Reshape(np.eye(int(before[axis]), dtype=np.float32), [1, 1, before[axis], before[axis]])
        axes = call.attr("axes", list(range(len(before))))
        if scales:
            grown = f.Resize(grid, None, [1.0, 1.0, 1.0, scales[axes.index(axis)]], None, **attrs)
        else:
            grown = f.Resize(grid, None, None, [1, 1, before[axis], after[axis]], **attrs)
        matrices[axis] = f.Reshape(grown, [before[axis], after[axis]])

    def along(value: Value, axis: int, matrix: Value) -> Value:
        order = [i for i in range(len(before)) if i != axis] + [axis]
        back = [order.index(i) for i in range(len(before))]
        return f.Transpose(f.MatMul(f.Transpose(value, perm=order), matrix), perm=back)

    def apply(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, matrix)
        return value

    def adjoint(value: Value) -> Value:
        for axis, matrix in matrices.items():
            value = along(value, axis, f.Transpose(matrix, perm=[1, 0]))
        return value

    return average(f, call, apply, adjoint)


def sampling_grid(node: gs.Node) -> np.ndarray | None:
    """Where each picture is read, (1, *output, axes): the same for all; None where it is not, or a run computes it."""
    held, maker = node.inputs[1], producer(node.inputs[1])
    if maker is not None and maker.op == "Expand" and list(held.shape or ())[1:] == list(maker.inputs[0].shape)[1:]:
        held = maker.inputs[0]  # to the size of the batch
    if not isinstance(held, gs.Constant):
        return None
    first: np.ndarray = held.values[:1]
    return first if (held.values == first).all() else None


def grid_sample_refuses(node: gs.Node) -> str | None:
    """Cubic reads beyond a border are NumPy's to get wrong (onnx 1.23); where a run tells places, lines are known."""
    padding = node.attrs.get("padding_mode", "zeros")
    if is_cubic(node) and padding == "border":
        return "mode cubic with padding_mode border"
    if sampling_grid(node) is not None:
        return None
    linear = node.attrs.get("mode", "linear") in ("linear", "bilinear")
    if linear and padding != "reflection" and len(node.inputs[0].shape or ()) == 4:
        return None
    return (
        "its grid is computed, or another one for each picture, and it is not linear in two axes with zeros or borders"
    )


def is_cubic(node: gs.Node) -> bool:
    """Whether it overshoots: opset 20 has another name for it."""
    return node.attrs.get("mode") in ("cubic", "bicubic")


def grid_sample_nonnegative(node: gs.Node, nonnegative: Nonnegative) -> bool:
    """Cubic interpolation overshoots."""
    return not is_cubic(node) and nonnegative(node.inputs[0])


def sampled_grids(node: gs.Node, axes: Sequence[int]) -> tuple[Grid, ...]:
    """GridSample: the whole picture, as far as sizes tell."""
    strides = (
        Fraction(before, after) if before and after else Fraction(1)
        for before, after in zip(sizes_of(node.inputs[0], axes), sizes_of(node.outputs[0], axes), strict=True)
    )
    return tuple(Grid(stride, (stride - 1) / 2) for stride in strides)


def sampled(node: gs.Node) -> tuple[int, ...]:
    """What has a gradient: the picture, and the places where a run tells them."""
    return (0,) if sampling_grid(node) is not None else (0, 1)


@op(
    "GridSample",
    gradient_receivers=sampled,
    grids=sampled_grids,
    nonnegative=grid_sample_nonnegative,
    role="average",
    refuses=grid_sample_refuses,
)
def grid_sample(f: Backend, call: Call) -> Linear:
    """GridSample, opset 16 and later: at fixed places one matrix for all channels, sampled from the identity."""
    grid = sampling_grid(call.node)
    if grid is None:
        return sampled_anywhere(f, call)
    before, after = f.dims(call.x), f.dims(call.output)
    read, made = product(before[2:]), product(after[2:])
    attrs = call.attributes("mode", "padding_mode", "align_corners")
    identity = f.Reshape(np.eye(int(read), dtype=np.float32), [1, read, *before[2:]])
    matrix = f.Transpose(f.Reshape(f.GridSample(identity, grid, **attrs), [read, made]), perm=[1, 0])

    def apply(x: Value) -> Value:
        flat = f.Reshape(x, [0, before[1], read])
        return f.Reshape(f.MatMul(flat, f.Transpose(matrix, perm=[1, 0])), [0, *after[1:]])

    def adjoint(s: Value) -> Value:
        return f.Reshape(f.MatMul(f.Reshape(s, [0, after[1], made]), matrix), [0, *before[1:]])

    return average(f, call, apply, adjoint)


def sampled_anywhere(f: Backend, call: Call) -> Linear:
    """Linear GridSample at places that a run tells, as deformable attention has it (Zhu et al. 2021, arXiv:2010.04159).

    Each place reads the four corners around it. For relevance places are numbers, as attention's weights are; a
    gradient goes to them too.
    """
    x, grid = call.x, call.value(1)
    before, after = f.dims(x), f.dims(call.output)
    read, made = before[2] * before[3], after[2] * after[3]
    aligned, borders = call.attr("align_corners", 0), call.attr("padding_mode", "zeros") == "border"
    attrs = call.attributes("mode", "padding_mode", "align_corners")
    told = [f.Reshape(f.Gather(grid, np.int64(axis), axis=3), [0, made]) for axis in (0, 1)]
    columns, rows = (
        around(f, place, size, aligned=bool(aligned), borders=borders)
        for place, size in zip(told, (before[3], before[2]), strict=True)
    )
    corners = list(itertools.product(columns, rows))
    width = f.sizes([before[3]])
    places = [f.Unsqueeze(down.at * width + across.at, [1]) for across, down in corners]

    def adjoint(s: Value) -> Value:
        flat = f.Reshape(s, [0, after[1], made])
        parts = [flat * f.each(f.Unsqueeze(across.weight * down.weight, [1])) for across, down in corners]
        shared = spread(f, f.Concat(*parts, axis=2), f.Concat(*places, axis=2), [before[1], read], axis=2)
        return f.Reshape(shared, [-1, *before[1:]])

    def derivative(g: Value) -> dict[int, Value]:
        values = f.Reshape(x, [0, before[1], read])
        size = f.sizes([before[0], before[1], made])
        corner = [f.GatherElements(values, f.Expand(place, size), axis=2) for place in places]
        flat, slopes = f.Reshape(g, [0, after[1], made]), []
        for axis in (0, 1):
            factors = [f.Unsqueeze(pair[axis].slope * pair[1 - axis].weight, [1]) for pair in corners]
            slope = f.Sum(*(value * factor for value, factor in zip(corner, factors, strict=True)))
            slopes.append(f.Reshape(f.ReduceSum(flat * f.each(slope), [1], keepdims=0), [0, *after[2:], 1]))
        return {0: adjoint(g), 1: f.Concat(*slopes, axis=3)}

    def apply(value: Value) -> Value:
        return f.GridSample(f.Expand(value, f.sizes(before)), grid, **attrs)  # bounds are the same for all images

    record = average(f, call, apply, adjoint)
    return replace(record, derivative=derivative)


class End(NamedTuple):
    """One of the two positions around places: where it is, how much it counts, and how that changes with the place."""

    at: Value
    weight: Value
    slope: Value


def around(f: Backend, place: Value, size: Size, *, aligned: bool, borders: bool) -> tuple[End, End]:
    """The positions before and behind places from -1 to 1 along an axis of so many positions."""
    count = f.number(size)
    scale = (count - 1.0) * 0.5 if aligned else count * 0.5
    at = (place + 1.0) * scale if aligned else (place + 1.0) * scale - 0.5
    last, moves = count - 1.0, scale
    if borders:
        inside = f.And(f.Greater(at, 0.0), f.Less(at, last))
        at, moves = f.Clip(at, 0.0, last), f.Where(inside, scale, 0.0)
    before = f.Floor(at)

    def end(position: Value, weight: Value, slope: Value | float) -> End:
        there = f.And(f.GreaterOrEqual(position, 0.0), f.LessOrEqual(position, last))
        index = f.Cast(f.Clip(position, 0.0, last), to=TensorProto.INT64)
        return End(index, f.Where(there, weight, 0.0), f.Where(there, slope, 0.0))

    part = at - before
    return end(before, 1.0 - part, -moves), end(before + 1.0, part, moves)
